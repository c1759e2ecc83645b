"""How errors of one evaluation become errors of the equilibrium, and what noise does to J."""

import itertools
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import eqx_qdeq as qdeq
from eqx_qdeq import noise

from .. import rounded
from .grid import BINS, RATES
from .models import base_of, with_noise
from .noises import sweep_noise

KINDS = ("two_qubit", "damping", "dephasing", "readout")
APPLICATIONS = 20
DEPTHS = (1, 2, 3, 5, 10, 20)
BINNED_RATE = 0.01
INPUT_SCALES = (1.0, 0.5, 0.25)


def law(
    model: Any,
    x: jax.Array,
    *,
    kinds: Sequence[str] = KINDS,
    rates: Sequence[float] = RATES[1:],
) -> dict[str, Any]:
    """For each kind of noise and rate, medians over the samples (and means where it says so)."""
    clean = equilibria(model, None, x)
    found: dict[str, Any] = {"images": len(x), "clean": _summary(clean)}
    for kind in kinds:
        found[kind] = [
            {"rate": rate} | compare(model, clean, sweep_noise(kind, rate), x) for rate in rates
        ]
    found["binned"] = binned(model, x, BINNED_RATE)
    return found


def binned(model: Any, x: jax.Array, rate: float) -> list[dict[str, float]]:
    """The amplification by the size of J. Pixels scaled by less than 1 make the fed-back values
    count for more, and J larger, so that there is something in every bin."""
    rows = []
    for scale in INPUT_SCALES:
        clean = equilibria(model, None, scale * x)
        found = displacements(model, clean, sweep_noise("two_qubit", rate), scale * x)
        kept = np.asarray(clean["success"] & found["noisy"]["success"])
        error, delta = (np.linalg.norm(found[name], axis=1) for name in ("error", "delta"))
        amplify = amplifications(np.asarray(clean["jacobian"]))
        rows.append(np.stack([np.asarray(found["lipschitz"]), error / delta, *amplify])[:, kept])
    lipschitz, amplified, random, worst = np.concatenate(rows, axis=1)
    found = []
    for low, high in itertools.pairwise(BINS):
        inside = (lipschitz >= low) & (lipschitz < high)
        if inside.sum() >= 20:
            middle = float(np.median(lipschitz[inside]))
            numbers = {
                "lipschitz": middle,
                "amplification": np.median(amplified[inside]),
                "amplification_95": np.quantile(amplified[inside], 0.95),
                "random": np.median(random[inside]),
                "worst": np.median(worst[inside]),
            }
            found.append({"count": int(inside.sum())} | rounded(numbers, 5))
    return found


@eqx.filter_jit
def equilibria(
    model: Any, noise_model: noise.NoiseModel | None, x: jax.Array
) -> dict[str, jax.Array]:
    """z*, J at z*, and whether it was found."""
    deq = base_of(with_noise(model, noise_model)).deq

    def one(x: jax.Array) -> dict[str, jax.Array]:
        solution = deq.solve(x)
        jacobian = qdeq.jacobian(deq.cell.bind(x), solution.value)
        return {"z": solution.value, "jacobian": jacobian, "success": solution.success}

    return jax.vmap(one)(x)


@eqx.filter_jit
def displacements(
    model: Any, clean: dict[str, jax.Array], noise_model: noise.NoiseModel, x: jax.Array
) -> dict[str, Any]:
    """What one noisy evaluation does to a clean equilibrium, what the noisy equilibrium is, and
    what is said of their relation: to first order with the clean and with the noisy Jacobian, and
    by the bound, with the largest ‖J‖ of the noisy map at five points in between."""
    cell = base_of(with_noise(model, noise_model)).deq.cell
    noisy = equilibria(model, noise_model, x)

    def one(x: jax.Array, z: jax.Array, jacobian: jax.Array, new: jax.Array) -> dict:
        fn = cell.bind(x)
        delta = fn(z) - z
        here = qdeq.jacobian(fn, z)
        points = z + jnp.linspace(0, 1, 5)[:, None] * (new - z)
        norms = jax.vmap(lambda p: qdeq.spectral_norm(fn, p))(points)
        return {
            "delta": delta,
            "error": new - z,
            "first_order": first_order(jacobian, delta),
            "first_order_noisy": first_order(here, delta),
            "lipschitz": jnp.max(norms),
            "here": here,
        }

    found = jax.vmap(one)(x, clean["z"], clean["jacobian"], noisy["z"])
    return found | {"noisy": noisy}


def first_order(jacobian: jax.Array, delta: jax.Array) -> jax.Array:
    """(I - J)⁻¹ δ: by how much a fixed point moves where its map is changed by δ."""
    return jnp.linalg.solve(jnp.eye(len(delta), dtype=delta.dtype) - jacobian, delta)


def compare(
    model: Any, clean: dict[str, jax.Array], noise_model: noise.NoiseModel, x: jax.Array
) -> dict[str, float]:
    found = displacements(model, clean, noise_model, x)
    noisy = found.pop("noisy")
    kept = np.asarray(clean["success"] & noisy["success"])
    host = {name: np.asarray(value, float)[kept] for name, value in found.items()}
    length = lambda values: np.linalg.norm(values, axis=1)
    delta, error = length(host["delta"]), length(host["error"])
    lipschitz = host["lipschitz"]
    contracts = lipschitz < 1
    bound = delta[contracts] / (1 - lipschitz[contracts])
    off = {
        name: np.median(length(host["error"] - host[name]) / error)
        for name in ("first_order", "first_order_noisy")
    }
    numbers = {
        "delta": np.median(delta),
        "error": np.median(error),
        "amplification": np.median(error / delta),
        "amplification_95": np.quantile(error / delta, 0.95),
        "off_clean": off["first_order"],
        "off_noisy": off["first_order_noisy"],
        "contracting": np.mean(contracts),
        # At the clean equilibrium, so that only the map has changed.
        "jacobian_kept": np.median(
            np.linalg.norm(host["here"], ord=2, axis=(1, 2))
            / np.linalg.norm(np.asarray(clean["jacobian"], float)[kept], ord=2, axis=(1, 2))
        ),
        "kept": np.mean(kept),
    }
    if np.any(contracts):
        numbers["bound_amplification"] = np.median(1 / (1 - lipschitz[contracts]))
        numbers["bound_holds"] = np.mean(error[contracts] <= bound * (1 + 1e-3) + 1e-5)
    return rounded(numbers, 5) | _summary(noisy)


def _summary(found: dict[str, jax.Array]) -> dict[str, float]:
    """Size of J and of the values at equilibria, and how they amplify errors."""
    kept = np.asarray(found["success"])
    jacobian, z = (np.asarray(found[name], float)[kept] for name in ("jacobian", "z"))
    random, worst = amplifications(jacobian)
    numbers = {
        "norm": np.median(np.linalg.norm(jacobian, ord=2, axis=(1, 2))),
        "radius": np.median(np.abs(np.linalg.eigvals(jacobian)).max(axis=1)),
        "signal": np.sqrt(np.mean(np.sum((z - z.mean(0)) ** 2, axis=1))),
        "size": np.mean(np.linalg.norm(z, axis=1)),
        "random_amplification": np.median(random),
        "worst_amplification": np.median(worst),
        "solved": np.mean(kept),
    }
    return rounded(numbers, 5)


def amplifications(jacobian: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each J of a batch, how (I - J)⁻¹ amplifies errors of no direction: its root mean square
    on random ones, and its largest singular value."""
    size = jacobian.shape[-1]
    inverse = np.linalg.inv(np.eye(size) - jacobian)
    random = np.sqrt(np.sum(inverse**2, axis=(1, 2)) / size)
    return random, np.linalg.norm(inverse, ord=2, axis=(1, 2))


# --- Over the number of applications ----------------------------------------------------------


def applications(
    model: Any,
    x: jax.Array,
    *,
    rates: Sequence[float] = (0.001, 0.003, 0.01),
    depths: Sequence[int] = DEPTHS,
) -> dict[str, Any]:
    """The relative error ‖z_noisy - z_clean‖ / ‖z_clean‖ (root mean squares over the samples) after
    k applications: of the cell, measured and prepared again, and of the circuit k times in a row.
    The angles are the same ones."""
    found: dict[str, Any] = {"rates": list(rates), "steps": list(range(1, APPLICATIONS + 1))}
    iterates = [np.asarray(_iterates(model, sweep_noise("two_qubit", r), x)) for r in (0, *rates)]
    found["measured"] = [_relative(each, iterates[0]) for each in iterates[1:]]
    found["depths"] = list(depths)
    coherent: list[list[float]] = [[] for _ in rates]
    size = []
    for depth in depths:
        deep = repeated(base_of(model), depth)
        values = [np.asarray(_values(deep, sweep_noise("two_qubit", r), x)) for r in (0, *rates)]
        size.append(float(np.sqrt(np.mean(np.sum(values[0] ** 2, axis=1)))))
        for row, noisy in zip(coherent, values[1:], strict=True):
            row += _relative(noisy[None], values[0][None])
    found["coherent"] = coherent
    found["coherent_size"] = size
    found["measured_size"] = np.sqrt(np.mean(np.sum(iterates[0] ** 2, axis=2), axis=1)).tolist()
    return found


def repeated(base: Any, depth: int) -> Any:
    """The layer whose circuit is this one's so many times in a row, with the same angles."""
    layer = base.deq.cell.layer
    new = qdeq.QuantumLayer(
        layer.circuit.repeat(depth, tied=True),
        layer.encoding,
        layer.measurement,
        key=jax.random.key(0),
    )
    return eqx.tree_at(lambda l: l.angles, new, layer.angles)


def _relative(noisy: np.ndarray, clean: np.ndarray) -> list[float]:
    error = np.sqrt(np.mean(np.sum((noisy - clean) ** 2, axis=2), axis=1))
    size = np.sqrt(np.mean(np.sum(clean**2, axis=2), axis=1))
    return [float(f"{value:.5g}") for value in error / size]


@eqx.filter_jit
def _iterates(model: Any, noise_model: noise.NoiseModel, x: jax.Array) -> jax.Array:
    """z_1, z_2, …, shape `(steps, batch, m)`."""
    cell = base_of(with_noise(model, noise_model)).deq.cell.compile(x.shape[1])

    def one(x: jax.Array) -> jax.Array:
        fn = cell.bind(x)

        def step(z: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
            return fn(z), fn(z)

        return jax.lax.scan(step, cell.init(x), None, length=APPLICATIONS)[1]

    return jax.vmap(one, out_axes=1)(x)


@eqx.filter_jit
def _values(layer: Any, noise_model: noise.NoiseModel, x: jax.Array) -> jax.Array:
    return jax.vmap(layer.with_noise(noise_model).compile(x.shape[1]))(x)
