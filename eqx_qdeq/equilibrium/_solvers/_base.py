"""What all fixed-point solvers share: bookkeeping, stopping, and which iterate is returned.

A solver's `step` evaluates the map at the iterate `y` that it is given, tells the `Record`, and
proposes where to look next. So the residual f(y) - y that the record sees belongs to `y` itself,
costs no evaluation of its own, and the proposal of the last step is never returned unseen.
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

# A solve stalls if its best residual falls by less than this fraction over `patience` steps.
_PROGRESS = 1e-3


class Record(eqx.Module):
    """What a solve has seen so far."""

    best: PyTree[Array]
    best_aux: PyTree[Array]
    best_error: Float[Array, ""]  # in the solver's norm
    best_residual: Float[Array, ""]  # Euclidean
    best_step: Int[Array, ""]
    first_error: Float[Array, ""]
    mark: Float[Array, ""]  # the best error when there was progress last
    stale: Int[Array, ""]  # steps since then
    error: Float[Array, ""]
    improved: Bool[Array, ""]
    num_steps: Int[Array, ""]
    num_evals: Int[Array, ""]
    num_jvps: Int[Array, ""]
    converged: Bool[Array, ""]
    diverged: Bool[Array, ""]
    stalled: Bool[Array, ""]

    @property
    def is_first(self) -> Bool[Array, ""]:
        """Whether nothing was evaluated yet."""
        return self.num_steps == 0


def start_record(y: PyTree[Array], aux_struct: PyTree[jax.ShapeDtypeStruct]) -> Record:
    """The record of a solve that has not evaluated anything yet."""
    dtype = ravel_pytree(y)[0].dtype
    infinity, zero, no = jnp.array(jnp.inf, dtype), jnp.array(0), jnp.array(False)
    return Record(
        best=y,
        best_aux=jtu.tree_map(lambda s: jnp.zeros(s.shape, s.dtype), aux_struct),
        best_error=infinity,
        best_residual=infinity,
        best_step=zero,
        first_error=infinity,
        mark=infinity,
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


class AbstractResidualSolver(optx.AbstractFixedPointSolver):
    r"""A fixed-point solver that stops on the true residual and returns its best iterate.

    It stops

    - successfully, at the first evaluated y with $\|f(y) - y\| \le \mathrm{atol} + \mathrm{rtol}
      \, \|f(y)\|$, in the norm `norm`;
    - with `nonlinear_divergence`, if f(y) is not finite or the residual exceeds
      `divergence_factor` times the first one, where the method cannot step back (or keeps
      failing to for `patience` steps);
    - with `nonlinear_max_steps_reached`, if the best residual fell by less than one part in a
      thousand over the last `patience` steps, or at `max_steps`.

    However it stops, the value is the best iterate that was evaluated, finite if the initial
    guess is, and `stats` describe that iterate: `"residual"` is its Euclidean $\|f(y) - y\|$
    and `"best_step"` the step that evaluated it. `"num_evals"` counts evaluations of f in all and
    `"num_jvps"` Jacobian-vector products, for all solvers alike.
    """

    rtol: AbstractVar[float]
    atol: AbstractVar[float]
    norm: AbstractVar[Callable[[PyTree], Scalar]]
    divergence_factor: AbstractVar[float]
    patience: AbstractVar[int]

    @abc.abstractmethod
    def record(self, state: Any) -> Record:
        """The record within this solver's state."""

    def terminate(self, fn, y, args, options, state, tags):
        record = self.record(state)
        result = optx.RESULTS.where(
            record.stalled,
            optx.RESULTS.nonlinear_max_steps_reached,
            optx.RESULTS.successful,
        )
        result = optx.RESULTS.where(
            record.diverged, optx.RESULTS.nonlinear_divergence, result
        )
        result = optx.RESULTS.where(record.converged, optx.RESULTS.successful, result)
        return record.converged | record.diverged | record.stalled, result

    def postprocess(self, fn, y, aux, args, options, state, tags, result):
        record = self.record(state)
        stats = {
            "residual": record.best_residual,
            "num_evals": record.num_evals,
            "num_jvps": record.num_jvps,
            "best_step": record.best_step,
        }
        return record.best, record.best_aux, stats


def observe(
    solver: AbstractResidualSolver,
    record: Record,
    y: PyTree[Array],
    f: PyTree[Array],
    aux: PyTree[Array],
    *,
    steps_back: bool,
    num_evals: int | Int[Array, ""] = 1,
    num_jvps: int | Int[Array, ""] = 0,
) -> Record:
    """The record after a step that evaluated `f` at `y`.

    **Arguments:**

    - `steps_back`: whether the solver itself recovers from a bad iterate. If not, the first bad
        one ends the solve.
    - `num_evals`, `num_jvps`: what the step cost.
    """
    dtype = record.error.dtype
    residual = jtu.tree_map(jnp.subtract, f, y)
    error = jnp.asarray(solver.norm(residual), dtype)
    scale = jnp.asarray(solver.norm(f), dtype)
    finite = jnp.isfinite(error)
    converged = finite & (error <= solver.atol + solver.rtol * scale)
    # What meets the tolerance is returned, even if ‖f(y)‖ grew and an earlier error was smaller.
    improved = (error < record.best_error) | converged

    best_error = jnp.where(improved, error, record.best_error)
    progressed = improved & (best_error <= (1 - _PROGRESS) * record.mark)
    stale = jnp.where(progressed, 0, record.stale + 1)
    stalled = stale >= solver.patience

    first_error = jnp.where(record.is_first, error, record.first_error)
    bad = ~finite | (error > solver.divergence_factor * first_error)
    hopeless = jnp.array(True) if not steps_back else record.is_first | stalled

    choose = lambda new, old: jtu.tree_map(lambda a, b: jnp.where(improved, a, b), new, old)
    return Record(
        best=choose(y, record.best),
        best_aux=choose(aux, record.best_aux),
        best_error=best_error,
        best_residual=choose(
            jnp.asarray(optx.two_norm(residual), dtype), record.best_residual
        ),
        best_step=choose(record.num_steps, record.best_step),
        first_error=first_error,
        mark=jnp.where(progressed, best_error, record.mark),
        stale=stale,
        error=error,
        improved=improved,
        num_steps=record.num_steps + 1,
        num_evals=record.num_evals + num_evals,
        num_jvps=record.num_jvps + num_jvps,
        converged=converged,
        diverged=bad & hopeless,
        stalled=stalled,
    )


def finite_or(new: Float[Array, " n"], old: Float[Array, " n"]) -> Float[Array, " n"]:
    """`new` where all of it is finite, else `old`: no solver proposes an iterate with NaN."""
    return jnp.where(jnp.all(jnp.isfinite(new)), new, old)
