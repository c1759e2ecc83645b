"""The exact implicit adjoint, safe for each sample of a batch."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, Bool, Float

from .._precise import dot
from .._trees import all_finite
from ..solvers import DENSE_SIZE, EarlyExitGMRES, factorise
from ._base import Linear, solve_linear
from ._linearised import AbstractLinearisedAdjoint


class ImplicitAdjoint(AbstractLinearisedAdjoint):
    r"""Differentiates an equilibrium by the implicit function theorem, exactly and for each
    sample on its own.

    $$\frac{\mathrm dz}{\mathrm d\theta} = \Big(I - \frac{\partial f}{\partial z}\Big)^{-1}
    \frac{\partial f}{\partial \theta}$$

    Forward and reverse mode and higher derivatives work. No sample of a `vmap` touches the
    derivatives of the others; see [what a sample
    contributes](../concepts.md#what-a-sample-contributes).

    Up to 64 numbers in the state the Jacobian is a small dense matrix for each sample. Its LU
    factors tell beforehand whether it can be solved. Above, products with the Jacobian are all that
    is used: Richardson (Picard) iteration while it converges fast, then GMRES. An iterative solve
    that stops short of its tolerance gives the best that it found;
    [`eqx_qdeq.ImplicitVJPAdjoint`][] reports how it went, and [`eqx_qdeq.DEQ.diagnose`][] does for
    any.

    May be used wherever `optimistix.ImplicitAdjoint` may.

    !!! example

        ```python
        import jax
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        # z = a z / 2 + 1, so that z = 2 / (2 - a) and dz/da = 2 / (2 - a)².
        cell = qdeq.FunctionCell(lambda z, a: a * z / 2 + 1, jnp.zeros_like)
        deq = qdeq.DEQ(cell, adjoint=qdeq.ImplicitAdjoint())
        jax.grad(deq)(jnp.array(1.0))  # 2.
        jax.grad(jax.grad(deq))(jnp.array(1.0)).round(3)  # 4.
        ```

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
            matrix = -jax.jacfwd(gap)(point)
            return solve_dense_safely(matrix, right, usable, self.linear_solver)
        solver = self.linear_solver or default_linear_solver(point.dtype)
        _, product = jax.linearize(gap, point)

        def solve(a: Linear, b: Float[Array, " n"]) -> Float[Array, " n"]:
            operator = lx.FunctionLinearOperator(a, jax.eval_shape(lambda: b))
            return lx.linear_solve(operator, b, solver, throw=False).value

        # The identity where there is nothing to solve.
        operator = lambda t: jnp.where(usable, -product(t), t)
        return solve_linear(operator, jnp.where(usable, right, 0), solve)


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
    eye = jnp.eye(len(matrix), dtype=matrix.dtype)
    # Where it is not usable, the system becomes 1·x = 0.
    unless = lambda usable, a: jnp.where(usable, a, eye)
    constant = jax.lax.stop_gradient(matrix)
    usable = usable & all_finite(constant)
    direct, transposed, pivots = factorise(unless(usable, constant))
    pivots = jnp.abs(pivots)
    usable = usable & (jnp.min(pivots) > jnp.finfo(matrix.dtype).eps * jnp.max(pivots))
    if solver is not None:
        by = lambda a: lambda b: lx.linear_solve(a, b, solver, throw=False).value
        operator = lx.MatrixLinearOperator(unless(usable, constant))
        direct, transposed = by(operator), by(operator.T)
    matrix, right = unless(usable, matrix), jnp.where(usable, right, 0)
    safe = lambda solve: lambda _, b: jnp.where(usable, solve(b), b)
    return solve_linear(lambda t: dot(matrix, t), right, safe(direct), safe(transposed))
