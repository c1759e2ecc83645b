"""GMRES that stops as soon as it is accurate enough."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import lineax as lx
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, PyTree

from .._precise import dot


class EarlyExitGMRES(lx.AbstractLinearSolver[lx.AbstractLinearOperator]):
    r"""Restarted GMRES with a test after each product.

    `lineax.GMRES` tests between its cycles only: where 12 products are enough it still does 43.
    Here Givens rotations give the residual's norm within a cycle, and it stops once $\|b - A x\|
    \le \mathrm{atol} + \mathrm{rtol}\,\|b\|$. `options={"rtol": ...}` overrides `rtol` for one
    solve, e.g. by a forcing term. `stats["num_steps"]` counts the products.

    !!! example

        ```python
        import jax.numpy as jnp
        import lineax as lx
        import eqx_qdeq as qdeq

        operator = lx.MatrixLinearOperator(jnp.array([[2.0, 1.0], [0.0, 4.0]]))
        solver = qdeq.EarlyExitGMRES(rtol=1e-5, atol=1e-5)
        lx.linear_solve(operator, jnp.array([4.0, 4.0]), solver).value.round(3)
        # [1.5 1. ]
        ```

    ??? cite "Reference"

        Y. Saad and M. H. Schultz, "GMRES: a generalized minimal residual algorithm for solving
        nonsymmetric linear systems", SIAM Journal on Scientific and Statistical Computing 7
        (1986), 856-869.
    """

    rtol: float
    atol: float
    restart: int = 30
    max_steps: int | None = None
    richardson: int = 0

    def init(
        self, operator: lx.AbstractLinearOperator, options: dict[str, Any]
    ) -> lx.AbstractLinearOperator:
        return lx.linearise(operator)

    def compute(
        self, state: lx.AbstractLinearOperator, vector: PyTree[Array], options: dict[str, Any]
    ) -> tuple[PyTree[Array], lx.RESULTS, dict[str, Any]]:
        b, unravel = ravel_pytree(vector)
        product = lambda x: ravel_pytree(state.mv(unravel(x)))[0]
        found = gmres(product, b, self, rtol=options.get("rtol"))
        stats = {"num_steps": found.num_steps, "max_steps": self.max_steps}
        return unravel(found.value), found.result, stats

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

    # The same question as Lineax put it before 0.1.1.
    def allow_dependent_columns(self, operator: lx.AbstractLinearOperator) -> bool:
        return False

    def allow_dependent_rows(self, operator: lx.AbstractLinearOperator) -> bool:
        return False


EarlyExitGMRES.__init__.__doc__ = """**Arguments:**

- `rtol`, `atol`: the tolerance is `atol + rtol * ‖b‖`, on the residual's Euclidean norm.
- `restart`: length of a cycle. Costs that many vectors of memory.
- `max_steps`: products at most; ten times the size of the vector if left out.
- `richardson`: steps of Richardson iteration at most before the first cycle. For systems
    $(I - J)\\,x = b$ it is Picard iteration: one product and no memory each. It ends as soon as a
    step takes less than a quarter off the residual, and after as many steps as there are unknowns.
"""


class GMRESSolution(NamedTuple):
    """What `gmres` found."""

    value: Float[Array, " n"]
    result: lx.RESULTS
    residual: Float[Array, ""]
    num_steps: Int[Array, ""]


def gmres(
    product: Callable[[Float[Array, " n"]], Float[Array, " n"]],
    b: Float[Array, " n"],
    settings: EarlyExitGMRES,
    *,
    rtol: float | Float[Array, ""] | None = None,
    y0: Float[Array, " n"] | None = None,
) -> GMRESSolution:
    """Solves A x = b for a map `product`, x ↦ A x, that is only ever evaluated.

    (What Lineax solves it may also linearize, which a `jax.custom_vjp` of a hardware call
    forbids.)

    **Arguments:**

    - `settings`: tolerances and memory.
    - `rtol`: overrides that of the settings.
    - `y0`: where to start; zero if left out.
    """
    # GMRES is done after as many products as there are unknowns: no use in more steps before.
    richardson = min(settings.richardson, b.size)
    limit = 10 * b.size + richardson if settings.max_steps is None else settings.max_steps
    memory = min(settings.restart, b.size)
    rtol = settings.rtol if rtol is None else rtol
    target = jnp.asarray(settings.atol + rtol * jnp.linalg.norm(b), b.dtype)

    def cycle(carry: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        x, r, steps, _ = carry
        change, used = _cycle(product, r, memory, target, limit - steps)
        new = b - product(x + change)
        # Rounding may end the descent above the target.
        stuck = ~(jnp.linalg.norm(new) <= 0.99 * jnp.linalg.norm(r))
        worse = ~(jnp.linalg.norm(new) <= jnp.linalg.norm(r))
        # Each cycle begins from the true residual: the one that rotations carry along drifts from
        # it.
        x, r = jnp.where(worse, x, x + change), jnp.where(worse, r, new)
        return x, r, steps + used + 1, stuck

    def unfinished(carry: tuple[Array, Array, Array, Array]) -> Bool[Array, ""]:
        _, r, steps, stuck = carry
        return (jnp.linalg.norm(r) > target) & (steps < limit) & ~stuck

    x, r, steps = jnp.zeros_like(b), b, jnp.array(0)
    if y0 is not None:
        better = b - product(y0)
        closer = jnp.linalg.norm(better) < jnp.linalg.norm(b)  # false for NaN
        x, r = jnp.where(closer, y0, x), jnp.where(closer, better, r)
        steps = steps + 1
    if richardson > 0:
        x, r, steps = _richardson(product, x, r, steps, target, min(limit, richardson))
    x, r, steps, stuck = lax.while_loop(unfinished, cycle, (x, r, steps, jnp.array(False)))
    result = lx.RESULTS.where(stuck, lx.RESULTS.stagnation, lx.RESULTS.max_steps_reached)
    residual = jnp.linalg.norm(r)
    result = lx.RESULTS.where(residual <= target, lx.RESULTS.successful, result)
    return GMRESSolution(x, result, residual, steps)


def _richardson(
    product: Callable[[Float[Array, " n"]], Float[Array, " n"]],
    x: Float[Array, " n"],
    r: Float[Array, " n"],
    steps: Int[Array, ""],
    target: Float[Array, ""],
    limit: int,
) -> tuple[Float[Array, " n"], Float[Array, " n"], Int[Array, ""]]:
    """x ← x + r, where the residual becomes r - A r, as long as that pays."""

    def step(carry: tuple[Array, ...]) -> tuple[Array, ...]:
        x, r, steps, _ = carry
        # A = I - J: Richardson's x ← x + r is Picard's iteration for x = b + J x. Contractive cells
        # need few of these, of one product each, while a GMRES cycle does not look at the residual
        # of its own x until it ends.
        new = r - product(r)
        quick = jnp.linalg.norm(new) <= 0.75 * jnp.linalg.norm(r)
        closer = jnp.linalg.norm(new) < jnp.linalg.norm(r)
        x, r = jnp.where(closer, x + r, x), jnp.where(closer, new, r)
        return x, r, steps + 1, quick

    def unfinished(carry: tuple[Array, ...]) -> Bool[Array, ""]:
        _, r, steps, quick = carry
        return (jnp.linalg.norm(r) > target) & (steps < limit) & quick

    x, r, steps, _ = lax.while_loop(unfinished, step, (x, r, steps, jnp.array(True)))
    return x, r, steps


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
    the residual's norm. They are kept as their product: one matrix to apply instead of a loop.
    """
    dtype = r.dtype
    beta = jnp.linalg.norm(r)
    basis = jnp.zeros((memory + 1, r.size), dtype).at[0].set(r / jnp.where(beta > 0, beta, 1))
    triangle = jnp.eye(memory, dtype=dtype)
    rotation = jnp.eye(memory + 1, dtype=dtype)
    rhs = jnp.zeros(memory + 1, dtype).at[0].set(beta)

    def extend(carry):
        k, basis, triangle, rotation, rhs, _ = carry
        w = product(basis[k])
        size = jnp.linalg.norm(w)
        # Twice is enough: classical Gram-Schmidt loses orthogonality only in its first pass.
        column = jnp.zeros(memory + 1, dtype)
        for _ in range(2):
            projection = dot(basis, w)
            w = w - dot(projection, basis)
            column = column + projection
        height = jnp.linalg.norm(w)
        broken = ~(height > jnp.finfo(dtype).eps * size)  # the space is invariant: done
        height = jnp.where(broken, 0, height)
        basis = basis.at[k + 1].set(jnp.where(broken, 0, w / jnp.where(broken, 1, height)))

        # The old rotations act on the new column, and one more turns its last entry, the height, to
        # 0.
        column = dot(rotation, column)
        length = jnp.hypot(column[k], height)
        safe = jnp.where(length > 0, length, 1)
        c, s = jnp.where(length > 0, column[k] / safe, 1), height / safe
        upper_row, lower_row = rotation[k], rotation[k + 1]
        rotation = rotation.at[k].set(c * upper_row + s * lower_row)
        rotation = rotation.at[k + 1].set(c * lower_row - s * upper_row)
        upper = jnp.where(jnp.arange(memory) < k, column[:memory], 0).at[k].set(length)
        triangle = triangle.at[:, k].set(upper)
        # |rhs[k + 1]| = |s| |rhs[k]| is the residual that the best combination of k + 1 vectors
        # leaves.
        rhs = rhs.at[k + 1].set(-s * rhs[k]).at[k].set(c * rhs[k])
        return k + 1, basis, triangle, rotation, rhs, broken

    def unfinished(carry) -> Bool[Array, ""]:
        k, _, _, _, rhs, broken = carry
        return (k < memory) & (k < limit) & (jnp.abs(rhs[k]) > target) & ~broken

    start = (jnp.array(0), basis, triangle, rotation, rhs, jnp.array(False))
    k, basis, triangle, _, rhs, _ = lax.while_loop(unfinished, extend, start)
    used = jnp.arange(memory) < k
    y = jax.scipy.linalg.solve_triangular(triangle, jnp.where(used, rhs[:memory], 0))
    y = jnp.where(used & jnp.isfinite(y), y, 0)
    return dot(y, basis[:memory]), k
