"""The linear systems within Newton's method and its relatives."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import jax.scipy as jsp
import lineax as lx
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from .._memory import check_memory
from .._precise import dot, HIGHEST
from ._gmres import EarlyExitGMRES

# Up to here the Jacobian is formed and factorized; above, only products with it are used.
DENSE_SIZE = 64

# Up to here elimination is unrolled. In a batch of 256 on a CPU it takes a quarter of the time
# of LAPACK's LU, which is called matrix by matrix (size 4: 0.04 against 0.14 ms, size 10: 0.10
# against 0.42 ms). Above, the compile time of the unrolled code is not worth it.
_UNROLLED_SIZE = 10


def is_iterative(linear_solver: lx.AbstractLinearSolver | None, n: int) -> bool:
    """Whether `solve_shifted` chooses an iterative solver, which needs to know how accurate."""
    return linear_solver is None and n > DENSE_SIZE


def check_matrix(linear_solver: object, n: int, dtype: jnp.dtype) -> None:
    """Refuses a direct solver where the matrix that it forms cannot fit."""
    if isinstance(linear_solver, lx.LU | lx.QR | lx.SVD | lx.AutoLinearSolver):
        check_memory(
            float(n) ** 2 * dtype.itemsize,
            f"the Jacobian of a state of {n:,} numbers, for {type(linear_solver).__name__}",
            "Leave `linear_solver` out: from 65 numbers on, products with the Jacobian are enough.",
        )


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
        # Columns of J, one product each: for n ≤ 64 cheaper than any iteration, and exact.
        eye = jnp.eye(n, dtype=r.dtype)
        jacobian = jax.vmap(product, in_axes=1, out_axes=1)(eye)
        return solve_dense((1 + shift) * eye - jacobian, r), n
    check_matrix(linear_solver, n, r.dtype)
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


def solve_with_the_flow(
    product: Callable[[Float[Array, " n"]], Float[Array, " n"]],
    r: Float[Array, " n"],
    shift: Float[Array, ""],
) -> tuple[Float[Array, " n"], int]:
    r"""Solves (shift I + |I - J|) s = r, where |·| makes growing modes of the flow grow.

    Let $A = I - J = V M V^{-1}$. The flow $\dot s = r - A s$ from s = 0 moves the mode with the
    coefficient c and the eigenvalue μ by $c\,(1 - e^{-\mu t})/\mu$: toward c/μ where Re μ > 0, but
    *away* from there where Re μ < 0, along c and without end. Implicit Euler with the step δ moves
    it by $c/(1/\delta + \mu)$. That is right for decay with every δ; for growth only while
    δ < 1/|Re μ|, and beyond that the sign is wrong: a large step goes to the saddle which the flow
    leaves. So here it is

    $$s = V\,\mathrm{diag}\Big(\frac{1}{1/\delta + |\mathrm{Re}\,\mu| + i\,\mathrm{Im}\,\mu}\Big)
    V^{-1} r,$$

    Newton's step as δ → ∞ where all modes decay, and along a growing one a step as long as
    Newton's, in the flow's direction. (For a symmetric J this is the saddle-free Newton method.)

    **Flat directions.** Next to a curve of equilibria their μ is of the size of the residual, of
    either sign, and r's share along them is of second order: Euler's divisor may vanish, this one
    may not, and the step's share along them tends to zero with the residual. On the curve itself,
    where both are zero, the share is r's times δ, that is zero: the step of least norm.
    """
    n = r.size
    eye = jnp.eye(n, dtype=r.dtype)
    # The steps are a means: how they change has no part in derivatives through the iterations,
    # whose fixed point does not depend on it.
    a = lax.stop_gradient(eye - jax.vmap(product, in_axes=1, out_axes=1)(eye))
    # LAPACK looks for modes of finite numbers only.
    finite = jnp.all(jnp.isfinite(a))
    safe = jnp.where(finite, a, eye)
    mu, modes = jnp.linalg.eig(safe)
    complexed = lambda x: x.astype(modes.dtype)
    share = jnp.linalg.solve(modes, complexed(r))
    divisor = lax.complex(jnp.abs(mu.real) + shift, mu.imag)
    s = dot(modes, share / divisor).real
    # Modes that almost coincide (a defective matrix) do not give r back; then it is Euler's step.
    lost = jnp.linalg.norm(dot(modes, share).real - r)
    fine = (lost <= jnp.sqrt(jnp.finfo(r.dtype).eps) * jnp.linalg.norm(r)) & finite
    return jnp.where(fine, s, solve_dense(shift * eye + a, r)), n


def solve_dense(a: Float[Array, "n n"], b: Float[Array, " n"]) -> Float[Array, " n"]:
    """Solves a x = b by Gaussian elimination with row pivoting; not finite if a is singular."""
    if b.size > _UNROLLED_SIZE:
        # Not by Lineax, whose derivative raises where it is not finite.
        return jnp.linalg.solve(a, b)
    return _eliminate(a, b[:, None])[0][:, 0]


def _eliminate(
    a: Float[Array, "n n"], b: Float[Array, "n k"]
) -> tuple[Float[Array, "n k"], Float[Array, " n"]]:
    """The solution of a x = b, and the pivots."""
    # In `lax` and not `jax.numpy`: a third of the time to trace a training step was spent here.
    # Row operations on [a | b]: for each column, the row with the largest entry left (the pivot) is
    # brought to the front, and multiples of it clear the column below. Larger pivots could only be
    # had by exchanging columns too; with rows alone the factors are at most 1, so that rounding
    # cannot grow much at these sizes. Then the unknowns follow from the last row upwards.
    n = a.shape[0]
    if n == 0:
        return b, jnp.zeros(0, a.dtype)
    rest = lax.concatenate([a, b], 1)
    rows, pivots = [], []
    for k in range(n):
        # The pivot's row is done; the first row takes its place among those that remain.
        column = lax.index_in_dim(rest, 0, 1, keepdims=False)
        pivot = lax.argmax(lax.abs(column), 0, np.int32)
        row = lax.dynamic_slice_in_dim(rest, pivot, 1)
        first = lax.broadcast_in_dim(lax.slice_in_dim(rest, 0, 1), rest.shape, (0, 1))
        here = lax.eq(lax.iota(np.int32, n - k), lax.broadcast(pivot, (n - k,)))
        rest = lax.select(lax.broadcast_in_dim(here, rest.shape, (0,)), first, rest)
        head, row = lax.slice_in_dim(row, 0, 1, axis=1), lax.slice_in_dim(row, 1, None, axis=1)
        factors = lax.slice(rest, (1, 0), (n - k, 1)) / head
        rest = lax.slice(rest, (1, 1), rest.shape) - factors * row
        rows.append(row)
        pivots.append(lax.squeeze(head, (0, 1)))
    x = None  # the rows that are solved, from the last unknown upwards
    for row, pivot in zip(reversed(rows), reversed(pivots), strict=True):
        done = 0 if x is None else x.shape[0]
        right = lax.slice_in_dim(row, done, None, axis=1)
        if x is not None:
            known = lax.slice_in_dim(row, 0, done, axis=1)
            right = right - lax.dot(known, x, precision=HIGHEST)
        right = right / pivot
        x = right if x is None else lax.concatenate([right, x], 0)
    assert x is not None
    return x, jnp.stack(pivots)


Solve = Callable[[Float[Array, " n"]], Float[Array, " n"]]


def factorise(a: Float[Array, "n n"]) -> tuple[Solve, Solve, Float[Array, " n"]]:
    """What solves a x = b and aᵀ x = b, and the pivots of a.

    Up to size 5 by the inverse, elementwise throughout: factorizing a batch of tiny matrices costs
    more in calls to LAPACK than in arithmetic. Above, that takes long to compile.
    """
    n = a.shape[0]
    if n > 5:
        factors, order = jsp.linalg.lu_factor(a)
        by = lambda trans: lambda b: jsp.linalg.lu_solve((factors, order), b, trans=trans)
        return by(0), by(1), jnp.diagonal(factors)
    inverse, pivots = _eliminate(a, jnp.eye(n, dtype=a.dtype))

    def refined(a: Array, inverse: Array) -> Solve:
        # x = A⁻¹ b errs by eps κ(A)² ‖b‖ in its residual; one correction by A⁻¹ (b - A x) leaves
        # eps κ(A) ‖b‖, what LU has.
        def solve(b: Float[Array, " n"]) -> Float[Array, " n"]:
            x = dot(inverse, b)
            return x + dot(inverse, b - dot(a, x))

        return solve

    return refined(a, inverse), refined(a.T, inverse.T), pivots
