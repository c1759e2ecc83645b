"""The backward solve by itself: from a cotangent of the equilibrium to the adjoint vector."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import lineax as lx
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, PyTree

from .._solvers._gmres import EarlyExitGMRES, gmres
from ._implicit import default_linear_solver


class BackwardReport(eqx.Module):
    r"""How a backward solve went.

    **Attributes:**

    - `residual`: $\|v - (I - J^\top) u\|$, Euclidean.
    - `num_products`: vector-Jacobian products of the cell that were made.
    - `success`: whether the tolerance was met.
    """

    residual: Float[Array, "..."]
    num_products: Int[Array, "..."] | Float[Array, "..."]
    success: Bool[Array, "..."] | Float[Array, "..."]


class AdjointSolution(eqx.Module):
    r"""The solution of $(I - J^\top)\,u = v$.

    **Attributes:**

    - `value`: the adjoint vector u, a pytree like the state; always finite. The best that was
        found, where the tolerance was not met.
    - `report`: an [`eqx_qdeq.BackwardReport`][].
    """

    value: PyTree[Array]
    report: BackwardReport


@eqx.filter_jit
def solve_adjoint(
    fn: Callable[[PyTree[Array]], PyTree[Array]],
    z: PyTree[Array],
    cotangent: PyTree[Array],
    *,
    guess: PyTree[Array] | None = None,
    linear_solver: EarlyExitGMRES | None = None,
) -> AdjointSolution:
    r"""Solves $(I - J^\top)\,u = v$ for the Jacobian J of a bound cell, with vector-Jacobian
    products alone.

    It is the linear system behind reverse mode through an equilibrium: the gradient with respect
    to a parameter is $u^\top\,\partial f/\partial\theta$.

    **Arguments:**

    - `fn`: the map `z -> f(z)`, e.g. `cell.bind(x)`.
    - `z`: the equilibrium.
    - `cotangent`: v, a pytree like `z`: the gradient of a loss with respect to the equilibrium.
    - `guess`: where to start, e.g. the solution of a nearby problem; zero if left out.
    - `linear_solver`: tolerances and memory; [`eqx_qdeq.EarlyExitGMRES`][] with Richardson
        iteration first and a relative tolerance of eps^(3/4) (2e-12 in double precision, 6e-6 in
        single) if left out.

    **Returns:** an [`eqx_qdeq.AdjointSolution`][].
    """
    flat, unravel = ravel_pytree(z)
    _, pullback = jax.vjp(lambda y: ravel_pytree(fn(unravel(y)))[0], flat)
    right, _ = ravel_pytree(cotangent)
    start = None if guess is None else ravel_pytree(guess)[0]
    solver = default_linear_solver(flat.dtype) if linear_solver is None else linear_solver
    found = gmres(lambda u: u - pullback(u)[0], right, solver, y0=start)
    return AdjointSolution(
        unravel(found.value),
        BackwardReport(found.residual, found.num_steps, found.result == lx.RESULTS.successful),
    )


class AdjointProbe(eqx.Module):
    r"""Where a backward solve starts, and where it says how it went.

    A backward pass can return nothing but gradients. So a probe is an input without influence on
    the equilibrium, whose "gradient" is filled in by [`eqx_qdeq.ImplicitVJPAdjoint`][]: the
    gradient's `guess` is the adjoint vector that was found, its `report` an
    [`eqx_qdeq.BackwardReport`][] in floating-point numbers (success is 0 or 1). Given to the next
    call, it is a warm start.

    !!! example

        ```python
        import equinox as eqx
        import jax
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        deq = qdeq.QDEQ(4, 16, key=jax.random.key(0)).deq
        deq = qdeq.DEQ(deq.cell, adjoint=qdeq.ImplicitVJPAdjoint())
        probe = qdeq.AdjointProbe.like(deq.cell.init(jnp.ones(16)))


        @eqx.filter_jit
        @eqx.filter_grad
        def gradient(arguments, x):
            deq, probe = arguments
            return jnp.sum(deq(x, probe=probe) ** 2)


        x = jnp.linspace(0, 2, 16)
        gradients, probe = gradient((deq, probe), x)
        assert probe.report.success == 1
        gradients, probe = gradient(
            (deq, probe), 1.01 * x
        )  # starts from the last solution
        ```

    Under `vmap` there is a probe for each sample. One probe serves one call: the reports of two
    would add up.
    """

    guess: PyTree[Array]
    report: BackwardReport

    @staticmethod
    def like(z: PyTree[Array]) -> "AdjointProbe":
        """A probe for states like `z` (of one sample), which starts from zero."""
        zero = jnp.zeros((), ravel_pytree(z)[0].dtype)
        return AdjointProbe(jtu.tree_map(jnp.zeros_like, z), BackwardReport(zero, zero, zero))
