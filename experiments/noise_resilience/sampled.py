"""A trained model under noise and with finitely many shots, all of them counted.

Every image gets the same number of shots in all. The circuit applied L times shares them among its
L evaluations, an equilibrium among the evaluations of its solve, and extrapolation among its noise
scales.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import eqx_qdeq as qdeq
from eqx_qdeq import noise, training
from eqx_qdeq.mitigation import Polynomial, scale_rates

from .. import rounded
from .grid import SHOTS, SOLVED
from .models import base_of, n_layers, with_noise
from .noises import mixed_noise
from .sweep import of_logits

SCALES = (1, 3)
EXTRAPOLATION = Polynomial(1)

NOISES = {
    "none": {},
    "two-qubit 1 %": {"depolarising": 0.01},
    "two-qubit 3 %": {"depolarising": 0.03},
    "readout 5 %": {"readout": 0.05},
}
MITIGATIONS = ("none", "readout", "zero-noise", "zero-noise after")
AVERAGED_STEPS = 10
PLAIN_STEPS = 5


@dataclasses.dataclass(frozen=True)
class Way:
    """How shots become logits.

    - `solver`: "applied" applies the cell `steps` times and reads the last values out; "averaged"
      solves with `AveragedPicard` in exactly `steps` evaluations.
    - `mitigation`: "none"; "readout" inverts the readout error that the noise model has;
      "zero-noise" extrapolates each evaluation, "zero-noise after" the values that are read out.
    """

    solver: str
    steps: int
    mitigation: str = "none"


def ways(model: str) -> dict[str, Way]:
    """What is tried with a model, by name."""
    if model in SOLVED:
        found = {
            "averaged": Way("averaged", AVERAGED_STEPS),
            "plain": Way("applied", PLAIN_STEPS),
        }
    else:
        found = {"": Way("applied", 1 if model.startswith("coherent") else n_layers(model))}
    return found


def sample(
    name: str,
    model: Any,
    split: training.Split,
    seed: int,
    *,
    shots: Sequence[int] = SHOTS,
    noises: Sequence[str] = tuple(NOISES),
) -> dict[str, Any]:
    """Every noise, number of shots, way and mitigation that makes sense together."""
    rows = []
    for noise_name in noises:
        for way_name, way in ways(name).items():
            for mitigation in MITIGATIONS:
                chosen = dataclasses.replace(way, mitigation=mitigation)
                if not sensible(chosen, noise_name):
                    continue
                if way_name == "plain" and noise_name != "none":
                    continue  # enough to compare the two
                row = {"noise": noise_name, "way": way_name, "mitigation": mitigation}
                for n in shots:
                    numbers = run(model, mixed_noise(**NOISES[noise_name]), chosen, n, split, seed)
                    rows.append(row | {"shots": n} | numbers)
    return {"images": len(split), "rows": rows}


def sensible(way: Way, noise_name: str) -> bool:
    """Whether there is something to mitigate, and it is not another way by another name."""
    rates = NOISES[noise_name]
    if way.mitigation == "readout":
        return "readout" in rates
    if way.mitigation == "zero-noise after" and way.solver == "applied":
        return False  # asked of equilibria alone; where there is one step, it is the same
    return way.mitigation == "none" or "depolarising" in rates


def run(
    model: Any,
    noise_model: noise.NoiseModel,
    way: Way,
    shots: int,
    split: training.Split,
    seed: int,
) -> dict[str, float]:
    """One setting: what the logits are worth, and how far the values are from a fixed point."""
    keys = jax.random.split(jax.random.key(seed), len(split))
    out = _run(model, noise_model, way, jnp.asarray(shots), split.x, keys)
    logits, residual, floor, used = (np.asarray(each, float) for each in out)
    numbers = of_logits(logits, np.asarray(split.y)) | {
        "residual": float(residual.mean()),
        "floor": float(floor.mean()),
    }
    return rounded(numbers) | {"used": round(used.mean())}


@eqx.filter_jit
def _run(
    model: Any,
    noise_model: noise.NoiseModel,
    way: Way,
    shots: jax.Array,
    x: jax.Array,
    keys: jax.Array,
) -> tuple[jax.Array, ...]:
    """Logits, residual of the (mitigated) map without shot noise, floor of an evaluation, and the
    shots that were used."""
    zero_noise = way.mitigation.startswith("zero-noise")
    scales = SCALES if zero_noise else (1,)
    weights = EXTRAPOLATION.weights(SCALES) if zero_noise else np.ones(1)
    # The variance of the weighted sum is least with shots in proportion to the weights.
    share = np.abs(weights) / np.abs(weights).sum()
    base = base_of(model)
    cells = [
        base_of(with_noise(model, scale_rates(noise_model, scale))).deq.cell.compile(x.shape[1])
        for scale in scales
    ]
    n_qubits = base.deq.cell.layer.n_qubits
    scale, shift = jnp.ones(n_qubits), jnp.zeros(n_qubits)
    if way.mitigation == "readout":
        assert noise_model.readout is not None
        scale, shift = noise_model.readout.pauli_map(n_qubits)
    each = jnp.maximum(shots // way.steps, 1)
    counts = [jnp.maximum(jnp.floor(each * part), 1).astype(int) for part in share]

    def one(x: jax.Array, key: jax.Array) -> tuple[jax.Array, ...]:
        bound = [cell.bind(x) for cell in cells]

        def read(which: tuple[int, ...], z: jax.Array, key: jax.Array) -> qdeq.shots.Estimate:
            values, variance = jnp.zeros(n_qubits), jnp.zeros(n_qubits)
            for i in which:
                factor = weights[i] if len(which) > 1 else 1.0
                mean = z_means(bound[i].probabilities(z), counts[i], jax.random.fold_in(key, i))
                values = values + factor * (mean - shift) / scale
                spread = (1 - mean**2) / jnp.maximum(counts[i] - 1, 1)
                variance = variance + factor**2 * spread / scale**2
            return qdeq.shots.Estimate(values, jnp.sqrt(variance))

        def solve(which: tuple[int, ...], key: jax.Array) -> tuple[jax.Array, jax.Array]:
            start = cells[0].init(x)
            if way.solver == "averaged":
                # A tolerance out of reach: all the steps are taken.
                found = qdeq.AveragedPicard(atol=1e-9).solve(
                    lambda z, k: read(which, z, k), start, key=key, max_steps=way.steps
                )
                return found.value, found.floor

            def step(z: jax.Array, k: jax.Array) -> tuple[jax.Array, jax.Array]:
                estimate = read(which, z, k)
                return estimate.values, jnp.linalg.norm(estimate.standard_errors)

            z, floors = jax.lax.scan(step, start, jax.random.split(key, way.steps))
            return z, floors[-1]

        if way.mitigation == "zero-noise after":
            parts = [solve((i,), jax.random.fold_in(key, i)) for i in range(len(scales))]
            z = weights @ jnp.stack([part[0] for part in parts])
            floor = parts[0][1]
        else:
            z, floor = solve(tuple(range(len(scales))), key)
        exact = weights @ jnp.stack([(fn(z) - shift) / scale for fn in bound])
        residual = jnp.linalg.norm(exact - z)
        used = way.steps * sum(counts)
        return base.head(z), residual, floor, jnp.asarray(used, z.dtype)

    return jax.vmap(one)(x, keys)


def z_means(probabilities: jax.Array, shots: jax.Array, key: jax.Array) -> jax.Array:
    """⟨Z⟩ of every wire from so many bitstrings."""
    n = probabilities.shape[0].bit_length() - 1
    counts = qdeq.shots.sample_counts(probabilities, shots, key=key)
    bits = (np.arange(2**n) >> np.arange(n)[::-1, None]) & 1
    signs = jnp.asarray(1 - 2 * bits, probabilities.dtype)
    return jnp.dot(signs, counts, precision="highest") / shots


def floors(
    model: Any, split: training.Split, seed: int, shots: Sequence[int] = SHOTS
) -> list[dict[str, float]]:
    """Of an equilibrium alone, without noise: the library's solve with so many shots for each
    evaluation, which stops where they say no more."""
    keys = jax.random.split(jax.random.key(seed), len(split))
    rows = []
    for n in shots:
        logits, stats, residual = _floors(model, jnp.asarray(n), split.x, keys)
        row = {name: float(np.mean(stats[name])) for name in ("floor", "num_steps", "num_shots")}
        row |= {"residual": float(residual.mean()), "seen": float(np.mean(stats["residual"]))}
        numbers = of_logits(np.asarray(logits, float), np.asarray(split.y))
        rows.append({"shots": n} | rounded(numbers | row))
    return rows


@eqx.filter_jit
def _floors(model: Any, shots: jax.Array, x: jax.Array, keys: jax.Array) -> tuple:
    deq = qdeq.SampledDEQ(model.deq.cell, shots)
    solution = jax.vmap(lambda x, key: deq.solve(x, key=key))(x, keys)
    exact = lambda x, z: jnp.linalg.norm(model.deq.cell.bind(x)(z) - z)
    logits = jax.vmap(model.head)(solution.value)
    return logits, solution.stats, jax.vmap(exact)(x, solution.value)
