"""The linear systems within Newton's method and its relatives."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import lineax as lx
from jax import lax
from jaxtyping import Array, Float, Int

from ._gmres import EarlyExitGMRES

# Up to here the Jacobian is formed and factorised; above, only products with it are used.
DENSE_SIZE = 64

# Up to here elimination is unrolled. In a batch of 256 on a CPU it takes a quarter of the time
# of LAPACK's LU, which is called matrix by matrix (size 4: 0.04 against 0.14 ms, size 10: 0.10
# against 0.42 ms). Above, the compile time of the unrolled code is not worth it.
UNROLLED_SIZE = 10

_HIGHEST = lax.Precision.HIGHEST

_Inverse = tuple[Array, Array]
"""A matrix and its inverse."""


def solve_shifted(
    product: Callable[[Float[Array, " n"]], Float[Array, " n"]],
    r: Float[Array, " n"],
    shift: float | Float[Array, ""],
    linear_solver: lx.AbstractLinearSolver | None,
    forcing: Float[Array, ""],
) -> tuple[Float[Array, " n"], int | Int[Array, ""]]:
    """Solves ((1 + shift) I - J) s = r.

    **Arguments:**

    - `product`: t ↦ J t.
    - `linear_solver`: if `None`, one that suits the size.
    - `forcing`: the relative accuracy that is enough, for the iterative solver chosen here.

    **Returns:** s, not finite if the matrix is singular; and how many products that took.
    """
    n = r.size
    if linear_solver is None and n <= DENSE_SIZE:
        eye = jnp.eye(n, dtype=r.dtype)
        jacobian = jax.vmap(product, in_axes=1, out_axes=1)(eye)
        return solve_dense((1 + shift) * eye - jacobian, r), n
    operator = lx.FunctionLinearOperator(
        lambda t: (1 + shift) * t - product(t), jax.eval_shape(lambda: r)
    )
    if linear_solver is None:
        solver, options = EarlyExitGMRES(rtol=0.0, atol=0.0), {"rtol": forcing}
    else:
        solver, options = linear_solver, {}
    solution = lx.linear_solve(operator, r, solver, options=options, throw=False)
    # A direct solver forms the matrix, by n products, and reports no steps.
    return solution.value, solution.stats.get("num_steps", n)


def solve_dense(a: Float[Array, "n n"], b: Float[Array, " n"]) -> Float[Array, " n"]:
    """Solves a x = b by Gaussian elimination with row pivoting; not finite if a is singular."""
    if b.size > UNROLLED_SIZE:
        return lx.linear_solve(lx.MatrixLinearOperator(a), b, lx.LU(), throw=False).value
    return _eliminate(a, b[:, None])[0][:, 0]


def _eliminate(
    a: Float[Array, "n n"], b: Float[Array, "n k"]
) -> tuple[Float[Array, "n k"], Float[Array, " n"]]:
    """The solution of a x = b, and the pivots."""
    n = a.shape[0]
    rest = jnp.concatenate([a, b], axis=1)
    rows = []
    for k in range(n):
        # The pivot's row is done; the first row takes its place among those that remain.
        pivot = jnp.argmax(jnp.abs(rest[:, 0]))
        row = rest[pivot]
        rows.append(row)
        rest = jnp.where((jnp.arange(n - k) == pivot)[:, None], rest[0], rest)[1:]
        rest = rest[:, 1:] - (rest[:, :1] / row[0]) * row[1:]
    x: list[Array] = []  # from the last unknown to the first
    for done, row in enumerate(reversed(rows)):
        known = sum((c * v for c, v in zip(row[1:], reversed(x), strict=False)), 0.0)
        x.append((row[done + 1 :] - known) / row[0])
    if not x:
        return b, jnp.zeros(0, a.dtype)
    return jnp.stack(x[::-1]), jnp.stack([row[0] for row in rows])


class Elimination(lx.AbstractLinearSolver):
    """A small dense system, by its inverse and one step of refinement.

    Factorising a batch of small matrices costs more in calls to LAPACK than in arithmetic: this
    is elementwise throughout. The refinement brings the inverse's residual down to that of LU.
    """

    def init(self, operator: lx.AbstractLinearOperator, options: dict[str, Any]) -> _Inverse:
        return self.factorise(operator.as_matrix())[0]

    def factorise(self, a: Float[Array, "n n"]) -> tuple[_Inverse, Float[Array, " n"]]:
        """The state for `lineax.linear_solve`, and the pivots."""
        inverse, pivots = _eliminate(a, jnp.eye(a.shape[0], dtype=a.dtype))
        return (a, inverse), pivots

    def compute(
        self, state: _Inverse, vector: Float[Array, " n"], options: dict[str, Any]
    ) -> tuple[Float[Array, " n"], lx.RESULTS, dict[str, Any]]:
        a, inverse = state
        x = jnp.dot(inverse, vector, precision=_HIGHEST)
        gap = vector - jnp.dot(a, x, precision=_HIGHEST)
        return x + jnp.dot(inverse, gap, precision=_HIGHEST), lx.RESULTS.successful, {}

    def transpose(self, state: _Inverse, options: dict[str, Any]) -> tuple[_Inverse, dict]:
        a, inverse = state
        return (a.T, inverse.T), {}

    def conj(self, state: _Inverse, options: dict[str, Any]) -> tuple[_Inverse, dict]:
        return state, {}  # real

    def assume_full_rank(self) -> bool:
        return True
