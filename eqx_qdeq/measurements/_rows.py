r"""Many Pauli strings in one loop, so that thousands of them compile as one.

A string is, up to a phase, a flip of bits and a sign of parity: with bits x where it has X or Y,
bits z where it has Y or Z, and Y = i X Z,

$$P\,|j\rangle = i^{\#Y} (-1)^{z\cdot j}\,|j\oplus x\rangle, \qquad
\langle\psi|P|\psi\rangle = i^{\#Y}\sum_j (-1)^{z\cdot j}\,\bar\psi_{j\oplus x}\,\psi_j.$$

Strings with equal flips differ in signs alone: they share the product $\bar\psi_{j\oplus x}\psi_j$,
and their sums are one matrix product. A row is a few such strings, and a loop goes over the rows:
what is compiled does not grow with their number, and time grows with it linearly.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Complex, Float

from .._precise import dot

String = tuple[tuple[int, str], ...]
# Strings side by side in a row, at most. More share a flip's product better, fewer need less
# filling.
_WIDEST = 32


class Rows(NamedTuple):
    """Strings in rows: their common flip, and for each its signs' bits, its phase (real and
    imaginary
    part; both 0 where a row is filled up) and its place among all strings."""

    flips: np.ndarray
    parities: np.ndarray
    phases: np.ndarray
    places: np.ndarray


def in_rows(strings: Sequence[String], n_qubits: int) -> Rows:
    flips, parities = masks_of(strings, "XY", n_qubits), masks_of(strings, "YZ", n_qubits)
    n_y = np.array([sum(letter == "Y" for _, letter in string) for string in strings])
    # cos and sin of n_y quarter turns, exactly.
    phases = np.stack([np.array([1, 0, -1, 0])[n_y % 4], np.array([0, 1, 0, -1])[n_y % 4]], axis=1)
    n_flips = len(np.unique(flips))
    width = int(np.clip(-(-len(strings) // n_flips), 1, _WIDEST))
    rows: list[np.ndarray] = []
    for flip in np.unique(flips):
        members = np.flatnonzero(flips == flip)
        rows.extend(members[start : start + width] for start in range(0, len(members), width))
    places = np.array([np.pad(row, (0, width - len(row)), constant_values=-1) for row in rows])
    filled = places >= 0
    return Rows(
        flips[places[:, 0]].astype(np.uint32),
        np.where(filled, parities[places], 0).astype(np.uint32),
        np.where(filled[..., None], phases[places], 0),
        places,
    )


def masks_of(strings: Sequence[String], letters: str, n_qubits: int) -> np.ndarray:
    """For each string, the bits of the wires that carry one of `letters`."""
    return np.array(
        [
            sum(1 << (n_qubits - 1 - wire) for wire, letter in string if letter in letters)
            for string in strings
        ],
        dtype=np.int64,
    )


def _in_order(rows: Rows, of_rows: Array) -> Array:
    """What stands for each string in each row, `(rows, width, …)`, in the strings' order."""
    at = np.flatnonzero(rows.places >= 0)
    order = at[np.argsort(rows.places.reshape(-1)[at])]
    return of_rows.reshape(-1, *of_rows.shape[2:])[order]


def _signs(parities: Array, k: Array, dtype: jnp.dtype) -> Array:
    """(-1) to the number of ones in `parity & k`, shape `(width, 2**n)`."""
    odd = lax.population_count(parities[:, None] & k[None]) & 1
    return 1 - 2 * odd.astype(dtype)


def _bits(dim: int) -> Array:
    return lax.iota(jnp.uint32, dim)


def values_in_rows(
    strings: Sequence[String], state: Complex[Array, " dim"]
) -> Float[Array, " strings"]:
    """The expectation values of all strings."""
    dim, real = state.shape[0], state.real.dtype
    rows, k = in_rows(strings, dim.bit_length() - 1), _bits(dim)

    # Computed again for a gradient: the products of all rows at once would be the memory of as many
    # states.
    @jax.checkpoint
    def row(flip: Array, parities: Array, phases: Array) -> Array:
        moved = state[k ^ flip]
        product, signs = moved.conj() * state, _signs(parities, k, real)
        return phases[:, 0] * dot(signs, product.real) - phases[:, 1] * dot(signs, product.imag)

    arrays = (rows.flips, rows.parities, rows.phases.astype(real))
    return _in_order(rows, lax.map(lambda one: row(*one), tuple(map(jnp.asarray, arrays))))


def apply_in_rows(
    strings: Sequence[String], states: Complex[Array, "dim cols"]
) -> Complex[Array, "strings dim cols"]:
    """Every string applied to every column."""
    dim, real = states.shape[0], states.real.dtype
    rows, k = in_rows(strings, dim.bit_length() - 1), _bits(dim)

    def row(one: tuple[Array, Array, Array]) -> Array:
        flip, parities, phases = one
        factors = _factors(flip, parities, phases, k)
        return factors[:, :, None] * states[k ^ flip][None]

    arrays = (rows.flips, rows.parities, rows.phases.astype(real))
    return _in_order(rows, lax.map(row, tuple(map(jnp.asarray, arrays))))


def apply_sums_in_rows(
    strings: Sequence[String],
    coefficients: Float[Array, "m strings"],
    states: Complex[Array, "dim cols"],
) -> Complex[Array, "m dim cols"]:
    r"""$\sum_k c_{qk} P_k|\psi\rangle$ for every sum q and every column."""
    dim, real = states.shape[0], states.real.dtype
    rows, k = in_rows(strings, dim.bit_length() - 1), _bits(dim)
    # The filling's coefficient is any: its phase is 0.
    weights = jnp.moveaxis(coefficients.astype(real)[:, rows.places], 0, 1)

    @jax.checkpoint
    def step(total: Array, one: tuple[Array, ...]) -> tuple[Array, None]:
        flip, parities, phases, weight = one
        factors = _factors(flip, parities, phases, k)
        diagonal = lax.complex(dot(weight, factors.real), dot(weight, factors.imag))
        return total + diagonal[:, :, None] * states[k ^ flip][None], None

    start = jnp.zeros((coefficients.shape[0], *states.shape), states.dtype)
    arrays = tuple(map(jnp.asarray, (rows.flips, rows.parities, rows.phases.astype(real))))
    return lax.scan(step, start, (*arrays, weights))[0]


def _factors(flip: Array, parities: Array, phases: Array, k: Array) -> Array:
    """What multiplies $\\psi_{j\\oplus x}$ in $(P\\psi)_j$: the phase, and the sign at j ⊕ x."""
    signs = _signs(parities, k ^ flip, phases.dtype)
    return lax.complex(phases[:, :1] * signs, phases[:, 1:] * signs)
