"""Pseudo-transient continuation."""

from collections.abc import Callable
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import lineax as lx
import optimistix as optx
from jax import lax
from jaxtyping import Array, Float, PyTree, Scalar

from .._checks import can_check, check_instance
from ._base import (
    AbstractResidualSolver,
    check_tolerances,
    finite_or,
    FlatMap,
    Point,
    Proposal,
    SolverLimits,
)
from ._linear import DENSE_SIZE, solve_shifted, solve_with_the_flow

_LARGEST_TIME_STEP = 1e10


class _Memory(eqx.Module):
    base: Float[Array, " n"]  # the last accepted iterate,
    base_error: Float[Array, ""]
    time_step: Float[Array, ""]  # ... and the time step that led away from it


class PseudoTransient(AbstractResidualSolver):
    r"""Pseudo-transient continuation: implicit Euler on $\dot y = f(y) - y$, in growing steps.

    $$y_{k+1} = y_k + s, \qquad \big(\tfrac{1}{\delta_k} I + I - J(y_k)\big)\, s = f(y_k) - y_k,
    \qquad \delta_{k+1} = \delta_k\, \frac{\|r_k\|}{\|r_{k+1}\|}$$

    (switched evolution relaxation). Small time steps δ follow the flow from the initial guess to
    an equilibrium that is stable for it; large ones are Newton's method. Slower than
    [`eqx_qdeq.Newton`][] where that converges, but not misled by local minima of the residual,
    which may grow on the way. It is slow where real eigenvalues of the Jacobian come very close to
    1: over a hundred evaluations at 0.999.

    An iterate whose residual is `growth` times the last accepted one, or not finite, is dropped:
    back to the accepted one, with a quarter of the time step.

    The linear systems are solved as in [`eqx_qdeq.Newton`][].

    Large steps may still land on an equilibrium that the flow leaves, a saddle; and near one that
    repels, the residual grows at first, so that the time step shrinks and the solve may give up.
    With
    `avoids_saddles=True` (up to 64 numbers in the state) they do not: the modes of $I - J$ along
    which the flow grows are stepped along in its direction, however large δ is. Such steps stay
    short where $I - J$ is singular, too: at an equilibrium that is one of a curve of equilibria,
    they have no part along the curve. That costs the eigenvectors of the Jacobian in each step.

    !!! example

        ```python
        import jax.numpy as jnp
        import optimistix as optx
        import eqx_qdeq as qdeq

        solver = qdeq.PseudoTransient(rtol=1e-5, atol=1e-5)
        optx.fixed_point(lambda y, _: jnp.cos(y), solver, jnp.zeros(1)).value.round(3)
        # [0.739]
        ```

    ??? cite "Reference"

        C. T. Kelley and D. E. Keyes, "Convergence analysis of pseudo-transient continuation", SIAM
        Journal on Numerical Analysis 35 (1998), 508-523; W. A. Mulder and B. van Leer,
        "Experiments with implicit upwind methods for the Euler equations", Journal of
        Computational Physics 59 (1985), 232-246.
    """

    rtol: float
    atol: float
    norm: Callable[[PyTree], Scalar] = eqx.field(static=True, default=optx.two_norm)
    time_step: float = 1.0
    growth: float = 10.0
    linear_solver: lx.AbstractLinearSolver | None = None
    limits: SolverLimits = SolverLimits()
    avoids_saddles: bool = eqx.field(static=True, default=False)

    linearizes: ClassVar[bool] = True

    def __check_init__(self) -> None:
        check_tolerances(self)
        name = "PseudoTransient(avoids_saddles=...)"
        check_instance(name, self.avoids_saddles, bool, "True or False")
        if self.avoids_saddles and self.linear_solver is not None:
            raise ValueError(
                "`PseudoTransient(avoids_saddles=True)` needs the modes of the Jacobian and not "
                f"`linear_solver`; got {self.linear_solver}. Leave one of them out."
            )
        check_flow("PseudoTransient", self.time_step, self.growth)

    def remember(self, y: Float[Array, " n"], f: FlatMap) -> _Memory:
        return _Memory(
            base=y,
            base_error=jnp.array(jnp.inf, y.dtype),
            time_step=jnp.asarray(self.time_step, y.dtype),
        )

    def propose(self, at: Point, memory: _Memory) -> Proposal:
        # Implicit Euler for ẏ = r(y), linearized once: (y_{k+1} - y_k)/δ = r(y_k) - (I - J)(y_{k+1}
        # - y_k). The flow's steady states are the equilibria; those that attract it have all
        # eigenvalues of J left of 1, and small δ cannot leave their basins. As ‖r‖ falls δ grows in
        # proportion, and with δ → ∞ the step is Newton's: the end is quadratic.
        assert at.jvp is not None
        y, r = at.y, at.r
        # Every finite error is below the infinite `base_error` before the first step.
        accept = jnp.isfinite(at.error) & (at.error <= self.growth * memory.base_error)
        faster = grown(memory.time_step, memory.base_error, at.error)
        if self.avoids_saddles:
            # On its way from a saddle the residual grows, which is no reason for smaller steps than
            # the first: they would never arrive.
            faster = jnp.maximum(faster, jnp.minimum(memory.time_step, self.time_step))
        time_step = jnp.where(accept, faster, memory.time_step / 4)
        time_step = lax.stop_gradient(time_step.astype(y.dtype))
        # Where the iterate is dropped the next step is at the accepted one, with its own Jacobian.
        needed = jnp.where(accept & ~at.converged, r, 0)
        forcing = jnp.array(1e-2, y.dtype)
        if self.avoids_saddles and y.size <= DENSE_SIZE:
            s, num_jvps = solve_with_the_flow(at.jvp, needed, 1 / time_step)
        else:
            s, num_jvps = solve_shifted(at.jvp, needed, 1 / time_step, self.linear_solver, forcing)
        base = jnp.where(accept, y, memory.base)
        new = jnp.where(accept, y + finite_or(s, r), memory.base)
        return Proposal(
            new,
            _Memory(
                base=base,
                base_error=jnp.where(accept, at.error, memory.base_error),
                time_step=time_step,
            ),
            num_jvps=num_jvps,
            fallback=base,
        )


def grown(
    time_step: Float[Array, ""], last_error: Float[Array, ""], error: Float[Array, ""]
) -> Float[Array, ""]:
    """The time step after an accepted one: inversely proportional to the residual."""
    known = jnp.isfinite(last_error) & (error > 0)
    ratio = jnp.where(known, last_error, 1) / jnp.where(known, error, 1)
    # The bound only keeps it finite; the method is Newton's long before.
    return jnp.minimum(time_step * ratio, _LARGEST_TIME_STEP)


def check_flow(name: str, time_step: float, growth: float) -> None:
    if can_check(f"{name}(time_step=...)", time_step) and not 0 < time_step <= _LARGEST_TIME_STEP:
        raise ValueError(
            f"`{name}(time_step=...)` must be above 0 and at most {_LARGEST_TIME_STEP:g}; got "
            f"{time_step}. The flow's natural scale is 1."
        )
    if can_check(f"{name}(growth=...)", growth) and not growth >= 1:
        raise ValueError(
            f"`{name}(growth=...)` must be at least 1, as it multiplies the last residual; got "
            f"{growth}."
        )


PseudoTransient.__init__.__doc__ = """**Arguments:**

- `rtol`, `atol`: the tolerance is `atol + rtol * norm(f(y))`.
- `norm`: the norm of the residual, any function from the state to a scalar.
- `time_step`: the first time step δ.
- `growth`: growth of the residual in one step that drops it.
- `linear_solver`: a Lineax solver for the steps; one that suits the size if left out.
- `limits`: when to give up.
- `avoids_saddles`: whether growing modes of the flow are followed by steps of any size.

**Raises:** `ValueError` for a value out of range, or for both `avoids_saddles` and `linear_solver`.
"""
