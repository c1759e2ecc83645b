"""A trained model under noise, with exact expectation values."""

from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

import eqx_qdeq as qdeq
from eqx_qdeq import noise, training

from .. import rounded
from .grid import DEVICES, SWEEPS
from .models import base_of, with_noise
from .noises import device_noise, sweep_noise

TOLERANCE = 1e-3
_MOST_STEPS = 100


def sweep(
    model: Any,
    split: training.Split,
    *,
    coherent: bool,
    sweeps: Mapping[str, Sequence[float]] = SWEEPS,
    devices: Sequence[str] = DEVICES,
) -> dict[str, Any]:
    """Every point of every sweep, and the devices with and without noise of the preparation."""
    found: dict[str, Any] = {"images": len(split)}
    for kind, rates in sweeps.items():
        found[kind] = [
            {"rate": rate} | measure(model, sweep_noise(kind, rate), split, coherent)
            for rate in rates
        ]
    found["devices"] = [
        {"device": name, "preparation": prepared}
        | measure(model, device_noise(name, preparation=prepared), split, coherent)
        for name in devices
        for prepared in (False, True)
    ]
    return found


def measure(
    model: Any, noise_model: noise.NoiseModel | None, split: training.Split, coherent: bool
) -> dict[str, float]:
    """What there is to know of a model under one noise, as means over the samples.

    `signal` is the root mean square of ‖z - mean z‖: how far the samples' measured values differ.
    The Jacobian, its radius and norm are those of the noisy cell at the state that is read out;
    `picard` counts the measured applications until two differ by less than `TOLERANCE`. A coherent
    circuit has no feedback, and none of these.
    """
    found = _measure(model, noise_model, split.x, coherent)
    host = {name: np.asarray(value, float) for name, value in found.items()}
    logits, z = host.pop("logits"), host.pop("z")
    numbers = of_logits(logits, np.asarray(split.y))
    numbers["signal"] = float(np.sqrt(np.mean(np.sum((z - z.mean(0)) ** 2, axis=1))))
    numbers["size"] = float(np.mean(np.linalg.norm(z, axis=1)))
    for name, values in host.items():
        if name in ("radius", "norm"):
            numbers[name] = float(np.nanmedian(values))
            numbers[f"{name}_max"] = float(np.nanmax(values))
        else:
            numbers[name] = float(np.mean(values))
    return rounded(numbers)


def of_logits(logits: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Accuracy, margin (the true class's logit minus the largest other) and loss in nats."""
    rows = np.arange(len(y))
    true = logits[rows, y]
    others = logits.copy()
    others[rows, y] = -np.inf
    margin = true - others.max(axis=1)
    losses = optax.softmax_cross_entropy_with_integer_labels(jnp.asarray(logits), jnp.asarray(y))
    return {
        "accuracy": float(np.mean(margin > 0)),
        "margin": float(margin.mean()),
        "loss": float(jnp.mean(losses)),
    }


@eqx.filter_jit
def _measure(
    model: Any, noise_model: noise.NoiseModel | None, x: jax.Array, coherent: bool
) -> dict[str, jax.Array]:
    noisy = with_noise(model, noise_model)
    cell = base_of(noisy).deq.cell.compile(x.shape[1])

    def one(x: jax.Array) -> dict[str, jax.Array]:
        logits, solution = noisy.solve(x)
        found = {"logits": logits, "z": solution.value}
        if coherent:
            return found
        fn = cell.bind(x)
        return found | {
            "residual": solution.stats["residual"],
            "steps": solution.stats["num_steps"],
            "converged": solution.success,
            "picard": picard_steps(fn, cell.init(x)),
            "radius": qdeq.spectral_radius(fn, solution.value),
            "norm": qdeq.spectral_norm(fn, solution.value),
        }

    return jax.vmap(one)(x)


def picard_steps(fn: Any, z: jax.Array) -> jax.Array:
    """How often f is applied, from z, until two values differ by at most `TOLERANCE`."""

    def step(state: tuple) -> tuple:
        z, _, n = state
        new = fn(z)
        return new, jnp.linalg.norm(new - z), n + 1

    going = lambda state: (state[1] > TOLERANCE) & (state[2] < _MOST_STEPS)
    return jax.lax.while_loop(going, step, (z, jnp.asarray(jnp.inf, z.dtype), jnp.asarray(0)))[2]
