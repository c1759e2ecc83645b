"""One system and one way to evaluate it, at all distances from the transition."""

import functools as ft
import time
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

import eqx_qdeq as qdeq
from eqx_qdeq import training

from .. import Record, rounded
from .systems import SYSTEMS

DISTANCES = (0.5, 0.3, 0.2, 0.1, 0.05, 0.03, 0.02, 0.01, 0.005, 0.003, 0.002, 0.001)
TOLERANCE, MAX_STEPS = 1e-10, 30_000
SOLVERS = {
    "picard": qdeq.Picard,
    "anderson": qdeq.Anderson,
    "broyden": qdeq.Broyden,
    "newton": qdeq.Newton,
    "pseudo-transient": ft.partial(qdeq.PseudoTransient, avoids_saddles=True),
}
APPLIED = (1, 2, 5, 10, 20, 50)
SHOTS, REPEATS, AVERAGED = 10_000, 20, 200


def model_of(cell: qdeq.AbstractCell, name: str) -> Any:
    """The equilibrium by a solver, or so many applications."""
    if name not in SOLVERS:
        return qdeq.Unrolled(cell, int(name))
    patient = qdeq.SolverLimits(stagnation=MAX_STEPS)
    solver = SOLVERS[name](rtol=0.0, atol=TOLERANCE, limits=patient)
    return qdeq.DEQ(cell, solver, max_steps=MAX_STEPS)


def execute(system: str, model: str, distances: tuple[float, ...] = DISTANCES) -> Record:
    """Errors of the observable and of its derivative, relative ones; evaluations; microseconds."""
    about = SYSTEMS[system]
    solver = model_of(about.make(), model)

    def value(x: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        solution = solver.solve(x)
        evals = solution.stats.get("num_evals", jnp.array(0))
        return about.observe(solution.value), (evals, solution.success)

    both = eqx.filter_jit(jax.value_and_grad(value, has_aux=True))
    found: Record = {"system": system, "model": model, "distance": list(distances)}
    columns = {name: [] for name in ("slope", "error", "derivative", "evals", "success", "time")}
    for distance in distances:
        x = about.at(distance)
        point = about.sample(x)
        (got, (evals, success)), slope = jax.block_until_ready(both(point))
        seconds = []
        for _ in range(20):
            started = time.perf_counter()
            jax.block_until_ready(both(point))
            seconds.append(time.perf_counter() - started)
        exact, exact_slope = about.exact(x)
        columns["time"].append(round(1e6 * min(seconds), 1))
        columns["slope"].append(about.slope(x))
        columns["error"].append(abs(float(got) / exact - 1))
        columns["derivative"].append(abs(float(jnp.sum(slope)) / exact_slope - 1))
        columns["evals"].append(int(model) if model not in SOLVERS else int(evals))
        columns["success"].append(bool(success))
    digits = lambda values: [v if isinstance(v, bool | int) else float(f"{v:.4g}") for v in values]
    return found | {name: digits(values) for name, values in columns.items()}


def execute_sampled(
    system: str, model: str, distances: tuple[float, ...] = DISTANCES, repeats: int = REPEATS
) -> Record:
    """The observable from finitely many shots: its bias and its spread, relative ones. The
    equilibrium is the mean of iterates in `AVERAGED` evaluations."""
    about = SYSTEMS[system]
    assert about.shots is not None
    cell = about.shots()

    def draw(x: jax.Array, key: jax.Array) -> jax.Array:
        if model != "equilibrium":
            return about.observe(qdeq.with_shots(model_of(cell, model), SHOTS)(x, key=key))
        start, unravel = ravel_pytree(cell.init(x))

        def estimate(z: jax.Array, key: jax.Array) -> qdeq.shots.Estimate:
            sampled = qdeq.with_shots(cell, SHOTS, key=key).bind(x)(unravel(z))
            # Values are within ±1, so this is what shots leave open at most.
            return qdeq.shots.Estimate(ravel_pytree(sampled)[0], jnp.full_like(z, SHOTS**-0.5))

        solver = qdeq.AveragedPicard(atol=1e-9)
        found = solver.solve(estimate, start, key=key, max_steps=AVERAGED)
        return about.observe(unravel(found.value))

    many = eqx.filter_jit(jax.vmap(draw, (None, 0)))
    keys = jax.random.split(jax.random.key(0), repeats)
    bias, spread = [], []
    for distance in distances:
        x = about.at(distance)
        got = np.asarray(many(about.sample(x), keys)) / about.exact(x)[0] - 1
        bias.append(float(f"{got.mean():.4g}"))
        spread.append(float(f"{got.std():.4g}"))
    slopes = [float(f"{about.slope(about.at(d)):.4g}") for d in distances]
    kind = {"system": system, "model": model, "distance": list(distances), "slope": slopes}
    return kind | {"bias": bias, "spread": spread}


def slope_of_images(recipe: str, n_images: int = 256) -> Record:
    """The slopes, ρ(J), of a trained classifier's cell at its equilibria for test images."""
    model = training.load_pretrained(recipe)
    images = training.load_recipe_data(recipe).test.x[:n_images]

    def slope(x: jax.Array) -> jax.Array:
        return qdeq.spectral_radius(model.deq.cell.bind(x), model.deq(x))

    slopes = np.asarray(eqx.filter_jit(jax.vmap(slope))(jnp.asarray(images)))
    found = {"mean": slopes.mean(), "largest": slopes.max(), "n_images": n_images}
    return {"recipe": recipe} | rounded(found, 4)
