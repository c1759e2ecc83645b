"""Measurements: what is read out of a state, as expectation values."""

import abc
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import wadler_lindig as wl
from jax import lax
from jaxtyping import Array, ArrayLike, Complex, Float

from ._checks import describe, integers, optional_wires
from ._inputs import numbers
from ._precise import dot, tensordot

# Up to this many wires the signs of diagonal observables are one constant matrix and all
# values one matrix product; above it, the matrix would outgrow the state.
_MATRIX_WIRES = 11


class AbstractMeasurement(eqx.Module):
    """The abstract base class of all measurements: a list of m Hermitian observables O_q."""

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

    def values_of_parts(self, parts: Float[Array, " twice"]) -> Float[Array, " m"]:
        """As `values`, for a state given by its 2ⁿ real parts followed by its imaginary parts."""
        dim = parts.shape[0] // 2
        n = dim.bit_length() - 1
        signs = self.diagonals(n) if n <= _MATRIX_WIRES else None
        if signs is None:
            return self.values(lax.complex(parts[:dim], parts[dim:]))
        # One product over both parts. Nothing here moves the axis of a `vmap` to the front: the
        # batch stays the last axis of the states, as the matrix product left it, and XLA need
        # not transpose them on the way back.
        both = jnp.asarray(np.concatenate([signs, signs], axis=1), parts.dtype)
        return dot(both, parts**2)


def _n_qubits(state: Array) -> int:
    return state.shape[0].bit_length() - 1


def _as_state(state: Any) -> Complex[Array, " dim"]:
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


def _check_wires(wires: Sequence[int], n_qubits: int, what: str) -> None:
    for wire in wires:
        if not 0 <= wire < n_qubits:
            raise ValueError(
                f"{what} names wire {wire}, but the circuit has {n_qubits} wires "
                f"(0 to {n_qubits - 1})."
            )


def _check_distinct(wires: Sequence[int], what: str) -> None:
    if len(set(wires)) != len(wires):
        raise ValueError(f"{what} names a wire twice: {tuple(wires)}.")


def _check_choice(wires: tuple[int, ...] | None, owner: str) -> None:
    if wires is not None and len(wires) == 0:
        raise ValueError(f"`wires` of {owner} is empty; name a wire, or leave `wires` out.")
    _check_distinct(wires or (), f"`wires` of {owner}")


def _chosen(wires: tuple[int, ...] | None, n_qubits: int, owner: str) -> tuple[int, ...]:
    """The wires that were chosen: all of them if none were named."""
    if wires is None:
        return tuple(range(n_qubits))
    _check_wires(wires, n_qubits, f"`wires` of {owner}")
    return wires


def _probabilities(state: Complex[Array, " dim"]) -> Float[Array, " dim"]:
    return state.real**2 + state.imag**2


def _parity_signs(masks: np.ndarray, n_qubits: int) -> np.ndarray:
    """(-1) to the number of ones in `k & mask`, shape `(len(masks), 2**n_qubits)`."""
    # A string of Zs is diagonal: Z contributes -1 for each of its wires on which k has a one.
    both = masks[:, None] & np.arange(2**n_qubits)[None, :]
    return 1 - 2 * (np.bitwise_count(both).astype(np.int8) & 1)


def _walsh_hadamard(p: Float[Array, " dim"]) -> Float[Array, " dim"]:
    """Sums of p with the signs of every parity, in n·2ⁿ additions."""
    # Σ_k (-1)^{k·m} p_k for every mask m. The sign is a product over wires, so the sum is taken
    # wire by wire: then index 0 of a wire holds the sum without its sign, index 1 that with it.
    n = _n_qubits(p)
    p = p.reshape((2,) * n)
    for wire in range(n):
        a, b = jnp.split(p, 2, axis=wire)
        p = jnp.concatenate([a + b, a - b], axis=wire)
    return p.reshape(-1)


def _masks(strings: Sequence[tuple[tuple[int, str], ...]], letters: str, n: int) -> np.ndarray:
    """For each string, the bits of the wires that carry one of `letters`."""
    return np.array(
        [sum(1 << (n - 1 - w) for w, letter in string if letter in letters) for string in strings],
        dtype=np.int64,
    )


class PauliStrings(AbstractMeasurement):
    r"""Expectation values of products of Pauli operators.

    `PauliStrings(["Z0", "Z0 Z1", "X2 Y3"])` measures $\langle Z_0\rangle$,
    $\langle Z_0Z_1\rangle$ and $\langle X_2Y_3\rangle$. Strings of Z alone are diagonal and
    share one pass over the probabilities.
    """

    strings: tuple[tuple[tuple[int, str], ...], ...] = eqx.field(static=True)

    def __init__(self, strings: Sequence[str]):
        if isinstance(strings, str) or len(strings) == 0:
            raise ValueError(
                f"`strings` must be a non-empty list such as ['Z0', 'Z0 Z1']; got {strings!r}."
            )
        self.strings = tuple(_parse_pauli_string(i, s) for i, s in enumerate(strings))

    def __pdoc__(self, **kwargs: Any) -> wl.AbstractDoc:
        names = [_show(string) for string in self.strings]
        # Both ends of many: there may be hundreds.
        names = [*names[:4], "…", names[-1]] if len(names) > 8 else names
        return wl.TextDoc(f"PauliStrings({', '.join(names)}; {len(self)} values)")

    def __len__(self) -> int:
        return len(self.strings)

    def size(self, n_qubits: int) -> int:
        for string in self.strings:
            _check_wires([w for w, _ in string], n_qubits, f"Pauli string {_show(string)!r}")
        return len(self.strings)

    def _groups(self) -> tuple[list[int], list[int]]:
        """Positions of the diagonal strings and of the others."""
        diagonal = [all(letter == "Z" for _, letter in s) for s in self.strings]
        return (
            [i for i, d in enumerate(diagonal) if d],
            [i for i, d in enumerate(diagonal) if not d],
        )

    def values(self, state: Complex[Array, " dim"]) -> Float[Array, " m"]:
        state = _as_state(state)
        n = _n_qubits(state)
        self.size(n)
        diagonal, others = self._groups()
        parts = []
        if diagonal:
            masks = _masks([self.strings[i] for i in diagonal], "Z", n)
            p = _probabilities(state)
            if n <= _MATRIX_WIRES:
                signs = jnp.asarray(_parity_signs(masks, n), p.dtype)
                parts.append(dot(signs, p))
            else:
                parts.append(_walsh_hadamard(p)[masks])
        if others:
            applied = [_apply_string(self.strings[i], state[:, None])[:, 0] for i in others]
            parts.append(
                jnp.stack([jnp.sum(state.real * a.real + state.imag * a.imag) for a in applied])
            )
        # The inverse of the permutation that put the diagonal strings first.
        order = np.argsort(np.array(diagonal + others))
        return jnp.concatenate(parts)[order]

    def apply(self, states: Complex[Array, "dim cols"]) -> Complex[Array, "m dim cols"]:
        self.size(_n_qubits(states))
        return jnp.stack([_apply_string(s, states) for s in self.strings])

    def norms(self, n_qubits: int) -> np.ndarray:
        return np.ones(self.size(n_qubits))

    def diagonals(self, n_qubits: int) -> np.ndarray | None:
        self.size(n_qubits)
        if self._groups()[1]:
            return None
        return _parity_signs(_masks(self.strings, "Z", n_qubits), n_qubits)


PauliStrings.__init__.__doc__ = """**Arguments:**

- `strings`: the observables, each a product such as `"X0 Z3"`: a Pauli letter and a wire, parted
    by spaces. `"I"` is the identity.

**Raises:** `ValueError` for an unknown letter, a wire named twice in one string, or no strings.
"""


def _parse_pauli_string(position: int, string: str) -> tuple[tuple[int, str], ...]:
    if not isinstance(string, str):
        raise TypeError(
            f"Pauli string {position} must be text such as 'X0 Z3'; got {describe(string)}."
        )
    factors = []
    for factor in string.split():
        if factor == "I":
            continue
        letter, digits = factor[0], factor[1:]
        if letter not in "XYZ" or not digits.isdecimal():
            raise ValueError(
                f"Pauli string {position} ({string!r}): cannot read {factor!r}; write a letter "
                "X, Y or Z followed by a wire, e.g. 'X0 Z3'."
            )
        factors.append((int(digits), letter))
    if not string.split():
        raise ValueError(f"Pauli string {position} is empty; write 'I' for the identity.")
    _check_distinct([w for w, _ in factors], f"Pauli string {position} ({string!r})")
    return tuple(sorted(factors))


def _show(string: tuple[tuple[int, str], ...]) -> str:
    return " ".join(f"{letter}{wire}" for wire, letter in string) or "I"


def _apply_string(string: tuple[tuple[int, str], ...], states: Array) -> Array:
    # A Pauli string permutes the amplitudes and multiplies them by phases, no matrix is needed: X
    # swaps the two halves of a wire, Z changes the sign of the second one, and Y, which is
    # [[0, -i], [i, 0]], swaps them and then multiplies the first by -i, the second by i.
    n, cols = _n_qubits(states), states.shape[1]
    tensor = states.reshape((2,) * n + (cols,))
    for wire, letter in string:
        if letter in "XY":
            tensor = jnp.flip(tensor, axis=wire)
        if letter in "YZ":
            signs = np.array([1, -1]) if letter == "Z" else np.array([-1j, 1j])
            shape = [1] * (n + 1)
            shape[wire] = 2
            tensor = tensor * jnp.asarray(signs, states.dtype).reshape(shape)
    return tensor.reshape(-1, cols)


class PauliZ(AbstractMeasurement):
    r"""$\langle Z_w\rangle$ on every wire, or on the chosen ones, in that order."""

    wires: tuple[int, ...] | None = eqx.field(static=True, converter=optional_wires, default=None)

    def __check_init__(self) -> None:
        _check_choice(self.wires, "PauliZ")

    def _wires(self, n_qubits: int) -> tuple[int, ...]:
        return _chosen(self.wires, n_qubits, "PauliZ")

    def size(self, n_qubits: int) -> int:
        return len(self._wires(n_qubits))

    def values(self, state: Complex[Array, " dim"]) -> Float[Array, " m"]:
        state = _as_state(state)
        n = _n_qubits(state)
        wires = self._wires(n)
        p = _probabilities(state)
        if n <= _MATRIX_WIRES:
            signs = jnp.asarray(self.diagonals(n), p.dtype)
            return dot(signs, p)
        # Trace out one wire after the other: 2·2ⁿ additions for all wires together.
        values = []
        for _ in range(n):
            zero, one = p.reshape(2, -1)
            values.append(jnp.sum(zero) - jnp.sum(one))
            p = zero + one
        return jnp.stack(values)[np.array(wires)]

    def apply(self, states: Complex[Array, "dim cols"]) -> Complex[Array, "m dim cols"]:
        wires = self._wires(_n_qubits(states))
        return jnp.stack([_apply_string(((w, "Z"),), states) for w in wires])

    def norms(self, n_qubits: int) -> np.ndarray:
        return np.ones(self.size(n_qubits))

    def diagonals(self, n_qubits: int) -> np.ndarray:
        masks = [1 << (n_qubits - 1 - w) for w in self._wires(n_qubits)]
        return _parity_signs(np.array(masks), n_qubits)


PauliZ.__init__.__doc__ = """**Arguments:**

- `wires`: the wires to measure, in order; all wires if left out.
"""


class Probabilities(AbstractMeasurement):
    """Probabilities of the basis states of the chosen wires (of all wires if left out).

    The order of `wires` is the order of the bits, the first wire the most significant one.
    """

    wires: tuple[int, ...] | None = eqx.field(static=True, converter=optional_wires, default=None)

    def __check_init__(self) -> None:
        _check_choice(self.wires, "Probabilities")

    def _wires(self, n_qubits: int) -> tuple[int, ...]:
        return _chosen(self.wires, n_qubits, "Probabilities")

    def size(self, n_qubits: int) -> int:
        return 2 ** len(self._wires(n_qubits))

    def values(self, state: Complex[Array, " dim"]) -> Float[Array, " m"]:
        state = _as_state(state)
        n = _n_qubits(state)
        wires = self._wires(n)
        # A sum over the wires that are not asked for, then the others in the order asked for.
        p = _probabilities(state).reshape((2,) * n)
        p = jnp.sum(p, axis=tuple(w for w in range(n) if w not in wires))
        kept = sorted(wires)
        return p.transpose([kept.index(w) for w in wires]).reshape(-1)

    def apply(self, states: Complex[Array, "dim cols"]) -> Complex[Array, "m dim cols"]:
        # O_q projects onto the basis states with outcome q: it keeps their amplitudes.
        projectors = self.diagonals(_n_qubits(states)) == 1
        return jnp.where(projectors[:, :, None], states, 0)

    def diagonals(self, n_qubits: int) -> np.ndarray:
        wires = self._wires(n_qubits)
        k = np.arange(2**n_qubits)
        outcome = np.zeros_like(k)
        for w in wires:
            outcome = 2 * outcome + ((k >> (n_qubits - 1 - w)) & 1)
        return (np.arange(2 ** len(wires))[:, None] == outcome).astype(np.int8)

    def norms(self, n_qubits: int) -> np.ndarray:
        return np.ones(self.size(n_qubits))


Probabilities.__init__.__doc__ = """**Arguments:**

- `wires`: the wires to measure, in the order of the outcome's bits; all wires if left out.
"""


class Hermitian(AbstractMeasurement):
    r"""Expectation values $\langle\psi|H_q\otimes 1|\psi\rangle$ of Hermitian matrices on a few
    wires."""

    # Nested tuples and not an array: static fields are hashed under `jit`.
    entries: tuple[tuple[tuple[complex, ...], ...], ...] = eqx.field(static=True)
    wires: tuple[int, ...] = eqx.field(static=True)

    def __init__(self, matrix: ArrayLike, wires: Sequence[int]):
        matrices = np.asarray(matrix, complex)
        wires = integers("wires", wires)
        _check_distinct(wires, "`wires` of Hermitian")
        dim = 2 ** len(wires)
        if matrices.ndim == 2:
            matrices = matrices[None]
        if len(wires) == 0 or matrices.ndim != 3 or matrices.shape[1:] != (dim, dim):
            raise ValueError(
                f"`matrix` on wires {wires} must have shape ({dim}, {dim}) or (m, {dim}, {dim}); "
                f"got {np.shape(matrix)}."
            )
        gap = np.max(np.abs(matrices - matrices.conj().swapaxes(1, 2)))
        if not gap <= 1e-6 * max(1.0, float(np.max(np.abs(matrices)))):
            raise ValueError(
                f"`matrix` is not Hermitian: it differs from its adjoint by {gap:.2e}. "
                "Use (M + M.conj().T) / 2."
            )
        self.entries = tuple(tuple(tuple(row) for row in m) for m in matrices.tolist())
        self.wires = wires

    def __pdoc__(self, **kwargs: Any) -> wl.AbstractDoc:
        dim = 2 ** len(self.wires)
        return wl.TextDoc(f"Hermitian({len(self.entries)} of {dim}×{dim}, wires={self.wires})")

    @property
    def matrices(self) -> Complex[np.ndarray, "m local local"]:
        """The matrices, shape `(m, 2**k, 2**k)`."""
        return np.array(self.entries)

    def size(self, n_qubits: int) -> int:
        _check_wires(self.wires, n_qubits, "`wires` of Hermitian")
        return len(self.entries)

    def values(self, state: Complex[Array, " dim"]) -> Float[Array, " m"]:
        state = _as_state(state)
        applied, state = self.apply(state[:, None])[:, :, 0], state[None]
        return jnp.sum(state.real * applied.real + state.imag * applied.imag, axis=-1)

    def apply(self, states: Complex[Array, "dim cols"]) -> Complex[Array, "m dim cols"]:
        n, k, cols = _n_qubits(states), len(self.wires), states.shape[1]
        m = self.size(n)
        tensor = states.reshape((2,) * n + (cols,))
        h = jnp.asarray(self.matrices, states.dtype).reshape((m,) + (2,) * (2 * k))
        # H ⊗ 1 contracts the k wires' axes alone, and they come out in front, behind that of the
        # observables; put back in order they are the state's again.
        out = tensordot(h, tensor, (tuple(range(k + 1, 2 * k + 1)), self.wires))
        return jnp.moveaxis(out, range(1, k + 1), [w + 1 for w in self.wires]).reshape(m, -1, cols)

    def norms(self, n_qubits: int) -> np.ndarray:
        # The norm of H ⊗ 1 is that of H: the largest absolute eigenvalue.
        self.size(n_qubits)
        return np.abs(np.linalg.eigvalsh(self.matrices)).max(axis=1)


Hermitian.__init__.__doc__ = """**Arguments:**

- `matrix`: a Hermitian matrix of shape `(2**k, 2**k)`, or m of them, `(m, 2**k, 2**k)`.
- `wires`: the k wires on which it acts, the first one the most significant bit.

**Raises:** `ValueError` if the shape does not fit the wires or a matrix is not Hermitian.
"""
