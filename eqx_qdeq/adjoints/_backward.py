"""The backward solve, by itself and as the adjoint of maps with vector-Jacobian products alone."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import lineax as lx
import optimistix as optx
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, PyTree

from .._local import as_plain
from .._trees import constant
from ..solvers import EarlyExitGMRES, gmres
from ._base import answer, once, solve_first, without_derivative
from ._implicit import default_linear_solver


class BackwardReport(eqx.Module):
    r"""How a backward solve went.

    !!! example

        ```python
        import jax
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        cell = qdeq.FunctionCell(lambda z, a: a * z / 2 + 1, jnp.zeros_like)
        watched = qdeq.ImplicitVJPAdjoint(callback=lambda report: print(report.success))
        gradient = jax.grad(qdeq.DEQ(cell, adjoint=watched))(jnp.array(1.0))
        ```

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

    !!! example

        ```python
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        found = qdeq.solve_adjoint(lambda z: z / 2 + 1, jnp.array(2.0), jnp.array(1.0))
        found.value.round(3)  # 2.
        bool(found.report.success)  # True
        ```

    **Attributes:**

    - `value`: the adjoint vector u, a pytree like the state; finite if the cotangent is, NaN if
        not. The best that was found, where the tolerance was not met.
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

    !!! example

        ```python
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        fn = lambda z: z / 2 + 1  # J = 1/2, so that (1 - J) u = 1 has the solution 2
        found = qdeq.solve_adjoint(fn, jnp.array(2.0), jnp.array(1.0))
        found.value  # 2.
        ```

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
        unravel(answer(found.value, right)),
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


AdjointProbe.__init__.__doc__ = """**Arguments:**

- `guess`: where the backward solve starts; made by [`eqx_qdeq.AdjointProbe.like`][].
- `report`: filled in by the backward pass.
"""


# --- The implicit adjoint for maps that only have vector-Jacobian products. ---


class ImplicitVJPAdjoint(optx.AbstractAdjoint):
    r"""The implicit gradient from vector-Jacobian products alone, exact to the tolerance of the
    solve.

    For a cotangent v of the equilibrium, reverse mode solves

    $$(I - J^\top)\,u = v$$

    by Richardson (Picard) iteration while it converges fast, then by GMRES, and returns
    $u^\top\,\partial f/\partial\theta$. So the cell may be a `jax.custom_vjp`, or call hardware
    whose gradients come from parameter shifts. Nothing is stored but the equilibrium, and a large
    state is no problem. Reverse mode only, and once: [`eqx_qdeq.ImplicitAdjoint`][] does forward
    mode and higher derivatives.

    The backward solve can be watched, and started from the last one, with an
    [`eqx_qdeq.AdjointProbe`][]. It raises nothing: where it falls short of its tolerance, the
    gradient is that of the best u found.

    !!! example

        ```python
        import jax
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        # z = a z / 2 + 1, so that z = 2 / (2 - a) and dz/da = 2 / (2 - a)².
        cell = qdeq.FunctionCell(lambda z, a: a * z / 2 + 1, jnp.zeros_like)
        deq = qdeq.DEQ(cell, adjoint=qdeq.ImplicitVJPAdjoint())
        jax.grad(deq)(jnp.array(1.0))  # 2.
        ```

    ??? cite "Reference"

        S. Bai, J. Z. Kolter and V. Koltun, "Deep equilibrium models", NeurIPS 2019.
    """

    linear_solver: EarlyExitGMRES | None = None
    callback: Callable[[BackwardReport], None] | None = eqx.field(static=True, default=None)

    def apply(self, primal_fn, rewrite_fn, inputs, tags):
        del tags
        solved = solve_first(primal_fn, rewrite_fn, inputs)
        probe = inputs[4].get("probe")
        if probe is None:
            probe = AdjointProbe.like(solved.root)
        change = _hook(
            (solved.gap(solved.point), probe),
            constant(solved.gap),
            solved.point,
            solved.usable,
            self,
        )
        return solved.attach(change), without_derivative(solved.residual)


ImplicitVJPAdjoint.__init__.__doc__ = """**Arguments:**

- `linear_solver`: tolerances and memory of the backward solve;
    [`eqx_qdeq.EarlyExitGMRES`][] with Richardson iteration first and a relative tolerance of
    eps^(3/4) if left out.
- `callback`: called on the host after each backward solve, one sample at a time and in no
    particular order, with a [`eqx_qdeq.BackwardReport`][] of NumPy arrays. For logs and
    debugging: it slows training down.
"""


@eqx.filter_custom_vjp
def _hook(variables, gap, point, usable, adjoint):
    """Zero, with the equilibrium's derivative: the cotangent v that arrives here leaves as u."""
    del gap, point, usable, adjoint
    residual, _ = variables
    zeros = jnp.zeros_like(residual)
    # Depends on the sample for `vmap`'s sake: the cotangent of a constant is summed over the batch.
    return jnp.where(residual > 0, zeros, zeros)


@_hook.def_fwd
def _hook_fwd(perturbed, variables, gap, point, usable, adjoint):
    del perturbed
    return _hook(variables, gap, point, usable, adjoint), None


@_hook.def_bwd
def _hook_bwd(residuals, cotangent, perturbed, variables, gap, point, usable, adjoint):
    del residuals, perturbed
    # Of a gradient taken outside of a `shard_map`, what is kept for this pass comes typed.
    cotangent, variables, gap, point, usable = as_plain((cotangent, variables, gap, point, usable))
    residual, probe = variables
    if cotangent is None:
        cotangent = jnp.zeros_like(residual)
    # Where there is nothing to solve, 0 · u = 0 is solved, whatever J is.
    found = solve_adjoint(
        lambda z: jnp.where(usable, z + gap(z), z),
        point,
        jnp.where(usable, cotangent, 0),
        guess=jnp.where(usable, ravel_pytree(probe.guess)[0], 0),
        linear_solver=adjoint.linear_solver,
    )
    u = once(jnp.where(usable, found.value, 0), residual, "ImplicitVJPAdjoint")
    report = eqx.tree_at(lambda r: r.success, found.report, found.report.success & usable)
    if adjoint.callback is not None:
        jax.debug.callback(adjoint.callback, report)
    number = lambda x: jnp.asarray(x, residual.dtype)
    return u, AdjointProbe(gap.unravel(u), jtu.tree_map(number, report))
