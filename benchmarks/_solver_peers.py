"""The same two methods in three libraries: a batch of equilibria and what they cost."""

import dataclasses
import functools
import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jaxtyping import Array

from eqx_qdeq import Anderson, Broyden

from ._maps import Map
from ._timing import build, time_in_turn

MAX_STEPS = 200


@dataclasses.dataclass(frozen=True)
class Contestant:
    """A solve of a whole batch.

    - `call`: what is timed; returns values of shape (batch, entries) first.
    - `evaluations`: from what `call` returned, the evaluations until each sample met the
      tolerance.
    """

    call: Callable[[], Any]
    evaluations: Callable[[Any], np.ndarray]


def ours(method: str, f: Map, tol: float) -> dict[str, Contestant]:
    """eqx-qdeq with its defaults, and Broyden's method with as much memory as TorchDEQ's has."""
    solvers: dict[str, Any] = {"eqx-qdeq": {"Anderson": Anderson, "Broyden": Broyden}[method]}
    if method == "Broyden" and f.size > Broyden(0.0, tol).memory:
        solvers["eqx-qdeq, tuned"] = functools.partial(Broyden, memory=MAX_STEPS)

    def solve(solver: Any) -> Callable[[Array], tuple[Array, Array]]:
        def run(x: Array) -> tuple[Array, Array]:
            found = optx.fixed_point(
                f.in_jax, solver, jnp.zeros(f.size), x, max_steps=MAX_STEPS, throw=False
            )
            return found.value, found.stats["num_evals"]

        return run

    return {name: _jax_contestant(solve(solver(0.0, tol)), f) for name, solver in solvers.items()}


def jaxopt(method: str, f: Map, tol: float) -> dict[str, Contestant]:
    """JAXopt, one sample at a time under `jax.vmap`."""
    import jaxopt

    known: dict[str, Any] = {"maxiter": MAX_STEPS, "tol": tol}
    if method == "Anderson":
        # The default ridge is absolute and too large for the residuals near the tolerance.
        solvers = {
            "jaxopt": jaxopt.AndersonAcceleration(f.in_jax, **known),
            "jaxopt, tuned": jaxopt.AndersonAcceleration(
                f.in_jax, history_size=_TUNED_HISTORY, ridge=_TUNED_RIDGE, **known
            ),
        }
    else:
        # Its line search would take a gradient at every step; memory as large as ours. The sign:
        # it begins with the identity as the inverse of the Jacobian.
        g = lambda y, x: y - f.in_jax(y, x)
        solvers = {"jaxopt": jaxopt.Broyden(g, stepsize=1.0, history_size=40, **known)}

    def solve(solver: Any) -> Callable[[Array], tuple[Array, Array]]:
        def run(x: Array) -> tuple[Array, Array]:
            params, state = solver.run(jnp.zeros(f.size), x)
            # Anderson counts one at the start that it does not use and XLA leaves out.
            return params, state.num_fun_eval - (method == "Anderson")

        return run

    return {name: _jax_contestant(solve(solver), f) for name, solver in solvers.items()}


def torchdeq(method: str, f: Map, tol: float) -> dict[str, Contestant]:
    """TorchDEQ, which solves the batch as one until the worst sample is done."""
    import torch
    from torchdeq.solver.anderson import anderson_solver
    from torchdeq.solver.broyden import broyden_solver

    arrays = tuple(torch.tensor(array) for array in f.arrays)
    x = torch.tensor(f.x)
    zero = torch.zeros(f.x.shape[0], f.size)
    known: dict[str, Any] = {"max_iter": MAX_STEPS, "tol": tol, "stop_mode": "abs"}
    tuned = {"m": _TUNED_HISTORY, "lam": _TUNED_RIDGE}
    solver = {"Anderson": anderson_solver, "Broyden": broyden_solver}[method]
    versions = {"torchdeq": known}
    if method == "Anderson":
        versions["torchdeq, tuned"] = known | tuned
    before = {"Anderson": 2, "Broyden": 1}[method]  # evaluations that are not in the trace

    def call(options: dict[str, Any], threads: int) -> tuple[np.ndarray, np.ndarray]:
        torch.set_num_threads(threads)
        with torch.inference_mode():
            try:
                value, _, info = solver(lambda y: f(torch, y, x, arrays), zero, **options)
            except RuntimeError:  # a singular system, which ends the whole batch
                return np.full((len(f.x), f.size), np.nan), np.full((len(f.x), 1), np.nan)
        return value.numpy(), info["abs_trace"].numpy()

    def evaluations(output: tuple[np.ndarray, Any]) -> np.ndarray:
        reached = output[1] <= tol
        return before + np.where(reached.any(1), reached.argmax(1), reached.shape[1] - 1)

    found = {}
    for name, options in versions.items():
        # With all threads, operations as small as these take many times as long where another
        # process needs a core as well: whatever is faster here and now.
        counts = {1, os.cpu_count() or 1}
        programs = {str(k): functools.partial(call, options, k) for k in counts}
        times = time_in_turn(programs, seconds=0.0, min_rounds=1)
        found[name] = Contestant(programs[min(times, key=lambda k: times[k].median)], evaluations)
    return found


SOLVER_PEERS: dict[str, Callable[[str, Map, float], dict[str, Contestant]]] = {
    "jaxopt": jaxopt,
    "torchdeq": torchdeq,
}

# What served JAXopt and TorchDEQ best on these problems, in single precision.
_TUNED_HISTORY = 10
_TUNED_RIDGE = 1e-8


def _jax_contestant(solve: Callable[[Array], tuple[Array, Array]], f: Map) -> Contestant:
    program = build(jax.vmap(solve), jnp.asarray(f.x))
    return Contestant(program, lambda output: np.asarray(output[1]))
