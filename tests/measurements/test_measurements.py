import jax.numpy as jnp
import numpy as np
import pennylane as qml
import pytest
from hypothesis import given, settings, strategies as st

from eqx_qdeq import Hermitian, PauliStrings, PauliZ, Probabilities


def _state(n_qubits: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    state = rng.normal(size=2**n_qubits) + 1j * rng.normal(size=2**n_qubits)
    return state / np.linalg.norm(state)


def _pennylane(state: np.ndarray, measure) -> np.ndarray:
    n = len(state).bit_length() - 1

    @qml.qnode(qml.device("default.qubit", wires=n))
    def run():
        qml.StatePrep(state, wires=range(n))
        return measure()

    return np.asarray(run())


_PAULI = {"X": qml.PauliX, "Y": qml.PauliY, "Z": qml.PauliZ}


@given(
    n_qubits=st.integers(1, 6),
    strings=st.lists(
        st.dictionaries(st.integers(0, 5), st.sampled_from("XYZ"), min_size=1),
        min_size=1,
        max_size=6,
    ),
    seed=st.integers(0, 1000),
)
@settings(max_examples=15)
def test_pauli_strings_agree_with_pennylane(n_qubits, strings, seed, tol):
    strings = [{w % n_qubits: p for w, p in s.items()} for s in strings]
    state = _state(n_qubits, seed)
    ours = PauliStrings([" ".join(f"{p}{w}" for w, p in s.items()) for s in strings])
    expected = _pennylane(
        state,
        lambda: [qml.expval(qml.prod(*(_PAULI[p](w) for w, p in s.items()))) for s in strings],
    )
    np.testing.assert_allclose(ours.values(jnp.asarray(state)), expected, atol=tol)


@pytest.mark.parametrize("n_qubits", [1, 3, 10, 12])
def test_pauli_z_agrees_with_pennylane(n_qubits, tol):
    state = _state(n_qubits)
    expected = _pennylane(state, lambda: [qml.expval(qml.PauliZ(w)) for w in range(n_qubits)])
    np.testing.assert_allclose(PauliZ().values(jnp.asarray(state)), expected, atol=tol)
    chosen = tuple(range(n_qubits))[::-2]
    np.testing.assert_allclose(
        PauliZ(chosen).values(jnp.asarray(state)), expected[list(chosen)], atol=tol
    )


def test_diagonal_strings_on_many_wires(tol):
    """Above 11 wires a Walsh-Hadamard transform takes over from the matrix of signs."""
    state = _state(12)
    strings = ["Z0", "Z3 Z11", "I", "X2", "Z1 Z2 Z10"]
    expected = _pennylane(
        state,
        lambda: [
            qml.expval(qml.PauliZ(0)),
            qml.expval(qml.PauliZ(3) @ qml.PauliZ(11)),
            qml.expval(qml.Identity(0)),
            qml.expval(qml.PauliX(2)),
            qml.expval(qml.PauliZ(1) @ qml.PauliZ(2) @ qml.PauliZ(10)),
        ],
    )
    np.testing.assert_allclose(PauliStrings(strings).values(jnp.asarray(state)), expected, atol=tol)


@pytest.mark.parametrize("wires", [(0, 1, 2, 3), (2,), (3, 0, 1), (1, 3, 0, 2)])
def test_probabilities_agree_with_pennylane(wires, tol):
    state = _state(4)
    expected = _pennylane(state, lambda: qml.probs(wires=wires))
    np.testing.assert_allclose(Probabilities(wires).values(jnp.asarray(state)), expected, atol=tol)


@pytest.mark.parametrize("wires", [(1,), (2, 0), (3, 1, 0)])
def test_hermitian_matrices_agree_with_pennylane(wires, tol):
    rng = np.random.default_rng(3)
    dim = 2 ** len(wires)
    matrices = rng.normal(size=(2, dim, dim)) + 1j * rng.normal(size=(2, dim, dim))
    matrices = matrices + matrices.conj().swapaxes(1, 2)
    state = _state(4)
    expected = _pennylane(
        state, lambda: [qml.expval(qml.Hermitian(m, wires=wires)) for m in matrices]
    )
    np.testing.assert_allclose(
        Hermitian(matrices, wires).values(jnp.asarray(state)), expected, atol=20 * tol
    )
    one = Hermitian(matrices[1], wires).values(jnp.asarray(state))
    np.testing.assert_allclose(one, expected[1:], atol=20 * tol)


@pytest.mark.parametrize(
    "measurement",
    [
        PauliZ((2, 0)),
        Probabilities((1, 2)),
        PauliStrings(["X0 Y2", "Z1", "I"]),
        Hermitian(np.array([[1, 2j], [-2j, -0.5]]), (1,)),
    ],
)
def test_applied_observables_give_the_values(measurement, tol):
    """⟨ψ|O|ψ⟩ from `apply` is what `values` gives, and no value exceeds the norm."""
    state = jnp.asarray(_state(3))
    applied = measurement.apply(state[:, None])[:, :, 0]
    values = measurement.values(state)
    np.testing.assert_allclose(jnp.real(applied @ state.conj()), values, atol=tol)
    assert np.all(np.abs(values) <= measurement.norms(3) + tol)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PauliZ((4,)).size(4), "`wires` of PauliZ names wire 4, but the circuit has 4"),
        (lambda: PauliZ((1, 1)), "`wires` of PauliZ names a wire twice"),
        (lambda: PauliZ(()), "`wires` of PauliZ is empty"),
        (lambda: Probabilities((0, 0)), "`wires` of Probabilities names a wire twice"),
        (lambda: PauliStrings([]), "`strings` must be a non-empty list"),
        (lambda: PauliStrings("Z0"), "`strings` must be a non-empty list"),
        (lambda: PauliStrings(["Z0", "Q1"]), r"Pauli string 1 \('Q1'\): cannot read 'Q1'"),
        (lambda: PauliStrings(["Z0 Z0"]), r"Pauli string 0 \('Z0 Z0'\) names a wire twice"),
        (lambda: PauliStrings([""]), "Pauli string 0 is empty"),
        (lambda: PauliStrings(["Z7"]).size(3), "Pauli string 'Z7' names wire 7"),
        (lambda: Hermitian(np.eye(3), (0,)), r"must have shape \(2, 2\) or \(m, 2, 2\)"),
        (lambda: Hermitian(np.triu(np.ones((2, 2))), (0,)), "is not Hermitian"),
    ],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
