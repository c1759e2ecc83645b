"""The exact implicit adjoint, safe for each sample of a batch."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, Bool, Float

from .._trees import tree_where
from ..solvers import DENSE_SIZE, EarlyExitGMRES, factoriser
from ._base import Unfailing
from ._linearised import AbstractLinearisedAdjoint


class ImplicitAdjoint(AbstractLinearisedAdjoint):
    r"""Differentiates an equilibrium by the implicit function theorem, exactly and for each
    sample on its own.

    $$\frac{\mathrm dz}{\mathrm d\theta} = \Big(I - \frac{\partial f}{\partial z}\Big)^{-1}
    \frac{\partial f}{\partial \theta}$$

    Forward and reverse mode and higher derivatives work. A sample that diverged or is not finite
    contributes a zero derivative and leaves those of the other samples of a `vmap` as they are;
    a sample that only ran out of steps is differentiated at its last iterate.

    Up to 64 numbers in the state the Jacobian is a small dense matrix for each sample. Its LU
    factors tell beforehand whether it can be solved: a sample with a singular one contributes
    nothing. Above, products with the Jacobian are all that is used: Richardson (Picard) iteration
    while it converges fast, then GMRES. An iterative solve that stops short of its tolerance
    gives the best that it found; [`eqx_qdeq.ImplicitVJPAdjoint`][] reports how it went, and
    [`eqx_qdeq.DEQ.diagnose`][] does for any.

    May be used wherever `optimistix.ImplicitAdjoint` may.

    ??? cite "Reference"

        S. Bai, J. Z. Kolter and V. Koltun, "Deep equilibrium models", NeurIPS 2019.
    """

    linear_solver: lx.AbstractLinearSolver | None = None

    def tangent(
        self,
        gap: Callable[[Float[Array, " n"]], Float[Array, " n"]],
        point: Float[Array, " n"],
        right: Float[Array, " n"],
        usable: Bool[Array, ""],
    ) -> Float[Array, " n"]:
        if point.size <= DENSE_SIZE:
            jacobian = jax.jacfwd(gap)(point)
            return -solve_dense_safely(jacobian, right, usable, self.linear_solver)
        solver = Unfailing(self.linear_solver or default_linear_solver(point.dtype))
        _, product = jax.linearize(gap, point)
        operator = lx.FunctionLinearOperator(
            # The identity where there is nothing to solve.
            lambda t: jnp.where(usable, -product(t), t),
            jax.eval_shape(lambda: right),
        )
        right = jnp.where(usable, right, 0)
        return lx.linear_solve(operator, right, solver, throw=False).value


ImplicitAdjoint.__init__.__doc__ = """**Arguments:**

- `linear_solver`: the Lineax solver for the linear system of one sample, given as a matrix up to
    64 numbers in the state and as products above; if left out, one that suits its size.
"""


def default_linear_solver(dtype: jnp.dtype) -> EarlyExitGMRES:
    """For large systems (I - J) t = b, as accurate as is useful in the precision."""
    tolerance = float(jnp.finfo(dtype).eps) ** 0.75
    return EarlyExitGMRES(rtol=tolerance, atol=0.0, restart=100, richardson=50)


def solve_dense_safely(
    matrix: Float[Array, "n n"],
    right: Float[Array, " n"],
    usable: Bool[Array, ""],
    solver: lx.AbstractLinearSolver | None,
) -> Float[Array, " n"]:
    """matrix⁻¹ right; zero, and without derivatives, if not usable or singular to rounding."""
    n = matrix.shape[0]
    eye = jnp.eye(n, dtype=matrix.dtype)
    constant = jax.lax.stop_gradient(matrix)
    usable = usable & jnp.all(jnp.isfinite(constant))
    direct = factoriser(n)
    state, pivots = direct.factorise(jnp.where(usable, constant, eye))
    pivots = jnp.abs(pivots)
    usable = usable & (jnp.min(pivots) > jnp.finfo(matrix.dtype).eps * jnp.max(pivots))
    # Where it is not, the system becomes 1·x = 0.
    operator = lx.MatrixLinearOperator(jnp.where(usable, matrix, eye))
    right = jnp.where(usable, right, 0)
    if solver is None:
        state = tree_where(usable, state, direct.factorise(eye)[0])
        solution = lx.linear_solve(operator, right, direct, state=state, throw=False)
    else:
        solution = lx.linear_solve(operator, right, Unfailing(solver), throw=False)
    return solution.value
