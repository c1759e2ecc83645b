"""The exact implicit adjoint for maps that only have vector-Jacobian products."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import optimistix as optx
from jax.flatten_util import ravel_pytree

from .._solvers._gmres import EarlyExitGMRES
from .._trees import constant
from ._backward import AdjointProbe, BackwardReport, solve_adjoint
from ._base import solve_first, without_derivative


class ImplicitVJPAdjoint(optx.AbstractAdjoint):
    r"""The exact implicit gradient from vector-Jacobian products alone.

    For a cotangent v of the equilibrium, reverse mode solves

    $$(I - J^\top)\,u = v$$

    by Richardson (Picard) iteration while it converges fast, then by GMRES, and returns
    $u^\top\,\partial f/\partial\theta$. So the cell may be a `jax.custom_vjp`, or call hardware
    whose gradients come from parameter shifts. Nothing is stored but the equilibrium, and a large
    state is no problem. Reverse mode only, and once: [`eqx_qdeq.ImplicitAdjoint`][] does forward
    mode and higher derivatives.

    The backward solve can be watched, and started from the last one, with an
    [`eqx_qdeq.AdjointProbe`][]. It raises nothing: where it falls short of its tolerance, the
    gradient is that of the best u found. A sample whose forward solve failed contributes nothing.

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
    u = jnp.where(usable, found.value, 0)
    report = eqx.tree_at(lambda r: r.success, found.report, found.report.success & usable)
    if adjoint.callback is not None:
        jax.debug.callback(adjoint.callback, report)
    number = lambda x: jnp.asarray(x, residual.dtype)
    return u, AdjointProbe(gap.unravel(u), jtu.tree_map(number, report))
