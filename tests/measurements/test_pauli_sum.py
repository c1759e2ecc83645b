"""Weighted sums of Pauli strings: against PennyLane, dense matrices, and in every engine."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pennylane as qml
import pytest

import eqx_qdeq as qdeq
from eqx_qdeq import noise, PauliStrings, PauliSum

TERMS = {"Z0 Z1": -1.0, "X0": -0.5, "Y1 X2": 0.3, "Z2": 0.7, "I": 0.2}
CIRCUIT = qdeq.circuits.hardware_efficient(n_qubits=3, depth=2)


def _random_strings(n_qubits: int, count: int, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    words = rng.choice(list("IXYZ"), (count, n_qubits))
    return [" ".join(f"{p}{w}" for w, p in enumerate(word) if p != "I") or "I" for word in words]


def _matrix(strings: list[str], coefficients: np.ndarray, n_qubits: int) -> np.ndarray:
    """Kronecker products, wire 0 first."""
    paulis = {
        "I": np.eye(2),
        "X": np.array([[0, 1], [1, 0]]),
        "Y": np.array([[0, -1j], [1j, 0]]),
        "Z": np.diag([1, -1]),
    }
    total = np.zeros((2**n_qubits, 2**n_qubits), complex)
    for string, c in zip(strings, coefficients, strict=True):
        letters = {int(f[1:]): f[0] for f in string.split() if f != "I"}
        word = np.eye(1)
        for wire in range(n_qubits):
            word = np.kron(word, paulis[letters.get(wire, "I")])
        total += c * word
    return total


@pytest.mark.parametrize("count", [3, 40, 300])
def test_strings_and_sums_are_their_matrices(count, tol):
    """Few strings and many, one by one, summed and applied, with gradients."""
    n, rng = 4, np.random.default_rng(count)
    strings = _random_strings(n, count)
    weights = rng.normal(size=(2, count))
    matrices = np.stack([_matrix(strings, w, n) for w in weights])
    state = rng.normal(size=16) + 1j * rng.normal(size=16)
    state = state / np.linalg.norm(state)
    columns = rng.normal(size=(16, 3)) + 1j * rng.normal(size=(16, 3))
    sums = PauliSum(strings, weights)

    @jax.jit
    def run(state, columns, weights):
        def energies(weights, parts):
            return PauliSum(strings, weights).values(jax.lax.complex(*parts))

        parts = (state.real, state.imag)
        jacobians = jax.jacrev(energies, argnums=(0, 1))(weights, parts)
        return sums.values(state), sums.apply(columns), jacobians

    values, applied, (by_weights, by_parts) = run(
        jnp.asarray(state), jnp.asarray(columns), jnp.asarray(weights)
    )
    scale = np.sqrt(count)
    np.testing.assert_allclose(
        values, np.real(state.conj() @ matrices @ state), atol=20 * tol * scale
    )
    np.testing.assert_allclose(applied, matrices @ columns, atol=40 * tol * scale)
    each = np.array([np.real(state.conj() @ _matrix([s], [1.0], n) @ state) for s in strings])
    np.testing.assert_allclose(by_weights[0, 0], each, atol=20 * tol)
    np.testing.assert_allclose(PauliStrings(strings).values(jnp.asarray(state)), each, atol=tol)
    # d⟨H⟩ = 2 Re⟨dψ|H|ψ⟩.
    slope = 2 * matrices @ state
    np.testing.assert_allclose(by_parts[0], slope.real, atol=40 * tol * scale)
    np.testing.assert_allclose(by_parts[1], slope.imag, atol=40 * tol * scale)
    np.testing.assert_allclose(sums.matrix(n), matrices, atol=20 * tol * scale)
    assert np.all(np.abs(np.linalg.eigvalsh(matrices)) <= sums.norms(n)[:, None] + tol)


def _layer(measurement, engine="auto", **kwargs):
    return qdeq.QuantumLayer(
        CIRCUIT,
        qdeq.AmplitudeEncoding(),
        measurement,
        key=jax.random.key(0),
        engine=engine,
        **kwargs,
    )


def test_every_engine_measures_the_sum(tol):
    """Exact engines, noise, readout errors: the sum of what the strings give."""
    x, names = jnp.linspace(-1, 1, 8), list(TERMS)
    trained = PauliSum(names, jnp.array(list(TERMS.values())))
    strings = PauliStrings(names)
    noisy = noise.NoiseModel((noise.Depolarizing(0.05),), readout=noise.ReadoutError(0.02, 0.03))
    cases = [("statevector", None), ("operator", None), ("density", noisy), ("heisenberg", noisy)]
    for engine, model in cases:
        layer, parts = (_layer(m, engine, noise=model) for m in (trained, strings))

        @eqx.filter_jit
        def run(layer, parts):
            grads = eqx.filter_grad(lambda layer: layer(x)[0])(layer)
            return layer(x), grads.measurement.trained, parts(x)

        value, by_coefficients, each = run(layer, parts)
        np.testing.assert_allclose(value, [each @ trained.coefficients[0]], atol=tol)
        np.testing.assert_allclose(by_coefficients[0], each, atol=tol)


def test_trajectories_measure_the_sum(tol):
    noisy = noise.NoiseModel((noise.Depolarizing(0.05),), readout=noise.ReadoutError(0.02, 0.03))
    state = jnp.zeros(8, complex).at[0].set(1)
    angles = jnp.linspace(-1, 1, CIRCUIT.n_params)
    both = [
        noise.trajectory_values(
            CIRCUIT, angles, measured, noisy, state, key=jax.random.key(0), n_trajectories=4
        )[0]
        for measured in (PauliSum(TERMS), PauliStrings(list(TERMS)))
    ]
    np.testing.assert_allclose(both[0], [both[1] @ np.array(list(TERMS.values()))], atol=tol)


def test_shots_add_up_the_groups_of_a_sum(once):
    """Mean and spread of many estimates: the exact value, and the standard error that is told."""
    x = jnp.linspace(-1, 1, 8)
    layer = _layer(PauliSum(TERMS))
    sampled = qdeq.shots.SampledLayer(layer, 400)
    keys = jax.random.split(jax.random.key(0), 300)
    estimates = eqx.filter_jit(jax.vmap(lambda key: sampled.estimate(x, key=key)))(keys)
    error = float(jnp.mean(estimates.standard_errors))
    np.testing.assert_allclose(jnp.mean(estimates.values, 0), layer(x), atol=4 * error / 300**0.5)
    np.testing.assert_allclose(jnp.std(estimates.values), error, rtol=0.15)
    assert 0 < float(sampled.residual_floor(x)) <= float(sampled.residual_floor())
    # A trained sum has the same groups.
    trained = qdeq.shots.SampledLayer(
        _layer(PauliSum(list(TERMS), jnp.array([*TERMS.values()]))), 400
    )
    np.testing.assert_allclose(trained.residual_floor(x), sampled.residual_floor(x), rtol=1e-5)


def test_to_and_from_pennylane():
    ours = PauliSum(TERMS)
    theirs = ours.to_pennylane()
    wires = range(3)
    np.testing.assert_allclose(qml.matrix(theirs, wire_order=wires), ours.matrix(3)[0], atol=1e-6)
    back = PauliSum.from_pennylane(theirs)
    np.testing.assert_allclose(back.matrix(3), ours.matrix(3), atol=1e-6)
    product = PauliSum.from_pennylane(2.0 * qml.X(0) @ qml.X(1) - qml.X(0) @ qml.X(1))
    assert dict(zip(["X0 X1"], product.fixed[0], strict=True)) == {"X0 X1": 1.0}
    with pytest.raises(TypeError, match="made of Pauli words"):
        PauliSum.from_pennylane(qml.RX(0.3, 0))
    with pytest.raises(ValueError, match="wires must be numbers from 0 on; got 'a'"):
        PauliSum.from_pennylane(qml.X("a"))
    with pytest.raises(ValueError, match="coefficients are real and finite"):
        PauliSum.from_pennylane(1j * qml.X(0))


def test_to_and_from_qiskit():
    pytest.importorskip("qiskit")
    from qiskit.circuit import Parameter
    from qiskit.quantum_info import SparsePauliOp

    ours = PauliSum(TERMS)
    theirs = ours.to_qiskit(3)
    # Qiskit's matrices have their qubits in reverse order.
    reversed_wires = PauliSum.from_qiskit(theirs.apply_layout([2, 1, 0]))
    np.testing.assert_allclose(theirs.to_matrix(), reversed_wires.matrix(3)[0], atol=1e-6)
    np.testing.assert_allclose(PauliSum.from_qiskit(theirs).matrix(3), ours.matrix(3), atol=1e-6)
    with pytest.raises(ValueError, match="bind its parameters first"):
        PauliSum.from_qiskit(SparsePauliOp(["X"], np.array([Parameter("a")])))
    with pytest.raises(TypeError, match="SparsePauliOp; got"):
        PauliSum.from_qiskit("XX")
    with pytest.raises(ValueError, match="names wire 2"):
        ours.to_qiskit(2)


def test_to_and_from_openfermion():
    openfermion = pytest.importorskip("openfermion")
    ours = PauliSum(TERMS)
    theirs = ours.to_openfermion()
    sparse = openfermion.get_sparse_operator(theirs, 3).toarray()
    np.testing.assert_allclose(sparse, ours.matrix(3)[0], atol=1e-6)
    back = PauliSum.from_openfermion(theirs)
    np.testing.assert_allclose(back.matrix(3), ours.matrix(3), atol=1e-6)
    hubbard = openfermion.fermi_hubbard(2, 1, 1.0, 4.0)
    spectrum = np.linalg.eigvalsh(openfermion.get_sparse_operator(hubbard).toarray())
    for mapping in ("jordan_wigner", "bravyi_kitaev"):
        mapped = PauliSum.from_openfermion(hubbard, mapping)
        np.testing.assert_allclose(np.linalg.eigvalsh(mapped.matrix(4)[0]), spectrum, atol=1e-5)
    with pytest.raises(ValueError, match="`mapping` must be"):
        PauliSum.from_openfermion(hubbard, "parity")
    with pytest.raises(TypeError, match="an operator of OpenFermion"):
        PauliSum.from_openfermion("X0")


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: PauliSum(["X0"]), TypeError, "`coefficients` is missing"),
        (lambda: PauliSum({"X0": 1.0}, [1.0]), TypeError, "give them once"),
        (lambda: PauliSum(["X0"], [1.0, 2.0]), ValueError, "one number for each of 1 strings"),
        (lambda: PauliSum(["X0"], 1.0), ValueError, "one number for each of 1 strings"),
        (lambda: PauliSum({}), ValueError, "`strings` must be a non-empty list"),
        (lambda: PauliSum({"X0": 1j}), TypeError, "`coefficients` must be real numbers"),
        (lambda: PauliSum({"X0": "1"}), TypeError, "`coefficients` must be real numbers"),
        (lambda: PauliSum({"X0": None}), TypeError, "`coefficients` must be real numbers"),
        (lambda: PauliSum(["X0"], jnp.array([1j])), TypeError, "must be real"),
        (lambda: PauliSum({"X0": float("nan")}), ValueError, "`coefficients` must be finite"),
        (lambda: PauliSum(["X0", "Z1"], np.ones((0, 2))), ValueError, "one number for each"),
        (lambda: PauliSum(["X0"], np.ones((2, 1))).to_pennylane(), ValueError, "this has 2"),
    ],
)
def test_mistakes_are_named(make, kind, message):
    with pytest.raises(kind, match=message):
        make()


def test_a_sum_prints_what_it_is():
    assert str(PauliSum(TERMS)) == "PauliSum(5 strings: Z0 Z1, X0, Y1 X2, …; fixed)"
    two = PauliSum(["X0"], jnp.ones((2, 1)))
    assert str(two) == "PauliSum(2 sums of 1 strings: X0; trained)"


@pytest.mark.float32
def test_coefficients_beyond_the_range_are_named(x64):
    """In single precision 1e39 would be infinite, and an energy NaN."""
    state = jnp.zeros(2, complex).at[0].set(1)
    large = PauliSum({"Z0": 1e39})
    if x64:
        np.testing.assert_allclose(large.values(state), [1e39])
        return
    with pytest.raises(ValueError, match="`coefficients` has a number of size 1e.39"):
        large.values(state)
