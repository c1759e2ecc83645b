"""Eigenvalues of large matrices known only by their products: restarted Arnoldi and Lanczos."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Inexact, PRNGKeyArray

from .._precise import dot
from ..simulate import complex_dtype


class _Decomposition(NamedTuple):
    r"""A Krylov decomposition $A V_p = V_{p+1} H$ with orthonormal columns in V."""

    basis: Inexact[Array, "n p_plus_1"]
    matrix: Inexact[Array, "p_plus_1 p"]


def dominant_eigenpair(
    product: Callable[[Float[Array, " n"]], Float[Array, " n"]],
    start: Float[Array, " n"],
    *,
    size: int,
    restarts: int,
    rtol: float,
    symmetric: bool,
    key: PRNGKeyArray,
    target: Inexact[Array, ""] | None = None,
    rightmost: bool = False,
) -> tuple[Inexact[Array, ""], Inexact[Array, " n"]]:
    """The eigenvalue of largest modulus of a real matrix and its vector, by the Krylov-Schur
    method.

    **Arguments:**

    - `product`: v ↦ A v for real v.
    - `start`: where the Krylov space begins; not zero.
    - `size`: the number p of basis vectors; half of them survive a restart.
    - `restarts`: how many, at most.
    - `rtol`: stops where the pair's residual is below `rtol * |λ|`.
    - `symmetric`: whether A is; then all is real.
    - `key`: for a new direction where the Krylov space closes early.
    - `target`: the pair closest to this value is wanted instead, among the dominant ones.
    - `rightmost`: the eigenvalue of largest real part is wanted instead.

    ??? cite "Reference"

        G. W. Stewart, "A Krylov-Schur algorithm for large eigenproblems", SIAM Journal on Matrix
        Analysis and Applications 23 (2002), 601-614.
    """
    n = start.size
    size = min(size, n)
    keep = max(1, size // 2)
    # Complex vectors keep conjugate pairs apart; the pairs need not be kept together then.
    dtype = start.dtype if symmetric else complex_dtype(start.dtype)

    def apply(v: Array) -> Array:
        if symmetric:
            return product(v)
        real, imag = jax.vmap(product)(jnp.stack([v.real, v.imag]))
        return lax.complex(real, imag)

    rank = jnp.real if rightmost else jnp.abs

    def solve(made: _Decomposition) -> tuple[Array, Array, Array, Array]:
        """Ritz values, vectors within the basis, residuals, and the place of the wanted pair."""
        # Let H = (S; hᵀ), with S square. If S y = λ y, then A V y = λ V y + v (h·y) with the last
        # column v of the basis: V y is an eigenvector up to a residual of the length |h·y|.
        square = made.matrix[:size]
        values, vectors = jnp.linalg.eigh(square) if symmetric else jnp.linalg.eig(square)
        residuals = jnp.abs(dot(made.matrix[size], vectors))
        distance = -rank(values) if target is None else jnp.abs(values - target)
        return values, vectors, residuals, jnp.argmin(distance)

    def unfinished(carry) -> Array:
        count, _, values, _, residuals, best = carry
        return (count < restarts) & (residuals[best] > rtol * jnp.abs(values[best]))

    def restart(carry):
        count, made, values, vectors, _, _ = carry
        made = _compress(made, vectors[:, jnp.argsort(-rank(values))[:keep]])
        made = _extend(apply, made, keep, jax.random.fold_in(key, count + 1))
        return (count + 1, made, *solve(made))

    basis = jnp.zeros((n, size + 1), dtype)
    basis = basis.at[:, 0].set((start / jnp.linalg.norm(start)).astype(dtype))
    made = _Decomposition(basis, jnp.zeros((size + 1, size), dtype))
    made = _extend(apply, made, 0, jax.random.fold_in(key, 0))
    carry = lax.while_loop(unfinished, restart, (jnp.array(0), made, *solve(made)))
    _, made, values, vectors, _, best = carry
    return values[best], dot(made.basis[:, :size], vectors[:, best])


def _extend(
    apply: Callable[[Array], Array], made: _Decomposition, first: int, key: PRNGKeyArray
) -> _Decomposition:
    """Arnoldi's steps from column `first` on: the image of the last column, orthogonalised against
    all of them, is the next."""
    n, size = made.basis.shape[0], made.matrix.shape[1]
    eps = jnp.finfo(made.basis.dtype).eps

    def step(j: Array, made: _Decomposition) -> _Decomposition:
        image = apply(made.basis[:, j])
        new, column = _orthogonalise(made.basis, image)
        length = jnp.linalg.norm(new)
        # Where the space is invariant, go on from a random direction to which it does not couple:
        # the start may have had no part in the wanted eigenvector.
        closed = length <= 10 * eps * jnp.linalg.norm(image)
        random = jax.random.normal(jax.random.fold_in(key, j), (n,), length.dtype)
        fresh, _ = _orthogonalise(made.basis, random.astype(new.dtype))
        new = jnp.where(closed, fresh, new)
        norm = jnp.linalg.norm(new)
        # Zero if the columns span the whole space: then nothing is left to couple to.
        new = new / jnp.where(norm > 0, norm, 1).astype(new.dtype)
        column = column.at[j + 1].set(jnp.where(closed, 0, length).astype(column.dtype))
        return _Decomposition(made.basis.at[:, j + 1].set(new), made.matrix.at[:, j].set(column))

    return lax.fori_loop(first, size, step, made)


def _orthogonalise(basis: Array, v: Array) -> tuple[Array, Array]:
    """The part of v orthogonal to the columns, and its coefficients in them. Columns that are
    not there yet are zero."""
    # Twice is enough: what rounding leaves of the first pass, the second one removes.
    first = dot(basis.conj().T, v)
    v = v - dot(basis, first)
    second = dot(basis.conj().T, v)
    return v - dot(basis, second), first + second


def _compress(made: _Decomposition, vectors: Inexact[Array, "p keep"]) -> _Decomposition:
    """The decomposition restricted to the span of the given Ritz vectors."""
    size, keep = vectors.shape
    # Their span is invariant under the square part; any orthonormal basis Q of it will do, as
    # S Q = Q (Qᴴ S Q) makes A (V Q) = (V Q)(Qᴴ S Q) + v (hᵀ Q).
    inner, _ = jnp.linalg.qr(vectors)
    square = dot(inner.conj().T, dot(made.matrix[:size], inner))
    basis = jnp.zeros_like(made.basis).at[:, :keep].set(dot(made.basis[:, :size], inner))
    matrix = jnp.zeros_like(made.matrix).at[:keep, :keep].set(square)
    basis = basis.at[:, keep].set(made.basis[:, size])
    return _Decomposition(basis, matrix.at[keep, :keep].set(dot(made.matrix[size], inner)))
