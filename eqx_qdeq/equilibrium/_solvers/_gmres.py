"""GMRES that stops as soon as it is accurate enough."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import lineax as lx
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, PyTree

_HIGHEST = lax.Precision.HIGHEST


class EarlyExitGMRES(lx.AbstractLinearSolver[lx.AbstractLinearOperator]):
    r"""Restarted GMRES with a test after each product.

    `lineax.GMRES` tests between its cycles only: where 12 products are enough it still does 43.
    Here Givens rotations give the residual's norm within a cycle, and it stops once $\|b - A x\|
    \le \mathrm{atol} + \mathrm{rtol}\,\|b\|$. `options={"rtol": ...}` overrides `rtol` for one
    solve, e.g. by a forcing term. `stats["num_steps"]` counts the products.

    ??? cite "Reference"

        Y. Saad and M. H. Schultz, "GMRES: a generalized minimal residual algorithm for solving
        nonsymmetric linear systems", SIAM Journal on Scientific and Statistical Computing 7
        (1986), 856-869.
    """

    rtol: float
    atol: float
    restart: int = 30
    max_steps: int | None = None

    def init(
        self, operator: lx.AbstractLinearOperator, options: dict[str, Any]
    ) -> lx.AbstractLinearOperator:
        return lx.linearise(operator)

    def compute(
        self, state: lx.AbstractLinearOperator, vector: PyTree[Array], options: dict[str, Any]
    ) -> tuple[PyTree[Array], lx.RESULTS, dict[str, Any]]:
        b, unravel = ravel_pytree(vector)
        product = lambda x: ravel_pytree(state.mv(unravel(x)))[0]
        limit = 10 * b.size if self.max_steps is None else self.max_steps
        memory = min(self.restart, b.size)
        rtol = options.get("rtol", self.rtol)
        target = jnp.asarray(self.atol + rtol * jnp.linalg.norm(b), b.dtype)

        def cycle(carry: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
            x, r, steps, _ = carry
            change, used = _cycle(product, r, memory, target, limit - steps)
            new = b - product(x + change)
            # Rounding may end the descent above the target.
            stuck = ~(jnp.linalg.norm(new) <= 0.99 * jnp.linalg.norm(r))
            worse = ~(jnp.linalg.norm(new) <= jnp.linalg.norm(r))
            x, r = jnp.where(worse, x, x + change), jnp.where(worse, r, new)
            return x, r, steps + used + 1, stuck

        def unfinished(carry: tuple[Array, Array, Array, Array]) -> Bool[Array, ""]:
            _, r, steps, stuck = carry
            return (jnp.linalg.norm(r) > target) & (steps < limit) & ~stuck

        start = (jnp.zeros_like(b), b, jnp.array(0), jnp.array(False))
        x, r, steps, stuck = lax.while_loop(unfinished, cycle, start)
        result = lx.RESULTS.where(stuck, lx.RESULTS.stagnation, lx.RESULTS.max_steps_reached)
        reached = jnp.linalg.norm(r) <= target
        result = lx.RESULTS.where(reached, lx.RESULTS.successful, result)
        return unravel(x), result, {"num_steps": steps, "max_steps": self.max_steps}

    def transpose(
        self, state: lx.AbstractLinearOperator, options: dict[str, Any]
    ) -> tuple[lx.AbstractLinearOperator, dict[str, Any]]:
        return state.transpose(), options

    def conj(
        self, state: lx.AbstractLinearOperator, options: dict[str, Any]
    ) -> tuple[lx.AbstractLinearOperator, dict[str, Any]]:
        return lx.conj(state), options

    def assume_full_rank(self) -> bool:
        return True


EarlyExitGMRES.__init__.__doc__ = """**Arguments:**

- `rtol`, `atol`: the tolerance is `atol + rtol * ‖b‖`, on the residual's Euclidean norm.
- `restart`: length of a cycle. Costs that many vectors of memory.
- `max_steps`: products at most; ten times the size of the vector if left out.
"""


def _cycle(
    product: Callable[[Float[Array, " n"]], Float[Array, " n"]],
    r: Float[Array, " n"],
    memory: int,
    target: Float[Array, ""],
    limit: Int[Array, ""],
) -> tuple[Float[Array, " n"], Int[Array, ""]]:
    """One cycle of at most `memory` products: the change of x, and the products made.

    Arnoldi's relation A V_k = V_{k+1} H_k turns min ‖r - A V_k y‖ into min ‖β e_1 - H_k y‖.
    Rotations keep H_k triangular as it grows; they turn β e_1 into a vector whose last entry is
    the residual's norm.
    """
    dtype = r.dtype
    beta = jnp.linalg.norm(r)
    basis = jnp.zeros((memory + 1, r.size), dtype).at[0].set(r / jnp.where(beta > 0, beta, 1))
    triangle = jnp.eye(memory, dtype=dtype)
    rotations = jnp.zeros((memory, 2), dtype)
    rhs = jnp.zeros(memory + 1, dtype).at[0].set(beta)

    def extend(carry):
        k, basis, triangle, rotations, rhs, _ = carry
        w = product(basis[k])
        size = jnp.linalg.norm(w)
        # Twice is enough: classical Gram-Schmidt loses orthogonality only in its first pass.
        column = jnp.zeros(memory + 1, dtype)
        for _ in range(2):
            projection = jnp.dot(basis, w, precision=_HIGHEST)
            w = w - jnp.dot(projection, basis, precision=_HIGHEST)
            column = column + projection
        height = jnp.linalg.norm(w)
        broken = ~(height > jnp.finfo(dtype).eps * size)  # the space is invariant: done
        height = jnp.where(broken, 0, height)
        basis = basis.at[k + 1].set(jnp.where(broken, 0, w / jnp.where(broken, 1, height)))

        def rotate(i: Array, column: Array) -> Array:
            c, s = rotations[i]
            above, below = column[i], column[i + 1]
            turned = column.at[i].set(c * above + s * below)
            turned = turned.at[i + 1].set(c * below - s * above)
            return jnp.where(i < k, turned, column)

        column = lax.fori_loop(0, memory, rotate, column)
        length = jnp.hypot(column[k], height)
        safe = jnp.where(length > 0, length, 1)
        c, s = jnp.where(length > 0, column[k] / safe, 1), height / safe
        rotations = rotations.at[k].set(jnp.stack([c, s]))
        upper = jnp.where(jnp.arange(memory) < k, column[:memory], 0).at[k].set(length)
        triangle = triangle.at[:, k].set(upper)
        rhs = rhs.at[k + 1].set(-s * rhs[k]).at[k].set(c * rhs[k])
        return k + 1, basis, triangle, rotations, rhs, broken

    def unfinished(carry) -> Bool[Array, ""]:
        k, _, _, _, rhs, broken = carry
        return (k < memory) & (k < limit) & (jnp.abs(rhs[k]) > target) & ~broken

    start = (jnp.array(0), basis, triangle, rotations, rhs, jnp.array(False))
    k, basis, triangle, _, rhs, _ = lax.while_loop(unfinished, extend, start)
    used = jnp.arange(memory) < k
    y = jax.scipy.linalg.solve_triangular(triangle, jnp.where(used, rhs[:memory], 0))
    y = jnp.where(used & jnp.isfinite(y), y, 0)
    return jnp.dot(y, basis[:memory], precision=_HIGHEST), k
