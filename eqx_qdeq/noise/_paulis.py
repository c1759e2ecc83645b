r"""To the basis of Pauli operators and back.

A density matrix is the real vector of its $4^n$ Pauli expectation values, an observable that of
its Pauli coefficients; both are arrays of shape `(4,) * n`, one axis for each wire. Everything is
in real arithmetic, real and imaginary parts along an axis of their own: complex products are
several times slower on CPUs.
"""

import functools as ft
import itertools
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Complex, Float

from .._precise import einsum, tensordot

# The Paulis are an orthogonal basis of the Hermitian matrices on n wires: Tr P Q is 2^n if P = Q,
# else 0. Hence M = Σ_P Tr(P M) P / 2^n with real numbers Tr(P M): those of a state are its
# expectation values, those of an observable, divided by 2^n, its coefficients. As P is a product
# over wires, both ways are n small contractions, one for each wire: of the order of n 4^n
# multiplications, not 16^n.
PAULIS = np.array(
    [[[1, 0], [0, 1]], [[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]], complex
)


def on_each_wire(matrices: Array, tensor: Float[Array, "..."]) -> Float[Array, "..."]:
    """One matrix for each of the first axes, one axis for each wire."""
    for axis in range(len(matrices)):
        tensor = jnp.moveaxis(tensordot(matrices[axis], tensor, (1, axis)), 0, axis)
    return tensor


def _real_form(basis: np.ndarray) -> np.ndarray:
    """Complex matrices as real maps between parts, shape `(parts, 4, 2, 2, parts)`."""
    re, im = np.real(basis), np.imag(basis)
    return np.stack([np.stack([re, -im], -1), np.stack([im, re], -1)])


_FROM_PAULIS, _TO_PAULIS = _real_form(PAULIS), _real_form(PAULIS.conj())


@ft.cache
def pauli_matrices(k: int) -> np.ndarray:
    """All products of k Paulis, shape `(4**k, 2**k, 2**k)`."""
    factors = itertools.product(PAULIS, repeat=k)
    return np.stack([ft.reduce(np.kron, matrices) for matrices in factors])


def transfer_of_operators(
    operators: Complex[Array, "s dim dim"],
) -> Float[Array, "s paulis paulis"]:
    r"""The Pauli transfer matrices of the maps $\rho\mapsto A\rho A^\dagger$."""
    # R_PQ = Tr(P A Q A†) / 2^k. Row by row, vec(A Q A†) = (A ⊗ A*) vec(Q) and Tr P M is
    # vec(P*)·vec(M), so R = T (A ⊗ A*) B with the vectors of all P* as the rows of T, and of all
    # Q / 2^k as the columns of B: the superoperator A ⊗ A* seen from the basis of Paulis.
    s, dim, _ = operators.shape
    paulis = pauli_matrices(dim.bit_length() - 1).reshape(-1, dim * dim)
    maps = operators[:, :, None, :, None] * operators.conj()[:, None, :, None, :]
    maps = maps.reshape(s, dim * dim, dim * dim)
    to, back = jnp.asarray(paulis.conj(), maps.dtype), jnp.asarray(paulis.T / dim, maps.dtype)
    half = einsum("ix,sxy->siy", to, maps)
    return einsum("siy,yj->sij", half, back).real


def paulis_of_parts(parts: Float[Array, "p dim"]) -> Float[Array, "..."]:
    r"""$\langle\psi|P|\psi\rangle$ for all Paulis P, shape `(4,) * n`, for a state given by its
    real and imaginary parts; by its real part alone if it is real."""
    # For ψ = a + ib, ψ ψ† = (a aᵀ + b bᵀ) + i (b aᵀ - a bᵀ).
    real = jnp.sum(parts[:, :, None] * parts[:, None, :], axis=0)
    out = real[None]
    if len(parts) == 2:
        a, b = parts
        out = jnp.stack([real, b[:, None] * a[None, :] - a[:, None] * b[None, :]])
    return _traces(out[..., None])[..., 0]


def coefficients_of_matrices(matrices: Complex[Array, "m dim dim"]) -> Float[Array, "..."]:
    """The Pauli coefficients of Hermitian matrices, shape `(4,) * n + (m,)`."""
    last = jnp.moveaxis(matrices, 0, -1)
    return _traces(jnp.stack([last.real, last.imag])) / matrices.shape[1]


def _traces(parts: Float[Array, "p dim dim m"]) -> Float[Array, "..."]:
    r"""$\mathrm{Tr}\,P M$ for all Paulis P, shape `(4,) * n + (m,)`."""
    n = parts.shape[1].bit_length() - 1
    out = parts.reshape((len(parts),) + (2,) * (2 * n) + (-1,))
    # Tr P M = sum of conj(P)[row, column] M[row, column].
    basis = jnp.asarray(_TO_PAULIS, parts.dtype)
    for w in range(n):
        # The trace is real, so the last wire need not produce imaginary parts.
        last = basis if w < n - 1 else basis[:1]
        # Axes: parts, wires done, rows, columns, m.
        out = tensordot(last[..., : len(out)], out, ((4, 2, 3), (0, w + 1, n + 1)))
        out = jnp.moveaxis(out, 1, w + 1)
    return out[0]


def matrices_of_paulis(
    coefficients: Float[Array, "..."], n_low: int, is_real: bool
) -> Float[Array, "parts m rows rows"]:
    """The matrices with these Pauli coefficients, of shape `(4,) * n + (m,)`.

    Only the block in which the first n - n_low wires are 0; real and imaginary parts come first,
    the real parts alone if `is_real`.
    """
    n, m = coefficients.ndim - 1, coefficients.shape[-1]
    zero = jnp.asarray([1.0, 0, 0, 1], coefficients.dtype)  # ⟨0|P|0⟩ for I, X, Y and Z
    for _ in range(n - n_low):
        coefficients = tensordot(zero, coefficients, 1)
    basis = jnp.asarray(_FROM_PAULIS, coefficients.dtype)
    out = coefficients[None]
    for w in range(n_low):
        done = basis[:1] if is_real and w == n_low - 1 else basis
        # Takes the first wire away and appends its row and column at the end, then the parts.
        out = tensordot(out, done[..., : len(out)], ((0, 1), (4, 1)))
        out = jnp.moveaxis(out, -3, 0)
    if n_low == 0:
        return out.reshape(1, m, 1, 1)
    # Axes: parts, m, and a row and a column for each wire.
    rows, columns = range(2, 2 * n_low + 2, 2), range(3, 2 * n_low + 2, 2)
    out = out.transpose((0, 1, *rows, *columns))
    return out.reshape(len(out), m, 2**n_low, 2**n_low)


def among_all_paulis(spectrum: Float[Array, "..."]) -> Float[Array, "..."]:
    """Coefficients of products of I and Z, shape `(2,) * n + (m,)`, among all Paulis."""
    n = spectrum.ndim - 1
    pads = [(0, 0, 2)] * n + [(0, 0, 0)]
    # Or XLA would spell out the constant, 4ⁿ numbers for each observable, while it compiles.
    spectrum = lax.optimization_barrier(spectrum)
    return lax.pad(spectrum, jnp.zeros((), spectrum.dtype), pads)


def diagonal_part(vector: Float[Array, "..."]) -> Float[Array, "..."]:
    """The expectation values of products of I and Z, shape `(2,) * n`."""
    return vector[(slice(None, None, 3),) * vector.ndim]


def walsh_hadamard(values: Any, axes: int) -> Any:
    """Sums with the signs of every parity along the first `axes` axes of length two."""
    numpy = np if isinstance(values, np.ndarray) else jnp
    for axis in range(axes):
        a, b = numpy.split(values, 2, axis=axis)
        values = numpy.concatenate([a + b, a - b], axis=axis)
    return values
