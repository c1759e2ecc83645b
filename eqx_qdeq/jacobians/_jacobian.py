"""The size of a cell's Jacobian, as a training penalty outside the solve."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PRNGKeyArray, PyTree


def jacobian(
    fn: Callable[[PyTree[Array]], PyTree[Array]], z: PyTree[Array]
) -> Float[Array, "size size"]:
    """The dense Jacobian ∂f/∂z of a bound cell, the state flattened to a vector.

    **Arguments:**

    - `fn`: the map `z -> f(z)`, e.g. `cell.bind(x)`.
    - `z`: where to take it.

    **Returns:**

    A square matrix with as many rows as the state has numbers.
    """
    flat, unravel = ravel_pytree(z)
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
