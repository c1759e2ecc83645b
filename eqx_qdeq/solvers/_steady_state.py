"""The equilibrium as the steady state of a flow."""

from collections.abc import Callable
from typing import Any, ClassVar

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array, Bool, Float, Int, PyTree, Scalar

from .._checks import can_check, check_at_least, is_number
from ._base import (
    AbstractResidualSolver,
    check_tolerances,
    FlatMap,
    Point,
    Proposal,
    SolverLimits,
)

# In units of the flow's own time scale, 1.
_LONGEST_STEP = 10.0


class _Memory(eqx.Module):
    step: Int[Array, ""]
    dt: Float[Array, ""]
    ode_state: PyTree
    controller_state: PyTree


class SteadyState(AbstractResidualSolver):
    r"""Follows the flow $\dot y = f(y) - y$ to its steady state, with a Diffrax solver.

    One step is one attempted step of the ODE solver, so nothing runs longer than `max_ode_steps`
    of them. (Diffrax's own steady-state event never returns if its tolerance is tighter than the
    step size controller's and the number of steps is not bounded.)

    Converges to equilibria that are stable for the flow, whose Jacobian has all eigenvalues' real
    parts below 1: more than Picard's, in more evaluations than most. Use an implicit
    `ode_solver` such as `diffrax.Kvaerno5()` if the flow is stiff, i.e. f has eigenvalues far
    below -1.

    Near the steady state an explicit ODE solver's steps are as long as stability allows, and the
    residual hovers around the controller's tolerance. So this solver's tolerance may not be
    tighter than the controller's: with both measured at ‖f(y)‖ = 1, `rtol + atol` must not be
    below the controller's `rtol + atol`.

    Rounding hides what is left of a stiff flow near its steady state: y is known to eps, so the
    residual to eps ‖J‖ ‖y‖, in float32 and with an eigenvalue of -60 to 7e-6 ‖y‖. An implicit
    `ode_solver` gets there, and gives up where it is asked for much less.

    `"num_evals"` counts the stages of the ODE solver, not the evaluations within the root-finds
    of an implicit one.

    !!! example

        ```python
        import jax.numpy as jnp
        import optimistix as optx
        import eqx_qdeq as qdeq

        solver = qdeq.SteadyState(rtol=1e-4, atol=1e-4)
        optx.fixed_point(lambda y, _: jnp.cos(y), solver, jnp.zeros(1)).value.round(3)
        # [0.739]
        ```

    ??? cite "Reference"

        P. Kidger, "On neural differential equations", PhD thesis, University of Oxford (2021),
        for Diffrax; A. Pal, A. Edelman and C. Rackauckas, "Continuous deep equilibrium models:
        training neural ODEs faster by integrating them to infinity", IEEE HPEC 2023.
    """

    rtol: float
    atol: float
    norm: Callable[[PyTree], Scalar] = eqx.field(static=True, default=optx.two_norm)
    ode_solver: diffrax.AbstractSolver = diffrax.Tsit5()
    controller: diffrax.AbstractStepSizeController | None = None
    dt0: float = 0.5
    max_ode_steps: int = eqx.field(static=True, default=1000)
    limits: SolverLimits = SolverLimits(stagnation=100)

    steps_back: ClassVar[bool] = False

    def __check_init__(self) -> None:
        check_tolerances(self)
        check_at_least("SteadyState(max_ode_steps=...)", self.max_ode_steps, 1)
        if can_check("SteadyState(dt0=...)", self.dt0) and not self.dt0 > 0:
            raise ValueError(
                f"`SteadyState(dt0=...)` must be above 0; got {self.dt0}. The flow's natural "
                "scale is 1."
            )
        ours, controller = self.rtol + self.atol, self.controller
        if isinstance(controller, diffrax.AbstractAdaptiveStepSizeController):
            theirs = controller.rtol + controller.atol
            if is_number(ours) and is_number(theirs) and ours < theirs:
                raise ValueError(
                    f"`SteadyState` cannot reach its tolerance rtol={self.rtol}, atol={self.atol} "
                    "with a step size controller of the looser tolerance "
                    f"rtol={controller.rtol}, atol={controller.atol}: rtol + atol must be at "
                    "least the controller's. Tighten the controller, or leave it out for one "
                    "that fits."
                )

    def remember(self, y: Float[Array, " n"], f: FlatMap) -> _Memory:
        term = _flow(f)
        ode_solver, controller = self._parts(y.dtype)
        # The flow does not depend on time: each step begins at 0.
        t0, end = jnp.array(0, y.dtype), jnp.array(jnp.inf, y.dtype)
        dt0 = jnp.asarray(self.dt0, y.dtype)
        t1, controller_state = controller.init(
            term, t0, end, y, dt0, None, ode_solver.func, ode_solver.error_order(term)
        )
        return _Memory(
            step=jnp.array(0),
            dt=jnp.asarray(t1, y.dtype),
            ode_state=_as_arrays(ode_solver.init(term, t0, t1, y, None)),
            controller_state=_as_arrays(controller_state),
        )

    def propose(self, at: Point, memory: _Memory) -> Proposal:
        ode_solver, controller = self._parts(at.y.dtype)
        term, t0 = _flow(at.f), jnp.zeros_like(memory.dt)
        if isinstance(ode_solver, diffrax.AbstractImplicitSolver):
            finder = _DownToRounding(  # pyright: ignore[reportCallIssue]
                ode_solver.root_finder, _rounding(term, at.y)
            )
            ode_solver = eqx.tree_at(lambda s: s.root_finder, ode_solver, finder)
        new, error, _, ode_state, _ = ode_solver.step(
            term, t0, memory.dt, at.y, None, memory.ode_state, made_jump=False
        )
        # NaN from a step that was too long: let the controller shorten it.
        if error is not None:
            error = jnp.where(jnp.isnan(error), jnp.inf, error)
        # The controller compares the ODE solver's own error estimate with its tolerance and says
        # whether the step counts and how long the next one is. The path does not matter here, only
        # where it ends; but steps much longer than stability allows would leave the basin.
        keep, begin, end, _, controller_state, _ = controller.adapt_step_size(
            t0,
            memory.dt,
            at.y,
            new,
            None,
            error,
            ode_solver.error_order(term),  # pyright: ignore[reportArgumentType]
            memory.controller_state,
        )
        choose = lambda a, b: jnp.where(keep, a, b)
        return Proposal(
            choose(new, at.y),
            _Memory(
                step=memory.step + 1,
                dt=jnp.asarray(end - begin, memory.dt.dtype),
                ode_state=jax.tree.map(choose, _as_arrays(ode_state), memory.ode_state),
                controller_state=_as_arrays(controller_state),
            ),
            num_evals=_stages(ode_solver),
            gives_up=memory.step + 1 >= self.max_ode_steps,
            fallback=at.y,
        )

    def _parts(
        self, dtype: jnp.dtype
    ) -> tuple[diffrax.AbstractSolver, diffrax.AbstractStepSizeController]:
        controller = self.controller
        if controller is None:
            # As loose as this solver's would leave the residual just above the tolerance. But
            # near rounding, error estimates are noise and call for ever shorter steps.
            noise = 50 * float(jnp.finfo(dtype).eps)
            tighter = lambda tol: max(tol / 10, min(tol, noise)) if is_number(tol) else tol / 10
            # In the norm of the residual: Diffrax's default, the root mean square, is √n times
            # smaller, and left the residual of 32 numbers just above the tolerance.
            # Without a longest step, a flow without steady state soon reaches states so large
            # that any residual is small relative to them.
            controller = diffrax.PIDController(
                rtol=tighter(self.rtol),
                atol=tighter(self.atol),
                dtmax=_LONGEST_STEP,
                norm=self.norm,
            )
        return _with_tolerances(self.ode_solver, controller), controller


def _flow(f: FlatMap) -> diffrax.ODETerm:
    return diffrax.ODETerm(lambda t, x, args: f(x) - x)


def _with_tolerances(
    ode_solver: diffrax.AbstractSolver, controller: diffrax.AbstractStepSizeController
) -> diffrax.AbstractSolver:
    """Fills in the tolerances that an implicit solver leaves to the controller.

    `diffrax.diffeqsolve` does this for its own loop.
    """
    if not isinstance(ode_solver, diffrax.AbstractImplicitSolver):
        return ode_solver
    finder = ode_solver.root_finder
    open_fields = [
        name
        for name in ("rtol", "atol", "norm")
        if not (is_number(value := getattr(finder, name)) or eqx.is_array(value))
        and not callable(value)
    ]
    if not open_fields:
        return ode_solver
    if not isinstance(controller, diffrax.AbstractAdaptiveStepSizeController):
        raise ValueError(
            f"`SteadyState(ode_solver=...)`: the root finder of {type(ode_solver).__name__} takes "
            f"its tolerances from an adaptive step size controller; got "
            f"{type(controller).__name__}. Use a PIDController, or give the root finder "
            "tolerances of its own."
        )
    pick = lambda source: [getattr(source, name) for name in open_fields]
    return eqx.tree_at(lambda s: pick(s.root_finder), ode_solver, pick(controller))


def _rounding(term: diffrax.ODETerm, y: Float[Array, " n"]) -> Float[Array, ""]:
    """The length of a step between two roots of an implicit stage that rounding cannot tell apart.

    A stage seeks k = g(Y), g(y) = f(y) - y, at Y = y + dt (... + γ k). Each entry of Y is rounded,
    by half of eps at most, and J (σ ∘ Y) with signs σ is what becomes of that. The sums within f
    round as much again: Jᵢⱼ Yⱼ is what they add up. Averaged over all signs, ‖J (σ ∘ Y)‖² is
    Σᵢⱼ (Jᵢⱼ Yⱼ)², so one product with random signs stands for it. Last, f(Y) - Y rounds both
    f(Y) and Y, as their difference may be as large.

    In a flow toward a steady state k moves by less, (I - γ dt (J - I))⁻¹ of all that. Two roots
    err twice as much, and twice that is for the chance in σ.
    """
    signs = jax.random.rademacher(jax.random.key(0), y.shape, y.dtype)
    flow, along = jax.jvp(lambda y: term.vf(0, y, None), (y,), (signs * y,))
    size = optx.two_norm(along) + optx.two_norm(flow) + optx.two_norm(y)
    return jax.lax.stop_gradient(4 * jnp.finfo(y.dtype).eps * size)


class _RoundingState(eqx.Module):
    inner: PyTree
    moved: Float[Array, ""]


class _DownToRounding(optx.AbstractRootFinder):
    """A root finder that is also content where its steps are nothing but rounding.

    Those of Diffrax and Optimistix go on until their steps are a hundredth of the tolerance. Where
    rounding is larger than that they fail, by chance, and with them the step of the ODE solver,
    and a shorter one, until nothing moves: with an eigenvalue of -60 and a tolerance of 1e-4, at
    a hundred times the residual that float32 allows.
    """

    finder: optx.AbstractRootFinder
    rounding: Float[Array, ""]

    @property
    def rtol(self) -> float:
        return self.finder.rtol

    @property
    def atol(self) -> float:
        return self.finder.atol

    @property
    def norm(self) -> Callable[[PyTree], Scalar]:
        return self.finder.norm

    def init(
        self,
        fn: Callable,
        y: PyTree[Array],
        args: PyTree,
        options: dict[str, Any],
        f_struct: PyTree[jax.ShapeDtypeStruct],
        aux_struct: PyTree[jax.ShapeDtypeStruct],
        tags: frozenset[object],
    ) -> _RoundingState:
        # How Diffrax hands a step's one Jacobian to all of its stages.
        if "init_state" in options:
            options = options | {"init_state": options["init_state"].inner}
        inner = self.finder.init(fn, y, args, options, f_struct, aux_struct, tags)
        return _RoundingState(inner, jnp.full_like(self.rounding, jnp.inf))

    def step(
        self,
        fn: Callable,
        y: PyTree[Array],
        args: PyTree,
        options: dict[str, Any],
        state: _RoundingState,
        tags: frozenset[object],
    ) -> tuple[PyTree[Array], _RoundingState, PyTree[Array]]:
        new, inner, aux = self.finder.step(fn, y, args, options, state.inner, tags)
        moved = optx.two_norm(jax.tree_util.tree_map(jnp.subtract, new, y))
        return new, _RoundingState(inner, moved), aux

    def terminate(
        self,
        fn: Callable,
        y: PyTree[Array],
        args: PyTree,
        options: dict[str, Any],
        state: _RoundingState,
        tags: frozenset[object],
    ) -> tuple[Bool[Array, ""], optx.RESULTS]:
        done, result = self.finder.terminate(fn, y, args, options, state.inner, tags)
        there = state.moved <= self.rounding
        return done | there, optx.RESULTS.where(there, optx.RESULTS.successful, result)

    def postprocess(
        self,
        fn: Callable,
        y: PyTree[Array],
        aux: PyTree[Array],
        args: PyTree,
        options: dict[str, Any],
        state: _RoundingState,
        tags: frozenset[object],
        result: optx.RESULTS,
    ) -> tuple[PyTree[Array], PyTree[Array], dict[str, Any]]:
        return self.finder.postprocess(fn, y, aux, args, options, state.inner, tags, result)


def _stages(ode_solver: diffrax.AbstractSolver) -> int:
    """Evaluations of the flow per step of an explicit Runge-Kutta method; else 1."""
    tableau = getattr(ode_solver, "tableau", None)
    if not isinstance(tableau, diffrax.ButcherTableau):
        return 1
    # First same as last: the first stage is the last one of the step before.
    return tableau.num_stages - int(tableau.fsal)


def _as_arrays(tree: PyTree) -> PyTree:
    """Python numbers as arrays: Diffrax returns both, and a loop's state must not change type."""
    return jax.tree_util.tree_map(
        lambda x: jnp.asarray(x) if isinstance(x, bool | int | float) else x, tree
    )


SteadyState.__init__.__doc__ = """**Arguments:**

- `rtol`, `atol`: the tolerance is `atol + rtol * norm(f(y))`.
- `norm`: the norm of the residual, any function from the state to a scalar.
- `ode_solver`: any Diffrax solver for ordinary differential equations.
- `controller`: any Diffrax step size controller; a `diffrax.PIDController` with a tenth of this
    solver's tolerances (if rounding allows) and steps of at most 10, if left out.
- `dt0`: the first time step.
- `max_ode_steps`: attempted ODE steps at most, even where `max_steps=None`.
- `limits`: when to give up.

**Raises:** `ValueError` for a value out of range, and for a tolerance that the controller's
makes unreachable.
"""
