"""What is read out of a state: the interface, and what its kinds share."""

import abc
from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Complex, Float

from .._inputs import numbers
from .._memory import check_memory
from .._precise import dot, tensordot

# Up to this many wires the signs of diagonal observables are one constant matrix and all
# values one matrix product; above it, the matrix would outgrow the state.
MATRIX_WIRES = 11

# Up to so many amplitudes.
_SMALL = 2**6


class AbstractMeasurement(eqx.Module):
    """The abstract base class of all measurements: a list of m Hermitian observables O_q.

    !!! example

        ```python
        import jax.numpy as jnp
        import numpy as np
        import eqx_qdeq as qdeq


        class Parity(qdeq.AbstractMeasurement):  # the product of Z on all wires
            def size(self, n_qubits):
                return 1

            def diagonals(self, n_qubits):
                ones = np.bitwise_count(np.arange(2**n_qubits))
                return 1 - 2 * (ones[None].astype(np.int8) % 2)

            def values(self, state):
                signs = jnp.asarray(self.diagonals(state.size.bit_length() - 1))
                return signs.astype(state.real.dtype) @ jnp.abs(state) ** 2

            def apply(self, states):
                signs = self.diagonals(states.shape[0].bit_length() - 1)
                return jnp.asarray(signs[:, :, None], states.dtype) * states

            def norms(self, n_qubits):
                return np.ones(1)


        circuit = qdeq.circuits.hardware_efficient(n_qubits=2, depth=1)
        layer = qdeq.QuantumLayer(
            circuit, qdeq.AngleEncoding(), Parity(), angles=jnp.zeros(circuit.n_params)
        )
        layer([0.0, jnp.pi])  # [-1.]
        ```
    """

    @abc.abstractmethod
    def size(self, n_qubits: int) -> int:
        """The number m of values. Raises a `ValueError` if a wire does not exist."""

    @abc.abstractmethod
    def values(self, state: Complex[Array, " dim"]) -> Float[Array, " m"]:
        r"""The expectation values $\langle\psi|O_q|\psi\rangle$, shape `(m,)`."""

    @abc.abstractmethod
    def apply(self, states: Complex[Array, "dim cols"]) -> Complex[Array, "m dim cols"]:
        r"""$O_q|\psi\rangle$ for every observable and every column."""

    @abc.abstractmethod
    def norms(self, n_qubits: int) -> np.ndarray:
        """The operator norms ‖O_q‖, shape `(m,)`: no value exceeds them."""

    def diagonals(self, n_qubits: int) -> np.ndarray | None:
        """The eigenvalues in the computational basis, shape `(m, 2**n)`, if all observables are
        diagonal there; otherwise `None`. They are then applied as real factors."""
        return None

    def values_of_parts(self, parts: Float[Array, "2 first last"]) -> Float[Array, " m"]:
        """As `values`, for a state given by its real and imaginary parts, with the wires in two
        halves."""
        n = (parts.size // 2).bit_length() - 1
        signs = self.diagonals(n) if n <= MATRIX_WIRES else None
        if signs is None:
            return self.values(lax.complex(*parts.reshape(2, -1)))
        # Nothing here moves or splits the axis of a `vmap`: the batch stays the last axis of the
        # states, as the matrix product left it, and XLA need not transpose them on the way back.
        squares = parts**2
        halves = in_halves(signs, parts.shape[1])
        values = []
        for axis, few in ((2, halves.of_first), (1, halves.of_last)):
            if len(few):
                sums = jnp.sum(squares, axis=(0, axis))
                values.append(dot(jnp.asarray(few, sums.dtype), sums))
        if len(rest := halves.rest):
            both = jnp.asarray(np.stack([rest, rest], axis=1), parts.dtype)
            values.append(tensordot(both, squares, 3))
        return jnp.concatenate(values)[halves.order] if len(values) > 1 else values[0]


class Halves(NamedTuple):
    """Eigenvalues, with the wires in two halves: row i = (h, l).

    One that depends on a half alone, as that of Z on a wire does, is told by the sums over the
    other half: two passes over the states, of additions, then serve all of these.
    """

    of_first: np.ndarray  # (observables, h)
    of_last: np.ndarray  # (observables, l)
    rest: np.ndarray  # (observables, h, l)
    order: np.ndarray  # where each observable is, when the three kinds follow each other


def in_halves(signs: np.ndarray, first: int) -> Halves:
    """Eigenvalues of shape `(m, 2**n)`, with `first` indices for the first half of the wires."""
    signs = signs.reshape(len(signs), first, -1)
    # A product costs less than the sums where the states are small.
    small = np.full(len(signs), signs[0].size <= _SMALL)
    of_first = (signs == signs[:, :, :1]).all((1, 2)) & ~small
    of_last = (signs == signs[:, :1, :]).all((1, 2)) & ~of_first & ~small
    rest = ~(of_first | of_last)
    order = np.concatenate([np.flatnonzero(kind) for kind in (of_first, of_last, rest)])
    return Halves(signs[of_first, :, 0], signs[of_last, 0, :], signs[rest], np.argsort(order))


def count_wires(state: Array) -> int:
    return state.shape[0].bit_length() - 1


def as_state(state: Any) -> Complex[Array, " dim"]:
    """One state vector, of a kind of numbers that has amplitudes."""
    array = state if isinstance(state, Array) else np.asarray(state)
    if array.ndim != 1 or array.size < 2 or array.size & (array.size - 1):
        raise ValueError(
            f"`state` must be one state vector, of shape (2**n,); got the shape {array.shape}. "
            "Batch with `jax.vmap(measurement.values)`."
        )
    if not jnp.issubdtype(array.dtype, jnp.complexfloating):
        array = numbers(array, name="state")
        return lax.complex(array, jnp.zeros_like(array))
    return jnp.asarray(array)


def check_wires(wires: Sequence[int], n_qubits: int, what: str) -> None:
    for wire in wires:
        if not 0 <= wire < n_qubits:
            raise ValueError(
                f"{what} names wire {wire}, but the circuit has {n_qubits} wires "
                f"(0 to {n_qubits - 1})."
            )


def check_distinct(wires: Sequence[int], what: str) -> None:
    if len(set(wires)) != len(wires):
        raise ValueError(f"{what} names a wire twice: {tuple(wires)}.")


def probabilities(state: Complex[Array, " dim"]) -> Float[Array, " dim"]:
    return state.real**2 + state.imag**2


def parity_signs(masks: np.ndarray, n_qubits: int) -> np.ndarray:
    """(-1) to the number of ones in `k & mask`, shape `(len(masks), 2**n_qubits)`."""
    # A string of Zs is diagonal: Z contributes -1 for each of its wires on which k has a one. The
    # sign is that of the first half of the bits times that of the others; no larger integers than
    # the signs are then needed for all k.
    check_memory(
        float(len(masks)) * 2**n_qubits,
        f"{len(masks)} diagonal observables on {n_qubits} wires",
        "Take fewer wires or observables.",
        on_host=True,
    )
    low = n_qubits // 2
    high = _parities(masks >> low, n_qubits - low)
    signs = high[:, :, None] * _parities(masks & (2**low - 1), low)[:, None, :]
    return signs.reshape(len(masks), -1)


def _parities(masks: np.ndarray, n_bits: int) -> np.ndarray:
    both = masks[:, None] & np.arange(2**n_bits)[None, :]
    return 1 - 2 * (np.bitwise_count(both).astype(np.int8) & 1)
