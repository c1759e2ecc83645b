"""Newton's method, globalised."""

from collections.abc import Callable
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import lineax as lx
import optimistix as optx
from jax import lax
from jaxtyping import Array, Float, Int, PyTree, Scalar

from .._checks import can_check, check_at_least
from ._base import (
    AbstractResidualSolver,
    check_tolerances,
    finite_or,
    FlatMap,
    Point,
    Proposal,
    SolverLimits,
)
from ._linear import is_iterative, solve_shifted
from ._pseudo_transient import check_flow, grown

# Steps without progress, as a share of `limits.stagnation`, after which another way is tried.
_UNDAMPED, _LINE_SEARCH = 0.5, 0.9


class _Memory(eqx.Module):
    start: Float[Array, " n"]
    way: Int[Array, ""]  # 0: descent, then the flow; 1: undamped; 2: line search
    base: Float[Array, " n"]  # the last accepted iterate, with
    base_error: Float[Array, ""]
    direction: Float[Array, " n"]  # ... the direction there
    step_size: Float[Array, ""]
    time_step: Float[Array, ""]  # of the flow; infinite for Newton's method
    forcing: Float[Array, ""]


class Newton(AbstractResidualSolver):
    r"""Newton's method on $f(y) - y = 0$, which follows a flow where it finds no descent.

    $$y_{k+1} = y_k + t\, s_k, \qquad (I - J(y_k))\, s_k = f(y_k) - y_k$$

    Each step evaluates f and its Jacobian at one trial point. If the point lowers the residual
    enough, $\|r(y + ts)\| \le (1 - ct)\,\|r(y)\|$, it is accepted and its Jacobian gives the next
    direction; if not, the next step tries half of t, up to `backtracks` times. So nothing loops
    within a step, and samples in a `vmap` do not wait for each other's line searches. Where
    $I - J$ is singular the direction is Picard's.

    Close to an equilibrium the number of correct digits doubles with each step: quantum cells
    typically take 3 to 5 steps. Without descent the residual has a local minimum nearby that need
    not be an equilibrium. From there on the solve follows the flow $\dot y = f(y) - y$ as
    [`eqx_qdeq.PseudoTransient`][] does, which may raise the residual for a while, and which turns
    into Newton's method again as an equilibrium comes near. The best iterate is kept throughout.

    Where that leads nowhere for half of the steps that `limits.stagnation` allows, two other ways
    are tried before the solve gives up: undamped Newton steps from the initial guess, which find
    roots behind hills of the residual; then steps downhill from the best iterate, however short.

    Up to 64 numbers in the state the Jacobian is formed, by that many Jacobian-vector products,
    and factorized. Above, GMRES solves the system as accurately as the progress of the last step
    deserves (Eisenstat and Walker's second forcing term).

    Needs Jacobian-vector products: f may not be a `jax.custom_vjp`.

    !!! example

        ```python
        import jax.numpy as jnp
        import optimistix as optx
        import eqx_qdeq as qdeq

        solver = qdeq.Newton(rtol=1e-5, atol=1e-5)
        optx.fixed_point(lambda y, _: jnp.cos(y), solver, jnp.zeros(1)).value.round(3)
        # [0.739]
        ```

    ??? cite "Reference"

        C. T. Kelley, "Solving nonlinear equations with Newton's method", SIAM (2003); S. C.
        Eisenstat and H. F. Walker, "Choosing the forcing terms in an inexact Newton method",
        SIAM Journal on Scientific Computing 17 (1996), 16-32.
    """

    rtol: float
    atol: float
    norm: Callable[[PyTree], Scalar] = eqx.field(static=True, default=optx.two_norm)
    linear_solver: lx.AbstractLinearSolver | None = None
    armijo: float = 1e-4
    backtracks: int = eqx.field(static=True, default=0)
    time_step: float = 1.0
    growth: float = 10.0
    limits: SolverLimits = SolverLimits()

    linearizes: ClassVar[bool] = True

    def __check_init__(self) -> None:
        check_tolerances(self)
        check_at_least("Newton(backtracks=...)", self.backtracks, 0)
        if can_check("Newton(armijo=...)", self.armijo) and not 0 <= self.armijo < 1:
            raise ValueError(
                "`Newton(armijo=...)` must be at least 0 and below 1, the decrease that a full "
                f"step promises; got {self.armijo}. 1e-4 is usual."
            )
        check_flow("Newton", self.time_step, self.growth)

    def remember(self, y: Float[Array, " n"], f: FlatMap) -> _Memory:
        infinity, one = jnp.array(jnp.inf, y.dtype), jnp.array(1, y.dtype)
        return _Memory(
            start=y,
            way=jnp.array(0),
            base=y,
            base_error=infinity,
            direction=jnp.zeros_like(y),
            step_size=one,
            time_step=infinity,
            forcing=one,
        )

    def propose(self, at: Point, memory: _Memory) -> Proposal:
        # One point is evaluated in a step, and its Jacobian with it. If the point is accepted, its
        # direction is followed; if not, the same direction is tried with half the length. As soon
        # as that has failed too often, time flows:
        #     (1/δ + 1) s - J s = r,
        # where δ = ∞ is Newton's method.
        assert at.jvp is not None
        y, r = at.y, at.r
        limit = self.limits.stagnation
        way = jnp.where(at.stale >= _UNDAMPED * limit, jnp.maximum(memory.way, 1), memory.way)
        way = jnp.where(at.stale >= _LINE_SEARCH * limit, 2, way)
        turns = way != memory.way
        follows = jnp.isfinite(memory.time_step)
        descent = 1 - self.armijo * memory.step_size
        # Armijo: along a Newton direction ‖r‖ falls by the share t at first, as r(y + ts) ≈ (1 - t)
        # r.
        bound = jnp.where(follows, self.growth, descent) * memory.base_error
        # Every finite error is below the infinite `base_error` before the first step.
        accept = jnp.isfinite(at.error) & ((at.error <= bound) | (way == 1)) & ~turns

        # Full steps again after each success: near an equilibrium nothing else is quadratic.
        step_size = jnp.where(accept, 1, memory.step_size / 2)
        gives_up = ~accept & ~follows & (step_size < 0.5**self.backtracks) & (way == 0)
        slower = jnp.where(gives_up, self.time_step, memory.time_step / 4)
        time_step = jnp.where(accept, grown(memory.time_step, memory.base_error, at.error), slower)
        time_step = jnp.where((follows | gives_up) & ~turns, time_step, jnp.inf)
        time_step = lax.stop_gradient(time_step.astype(y.dtype))

        forcing = memory.forcing
        if is_iterative(self.linear_solver, y.size):
            forcing = _forcing_term(forcing, memory.base_error, at.error, at.tolerance)
        # No right-hand side where no direction is needed: an iterative solve then ends at once.
        needed = jnp.where(accept & ~at.converged, r, 0)
        newton, num_jvps = solve_shifted(at.jvp, needed, 1 / time_step, self.linear_solver, forcing)

        base = jnp.where(accept, y, memory.base)
        base = jnp.where(turns, jnp.where(way == 1, memory.start, at.best), base)
        direction = jnp.where(accept, finite_or(newton, r), memory.direction)
        # The flow goes on from the accepted iterate, which has to be linearized once more.
        again = ~accept & (follows | gives_up | turns)
        new = jnp.where(again, base, base + step_size * direction)
        return Proposal(
            new,
            _Memory(
                start=memory.start,
                way=way,
                base=base,
                base_error=jnp.where(
                    turns, jnp.inf, jnp.where(accept, at.error, memory.base_error)
                ),
                direction=direction,
                step_size=jnp.where(again, 1, step_size),
                time_step=time_step,
                forcing=jnp.where(accept, forcing, memory.forcing),
            ),
            num_jvps=num_jvps,
            fallback=base,
        )


def _forcing_term(
    last: Float[Array, ""],
    last_error: Float[Array, ""],
    error: Float[Array, ""],
    goal: Float[Array, ""],
) -> Float[Array, ""]:
    """How accurately to solve for the next direction, relative to its right-hand side.

    Eisenstat and Walker's choice 2 with their safeguard, and Kelley's: no more accuracy than the
    tolerance of the whole solve asks for.
    """
    known = jnp.isfinite(last_error) & (last_error > 0)
    ratio = jnp.where(known, error, 0) / jnp.where(known, last_error, 1)
    # Choice 2: η = 0.9 (‖r_k‖ / ‖r_{k-1}‖)². A step that halved the residual deserves a direction
    # to two digits or so; a quadratic one deserves twice the digits it gained. The safeguard keeps
    # η from falling faster than its own square, which one lucky step would make it do.
    choice = 0.9 * ratio**2
    floor = 0.9 * last**2
    choice = jnp.where(floor > 0.1, jnp.maximum(choice, floor), choice)
    choice = jnp.where(known, choice, 0.1)
    choice = jnp.maximum(choice, 0.5 * goal / jnp.where(error > 0, error, 1))
    # Steps that quarter the residual and more are what Newton is for; rounding is the limit.
    eps = jnp.finfo(error.dtype).eps
    return lax.stop_gradient(jnp.clip(choice, 10 * eps, 0.25).astype(error.dtype))


Newton.__init__.__doc__ = """**Arguments:**

- `rtol`, `atol`: the tolerance is `atol + rtol * norm(f(y))`.
- `norm`: the norm of the residual, any function from the state to a scalar.
- `linear_solver`: a Lineax solver for the steps; one that suits the size if left out.
- `armijo`: the c of the line search: the share of the promised decrease that a step must keep.
- `backtracks`: how often a step is halved before the solve follows the flow. On quantum cells
    none at all did best.
- `time_step`: the flow's first time step.
- `growth`: growth of the residual in one step of the flow that drops it.
- `limits`: when to give up.

**Raises:** `ValueError` for a value out of range.
"""
