"""The backward solve where products with the Jacobian are only known with noise."""

import abc
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from .._checks import check_at_least
from ..adjoints import answer, solve_dense_safely

Product = Callable[[Float[Array, " m"], PRNGKeyArray], Float[Array, " m"]]


class AbstractSampledBackward(eqx.Module):
    r"""The abstract base class of ways to solve $(I - J^\top)\,u = v$ with sampled products."""

    @property
    @abc.abstractmethod
    def n_products(self) -> int:
        """How many samples of the Jacobian are drawn."""

    @abc.abstractmethod
    def solve(
        self, product: Product, v: Float[Array, " m"], usable: Bool[Array, ""], key: PRNGKeyArray
    ) -> Float[Array, " m"]:
        r"""The adjoint vector u; zero if not `usable`. `product(u, key)` estimates
        $J^\top u$."""


class NeumannBackward(AbstractSampledBackward):
    r"""Picard iteration with a fresh sample of the Jacobian in each step, averaged.

    $$u_{k+1} = v + \hat J_k^\top u_k$$

    and the mean of the second half of K steps. Because every $\hat J_k$ is drawn on its own, the
    mean is unbiased but for the steps that are left out: about $\rho^{K/2}$ at spectral radius
    ρ < 1, and useless above, where [`eqx_qdeq.JacobianBackward`][] still works.
    """

    steps: int = eqx.field(static=True, default=16)

    def __check_init__(self) -> None:
        check_at_least("NeumannBackward(steps=...)", self.steps, 1)

    @property
    def n_products(self) -> int:
        return self.steps

    def solve(
        self, product: Product, v: Float[Array, " m"], usable: Bool[Array, ""], key: PRNGKeyArray
    ) -> Float[Array, " m"]:
        v = jnp.where(usable, v, 0)

        def step(u: Float[Array, " m"], k: PRNGKeyArray) -> tuple[Array, Array]:
            new = v + product(u, k)
            # Where ρ > 1 the terms may overflow.
            new = jnp.where(jnp.all(jnp.isfinite(new)), new, jnp.zeros_like(v))
            return new, new

        _, terms = jax.lax.scan(step, v, jax.random.split(key, self.steps))
        return answer(jnp.where(usable, jnp.mean(terms[self.steps // 2 :], axis=0), 0), v)


NeumannBackward.__init__.__doc__ = """**Arguments:**

- `steps`: the number K of steps, and of samples of the Jacobian.

**Raises:** `ValueError` for fewer than one step.
"""


class JacobianBackward(AbstractSampledBackward):
    r"""One sample of the Jacobian, and the m×m system with it.

    The cheapest way, and the one for spectral radii near or above 1. The inverse of a mean is not
    the mean of inverses: a bias of order 1/S remains. With exact products (`ExactGradient`), the
    exact implicit gradient. A system that is singular to rounding gives zero.
    """

    @property
    def n_products(self) -> int:
        return 1

    def solve(
        self, product: Product, v: Float[Array, " m"], usable: Bool[Array, ""], key: PRNGKeyArray
    ) -> Float[Array, " m"]:
        eye = jnp.eye(v.shape[0], dtype=v.dtype)
        # All with one key: a sample of the Jacobian gives its product with any vector.
        jacobian = jax.vmap(lambda row: product(row, key))(eye)
        return solve_dense_safely(eye - jacobian.T, v, usable, None)


JacobianBackward.__init__.__doc__ = """**Arguments:** none."""
