"""The linear systems within Newton's method and its relatives."""

import jax
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, Float

from ._gmres import EarlyExitGMRES

DENSE_SIZE = 64
_UNROLLED_SIZE = 10


def solve_shifted(lin_fn, r, shift, linear_solver, forcing):
    """(shift + 1) I - J"""
    n = r.size
    if linear_solver is None and n <= DENSE_SIZE:
        eye = jnp.eye(n, dtype=r.dtype)
        jac = jax.vmap(lin_fn, in_axes=1, out_axes=1)(eye)
        a = (1 + shift) * eye - jac
        return solve_dense(a, r), n
    op = lx.FunctionLinearOperator(
        lambda t: (1 + shift) * t - lin_fn(t), jax.eval_shape(lambda: r)
    )
    if linear_solver is None:
        sol = lx.linear_solve(op, r, EarlyExitGMRES(), options={"rtol": forcing}, throw=False)
    else:
        sol = lx.linear_solve(op, r, linear_solver, throw=False)
    return sol.value, sol.stats.get("num_steps", n)


def solve_dense(a, b):
    n = b.size
    if n > _UNROLLED_SIZE:
        return lx.linear_solve(lx.MatrixLinearOperator(a), b, lx.LU(), throw=False).value
    m = jnp.concatenate([a, b[:, None]], axis=1)
    rows = []
    for k in range(n):
        p = jnp.argmax(jnp.abs(m[:, 0]))
        row = m[p]
        rows.append(row)
        if k < n - 1:
            m = jnp.where((jnp.arange(n - k) == p)[:, None], m[0], m)[1:]
            m = m[:, 1:] - (m[:, :1] / row[0]) * row[1:]
    x = []
    for row in reversed(rows):
        value = row[-1]
        for j, xj in enumerate(reversed(x)):
            value = value - row[1 + j] * xj
        x.append(value / row[0])
    return jnp.stack(x[::-1])
