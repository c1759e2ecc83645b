"""Pseudo-transient continuation."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import optimistix as optx
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree, Scalar

from ._base import (
    AbstractResidualSolver,
    add_jvps,
    check_tolerances,
    finite_or,
    is_number,
    Limits,
    observe,
    Record,
    start,
)
from ._linear import solve_shifted


class _PseudoTransientState(eqx.Module):
    record: Record
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
    which may grow on the way.

    An iterate whose residual is `growth` times the last accepted one, or not finite, is dropped:
    back to the accepted one, with a quarter of the time step.

    The linear systems are solved as in [`eqx_qdeq.Newton`][].

    ??? cite "Reference"

        C. T. Kelley and D. E. Keyes, "Convergence analysis of pseudo-transient continuation", SIAM
        Journal on Numerical Analysis 35 (1998), 508-523; W. A. Mulder and B. van Leer,
        "Experiments with implicit upwind methods for the Euler equations", Journal of
        Computational Physics 59 (1985), 232-246.
    """

    rtol: float
    atol: float
    norm: Callable[[PyTree], Scalar] = optx.two_norm
    time_step: float = 1.0
    max_time_step: float = 1e8
    growth: float = 2.0
    linear_solver: lx.AbstractLinearSolver | None = None
    limits: Limits = Limits()

    def __check_init__(self) -> None:
        check_tolerances(self)
        if is_number(self.time_step) and not 0 < self.time_step <= self.max_time_step:
            raise ValueError(
                "`PseudoTransient(time_step=...)` must be above 0 and at most `max_time_step` = "
                f"{self.max_time_step}; got {self.time_step}. The flow's natural scale is 1."
            )
        if is_number(self.growth) and not self.growth >= 1:
            raise ValueError(
                "`PseudoTransient(growth=...)` must be at least 1, as it multiplies the last "
                f"residual; got {self.growth}."
            )

    def record(self, state: _PseudoTransientState) -> Record:
        return state.record

    def init(
        self,
        fn: Callable,
        y: PyTree[Array],
        args: PyTree,
        options: dict[str, Any],
        f_struct: PyTree[jax.ShapeDtypeStruct],
        aux_struct: PyTree[jax.ShapeDtypeStruct],
        tags: frozenset[object],
    ) -> _PseudoTransientState:
        flat, _ = ravel_pytree(y)
        return _PseudoTransientState(
            record=start(y, aux_struct),
            base=flat,
            base_error=jnp.array(jnp.inf, flat.dtype),
            time_step=jnp.asarray(self.time_step, flat.dtype),
        )

    def step(
        self,
        fn: Callable,
        y: PyTree[Array],
        args: PyTree,
        options: dict[str, Any],
        state: _PseudoTransientState,
        tags: frozenset[object],
    ) -> tuple[PyTree[Array], _PseudoTransientState, PyTree[Array]]:
        flat, unravel = ravel_pytree(y)

        def flat_fn(x: Array) -> tuple[Array, tuple[PyTree[Array], PyTree[Array]]]:
            f, aux = fn(unravel(x), args)
            return ravel_pytree(f)[0], (f, aux)

        flat_f, product, (f, aux) = jax.linearize(flat_fn, flat, has_aux=True)
        r = flat_f - flat
        record = observe(self, state.record, y, f, aux, steps_back=True)
        is_first = state.record.num_steps == 0
        error = record.error
        accept = jnp.isfinite(error) & (is_first | (error <= self.growth * state.base_error))

        ratio = jnp.where(is_first, 1, state.base_error / jnp.where(error > 0, error, 1))
        grown = jnp.minimum(state.time_step * ratio, self.max_time_step)
        time_step = jnp.where(accept, grown, state.time_step / 4)
        time_step = lax.stop_gradient(time_step.astype(flat.dtype))
        # Where the iterate is dropped the next step is at the accepted one, with its own Jacobian.
        needed = jnp.where(accept & ~record.converged, r, 0)
        forcing = jnp.array(1e-2, flat.dtype)
        s, num_jvps = solve_shifted(product, needed, 1 / time_step, self.linear_solver, forcing)
        new = jnp.where(accept, flat + finite_or(s, r), state.base)
        state = _PseudoTransientState(
            record=add_jvps(record, num_jvps),
            base=jnp.where(accept, flat, state.base),
            base_error=jnp.where(accept, error, state.base_error),
            time_step=time_step,
        )
        return unravel(finite_or(new, state.base)), state, aux


PseudoTransient.__init__.__doc__ = """**Arguments:**

- `rtol`, `atol`: the tolerance is `atol + rtol * norm(f(y))`.
- `norm`: the norm of the residual, any function from the state to a scalar.
- `time_step`: the first time step δ.
- `max_time_step`: where δ stops growing.
- `growth`: growth of the residual in one step that drops it.
- `linear_solver`: a Lineax solver for the steps; one that suits the size if left out.
- `limits`: when to give up.

**Raises:** `ValueError` for a value out of range.
"""
