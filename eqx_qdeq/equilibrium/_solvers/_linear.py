"""The linear systems within Newton's method and its relatives."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, Float, Int

from ._gmres import EarlyExitGMRES

# Up to here the Jacobian is formed and factorised; above, only products with it are used.
DENSE_SIZE = 64

# Up to here elimination is unrolled. In a batch of 256 on a CPU it takes a quarter of the time
# of LAPACK's LU, which is called matrix by matrix (size 4: 0.04 against 0.14 ms, size 10: 0.10
# against 0.42 ms). Above, the compile time of the unrolled code is not worth it.
_UNROLLED_SIZE = 10


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
    n = b.size
    if n > _UNROLLED_SIZE:
        operator = lx.MatrixLinearOperator(a)
        return lx.linear_solve(operator, b, lx.LU(), throw=False).value
    rest = jnp.concatenate([a, b[:, None]], axis=1)
    rows = []
    for k in range(n):
        # The pivot's row is done; the first row takes its place among those that remain.
        pivot = jnp.argmax(jnp.abs(rest[:, 0]))
        row = rest[pivot]
        rows.append(row)
        rest = jnp.where((jnp.arange(n - k) == pivot)[:, None], rest[0], rest)[1:]
        rest = rest[:, 1:] - (rest[:, :1] / row[0]) * row[1:]
    x: list[Array] = []  # from the last unknown to the first
    for row in reversed(rows):
        known = sum((c * v for c, v in zip(row[1:-1], reversed(x), strict=True)), 0.0)
        x.append((row[-1] - known) / row[0])
    return jnp.stack(x[::-1]) if x else b
