r"""Noisy circuits in the Pauli basis.

A state is the real vector of its $4^n$ Pauli expectation values, an observable that of its Pauli
coefficients. A gate and the noise after it are one real matrix on the gate's wires; its transpose
is the Heisenberg picture.
"""

import functools as ft

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from ..circuits import Circuit
from ..measurements import AbstractMeasurement
from ..simulate._qujax import constant_matrix, entry_layout, gate_entries, is_constant
from ._model import NoiseModel

_PAULIS = np.array(
    [[[1, 0], [0, 1]], [[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]], complex
)
_dot = ft.partial(jnp.tensordot, precision="highest")


@ft.cache
def _pauli_matrices(k: int) -> np.ndarray:
    """All products of k Paulis, shape `(4**k, 2**k, 2**k)`."""
    out = np.ones((1, 1, 1), complex)
    for _ in range(k):
        out = np.stack([np.kron(a, b) for a in out for b in _PAULIS])
    return out


def _unitary_transfer(unitary: Array) -> Array:
    k = unitary.shape[0].bit_length() - 1
    paulis = jnp.asarray(_pauli_matrices(k), unitary.dtype)
    turned = jnp.einsum("ab,jbc,dc->jad", unitary, paulis, unitary.conj(), precision="highest")
    return jnp.einsum("iab,jba->ij", paulis, turned, precision="highest").real / 2**k


def _transfers(circuit: Circuit, angles: Array, noise: NoiseModel) -> list[Array]:
    """For each gate, its transfer matrix with the noise after it."""
    entries, (starts, _) = gate_entries(circuit, angles), entry_layout(circuit)
    noises = {k: noise.transfer(k) for k in {len(w) for w in circuit.wires}}
    out = []
    for g, (gate, wires) in enumerate(zip(circuit.gates, circuit.wires, strict=True)):
        dim = 2 ** len(wires)
        if is_constant(gate):
            unitary = jnp.asarray(constant_matrix(gate), entries.dtype)  # pyright: ignore
        else:
            unitary = entries[starts[g] : starts[g] + dim**2].reshape(dim, dim)
        matrix, after = _unitary_transfer(unitary), noises[len(wires)]
        if after is not None:
            matrix = jnp.dot(after.astype(matrix.dtype), matrix, precision="highest")
        out.append(matrix)
    return out


def _apply(matrix: Array, vector: Array, wires: tuple[int, ...]) -> Array:
    """A matrix on the Pauli axes of `wires`; further axes of `vector` come last."""
    k = len(wires)
    out = _dot(matrix.reshape((4,) * (2 * k)), vector, (tuple(range(k, 2 * k)), wires))
    return jnp.moveaxis(out, tuple(range(k)), wires)


def _to_paulis(matrices: Complex[Array, "m dim dim"]) -> Array:
    r"""$\mathrm{Tr}\,P M$ for all Paulis, shape `(4,) * n + (m,)`."""
    m, dim, _ = matrices.shape
    n = dim.bit_length() - 1
    out = jnp.moveaxis(matrices, 0, -1).reshape((2,) * (2 * n) + (m,))
    paulis = jnp.asarray(_PAULIS, matrices.dtype)
    for w in range(n):
        # Wires done stand in front; the next row axis is w, its column n rows further on.
        out = _dot(paulis, out, ((2, 1), (w, n)))
        out = jnp.moveaxis(out, 0, w)
    return out.real


def _from_paulis(coefficients: Array) -> Array:
    """The matrices with these Pauli coefficients, shape `(m, 2**n, 2**n)`."""
    n, m = coefficients.ndim - 1, coefficients.shape[-1]
    paulis = jnp.asarray(_PAULIS, jnp.result_type(coefficients.dtype, jnp.complex64))
    out = coefficients.astype(paulis.dtype)
    for _ in range(n):
        # Takes the first wire's axis away and appends its row and column at the end.
        out = _dot(out, paulis, ((0,), (0,)))
    rows, columns = range(1, 2 * n + 1, 2), range(2, 2 * n + 1, 2)
    return out.transpose((0, *rows, *columns)).reshape(m, 2**n, 2**n)


def _observables(measurement: AbstractMeasurement, n: int, dtype: np.dtype) -> Array:
    """Pauli coefficients of the observables, shape `(4,) * n + (m,)`."""
    eye = jnp.eye(2**n, dtype=jnp.result_type(dtype, jnp.complex64))
    return _to_paulis(measurement.apply(eye)) / 2**n


def noisy_forms(
    circuit: Circuit,
    angles: Float[Array, " n_params"],
    measurement: AbstractMeasurement,
    noise: NoiseModel,
) -> Complex[Array, "m dim dim"]:
    r"""The observables pulled back through the noisy circuit, $A_q=\Lambda^\dagger(O_q)$.

    Then $f_q=\langle\psi|A_q|\psi\rangle$ for every state $|\psi\rangle$ that enters the circuit:
    one pass serves any number of samples.

    **Arguments:**

    - `circuit`: the circuit.
    - `angles`: its angles in radians, shape `(n_params,)`.
    - `measurement`: what is read out.
    - `noise`: the noise after each gate.

    **Returns:**

    Hermitian matrices, shape `(m, 2**n, 2**n)`. For real amplitudes their real parts suffice.
    """
    coefficients = _observables(measurement, circuit.n_qubits, angles.dtype)
    transfers = _transfers(circuit, angles, noise)
    for matrix, wires in zip(reversed(transfers), reversed(circuit.wires), strict=True):
        coefficients = _apply(matrix.T, coefficients, wires)
    return _from_paulis(coefficients)


def density_values(
    circuit: Circuit,
    angles: Float[Array, " n_params"],
    measurement: AbstractMeasurement,
    noise: NoiseModel,
    state: Complex[Array, " dim"],
) -> Float[Array, " m"]:
    """The measured values of one state after the noisy circuit, by its density matrix.

    **Arguments:**

    - `circuit`, `angles`, `measurement`, `noise`: as for [`eqx_qdeq.noise.noisy_forms`][].
    - `state`: the amplitudes that enter the circuit, shape `(2**n,)`.

    **Returns:**

    The measured values, shape `(m,)`.
    """
    vector = _to_paulis(jax.lax.expand_dims(jnp.outer(state, state.conj()), (0,)))
    for matrix, wires in zip(_transfers(circuit, angles, noise), circuit.wires, strict=True):
        vector = _apply(matrix, vector, wires)
    observables = _observables(measurement, circuit.n_qubits, angles.dtype)
    return _dot(vector[..., 0], observables, circuit.n_qubits)
