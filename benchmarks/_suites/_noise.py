"""Noise: the paper's cell iterated, one density matrix, and an epoch of training."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Array

from eqx_qdeq import AddInjection, circuits, PauliZ, QDEQClassifier, QuantumCell
from eqx_qdeq.training import Dataset, fit, Split

from .._contest import contest
from .._noise_peers import noise_model, NOISY_PEERS, our_noisy_layer
from .._peers import available, Layer, our_layer
from .._problems import batched_loss, OURS, paper, problem
from .._settings import Settings
from .._tables import rounded, Table

_STEPS = 10
_SAMPLES = 18_600  # about three quarters of MNIST-4's training images


def noise(settings: Settings, rates: dict[str, Any]) -> list[Table]:
    """A table for iterations of the cell, one for a density matrix, one for an epoch."""
    tables = [_cell(settings, rates), _density(settings, rates)]
    return [*tables, _epoch(256 if settings.smoke else _SAMPLES)]


def _iterated(step: Layer, n_values: int) -> Layer:
    """`step(w, x)` applied to its own output."""

    def run(angles: Array, x: Array) -> Array:
        start = jnp.zeros(n_values, x.dtype)
        return lax.fori_loop(0, _STEPS, lambda _, w: step(angles, w, x), start)  # pyright: ignore

    return run


def _cell(settings: Settings, rates: dict[str, Any]) -> Table:
    p = paper(4, settings.batch)
    n, d = p.circuit.n_qubits, p.x.shape[1]
    injection = AddInjection(d)
    noisy = our_layer(p.circuit, PauliZ(), engine="auto", batch=settings.batch)
    noisy = noisy.with_noise(noise_model())

    def ours(angles: Array, x: Array) -> Array:
        layer = eqx.tree_at(lambda l: l.angles, noisy, angles)
        fn = QuantumCell(layer, injection).bind(x)
        return lax.fori_loop(0, _STEPS, lambda _, w: fn(w), jnp.zeros(n, x.dtype))

    functions = {OURS: ours}
    for name, layer in available(p.circuit, settings.peers, NOISY_PEERS).items():
        if name != "pennylane":  # its channels compile for minutes inside a loop
            step = lambda angles, w, x, layer=layer: layer(angles, injection(w, x))
            functions[name] = _iterated(step, n)  # pyright: ignore
    batched = {
        name: lambda angles, x, run=run: jax.vmap(run, (None, 0))(angles, x)
        for name, run in functions.items()
    }
    table, _ = contest(
        batched, (p.angles, p.x), seconds=settings.seconds, atol=1e-4, sgemm=rates["sgemm_gflops"]
    )
    title = f"Noisy cell, {_STEPS} iterations: 4 qubits, batch {settings.batch}"
    return {"id": "cell", "title": title, **table}


def _density(settings: Settings, rates: dict[str, Any]) -> Table:
    n = 4 if settings.smoke else 8
    p = problem(circuits.hardware_efficient(n, 2), 1)
    layers = {OURS: our_noisy_layer(p.circuit, engine="density", batch=1)}
    layers |= available(p.circuit, settings.peers, NOISY_PEERS)
    functions = {name: jax.value_and_grad(batched_loss(run)) for name, run in layers.items()}
    table, _ = contest(
        functions, (p.angles, p.x), seconds=settings.seconds, atol=1e-4, sgemm=rates["sgemm_gflops"]
    )
    title = f"One density matrix, value and gradient: {n} qubits, depth 2"
    return {"id": "density", "title": title, **table}


def _epoch(samples: int) -> Table:
    """`fit` for one epoch on numbers shaped as MNIST-4, compilation included."""
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((samples, 16)), jnp.float32)
    y = jnp.asarray(rng.integers(0, 4, samples), jnp.int32)
    few = Split(x[:256], y[:256])
    data = Dataset(Split(x, y), few, few, class_names="0123", name="stand-in")
    plain = QDEQClassifier(4, 16, 4, circuit="paper", readout="zz", key=jax.random.key(0))
    rows = []
    for name, model in (("noiseless", plain), ("noisy", plain.with_noise(noise_model()))):
        result = fit(model, data, optimizer=optax.adam(5e-3), epochs=1, progress=False)
        rows.append({"name": name, "epoch_s": rounded(result.seconds)})
    for row in rows:
        row["ratio"] = rounded(row["epoch_s"] / rows[0]["epoch_s"])
    return {
        "id": "epoch",
        "title": f"One epoch of training: 4 qubits, batch 256, {samples:,} samples",
        "first": "model",
        "notes": ["one epoch: with compilation and validation", "ratio: to the noiseless model"],
        "rows": rows,
    }
