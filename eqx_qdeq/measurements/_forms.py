"""All observables between the columns of two arrays of states."""

import functools as ft

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from .._memory import within_memory
from .._precise import HIGHEST, tensordot
from ..simulate import from_complex, to_complex
from ._measurement import AbstractMeasurement, in_halves, MATRIX_WIRES

# Rows of a piece, when observables are multiplied onto wide states.
_ROWS = 2**10


def quadratic_forms(
    measurement: AbstractMeasurement,
    left: Float[Array, "2 dim a"],
    right: Float[Array, "2 dim b"],
) -> Float[Array, "m a b"]:
    r"""$\mathrm{Re}\,\langle l_a|O_q|r_b\rangle$ for all columns of `left` and `right`."""
    if left.shape[-1] > right.shape[-1]:
        # The observables are Hermitian: apply them to the side with fewer columns.
        return jnp.swapaxes(quadratic_forms(measurement, right, left), 1, 2)
    n = left.shape[1].bit_length() - 1
    m, a, b = measurement.size(n), left.shape[-1], right.shape[-1]
    held = within_memory(
        left,
        left,
        f"{m} observables between {a} and {b} states of {n} wires",
        "Take fewer observables or samples, or another engine.",
        bytes=float(left.dtype.itemsize) * m * a * b,
    )
    left, right = held, held if right is left else right
    signs = measurement.diagonals(n)
    if signs is not None:
        return _of_diagonals(signs, left, right)
    if n > MATRIX_WIRES:
        # O_q|l_a⟩ for all q and a would be m times as large as the states.
        return _column_by_column(measurement, left, right)
    return _product(from_complex(jnp.moveaxis(measurement.apply(to_complex(left)), 0, 1)), right)


def _times(signs: np.ndarray | Array, states: Array) -> Float[Array, "2 dim m a"]:
    """O_q is diagonal: it multiplies amplitude i by the eigenvalue of the bit string i."""
    return states[:, :, None, :] * jnp.asarray(signs.T, states.dtype)[None, :, :, None]


def _product(stacked: Float[Array, "2 dim m a"], right: Float[Array, "2 dim b"]) -> Array:
    # One matrix product, with the states' amplitudes in front as both sides have them.
    _, dim, m, a = stacked.shape
    flat = lax.dot_general(
        stacked.reshape(2 * dim, -1),
        right.reshape(2 * dim, -1),
        (((0,), (0,)), ((), ())),
        precision=HIGHEST,
    )
    return flat.reshape(m, a, right.shape[-1])


def _column_by_column(
    measurement: AbstractMeasurement, left: Float[Array, "2 dim a"], right: Float[Array, "2 dim b"]
) -> Float[Array, "m a b"]:
    @jax.checkpoint
    def of(column: Float[Array, "2 dim"]) -> Float[Array, "m b"]:
        applied = from_complex(measurement.apply(to_complex(column)[:, None])[..., 0])
        return tensordot(applied, right, ((0, 2), (0, 1)))

    return jnp.moveaxis(lax.map(of, jnp.moveaxis(left, -1, 0)), 0, 1)


# With the wires in two halves, row i = (h, l), let g_h = Σ_l Re(l̄_a r_b) over the rows that share
# their first half. An eigenvalue that depends on h alone needs no more than these few small
# matrices,
#     ⟨l_a|O_q|r_b⟩ = Σ_i s_q(i) Re(l̄_a r_b)_i = Σ_h s_q(h) g_h,
# and one that depends on l alone their like.
def _of_diagonals(
    signs: np.ndarray, left: Float[Array, "2 dim a"], right: Float[Array, "2 dim b"]
) -> Float[Array, "m a b"]:
    n = signs.shape[1].bit_length() - 1
    halves = in_halves(signs, 2 ** (n // 2))
    # Columns where the circuit left them: of wide states in front (see `apply_plan_to_real`).
    wide = n > MATRIX_WIRES
    sides = halves.rest.shape[1:]

    def split(states: Float[Array, "2 dim cols"]) -> Float[Array, "_ _ _ _"]:
        if wide:
            return jnp.moveaxis(states, -1, 0).reshape(-1, 2, *sides)
        return states.reshape(2, *sides, -1)

    parts = []
    for axis, few in ((wide + 1, halves.of_first), (wide + 2, halves.of_last)):
        if len(few):
            summed, one, other = (int(wide), 2 * wide + 3 - axis), split(left), split(right)
            same = left is right
            grams = _gram(one, axis, summed) if same else _grams(one, other, axis, summed)
            parts.append(tensordot(jnp.asarray(few, grams.dtype), grams, 1))
    if len(halves.rest):
        rest = halves.rest.reshape(len(halves.rest), -1)
        parts.append(_in_pieces(rest, left, right) if wide else _product(_times(rest, left), right))
    return jnp.concatenate(parts)[halves.order] if len(parts) > 1 else parts[0]


def _grams(
    left: Float[Array, "_ _ _ _"],
    right: Float[Array, "_ _ _ _"],
    axis: int,
    summed: tuple[int, int],
) -> Float[Array, "k a b"]:
    """The products of the columns for each index along `axis`, summed over two others."""
    dims = ((summed, summed), ((axis,), (axis,)))
    return lax.dot_general(left, right, dims, precision=HIGHEST)


@ft.partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def _gram(
    states: Float[Array, "_ _ _ _"], axis: int, summed: tuple[int, int]
) -> Float[Array, "k a a"]:
    return _grams(states, states, axis, summed)


@_gram.defjvp
def _gram_jvp(axis, summed, primals, tangents):
    # Symmetric, so that one product is enough: d(XᵀX) = dXᵀX + (dXᵀX)ᵀ.
    (states,), (t_states,) = primals, tangents
    half = _grams(t_states, states, axis, summed)
    return _gram(states, axis, summed), half + jnp.swapaxes(half, 1, 2)


def _in_pieces(
    signs: np.ndarray, left: Float[Array, "2 dim a"], right: Float[Array, "2 dim b"]
) -> Float[Array, "m a b"]:
    """For any eigenvalues, a number of rows at a time."""
    pieces = lambda states: jnp.moveaxis(states.reshape(2, -1, _ROWS, states.shape[-1]), 1, 0)

    @jax.checkpoint
    def step(total: Array, piece: tuple[Array, Array, Array]) -> tuple[Array, None]:
        signs, left, right = piece
        return total + _product(_times(signs, left), right), None

    start = jnp.zeros((len(signs), left.shape[-1], right.shape[-1]), left.dtype)
    of_rows = jnp.moveaxis(jnp.asarray(signs).reshape(len(signs), -1, _ROWS), 1, 0)
    return lax.scan(step, start, (of_rows, pieces(left), pieces(right)))[0]
