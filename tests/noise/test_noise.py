"""Channels and noisy circuits, against PennyLane and finite differences."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pennylane as qml
import pytest
from hypothesis import given, strategies as st

from eqx_qdeq import Circuit, noise, PauliStrings
from tests._pennylane import state

PAULIS = [np.eye(2), qml.matrix(qml.X(0)), qml.matrix(qml.Y(0)), qml.matrix(qml.Z(0))]
PAIRS = {
    "depolarizing": (noise.Depolarizing, qml.DepolarizingChannel),
    "amplitude": (noise.AmplitudeDamping, qml.AmplitudeDamping),
    "phase": (noise.PhaseDamping, qml.PhaseDamping),
    "bit": (noise.BitFlip, qml.BitFlip),
    "flip": (noise.PhaseFlip, qml.PhaseFlip),
    "reset": (noise.Reset, lambda p, wires: qml.ResetError(p, 0.0, wires)),
    "relaxation": (
        lambda p: noise.ThermalRelaxation(50.0, 70.0, 40 * p),
        lambda p, wires: qml.ThermalRelaxationError(0.0, 50.0, 70.0, 40 * p, wires),
    ),
}
CIRCUIT = Circuit(
    ["Rx", "Ry", "CX", "H", "CRx", "Rz", "CX"],
    [[0], [1], [0, 2], [1], [2, 1], [0], [1, 0]],
    [[0], [1], [], [], [2], [3], []],
)
ANGLES = np.array([0.3, -1.1, 0.7, 2.0])
STRINGS = PauliStrings(["Z0", "Z1 Z2", "X0 Y1"])
STATE = np.array([1, 2, -1, 0.5, 1, 0, 3, 1]) / np.linalg.norm([1, 2, -1, 0.5, 1, 0, 3, 1])


CHANNELS = {
    **{name: ours for name, (ours, _) in PAIRS.items()},
    "pauli": lambda p: noise.PauliChannel(p / 2, p / 4, p / 8),
    "two wires": lambda p: noise.Depolarizing(p, 2),
    "rotation": lambda p: noise.CoherentRotation("ZX", p),
}


def transfer_of(kraus: list[np.ndarray]) -> np.ndarray:
    def applied(m: np.ndarray) -> np.ndarray:
        return sum(k @ m @ k.conj().T for k in kraus)

    return np.array([[np.trace(p @ applied(q)).real / 2 for q in PAULIS] for p in PAULIS])


@pytest.mark.parametrize("name", PAIRS)
@given(p=st.sampled_from([0.0, 0.01, 0.2, 0.7]))
def test_channels_are_pennylanes(name: str, p: float):
    ours, theirs = PAIRS[name]
    expected = transfer_of(theirs(p, wires=0).kraus_matrices())
    np.testing.assert_allclose(ours(p).transfer(), expected, atol=1e-6)


@pytest.mark.parametrize("name", CHANNELS)
def test_branches_are_the_channel(name: str, tol: float):
    """The sums that trajectories draw from, with their derivatives at a rate of zero too."""

    def by_branches(p: jax.Array) -> jax.Array:
        weights, operators = CHANNELS[name](p).branches()
        paulis = (
            PAULIS if operators.shape[1] == 2 else [np.kron(a, b) for a in PAULIS for b in PAULIS]
        )
        paulis = jnp.asarray(np.array(paulis), operators.dtype)
        out = jnp.einsum(
            "k,iab,kbc,jcd,kad->ij",
            weights.astype(operators.dtype),
            paulis,
            operators,
            paulis,
            operators.conj(),
        )
        return out.real / operators.shape[1]

    for p in (jnp.array(0.0), jnp.array(0.3)):
        channel = lambda p: CHANNELS[name](p).transfer()
        np.testing.assert_allclose(by_branches(p), channel(p), atol=tol)
        slopes = jax.jacfwd(by_branches)(p), jax.jacfwd(channel)(p)
        np.testing.assert_allclose(*slopes, atol=10 * tol)


def test_kraus_operators_and_rotations_are_pennylanes(tol: float):
    kraus = qml.AmplitudeDamping(0.3, wires=0).kraus_matrices()
    channel = noise.KrausChannel(np.array(kraus))
    np.testing.assert_allclose(channel.transfer(), noise.AmplitudeDamping(0.3).transfer(), atol=tol)
    pair = noise.KrausChannel(np.array([np.kron(a, b) for a in kraus for b in kraus]))
    one = np.asarray(channel.transfer())
    np.testing.assert_allclose(pair.transfer(), np.kron(one, one), atol=tol)
    rotation = noise.CoherentRotation("Y", 0.4)
    expected = transfer_of([qml.matrix(qml.RY(0.4, 0))])
    np.testing.assert_allclose(rotation.transfer(), expected, atol=tol)


def test_numbers_are_fixed_and_arrays_are_trained():
    leaves = lambda channel: jax.tree.leaves(eqx.filter(channel, eqx.is_inexact_array))
    assert leaves(noise.Depolarizing(0.1)) == []
    assert len(leaves(noise.ThermalRelaxation(50.0, jnp.array(70.0), 0.1))) == 1
    assert leaves(noise.ReadoutError((0.1, 0.2), 0.1)) == []


@given(p=st.floats(0, 1))
def test_channels_are_completely_positive_and_keep_the_trace(p: float):
    channels = [ours(p) for ours, _ in PAIRS.values()]
    channels += [noise.PauliChannel(p / 2, p / 4, p / 4), noise.Depolarizing(p, 2)]
    for channel in channels:
        r, k = np.asarray(channel.transfer(), float), channel.n_wires
        paulis = PAULIS if k == 1 else [np.kron(a, b) for a in PAULIS for b in PAULIS]
        choi = sum(
            r[i, j] * np.kron(paulis[j].T, paulis[i]) for i in range(4**k) for j in range(4**k)
        )
        np.testing.assert_allclose(r[0], np.eye(4**k)[0], atol=1e-6)
        assert np.linalg.eigvalsh(choi).min() > -1e-5


def model(rates: jax.Array) -> noise.NoiseModel:
    return noise.NoiseModel(
        (noise.AmplitudeDamping(rates[0]), noise.PhaseFlip(rates[1])),
        (noise.AmplitudeDamping(rates[0]), noise.Depolarizing(rates[2], 1)),
    )


def mixed(rates: np.ndarray) -> np.ndarray:
    @qml.qnode(qml.device("default.mixed", wires=3))
    def circuit():
        qml.StatePrep(STATE, wires=range(3))
        with qml.QueuingManager.stop_recording():
            ops = [
                qml.RX(ANGLES[0], 0), qml.RY(ANGLES[1], 1), qml.CNOT([0, 2]), qml.Hadamard(1),
                qml.CRX(ANGLES[2], [2, 1]), qml.RZ(ANGLES[3], 0), qml.CNOT([1, 0]),
            ]  # fmt: skip
        for op in ops:
            qml.apply(op)
            for w in op.wires:
                qml.AmplitudeDamping(rates[0], w)
            for w in op.wires:
                if len(op.wires) == 1:
                    qml.PhaseFlip(rates[1], w)
                else:
                    qml.DepolarizingChannel(rates[2], w)
        observables = [qml.Z(0), qml.Z(1) @ qml.Z(2), qml.X(0) @ qml.Y(1)]
        return [qml.expval(o) for o in observables]

    return np.array(circuit())


def by_density(rates: jax.Array) -> jax.Array:
    state = jnp.asarray(STATE, jnp.result_type(complex))
    return noise.density_values(CIRCUIT, jnp.asarray(ANGLES), STRINGS, model(rates), state)


def by_forms(rates: jax.Array) -> jax.Array:
    state = jnp.asarray(STATE)
    forms = noise.noisy_forms(CIRCUIT, jnp.asarray(ANGLES), STRINGS, model(rates))
    return jnp.einsum("a,qab,b->q", state, forms.real, state, precision="highest")


@pytest.mark.parametrize("values", [by_density, by_forms])
def test_pennylane_agrees_and_gradients_at_zero_are_right(values, x64: bool):
    values = jax.jit(values)
    for rates in ([0.0, 0.0, 0.0], [0.1, 0.05, 0.2]):
        np.testing.assert_allclose(
            values(jnp.asarray(rates)), mixed(np.array(rates)), atol=1e-7 if x64 else 1e-5
        )
    got = jax.jacrev(values)(jnp.zeros(3))
    for i in range(3):
        h = 1e-4 * np.eye(3)[i]
        # One-sided, of second order: rates below zero are not channels.
        slope = (-3 * mixed(0 * h) + 4 * mixed(h) - mixed(2 * h)) / 2e-4
        np.testing.assert_allclose(got[:, i], slope, atol=1e-4)


def test_conventions_go_there_and_back():
    for k in (1, 2):
        there = noise.depolarizing_parameter(0.03, k)
        assert noise.probability_from_parameter(there, k) == pytest.approx(0.03)
        infidelity = noise.average_infidelity(0.03, k)
        assert noise.probability_from_infidelity(infidelity, k) == pytest.approx(0.03)
        # Nielsen's formula, with the transfer matrix's trace for the process fidelity.
        process = np.trace(noise.Depolarizing(0.03, k).transfer()) / 4**k
        assert infidelity == pytest.approx(1 - (2**k * process + 1) / (2**k + 1), abs=1e-6)


def test_old_names_say_what_to_write_instead():
    with pytest.warns(DeprecationWarning, match=r"`eqx_qdeq.noise.Depolarizing`"):
        assert noise.Depolarising is noise.Depolarizing
    with pytest.warns(DeprecationWarning, match="noise.depolarizing_parameter"):
        assert noise.depolarising_parameter(0.75) == 1.0
    with pytest.warns(DeprecationWarning, match="NoiseModel.depolarizing"):
        model = noise.NoiseModel.depolarising(0.02, one_wire=0.01)
    assert eqx.tree_equal(model, noise.NoiseModel.depolarizing(0.02, one_wire=0.01))
    with pytest.raises(AttributeError, match=r"module 'eqx_qdeq.noise' has no attribute 'Depol'"):
        noise.Depol  # noqa: B018
    with pytest.raises(ImportError, match="Depol"):
        from eqx_qdeq.noise import Depol  # noqa: F401


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="probability"):
        noise.BitFlip(1.5)
    with pytest.raises(ValueError, match="2 \\* t1"):
        noise.ThermalRelaxation(1.0, 3.0, 0.1)
    with pytest.raises(ValueError, match="x \\+ y \\+ z"):
        noise.PauliChannel(0.5, 0.5, 0.5)
    with pytest.raises(ValueError, match="two_wire"):
        noise.NoiseModel((noise.Depolarizing(0.1, 2),))
    with pytest.raises(ValueError, match="keep the trace"):
        noise.KrausChannel(0.9 * np.eye(2)[None])
    with pytest.raises(ValueError, match="shape"):
        noise.KrausChannel(np.eye(2))
    with pytest.raises(ValueError, match="letters"):
        noise.CoherentRotation("ZZZ", 0.1)
    with pytest.raises(ValueError, match="p01"):
        noise.ReadoutError(1.2, 0.0)
    with pytest.raises(ValueError, match="neither"):
        noise.GateNoise((noise.BitFlip(0.1),))
    with pytest.raises(ValueError, match="n_gates"):
        noise.PreparationNoise(n_gates=-1)
    with pytest.raises(ValueError, match="3 wires"):
        noise.NoiseModel(two_wire=(noise.BitFlip(0.1),)).after("CCX", (0, 1, 2))


def test_a_circuit_is_a_channel_on_any_state(tol: float):
    """`push` is Λ(ρ) of a mixed state, with a partial trace at index 0, and `pull` its adjoint."""
    mixture = np.random.default_rng(0).normal(size=(8, 8, 2)) @ [1, 1j]
    mixture = mixture @ mixture.conj().T / np.trace(mixture @ mixture.conj().T)
    strings = np.array([np.kron(np.kron(a, b), c) for a in PAULIS for b in PAULIS for c in PAULIS])
    values = lambda rho: np.einsum("pij,ji->p", strings, rho).real.reshape(4, 4, 4)
    unitary = np.stack([state(CIRCUIT, ANGLES, column) for column in np.eye(8)], axis=1)
    after = unitary @ mixture @ unitary.conj().T
    channel = noise.noisy_circuit(CIRCUIT, jnp.asarray(ANGLES))
    pushed = np.asarray(channel.push(jnp.asarray(values(mixture))))
    np.testing.assert_allclose(pushed, values(after), atol=10 * tol)
    of_two = np.trace(after.reshape(4, 2, 4, 2), axis1=1, axis2=3)
    z0 = np.trace(np.kron(PAULIS[3], np.eye(2)) @ of_two).real
    np.testing.assert_allclose(pushed[:, :, 0][3, 0], z0, atol=10 * tol)
    observable = jnp.zeros((4, 4, 4, 1)).at[3, 0, 0].set(1.0)
    pulled = np.asarray(channel.pull(observable))[..., 0]
    np.testing.assert_allclose(np.sum(pulled * values(mixture)), z0, atol=10 * tol)


def test_what_is_no_state_or_no_angles_is_an_error():
    with pytest.raises(ValueError, match=r"`angles` must have the shape \(4,\)"):
        noise.noisy_circuit(CIRCUIT, jnp.zeros(3))
    with pytest.raises(ValueError, match=r"`angles` must have the shape \(4,\)"):
        noise.noisy_circuit(CIRCUIT, jnp.zeros(5))
    channel = noise.noisy_circuit(CIRCUIT, jnp.asarray(ANGLES))
    for shape in ((4, 4), (4, 4, 2), (64,)):
        with pytest.raises(ValueError, match="`vector` must have an axis of 4 expectation values"):
            channel.push(jnp.zeros(shape))
