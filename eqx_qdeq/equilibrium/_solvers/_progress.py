"""What every fixed-point solver keeps track of: the best iterate and when to stop.

A solver evaluates f at its current iterate y and is then told how that went: the *true* residual
‖f(y) - y‖ decides, not the length of a (damped) step. The iterate with the smallest residual is
what a solver returns, with that residual.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import optimistix as optx
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, PyTree, Scalar


class Progress(eqx.Module):
    """The history of a solve, as far as it is needed."""

    best: Float[Array, " size"]
    best_residual: Float[Array, ""]
    best_step: Int[Array, ""]
    num_evals: Int[Array, ""]
    residual: Float[Array, ""]
    first_residual: Float[Array, ""]
    stalled: Int[Array, ""]  # evaluations since the residual last fell appreciably
    mark: Float[Array, ""]  # the residual that has to be undercut
    converged: Bool[Array, ""]


class Limits(eqx.Module):
    """When a solver gives up.

    **Arguments:**

    - `divergence`: the residual is more than this many times the first one.
    - `stagnation`: no residual below 99 % of the best one in this many evaluations, because the
        tolerance is below what the precision allows or the iteration cycles.
    """

    divergence: float = 1e4
    stagnation: int = 64


def start(y: PyTree[Array]) -> Progress:
    """Before the first evaluation."""
    flat, _ = ravel_pytree(y)
    inf = jnp.array(jnp.inf, flat.dtype)
    return Progress(
        best=flat,
        best_residual=inf,
        best_step=jnp.array(0),
        num_evals=jnp.array(0),
        residual=inf,
        first_residual=inf,
        stalled=jnp.array(0),
        mark=inf,
        converged=jnp.array(False),
    )


def record(
    progress: Progress,
    y: Float[Array, " size"],
    f: Float[Array, " size"],
    tolerances: tuple[float, float],
    norm: Callable[[PyTree], Scalar],
) -> Progress:
    """After an evaluation f = f(y); `tolerances` are (rtol, atol)."""
    rtol, atol = tolerances
    residual = norm(f - y)
    # `<` is false for NaN: an iterate that is not finite is never the best one.
    better = residual < progress.best_residual
    appreciably = residual < 0.99 * progress.mark
    first = progress.num_evals == 0
    return Progress(
        best=jnp.where(better, y, progress.best),
        best_residual=jnp.where(better, residual, progress.best_residual),
        best_step=jnp.where(better, progress.num_evals, progress.best_step),
        num_evals=progress.num_evals + 1,
        residual=residual,
        first_residual=jnp.where(first, residual, progress.first_residual),
        stalled=jnp.where(appreciably, 0, progress.stalled + 1),
        mark=jnp.where(appreciably, residual, progress.mark),
        converged=residual <= atol + rtol * norm(f),
    )


def verdict(progress: Progress, limits: Limits) -> tuple[Bool[Array, ""], optx.RESULTS]:
    """Whether to stop, and what to say."""
    started = progress.num_evals > 0
    stalled = progress.stalled >= limits.stagnation
    # Not `>`: a residual that is NaN has diverged too.
    diverged = ~(progress.residual <= limits.divergence * progress.first_residual)
    result = optx.RESULTS.where(
        stalled & ~progress.converged, optx.RESULTS.stagnation, optx.RESULTS.successful
    )
    result = optx.RESULTS.where(diverged & started, optx.RESULTS.nonlinear_divergence, result)
    return started & (progress.converged | stalled | diverged), result


def finish(
    progress: Progress, y: PyTree[Array], aux: Any
) -> tuple[PyTree[Array], Any, dict[str, Array]]:
    """The best iterate and the statistics that all solvers give."""
    _, unravel = ravel_pytree(y)
    stats = {
        "residual": progress.best_residual,
        "num_evals": progress.num_evals,
        "best_step": progress.best_step,
    }
    return unravel(progress.best), aux, stats
