"""What the fixed-point solvers share: bookkeeping, stopping, and which iterate is returned.

A step evaluates the map f at the iterate y that it is given, tells the `Record`, and proposes
where to look next. So the residual f(y) - y that the record sees belongs to y itself and costs no
evaluation of its own, and a proposal that nobody evaluated is never returned.
"""

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import optimistix as optx
from equinox import AbstractVar
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, PyTree, Scalar

from .._checks import check_at_least, is_number

# Progress is a best residual that fell by more than this fraction. Rounding alone also finds
# new best residuals, a few units in the last place smaller, and must not keep a solve alive.
_PROGRESS = 1e-3


class Limits(eqx.Module):
    """When a solver gives up.

    - `divergence`: where the residual exceeds this many times the first one.
    - `stagnation`: after this many steps that lowered the best residual by less than one part in
        a thousand.
    """

    divergence: float = 1e3
    stagnation: int = eqx.field(static=True, default=50)

    def __check_init__(self) -> None:
        check_at_least("Limits", "stagnation", self.stagnation, 1)
        if is_number(self.divergence) and not self.divergence > 1:
            raise ValueError(
                "`Limits(divergence=...)` must be above 1, as it multiplies the first residual; "
                f"got {self.divergence}. Use `float('inf')` to allow any growth."
            )


Limits.__init__.__doc__ = """**Arguments:**

- `divergence`: growth of the residual, over the first one, that counts as divergence.
- `stagnation`: steps without progress that end a solve.

**Raises:** `ValueError` for a value out of range.
"""


class Record(eqx.Module):
    """What a solve has seen so far."""

    best: PyTree[Array]
    best_aux: PyTree[Array]
    best_error: Float[Array, ""]  # in the solver's norm
    best_residual: Float[Array, ""]  # Euclidean
    best_step: Int[Array, ""]
    first_error: Float[Array, ""]
    progress_error: Float[Array, ""]  # the best error when there was progress last,
    stale: Int[Array, ""]  # ... and the steps since then
    error: Float[Array, ""]  # of the last evaluated iterate
    improved: Bool[Array, ""]  # whether that one is the best
    num_steps: Int[Array, ""]
    num_evals: Int[Array, ""]
    num_jvps: Int[Array, ""]
    converged: Bool[Array, ""]
    diverged: Bool[Array, ""]
    stalled: Bool[Array, ""]


class AbstractResidualSolver(optx.AbstractFixedPointSolver):
    r"""A fixed-point solver that stops on the true residual and returns its best iterate.

    It stops

    - with success at the first iterate with $\|f(y) - y\| \le \mathrm{atol} + \mathrm{rtol}\,
      \|f(y)\|$ in the norm `norm`. The default norm is Euclidean; `optimistix.rms_norm` makes
      `atol` an error per entry; `rtol=0` or `atol=0` leave an absolute or a relative test;
    - as diverged where f(y) is not finite or the residual exceeds `limits.divergence` times the
      first one, if that happens at the initial guess, if the method cannot step back, or if it
      tried to until it stagnated;
    - as out of steps (`nonlinear_max_steps_reached`) where `limits.stagnation` steps lowered the
      best residual by less than one part in a thousand: no equilibrium is near, or rounding
      keeps the tolerance out of reach.

    However it stops, its value is the best iterate that it evaluated: finite if the initial guess
    is. `stats` describe that iterate: `"residual"` is its Euclidean $\|f(y) - y\|$, whatever
    `norm`, and `"best_step"` the step that evaluated it. `"num_evals"` and `"num_jvps"` count the
    evaluations of f and the products with its Jacobian in all.
    """

    rtol: AbstractVar[float]
    atol: AbstractVar[float]
    norm: AbstractVar[Callable[[PyTree], Scalar]]
    limits: AbstractVar[Limits]

    @abc.abstractmethod
    def record(self, state: Any) -> Record:
        """The record within the solver's state."""

    def terminate(
        self,
        fn: Callable,
        y: PyTree[Array],
        args: PyTree,
        options: dict[str, Any],
        state: Any,
        tags: frozenset[object],
    ) -> tuple[Bool[Array, ""], optx.RESULTS]:
        # Optimistix passes the iterate *before* the step here, the one in the record.
        record = self.record(state)
        results = optx.RESULTS
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
        state: Any,
        tags: frozenset[object],
        result: optx.RESULTS,
    ) -> tuple[PyTree[Array], PyTree[Array], dict[str, Any]]:
        record = self.record(state)
        stats = {
            "residual": record.best_residual,
            "num_evals": record.num_evals,
            "num_jvps": record.num_jvps,
            "best_step": record.best_step,
        }
        return record.best, record.best_aux, stats


def start(y: PyTree[Array], aux_struct: PyTree[jax.ShapeDtypeStruct]) -> Record:
    """The record of a solve that has evaluated nothing yet."""
    # In the state's precision, not JAX's default one: a float32 state is fine with x64 on.
    infinity = jnp.array(jnp.inf, ravel_pytree(y)[0].dtype)
    zero, no = jnp.array(0), jnp.array(False)
    return Record(
        best=y,
        best_aux=jtu.tree_map(lambda s: jnp.zeros(s.shape, s.dtype), aux_struct),
        best_error=infinity,
        best_residual=infinity,
        best_step=zero,
        first_error=infinity,
        progress_error=infinity,
        stale=zero,
        error=infinity,
        improved=no,
        num_steps=zero,
        num_evals=zero,
        num_jvps=zero,
        converged=no,
        diverged=no,
        stalled=no,
    )


def observe(
    solver: AbstractResidualSolver,
    record: Record,
    y: PyTree[Array],
    f: PyTree[Array],
    aux: PyTree[Array],
    *,
    steps_back: bool,
    num_evals: int | Int[Array, ""] = 1,
) -> Record:
    """The record after the step that evaluated `f` at `y`.

    **Arguments:**

    - `steps_back`: whether the solver recovers from a bad iterate by itself. If not, the first
        one ends the solve.
    - `num_evals`: what the step costs in all.
    """
    dtype = record.error.dtype
    residual = jtu.tree_map(jnp.subtract, f, y)
    error = jnp.asarray(solver.norm(residual), dtype)
    scale = jnp.asarray(solver.norm(f), dtype)
    finite = jnp.isfinite(error)
    is_first = record.num_steps == 0

    converged = finite & (error <= solver.atol + solver.rtol * scale)
    # What meets the tolerance is returned even if an earlier error was smaller (but ‖f‖ too).
    improved = (error < record.best_error) | converged
    keep_best = lambda new, old: jtu.tree_map(lambda a, b: jnp.where(improved, a, b), new, old)
    best_error = keep_best(error, record.best_error)

    progressed = improved & (best_error <= (1 - _PROGRESS) * record.progress_error)
    stale = jnp.where(progressed, 0, record.stale + 1)
    stalled = stale >= solver.limits.stagnation

    first_error = jnp.where(is_first, error, record.first_error)
    bad = ~finite | (error > solver.limits.divergence * first_error)
    hopeless = is_first | stalled if steps_back else jnp.array(True)
    return Record(
        best=keep_best(y, record.best),
        best_aux=keep_best(aux, record.best_aux),
        best_error=best_error,
        best_residual=keep_best(jnp.asarray(optx.two_norm(residual), dtype), record.best_residual),
        best_step=keep_best(record.num_steps, record.best_step),
        first_error=first_error,
        progress_error=jnp.where(progressed, best_error, record.progress_error),
        stale=stale,
        error=error,
        improved=improved,
        num_steps=record.num_steps + 1,
        num_evals=record.num_evals + num_evals,
        num_jvps=record.num_jvps,
        converged=converged,
        diverged=bad & hopeless,
        stalled=stalled,
    )


def add_jvps(record: Record, count: int | Int[Array, ""]) -> Record:
    """The record after `count` more products with the Jacobian."""
    return eqx.tree_at(lambda r: r.num_jvps, record, record.num_jvps + count)


def finite_or(new: Float[Array, " n"], fallback: Float[Array, " n"]) -> Float[Array, " n"]:
    """`new` if all of it is finite, else `fallback`: no solver proposes a NaN."""
    # The cast is for a step length given as a NumPy scalar, which JAX does not take as weak.
    return jnp.where(jnp.all(jnp.isfinite(new)), new.astype(fallback.dtype), fallback)


def check_tolerances(solver: AbstractResidualSolver) -> None:
    name = type(solver).__name__
    for field, value in (("rtol", solver.rtol), ("atol", solver.atol)):
        if is_number(value) and not value >= 0:
            raise ValueError(
                f"`{name}({field}=...)` must not be negative; got {value}. Use 0.0 to leave that "
                "part of the test out."
            )
