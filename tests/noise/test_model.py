"""All that a noise model can hold, in one circuit, against PennyLane's density matrices."""

import functools as ft

import jax
import jax.numpy as jnp
import numpy as np
import pennylane as qml
import pytest

from eqx_qdeq import Circuit, Hermitian, noise, PauliStrings, PauliZ, Probabilities
from eqx_qdeq.noise import make_steps

CIRCUIT = Circuit(
    ["Rx", "CX", "CRz", "H", "U3"],
    [[0], [1, 0], [1, 2], [2], [1]],
    [[0], [], [1], [], [2, 0, 1]],
    scales=[[1], [], [-2], [], [1, 1, 1]],
    offsets=[[0.1], [], [0], [], [0, 0, 0]],
)
ANGLES = np.array([0.3, -1.1, 0.7])
STATE = np.array([1, 2j, -1, 0.5, 1, 0, 3, 1j])
STATE = STATE / np.linalg.norm(STATE)
P01, P10 = np.array([0.02, 0.1, 0.0]), 0.07
HERMITIAN = Hermitian(np.array([[1.0, 2j], [-2j, 0.5]]), [2])


def full_model(one: float, two: float, relative: float) -> noise.NoiseModel:
    return noise.NoiseModel(
        one_wire=(noise.AmplitudeDamping(one),),
        two_wire=(noise.Depolarizing(two, 2),),
        overrides=(
            noise.GateNoise((noise.CoherentRotation("ZX", 0.2),), "CX", (1, 0)),
            noise.GateNoise((), "H"),
        ),
        idle=(noise.PhaseDamping(one),),
        over_rotation=noise.OverRotation(relative, 0.05),
        preparation=noise.PreparationNoise(two_wire=(noise.Depolarizing(two, 2),), n_gates=4),
        readout=noise.ReadoutError(tuple(P01.tolist()), P10),
    )


def depolarize(p: float, wires: list[int]) -> None:
    paulis = [np.eye(2), *(qml.matrix(g(0)) for g in (qml.X, qml.Y, qml.Z))]
    pairs = [np.kron(a, b) for a in paulis for b in paulis]
    weights = [1 - p, *([p / 15] * 15)]
    qml.QubitChannel([np.sqrt(w) * m for w, m in zip(weights, pairs, strict=True)], wires)


def outcomes(one: float, two: float, relative: float, bases: dict[int, str]) -> np.ndarray:
    """PennyLane's probabilities, wires turned to their bases, and then the confusion of bits."""

    @qml.qnode(qml.device("default.mixed", wires=3))
    def run():
        more = lambda angle: (1 + relative) * angle + 0.05
        qml.StatePrep(STATE, wires=range(3))
        for wires in ([0, 1], [0, 1], [1, 2], [2, 0]):  # four gates on a ring of three pairs
            depolarize(two, wires)
        # Moment 1: Rx on 0; 1 and 2 wait.
        qml.RX(more(ANGLES[0] + 0.1), 0)
        qml.AmplitudeDamping(one, 0)
        # CX(1, 0) must follow Rx on 0.
        for w in (1, 2):
            qml.PhaseDamping(one, w)
        # Moment 2: CX with its own error; 2 waits, but for H, which follows CRz.
        qml.CNOT([1, 0])
        qml.PauliRot(0.2, "ZX", [1, 0])
        qml.PhaseDamping(one, 2)
        # Moment 3: CRz; 0 waits.
        qml.CRZ(more(-2 * ANGLES[1]), [1, 2])
        depolarize(two, [1, 2])
        qml.PhaseDamping(one, 0)
        # Moment 4: H without noise, and U3; 0 waits.
        qml.Hadamard(2)
        qml.U3(more(ANGLES[2]), ANGLES[0], ANGLES[1], 1)
        qml.AmplitudeDamping(one, 1)
        qml.PhaseDamping(one, 0)
        for w, basis in bases.items():
            if basis == "Y":
                qml.adjoint(qml.S(w))
            if basis in "XY":
                qml.Hadamard(w)
        return qml.probs(wires=range(3))

    confusion = [np.array([[1 - p, P10], [p, 1 - P10]]) for p in P01]
    return ft.reduce(np.kron, confusion) @ np.array(run())


def strings(one: float, two: float, relative: float) -> np.ndarray:
    """⟨Z0⟩, ⟨Z1 Z2⟩, ⟨X0 Y1⟩, each from outcomes in its own basis."""
    sign = np.array([1, -1])
    plain = outcomes(one, two, relative, {}).reshape(2, 2, 2)
    turned = outcomes(one, two, relative, {0: "X", 1: "Y"}).reshape(2, 2, 2)
    return np.array(
        [
            np.einsum("abc,a->", plain, sign),
            np.einsum("abc,b,c->", plain, sign, sign),
            np.einsum("abc,a,b->", turned, sign, sign),
        ]
    )


STRINGS = PauliStrings(["Z0", "Z1 Z2", "X0 Y1"])


def by_density(rates: jax.Array, measurement=STRINGS) -> jax.Array:
    angles = jnp.asarray(ANGLES)
    return noise.density_values(
        CIRCUIT, angles, measurement, full_model(*rates), jnp.asarray(STATE)
    )


def by_forms(rates: jax.Array, measurement=STRINGS) -> jax.Array:
    forms = noise.noisy_forms(CIRCUIT, jnp.asarray(ANGLES), measurement, full_model(*rates))
    return jnp.einsum("a,qab,b->q", STATE.conj(), forms, jnp.asarray(STATE)).real


@pytest.mark.parametrize("values", [by_density, by_forms])
def test_everything_together_is_pennylanes(values, x64: bool):
    values, atol = jax.jit(values), 1e-7 if x64 else 3e-6
    rates = [0.1, 0.05, 0.2]
    np.testing.assert_allclose(values(jnp.asarray(rates)), strings(*rates), atol=atol)
    got = jax.jacrev(values)(jnp.zeros(3))
    for i in range(3):
        h = 1e-4 * np.eye(3)[i]
        slope = (-3 * strings(*(0 * h)) + 4 * strings(*h) - strings(*(2 * h))) / 2e-4
        np.testing.assert_allclose(got[:, i], slope, atol=2e-4)


@pytest.mark.parametrize("values", [by_density, by_forms])
def test_other_measurements(values, x64: bool):
    rates, atol = jnp.array([0.1, 0.05, 0.2]), 1e-7 if x64 else 3e-6
    expected = outcomes(0.1, 0.05, 0.2, {})
    np.testing.assert_allclose(values(rates, Probabilities()), expected, atol=atol)
    of_two = expected.reshape(2, 2, 2).sum(1).T.reshape(-1)
    np.testing.assert_allclose(values(rates, Probabilities((2, 0))), of_two, atol=atol)
    # (1 + 1/2)/2 - 2 Y + (1 - 1/2)/2 Z, read string by string.
    read = lambda basis: np.einsum(
        "abc,c->", outcomes(0.1, 0.05, 0.2, {2: basis}).reshape(2, 2, 2), [1, -1]
    )
    hermitian = 0.75 - 2 * read("Y") + 0.25 * read("Z")
    np.testing.assert_allclose(values(rates, HERMITIAN), [hermitian], atol=atol)


def test_gates_are_scheduled_as_early_as_possible():
    model = noise.NoiseModel(idle=(noise.BitFlip(0.1),))
    steps = make_steps(CIRCUIT, model)
    assert [step.gate for step in steps if step.gate is not None] == [0, 1, 2, 3, 4]
    waiting = [step.wires[0] for step in steps if step.gate is None]
    assert waiting == [1, 2, 2, 0, 0]


def test_preparation_costs_as_many_gates_as_an_arbitrary_state():
    for n in (1, 2, 3, 6):
        assert sum(noise.PreparationNoise().pairs(n).values()) == 2**n - 2
    assert noise.PreparationNoise(n_gates=5).pairs(3) == {(0, 1): 2, (1, 2): 2, (2, 0): 1}
    with pytest.raises(ValueError, match="two-wire"):
        noise.PreparationNoise(n_gates=5).pairs(1)


def test_what_does_not_fit_is_refused():
    angles, state = jnp.asarray(ANGLES), jnp.asarray(STATE)
    wrong = noise.NoiseModel(readout=noise.ReadoutError((0.1, 0.1), 0.1))
    with pytest.raises(ValueError, match="2 rates"):
        noise.density_values(CIRCUIT, angles, PauliZ(), wrong, state)
    pair = noise.GateNoise((noise.Depolarizing(0.1, 2),), "H")
    with pytest.raises(ValueError, match="cannot follow"):
        noise.density_values(CIRCUIT, angles, PauliZ(), noise.NoiseModel(overrides=(pair,)), state)
