"""What the fixed-point solvers share: a solver says only how it proposes the next iterate.

A step evaluates the map f at the iterate y that it is given, tells the `Record`, and asks the
method where to look next. So the residual f(y) - y that the record sees belongs to y itself and
costs no evaluation of its own, and a proposal that nobody evaluated is never returned.

States are pytrees to the user and flat vectors to a method, which is linear algebra.
"""

import abc
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import optimistix as optx
from equinox import AbstractVar
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, PyTree, Scalar

from .._checks import can_check, check_at_least, check_instance
from ._earned import is_earned

# Progress is a best residual that fell by more than this fraction. Rounding alone also finds
# new best residuals, a few units in the last place smaller, and must not keep a solve alive.
_PROGRESS = 1e-3


FlatMap = Callable[[Float[Array, " n"]], Float[Array, " n"]]
"""The map f on the state as one vector."""


class SolverLimits(eqx.Module):
    """When a solver gives up.

    - `divergence`: where the residual exceeds this many times the first one.
    - `stagnation`: after this many steps that lowered the best residual by less than one part in
        a thousand.

    And what it does at least: `min_steps`.

    !!! example

        ```python
        import eqx_qdeq as qdeq

        patient = qdeq.SolverLimits(divergence=float("inf"), stagnation=200)
        solver = qdeq.Picard(1e-5, 1e-5, limits=patient)
        ```
    """

    divergence: float = 1e3
    stagnation: int = eqx.field(static=True, default=50)
    min_steps: int = eqx.field(static=True, default=0)

    def __check_init__(self) -> None:
        check_at_least("SolverLimits(stagnation=...)", self.stagnation, 1)
        check_at_least("SolverLimits(min_steps=...)", self.min_steps, 0)
        if can_check("SolverLimits(divergence=...)", self.divergence) and not self.divergence > 1:
            raise ValueError(
                "`SolverLimits(divergence=...)` must be above 1, as it multiplies the first "
                f"residual; got {self.divergence}. Use `float('inf')` to allow any growth."
            )


SolverLimits.__init__.__doc__ = """**Arguments:**

- `divergence`: growth of the residual, over the first one, that counts as divergence.
- `stagnation`: steps without progress that end a solve.
- `min_steps`: evaluated iterates before a solve may end with success, whatever their residual: for
    models that are trained with few steps, whose first guesses may meet the tolerance by chance.

**Raises:** `ValueError` for a value out of range.
"""


class Record(eqx.Module):
    """What a solve has seen so far. Its errors are in the solver's norm."""

    best: Float[Array, " n"]
    best_r: Float[Array, " n"]  # the residual f(y) - y there
    best_aux: PyTree[Array]
    best_step: Int[Array, ""]
    # The four below in one array: for a batch of small states, what a step costs on a CPU is the
    # number of arrays that go around the loop.
    errors: Float[Array, "4"]
    start_scale: Float[Array, ""]  # ‖y‖ of the initial guess
    stale: Int[Array, ""]  # the steps since there was progress last
    error: Float[Array, ""]  # of the last evaluated iterate
    num_steps: Int[Array, ""]
    num_evals: Int[Array, ""]
    num_jvps: Int[Array, ""]
    converged: Bool[Array, ""]
    diverged: Bool[Array, ""]
    stalled: Bool[Array, ""]

    @property
    def best_error(self) -> Float[Array, ""]:
        return self.errors[0]

    @property
    def first_error(self) -> Float[Array, ""]:
        return self.errors[1]

    @property
    def peak_error(self) -> Float[Array, ""]:
        """The largest error, but for those that count as divergence."""
        return self.errors[2]

    @property
    def progress_error(self) -> Float[Array, ""]:
        """The best error when there was progress last."""
        return self.errors[3]


class Point(eqx.Module):
    """An iterate that was evaluated, as `propose` of a solver sees it.

    !!! example

        ```python
        from collections.abc import Callable

        import equinox as eqx
        import jax.numpy as jnp
        import optimistix as optx
        import eqx_qdeq as qdeq
        from eqx_qdeq.solvers import Proposal


        class Half(qdeq.AbstractResidualSolver):  # steps of half the residual
            rtol: float = 1e-4
            atol: float = 1e-4
            norm: Callable = eqx.field(static=True, default=optx.two_norm)
            limits: qdeq.SolverLimits = qdeq.SolverLimits()

            def remember(self, y, f):
                return None

            def propose(self, at, memory):  # `at` is a Point
                return Proposal(at.y + 0.5 * at.r, memory)


        optx.fixed_point(lambda y, _: jnp.cos(y), Half(), jnp.zeros(1)).value.round(3)
        # [0.739]
        ```

    **Attributes:**

    - `y`, `r`: the iterate and its residual f(y) - y, flat vectors.
    - `error`, `first_error`, `best_error`: norms of the residual: here, at the initial guess, and
        at the best iterate so far.
    - `best`, `best_r`: that iterate and its residual.
    - `is_first`, `converged`: whether this is the initial guess, and whether it is good enough.
    - `stale`: steps since the best error fell by more than one part in a thousand.
    - `tolerance`: what `error` is compared with.
    - `f`, `jvp`: the map, and t ↦ J(y) t for solvers with `linearizes = True`.
    """

    y: Float[Array, " n"]
    r: Float[Array, " n"]
    error: Float[Array, ""]
    first_error: Float[Array, ""]
    best: Float[Array, " n"]
    best_r: Float[Array, " n"]
    best_error: Float[Array, ""]
    is_first: Bool[Array, ""]
    stale: Int[Array, ""]
    converged: Bool[Array, ""]
    tolerance: Float[Array, ""]
    f: FlatMap
    jvp: FlatMap | None


class Proposal(eqx.Module):
    """Where a solver looks next, what it remembers, and what that cost beside f(y).

    !!! example

        ```python
        import jax.numpy as jnp
        from eqx_qdeq import solvers

        # Look at y next, remember nothing, and count one more evaluation of f.
        proposal = solvers.Proposal(y=jnp.zeros(2), memory=None, num_evals=1)
        proposal.gives_up  # False
        ```

    **Attributes:**

    - `y`: the next iterate, a flat vector.
    - `memory`: what the next `propose` is given, of the same structure as the last.
    - `num_evals`, `num_jvps`: evaluations of f and products with its Jacobian, for the statistics.
    - `gives_up`: whether the solve ends here.
    - `fallback`: where to look if `y` is not finite; at the best iterate if left out.
    - `aside`: whether the iterate is no attempt, and does not count as stale.
    """

    y: Float[Array, " n"]
    memory: PyTree
    num_evals: int | Int[Array, ""] = 0
    num_jvps: int | Int[Array, ""] = 0
    gives_up: bool | Bool[Array, ""] = False
    fallback: Float[Array, " n"] | None = None
    aside: bool | Bool[Array, ""] = False


class _State(eqx.Module):
    record: Record
    memory: PyTree


class AbstractResidualSolver(optx.AbstractFixedPointSolver, optx.AbstractRootFinder):
    r"""A fixed-point solver that stops on the true residual and returns its best iterate.

    In `optimistix.fixed_point(f)` it solves y = f(y). In `optimistix.root_find(F)` it solves
    F(y) = 0, by the map y + F(y), so that what is said of f(y) - y here holds for F(y).

    It stops

    - with success at the first iterate with $\|f(y) - y\| \le \mathrm{atol} + \mathrm{rtol}\,
      \|f(y)\|$ in the norm `norm`. The default norm is Euclidean; `optimistix.rms_norm` makes
      `atol` an error per entry; `rtol=0` or `atol=0` leave an absolute or a relative test. A
      success has to be earned: where $\|f(y)\|$ has grown, over what it was at the initial guess,
      the residual has to have fallen by that factor, or to be below `atol` by itself. So a leap
      to where y is so large that the relative tolerance, or rounding, covers any residual is no
      success (`y + 1` has no fixed point, but at $y = 10^8$ a residual of 1 is relatively small);
    - as diverged where f(y) is not finite or the residual exceeds `limits.divergence` times the
      first one, if that happens at the initial guess, if the method cannot step back, or if it
      tried to until it stagnated;
    - as out of steps (`nonlinear_max_steps_reached`) where `limits.stagnation` steps lowered the
      best residual by less than one part in a thousand: no equilibrium is near, or rounding
      keeps the tolerance out of reach.

    However it stops, its value is the best iterate that it evaluated (of those that did not leap
    in this way): finite if the initial guess is. `stats` describe that iterate: `"residual"` is its
    Euclidean $\|f(y) - y\|$, whatever `norm`, and `"best_step"` the step that evaluated it.
    `"num_evals"` and `"num_jvps"` count the evaluations of f and the products with its Jacobian in
    all.

    A method is two functions on flat vectors: `remember`, what it knows before anything was
    evaluated, and `propose`, from an evaluated iterate to the next one.

    !!! example

        ```python
        import jax.numpy as jnp
        import optimistix as optx
        import eqx_qdeq as qdeq

        solver = qdeq.Newton(rtol=1e-5, atol=1e-5)
        isinstance(solver, qdeq.AbstractResidualSolver)  # True
        found = optx.fixed_point(lambda y, _: jnp.cos(y), solver, jnp.zeros(1))
        found.value.round(3)  # [0.739]
        sorted(found.stats)
        # ['best_step', 'max_steps', 'num_evals', 'num_jvps', 'num_steps', 'residual']
        ```
    """

    rtol: AbstractVar[float]
    atol: AbstractVar[float]
    norm: AbstractVar[Callable[[PyTree], Scalar]]
    limits: AbstractVar[SolverLimits]

    # Whether the method recovers from a bad iterate by itself. If not, the first one ends the
    # solve.
    steps_back: ClassVar[bool] = True
    # Whether it needs products with the Jacobian.
    linearizes: ClassVar[bool] = False

    def __init_subclass__(cls, **named: Any) -> None:
        super().__init_subclass__(**named)
        if "linearises" in vars(cls):
            raise TypeError(f"`{cls.__name__}.linearises` is spelled `linearizes`.")

    @abc.abstractmethod
    def remember(self, y: Float[Array, " n"], f: FlatMap) -> PyTree:
        """What the method knows when it is given the initial guess `y` and the map `f`."""

    @abc.abstractmethod
    def propose(self, at: Point, memory: PyTree) -> Proposal:
        """Where to look after the iterate `at`. An iterate that is not finite is never looked at:
        the best one is, again."""

    def init(
        self,
        fn: Callable,
        y: PyTree[Array],
        args: PyTree,
        options: dict[str, Any],
        f_struct: PyTree[jax.ShapeDtypeStruct],
        aux_struct: PyTree[jax.ShapeDtypeStruct],
        tags: frozenset[object],
    ) -> _State:
        # As to every root finder, Optimistix hands over f(y) - y, also in `fixed_point`.
        flat, unravel = ravel_pytree(y)
        f = lambda x: x + ravel_pytree(fn(unravel(x), args)[0])[0]
        return _State(_blank(flat, aux_struct, self.norm(y)), self.remember(flat, f))

    def step(
        self,
        fn: Callable,
        y: PyTree[Array],
        args: PyTree,
        options: dict[str, Any],
        state: _State,
        tags: frozenset[object],
    ) -> tuple[PyTree[Array], _State, PyTree[Array]]:
        # The residual is linearized where it is evaluated: value and products share the work that
        # depends on y.
        flat, unravel = ravel_pytree(y)

        def flat_fn(x: Float[Array, " n"]) -> tuple[Float[Array, " n"], PyTree[Array]]:
            r, aux = fn(unravel(x), args)
            return ravel_pytree(r)[0], aux

        jvp = None
        if self.linearizes:
            r, along, aux = jax.linearize(flat_fn, flat, has_aux=True)
            jvp = lambda t: t + along(t)
        else:
            r, aux = flat_fn(flat)
        error, scale = self.norm(unravel(r)), self.norm(unravel(flat + r))
        tolerance = self.atol + self.rtol * scale
        record = self._observe(state.record, flat, r, aux, error, scale, tolerance)
        at = Point(
            y=flat,
            r=r,
            error=record.error,
            first_error=record.first_error,
            best=record.best,
            best_r=record.best_r,
            best_error=record.best_error,
            is_first=state.record.num_steps == 0,
            stale=record.stale,
            converged=record.converged,
            tolerance=tolerance,
            f=lambda x: x + flat_fn(x)[0],
            jvp=jvp,
        )
        next = self.propose(at, state.memory)
        record = eqx.tree_at(
            lambda r: (r.num_evals, r.num_jvps, r.stalled, r.stale),
            record,
            (
                record.num_evals + next.num_evals,
                record.num_jvps + next.num_jvps,
                record.stalled | next.gives_up,
                jnp.where(next.aside, record.stale - 1, record.stale),
            ),
        )
        y_next = finite_or(next.y, record.best if next.fallback is None else next.fallback)
        return unravel(y_next), _State(record, next.memory), aux

    def _observe(
        self,
        record: Record,
        y: Float[Array, " n"],
        r: Float[Array, " n"],
        aux: PyTree[Array],
        error: Scalar,
        scale: Scalar,
        tolerance: Scalar,
    ) -> Record:
        """The record after the iterate y was evaluated."""
        error, scale = (jnp.asarray(x, record.error.dtype) for x in (error, scale))
        finite = jnp.isfinite(error)
        is_first = record.num_steps == 0
        first_error = jnp.where(is_first, error, record.first_error)
        bad = ~finite | (error > self.limits.divergence * first_error)

        # ‖y0‖ + ‖r0‖ ≥ ‖f0‖ stands for the size of both y0 and f0.
        first_scale = record.start_scale + first_error
        peak_error = jnp.where((error > record.peak_error) & ~bad, error, record.peak_error)
        is_far, rounding, earned = is_earned(error, scale, peak_error, first_scale, self.atol)

        converged = finite & (error <= tolerance) & earned
        if self.limits.min_steps > 1:
            converged = converged & (record.num_steps + 1 >= self.limits.min_steps)
        # What meets the tolerance is returned even if an earlier error was smaller (but ‖f‖ too).
        # A leap is not, lest the next solve starts there and takes its scale for a given one.
        improved = ((error < record.best_error) & (earned | ~is_far)) | converged
        keep_best = lambda new, old: jtu.tree_map(lambda a, b: jnp.where(improved, a, b), new, old)

        # What rounding hides is none, unless it is earned.
        seen = finite & ((error > rounding) | earned)
        progressed = seen & (error <= (1 - _PROGRESS) * record.progress_error)
        best_error = keep_best(error, record.best_error)
        progress_error = jnp.where(progressed, error, record.progress_error)
        stale = jnp.where(progressed, 0, record.stale + 1)
        stalled = stale >= self.limits.stagnation

        # Where the first guess is bad there is nothing to step back to. A method that can step back
        # is given time to: until nothing has improved for `limits.stagnation` steps.
        hopeless = is_first | stalled if self.steps_back else jnp.array(True)
        return Record(
            best=keep_best(y, record.best),
            best_r=keep_best(r, record.best_r),
            best_aux=keep_best(aux, record.best_aux),
            best_step=keep_best(record.num_steps, record.best_step),
            errors=jnp.stack([best_error, first_error, peak_error, progress_error]),
            start_scale=record.start_scale,
            stale=stale,
            error=error,
            num_steps=record.num_steps + 1,
            num_evals=record.num_evals + 1,
            num_jvps=record.num_jvps,
            converged=converged,
            diverged=bad & hopeless,
            stalled=stalled,
        )

    def terminate(
        self,
        fn: Callable,
        y: PyTree[Array],
        args: PyTree,
        options: dict[str, Any],
        state: _State,
        tags: frozenset[object],
    ) -> tuple[Bool[Array, ""], optx.RESULTS]:
        # Optimistix passes the iterate *before* the step here, the one in the record.
        record, results = state.record, optx.RESULTS
        result = results.where(
            record.stalled, results.nonlinear_max_steps_reached, results.successful
        )
        result = results.where(record.diverged, results.nonlinear_divergence, result)
        result = results.where(record.converged, results.successful, result)
        return record.converged | record.diverged | record.stalled, result

    def postprocess(
        self,
        fn: Callable,
        y: PyTree[Array],
        aux: PyTree[Array],
        args: PyTree,
        options: dict[str, Any],
        state: _State,
        tags: frozenset[object],
        result: optx.RESULTS,
    ) -> tuple[PyTree[Array], PyTree[Array], dict[str, Any]]:
        record = state.record
        # A solve of no steps has evaluated nothing.
        residual = jnp.where(
            jnp.isinf(record.best_error), jnp.inf, optx.two_norm(record.best_r)
        ).astype(record.error.dtype)
        stats = {
            "residual": residual,
            "num_evals": record.num_evals,
            "num_jvps": record.num_jvps,
            "best_step": record.best_step,
        }
        return ravel_pytree(y)[1](record.best), record.best_aux, stats


def _blank(
    y: Float[Array, " n"], aux_struct: PyTree[jax.ShapeDtypeStruct], start_scale: Scalar
) -> Record:
    """The record of a solve that has evaluated nothing yet."""
    # In the state's precision, not JAX's default one: a float32 state is fine with x64 on.
    infinity = jnp.array(jnp.inf, y.dtype)
    zero, no = jnp.array(0), jnp.array(False)
    return Record(
        best=y,
        best_r=jnp.zeros_like(y),
        best_aux=jtu.tree_map(lambda s: jnp.zeros(s.shape, s.dtype), aux_struct),
        best_step=zero,
        errors=jnp.stack([infinity, infinity, jnp.zeros_like(infinity), infinity]),
        start_scale=jnp.asarray(start_scale, y.dtype),
        stale=zero,
        error=infinity,
        num_steps=zero,
        num_evals=zero,
        num_jvps=zero,
        converged=no,
        diverged=no,
        stalled=no,
    )


def finite_or(new: Float[Array, " n"], fallback: Float[Array, " n"]) -> Float[Array, " n"]:
    """`new` if all of it is finite, else `fallback`: no solver proposes a NaN."""
    # The cast is for a step length given as a NumPy scalar, which JAX does not take as weak.
    return jnp.where(jnp.all(jnp.isfinite(new)), new.astype(fallback.dtype), fallback)


def check_tolerances(solver: AbstractResidualSolver) -> None:
    """Those and the limits, which every solver has."""
    name = type(solver).__name__
    limits = f"{name}(limits=...)"
    check_instance(limits, solver.limits, SolverLimits, "e.g. SolverLimits(stagnation=200)")
    for field, value in (("rtol", solver.rtol), ("atol", solver.atol)):
        if can_check(f"{name}({field}=...)", value) and not value >= 0:
            raise ValueError(
                f"`{name}({field}=...)` must not be negative; got {value}. Use 0.0 to leave that "
                "part of the test out."
            )
