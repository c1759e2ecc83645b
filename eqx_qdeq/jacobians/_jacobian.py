"""A cell's Jacobian outside the solve: itself, its size as a training penalty, its largest singular
value and its largest eigenvalue.

The last two are differentiable to first order, by perturbation theory with the vectors held fixed:
derivatives of eigenvectors, which do not exist where values repeat, are never needed.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Complex, Float, PRNGKeyArray, PyTree

from .._checks import check_at_least, check_choice
from .._memory import check_memory
from .._precise import dot
from .._trees import constant
from ..solvers import DENSE_SIZE
from ._krylov import dominant_eigenpair


def jacobian(
    fn: Callable[[PyTree[Array]], PyTree[Array]], z: PyTree[Array]
) -> Float[Array, "size size"]:
    """The dense Jacobian ∂f/∂z of a bound cell, the state flattened to a vector.

    !!! example

        ```python
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        fn = lambda z: jnp.array([z[0] * z[1], z[1] ** 2])
        qdeq.jacobian(fn, jnp.array([2.0, 3.0]))
        # [[3. 2.]
        #  [0. 6.]]
        ```

    **Arguments:**

    - `fn`: the map `z -> f(z)`, e.g. `cell.bind(x)`.
    - `z`: where to take it.

    **Returns:**

    A square matrix with as many rows as the state has numbers.

    **Raises:** `MemoryError` if it cannot fit.
    """
    flat, unravel = ravel_pytree(z)
    check_memory(
        float(flat.size) ** 2 * flat.dtype.itemsize,
        f"the Jacobian of a state of {flat.size:,} numbers",
        "Spectral radius, norm and abscissa need products with it alone.",
    )
    return jax.jacfwd(lambda v: ravel_pytree(fn(unravel(v)))[0])(flat)


def jacobian_penalty(
    fn: Callable[[PyTree[Array]], PyTree[Array]],
    z: PyTree[Array],
    *,
    key: PRNGKeyArray | None = None,
    n_probes: int = 1,
) -> Float[Array, ""]:
    r"""$\|\partial f/\partial z\|_F^2$ divided by the size of the state.

    Exact with `key=None`; with a key, Hutchinson's estimate
    $\mathbb E_{v\sim\mathcal N(0,1)}\|J^\top v\|^2$ from `n_probes` vector-Jacobian products.
    Evaluate it at the equilibrium, outside the solve: what a solver returns beside its value has
    no derivative.

    !!! example

        ```python
        import jax
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        fn, z = lambda z: jnp.sin(z), jnp.zeros(2)
        qdeq.jacobian_penalty(fn, z)  # 1.
        estimate = qdeq.jacobian_penalty(fn, z, key=jax.random.key(0), n_probes=8)
        ```

    **Arguments:**

    - `fn`: the map `z -> f(z)`, e.g. `cell.bind(x)`.
    - `z`: where to take it.
    - `key`: for random probes; exact if left out.
    - `n_probes`: the number of probes, with `key`.

    **Returns:**

    A scalar.

    ??? cite "Reference"

        S. Bai, V. Koltun and J. Z. Kolter, "Stabilizing equilibrium models by Jacobian
        regularization", ICML 2021.
    """
    if key is None:
        matrix = jacobian(fn, z)
        return jnp.sum(matrix**2) / matrix.shape[0]
    flat, unravel = ravel_pytree(z)
    _, pullback = jax.vjp(lambda v: ravel_pytree(fn(unravel(v)))[0], flat)
    probes = jax.random.normal(key, (n_probes, flat.size), flat.dtype)
    (products,) = jax.vmap(pullback)(probes)
    return jnp.sum(products**2) / (n_probes * flat.size)


@eqx.filter_jit
def spectral_norm(
    fn: Callable[[PyTree[Array]], PyTree[Array]],
    z: PyTree[Array],
    *,
    method: str = "auto",
    krylov_size: int = 32,
    restarts: int = 20,
    rtol: float | None = None,
    key: PRNGKeyArray | None = None,
) -> Float[Array, ""]:
    r"""$\|J\|_2$, the largest singular value of the Jacobian $J = \partial f/\partial z$.

    The factor by which f stretches small differences at most. Below 1, plain iteration converges
    near z; below 1 everywhere, from everywhere (see [`eqx_qdeq.lipschitz_bound`][]).

    With singular vectors u, v its derivative is $u^\top (\mathrm dJ)\, v$: to first order it can
    be trained on, in forward and in reverse mode, outside the solve. It is 0 where J = 0.

    !!! example

        ```python
        import jax
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        cell = qdeq.QDEQ(4, 16, key=jax.random.key(0)).deq.cell
        x = jax.random.normal(jax.random.key(1), (16,))
        print(qdeq.spectral_norm(cell.bind(x), jnp.zeros(4)))
        ```

    **Arguments:**

    - `fn`: the map `z -> f(z)`, e.g. `cell.bind(x)`; it may close over parameters.
    - `z`: where to take J, any pytree of real arrays.
    - `method`: `"dense"` forms J, `"krylov"` uses products with J and its transpose only
        (Lanczos on $J^\top J$); `"auto"` is dense up to 64 numbers in z.
    - `krylov_size`: vectors kept by `"krylov"`.
    - `restarts`: how often `"krylov"` restarts at most, with half of the vectors.
    - `rtol`: `"krylov"` stops at this relative residual of $J^\top J$; 3/4 of the digits of the
        precision if left out. Its result is never above the true norm but for rounding.
    - `key`: for the start vector of `"krylov"`; `jax.random.key(0)` if left out.

    **Returns:**

    A scalar.

    **Raises:** `ValueError` for an unknown method or a number out of range.
    """
    return _differentiable(_singular_pair, fn, z, _Search(method, krylov_size, restarts, rtol, key))


@eqx.filter_jit
def spectral_radius(
    fn: Callable[[PyTree[Array]], PyTree[Array]],
    z: PyTree[Array],
    *,
    method: str = "auto",
    krylov_size: int = 32,
    restarts: int = 20,
    rtol: float | None = None,
    key: PRNGKeyArray | None = None,
) -> Float[Array, ""]:
    r"""$\rho(J) = \max_i |\lambda_i|$ of the Jacobian $J = \partial f/\partial z$.

    At an equilibrium this is the factor by which plain iteration shrinks an error in the long
    run: it converges there if and (but for $\rho = 1$) only if $\rho < 1$.

    With right and left eigenvectors x, y its derivative is

    $$\mathrm{Re}\left(\frac{\bar\lambda}{|\lambda|}\,
    \frac{y^\dagger (\mathrm dJ)\, x}{y^\dagger x}\right)$$

    so to first order it can be trained on, in forward and in reverse mode, outside the solve. Where
    there is no derivative, because J = 0 or the eigenvalue is defective to rounding, it is 0.

    !!! example

        ```python
        import jax
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        cell = qdeq.QDEQ(4, 16, key=jax.random.key(0)).deq.cell
        x = jax.random.normal(jax.random.key(1), (16,))
        print(qdeq.spectral_radius(cell.bind(x), jnp.zeros(4)))
        ```

    **Arguments:** as for [`eqx_qdeq.spectral_norm`][]. `"krylov"` is Arnoldi's method, for the
    derivative also on the transpose; many eigenvalues of nearly the same modulus need many
    `restarts`, and `rtol` is the relative residual of J itself.

    **Returns:**

    A scalar.

    **Raises:** `ValueError` for an unknown method or a number out of range.
    """
    return _differentiable(_eigenpair, fn, z, _Search(method, krylov_size, restarts, rtol, key))


@eqx.filter_jit
def spectral_abscissa(
    fn: Callable[[PyTree[Array]], PyTree[Array]],
    z: PyTree[Array],
    *,
    method: str = "auto",
    krylov_size: int = 32,
    restarts: int = 20,
    rtol: float | None = None,
    key: PRNGKeyArray | None = None,
) -> Float[Array, ""]:
    r"""$\alpha(J) = \max_i \mathrm{Re}\,\lambda_i$ of the Jacobian $J = \partial f/\partial z$.

    At an equilibrium $\alpha - 1$ is the rate at which the flow $\dot z = f(z) - z$ takes a small
    error away, in the long run: it returns if and (but for $\alpha = 1$) only if $\alpha < 1$. A
    saddle of an energy E with $f(z) = z - \nabla E(z)$ has $\alpha > 1$, a minimum
    $\alpha \leq 1$. Without derivatives.

    Costs as many Jacobian-vector products as z has numbers, n, and some $10\,n^3$ operations; or
    `krylov_size` products, and half as many again for each restart.

    !!! example

        ```python
        import jax
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        cell = qdeq.QDEQ(4, 16, key=jax.random.key(0)).deq.cell
        x = jax.random.normal(jax.random.key(1), (16,))
        print(qdeq.spectral_abscissa(cell.bind(x), jnp.zeros(4)))
        ```

    **Arguments:** as for [`eqx_qdeq.spectral_radius`][].

    **Returns:**

    A scalar.

    **Raises:** `ValueError` for an unknown method or a number out of range.
    """
    how = _Search(method, krylov_size, restarts, rtol, key)
    fn, z = constant(_flatten(fn, z))
    if how.is_dense(z.size):
        matrix = jacobian(fn, z)
        size = _size(matrix)
        return size * jnp.max(jnp.linalg.eigvals(matrix / size).real)
    product = lambda v: jax.jvp(fn, (z,), (v,))[1]
    value, _ = how.krylov(product, None, z, symmetric=False, rightmost=True)
    return value.real


class _Search(eqx.Module):
    """How the extreme value of a matrix is looked for."""

    method: str = eqx.field(static=True)
    krylov_size: int = eqx.field(static=True)
    restarts: int = eqx.field(static=True)
    rtol: float | None = eqx.field(static=True)
    key: PRNGKeyArray | None

    def __check_init__(self) -> None:
        check_choice("method", self.method, ("auto", "dense", "krylov"))
        check_at_least("krylov_size", self.krylov_size, 2)
        check_at_least("restarts", self.restarts, 0)
        if self.rtol is not None and not self.rtol >= 0:
            raise ValueError(f"`rtol` must not be negative; got {self.rtol}.")

    def is_dense(self, n: int) -> bool:
        return self.method == "dense" or (self.method == "auto" and n <= DENSE_SIZE)

    def krylov(self, product: Callable, start: Array | None, like: Array, **kwargs):
        first, rest = jax.random.split(jax.random.key(0) if self.key is None else self.key)
        if start is None:
            start = jax.random.normal(first, like.shape, like.dtype)
        rtol = float(jnp.finfo(like.dtype).eps) ** 0.75 if self.rtol is None else self.rtol
        options = {"size": self.krylov_size, "restarts": self.restarts, "rtol": rtol, "key": rest}
        return dominant_eigenpair(product, start, **options, **kwargs)


# The value, the right vector as rows (its real and, where there is one, its imaginary part), and a
# function that finds the left vector, likewise, and a weight: the value's derivative is
# Re(weight · leftᴴ (dJ) right). Only where it is differentiated is the left vector looked for.
_Pair = tuple[Array, Array, Callable[[], tuple[Array, Array]]]


def _differentiable(
    find: Callable[[Callable, Array, _Search], _Pair], fn: Callable, z: PyTree[Array], how: _Search
) -> Float[Array, ""]:
    return _spectral_value(*_flatten(fn, z), find=eqx.Partial(find, how=how))


def _flatten(fn: Callable, z: PyTree[Array]) -> tuple[Callable, Float[Array, " n"]]:
    flat, unravel = ravel_pytree(z)
    # What fn closes over becomes leaves, which have derivatives. A fresh function, as closure
    # conversion compares it with those it saw before.
    return eqx.filter_closure_convert(lambda v: ravel_pytree(fn(unravel(v)))[0], flat), flat


@eqx.filter_custom_jvp
def _spectral_value(fn, z, *, find):
    return find(fn, z)[0]


@_spectral_value.def_jvp
def _spectral_value_jvp(primals, tangents, *, find):
    # First order only: the vectors are constants.
    value, right, find_left = find(*constant(primals))
    value, right, left, weight = lax.stop_gradient((value, right, *find_left()))
    # (dJ) right is the change of J right with `right` held fixed.
    _, tangent = eqx.filter_jvp(lambda f, z: _products(f, z, right), primals, tangents)
    inner = dot(left, tangent.T)
    if len(inner) == 1:
        return value, weight * inner[0, 0]
    # (a + ib)ᴴ (c + id) = a·c + b·d + i (a·d - b·c)
    change = lax.complex(inner[0, 0] + inner[1, 1], inner[0, 1] - inner[1, 0])
    return value, (weight * change).real


def _products(fn: Callable, z: Float[Array, " n"], vectors: Float[Array, "k n"]) -> Array:
    """J v for every row v."""
    return jax.vmap(lambda v: jax.jvp(fn, (z,), (v,))[1])(vectors)


def _singular_pair(fn: Callable, z: Array, how: _Search) -> _Pair:
    if how.is_dense(z.size):
        _, values, vectors = jnp.linalg.svd(jacobian(fn, z))
        value, v = values[0], vectors[0]
    else:
        # Lanczos on JᵀJ, whose top eigenvector is the right singular vector. The norm of J v is
        # more precise than the root of the eigenvalue.
        forward = lambda v: jax.jvp(fn, (z,), (v,))[1]
        _, pullback = jax.vjp(fn, z)
        _, v = how.krylov(lambda v: pullback(forward(v))[0], None, z, symmetric=True)
        v = v / jnp.linalg.norm(v)
        value = jnp.linalg.norm(forward(v))

    def find_left() -> tuple[Array, Array]:
        u = _products(fn, z, v[None])  # J v = σ u
        length = jnp.linalg.norm(u)
        return u / jnp.where(length > 0, length, 1), jnp.ones_like(value)

    return value, v[None], find_left


def _eigenpair(fn: Callable, z: Array, how: _Search) -> _Pair:
    if how.is_dense(z.size):
        matrix = jacobian(fn, z)
        size = _size(matrix)
        values, vectors = jnp.linalg.eig(matrix / size)
        best = jnp.argmax(jnp.abs(values))
        value, x = size.astype(values.dtype) * values[best], vectors[:, best]
        find_y = lambda: _left_of_matrix(matrix, value, x)
    else:
        product = lambda v: jax.jvp(fn, (z,), (v,))[1]
        value, x = how.krylov(product, None, z, symmetric=False)

        def find_y() -> Array:
            # Starting from x: the left vector's part in a repeated eigenvalue has to match.
            _, pullback = jax.vjp(fn, z)
            start = x.real + x.imag
            start = jnp.where(jnp.linalg.norm(start) > 1e-3, start, x.real - x.imag)
            transposed = lambda v: pullback(v)[0]
            return how.krylov(transposed, start, z, symmetric=False, target=value.conj())[1]

    modulus = jnp.abs(value)
    x = x / jnp.linalg.norm(x).astype(x.dtype)

    def find_left() -> tuple[Array, Array]:
        # From J x = λ x and yᴴ J = λ yᴴ: dλ = yᴴ (dJ) x / yᴴ x, and d|λ| = Re(λ̄ dλ) / |λ|.
        y = find_y()
        overlap = jnp.vdot(y, x)
        # The inverse of the overlap is the eigenvalue's condition number. Where it exceeds that of
        # a defective eigenvalue that rounding has split, there is no derivative to speak of.
        exists = (jnp.abs(overlap) > 10 * jnp.sqrt(jnp.finfo(z.dtype).eps)) & (modulus > 0)
        scale = jnp.where(exists, modulus.astype(overlap.dtype) * overlap, 1)
        weight = jnp.where(exists, value.conj() / scale, 0)
        y = jnp.where(exists, y, 0)
        return jnp.stack([y.real, y.imag]), weight

    return modulus, jnp.stack([x.real, x.imag]), find_left


def _size(matrix: Array) -> Array:
    """The largest entry, as a power of two, by which division is exact. In float32 what LAPACK's
    eigensolvers, as JAX calls them, say of numbers beyond 2^±40 is cut off there."""
    size = jnp.max(jnp.abs(matrix))
    return jnp.ldexp(jnp.ones_like(size), jnp.frexp(jnp.where(size > 0, size, 1))[1])


def _left_of_matrix(matrix: Array, value: Array, x: Array) -> Complex[Array, " n"]:
    """The left eigenvector that belongs to x, by one inverse iteration that starts from x.

    If the eigenvalue repeats, this is the projection of x, which cannot be orthogonal to it; the
    left vectors that an eigensolver returns may well be.
    """
    n, dtype = x.size, x.dtype
    size = jnp.linalg.norm(matrix)
    shift = 10 * jnp.finfo(matrix.dtype).eps * jnp.where(size > 0, size, 1)
    shift = value + shift.astype(dtype)
    y = jnp.linalg.solve(matrix.T.astype(dtype) - shift.conj() * jnp.eye(n, dtype=dtype), x)
    y = y / jnp.max(jnp.abs(y)).astype(dtype)
    y = y / jnp.linalg.norm(y).astype(dtype)
    return jnp.where(jnp.all(jnp.isfinite(y)), y, jnp.zeros_like(y))
