"""The implicit adjoint, safe for each sample of a batch."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, Bool, Float

from .._checks import check_instance
from .._precise import dot
from .._trees import all_finite
from ..solvers import check_matrix, DENSE_SIZE, EarlyExitGMRES, factorise
from ._base import Linear, solve_linear
from ._linearised import AbstractLinearizedAdjoint


class ImplicitAdjoint(AbstractLinearizedAdjoint):
    r"""Differentiates an equilibrium by the implicit function theorem, each sample on its own:
    exactly, to the tolerance of the solve.

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

    Where equilibria lie on a curve, $I - J$ is singular along it. With `least_norm=True` the
    systems are solved by the singular values above rounding and the solve's residual. What is the
    same for all of these equilibria, such as what is measured, has exact derivatives. What is not
    has none, and in reverse mode comes out as NaN; in forward mode the tangent is that of the
    equilibria that move least.

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
    least_norm: bool | None = eqx.field(static=True, default=None)

    def __check_init__(self) -> None:
        name = "ImplicitAdjoint(least_norm=...)"
        check_instance(name, self.least_norm, bool | None, "True, False or None")

    def tangent(
        self,
        gap: Callable[[Float[Array, " n"]], Float[Array, " n"]],
        point: Float[Array, " n"],
        right: Float[Array, " n"],
        usable: Bool[Array, ""],
    ) -> Float[Array, " n"]:
        if point.size <= DENSE_SIZE:
            matrix = -jax.jacfwd(gap)(point)
            if self.least_norm:
                return solve_least_norm(matrix, right, usable, _curvature(gap, point))
            return solve_dense_safely(matrix, right, usable, self.linear_solver)
        check_matrix(self.linear_solver, point.size, point.dtype)
        solver = self.linear_solver or default_linear_solver(point.dtype)
        _, product = jax.linearize(gap, point)
        curvature = _curvature(gap, point) if self.least_norm else None

        def solve(a: Linear, b: Float[Array, " n"]) -> Float[Array, " n"]:
            operator = lx.FunctionLinearOperator(a, jax.eval_shape(lambda: b))
            x = lx.linear_solve(operator, b, solver, throw=False).value
            if curvature is None:
                return x
            # From zero a Krylov method stays in the range of what it is given, so where range and
            # left null space are normal to each other x is the solution of least norm, if any is.
            # Off the curve, by what the residual leaves, the system may be regular; then what is
            # not in the range makes x as large as one over that.
            share = _inconsistency(b.dtype) * jnp.linalg.norm(b)
            solved = jnp.linalg.norm(b - a(x)) <= share
            solved &= jnp.linalg.norm(x) * curvature <= share
            return jnp.where(solved, x, jnp.nan)

        # The identity where there is nothing to solve.
        operator = lambda t: jnp.where(usable, -product(t), t)
        right = jnp.where(usable, right, 0)
        if self.least_norm:
            return jax.lax.custom_linear_solve(operator, right, solve, solve)
        return solve_linear(operator, right, solve)


ImplicitAdjoint.__init__.__doc__ = """**Arguments:**

- `linear_solver`: the Lineax solver for the linear system of one sample, given as a matrix up to
    64 numbers in the state and as products above; if left out, one that suits its size. Not used
    for dense systems of least norm.
- `least_norm`: whether $I - J$ may be singular along a curve of equilibria. What does not change
    along it then has exact derivatives; those of what does are NaN. Left out, `DEQ` decides by the
    cell: it is for a [`eqx_qdeq.SelfConsistentCell`][], and is not for others.

**Raises:** `TypeError` for a `least_norm` that is neither a Boolean nor `None`.
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


def _inconsistency(dtype: jnp.dtype) -> float:
    """The share of a right side out of the range that rounding and the solve's error explain."""
    return float(jnp.finfo(dtype).eps) ** 0.25


# Singular values below this many residuals belong to a curve of equilibria: at a point off the
# curve, by the error that the residual leaves, that along it is of the order of the curvature times
# ‖r‖.
_CURVATURE = 30.0


def _curvature(gap: Callable[[Array], Array], point: Float[Array, " n"]) -> Float[Array, ""]:
    return _CURVATURE * jnp.linalg.norm(jax.lax.stop_gradient(gap(point)))


def solve_least_norm(
    matrix: Float[Array, "n n"],
    right: Float[Array, " n"],
    usable: Bool[Array, ""],
    curvature: Float[Array, ""],
) -> Float[Array, " n"]:
    r"""The solution of least norm of A t = b; NaN if there is none. Zero if not usable.

    Let $A = U \Sigma V^\top$, with the columns $V_0$ and $U_0$ for the singular values that are
    zero. A t = b has a solution if and only if $U_0^\top b = 0$, and $A^\top u = v$ if and only if
    $V_0^\top v = 0$. Then $t = A^+ b$ and $u = (A^+)^\top v$ are those of least norm, and
    $v\cdot t$, the derivative of what has the gradient v, is the same for all solutions t, as they
    differ by $V_0$. It is exact, also after the directions that were left out: along a curve of
    equilibria $z(s)$ tangents may be chosen in any way, and all choices are derivatives of some
    family of equilibria. The same holds for the second derivatives, for which A dt = db - dA t is
    solved: a family that begins with t exists, so its right side is in the range.

    If $V_0^\top v \neq 0$, the value depends on which equilibrium of the curve is taken: its
    derivative does not exist.
    """
    n, dtype = len(matrix), matrix.dtype
    eye = jnp.eye(n, dtype=dtype)
    constant = jax.lax.stop_gradient(matrix)
    usable = usable & all_finite(constant)
    u, sigma, vt = jnp.linalg.svd(jnp.where(usable, constant, eye))
    floor = jnp.maximum(n * jnp.finfo(dtype).eps * sigma[0], curvature)
    regular = sigma > floor
    inverse = jnp.where(regular, 1 / jnp.where(regular, sigma, 1), 0)

    def solve(left: Array, out: Array, b: Float[Array, " n"]) -> Float[Array, " n"]:
        share = dot(left, b)
        outside = jnp.linalg.norm(jnp.where(regular, 0, share))
        exists = outside <= _inconsistency(dtype) * jnp.linalg.norm(b)
        x = dot(out.T, inverse * share)
        # A caller's NaN is the caller's to see.
        return jnp.where(usable, jnp.where(exists & all_finite(b), x, jnp.nan), b)

    matrix, right = jnp.where(usable, matrix, eye), jnp.where(usable, right, 0)
    return jax.lax.custom_linear_solve(
        lambda t: dot(matrix, t),
        right,
        lambda _, b: solve(u.T, vt, b),
        lambda _, b: solve(vt, u.T, b),
    )
