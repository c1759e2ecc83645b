"""One run: trains, tests, looks at the equilibria, and returns what to write down."""

import dataclasses
import importlib.metadata
import json
import os
import platform
import resource
import sys
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

import eqx_qdeq as qdeq
from eqx_qdeq import training

from ..logistic_regression import logistic_regression
from .grid import Run, WARMUP_EPOCHS

_EXAMINED = 1000  # test samples whose Jacobian is looked at
_TRAINED = "trained.json"  # beside a checkpoint: on what it was made


def execute(
    run: Run, *, data_root: Path | None, epochs: int | None, limit: int | None, scratch: Path
) -> dict[str, Any]:
    """Everything about a run, as JSON can hold it. `scratch` gets its checkpoints."""
    recipe, data = prepare(run, data_root, epochs, limit)
    if run.model == "logistic":
        result = logistic_regression(data)._asdict()
    else:
        result = train(run, recipe, data, scratch)
    return {
        "run": {**dataclasses.asdict(run), "name": run.name, "group": run.group},
        "recipe": {**recipe.to_dict(), "limit": limit},
        "samples": {
            "train": len(data.train),
            "validation": len(data.validation),
            "test": len(data.test),
        },
        **result,
        "peak_memory_mb": round(_peak_memory_mb(), 1),
        "machine": {
            "processor": platform.machine(),
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
            "device": jax.devices()[0].device_kind,
            "versions": {p: importlib.metadata.version(p) for p in ("jax", "equinox", "numpy")},
        },
    }


def prepare(
    run: Run, data_root: Path | None, epochs: int | None, limit: int | None = None
) -> tuple[training.Recipe, training.Dataset]:
    """The run's recipe, with what it changes, and its data."""
    recipe = run.recipe()
    if epochs is not None:
        recipe = dataclasses.replace(recipe, epochs=epochs)
    data = training.load_recipe_data(recipe, root=data_root, seed=run.seed, limit=limit)
    if run.model == "warmup":
        n_steps = -(-len(data.train) // recipe.batch_size)
        recipe = dataclasses.replace(recipe, warmup_steps=WARMUP_EPOCHS * n_steps)
    return recipe, data


def _peak_memory_mb() -> float:
    """Of this process since it began, libraries and data included."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def train(
    run: Run, recipe: training.Recipe, data: training.Dataset, scratch: Path
) -> dict[str, Any]:
    fit = training.fit(
        build(run, recipe),
        data,
        seed=run.seed,
        progress=sys.stderr.isatty(),
        checkpoint_dir=scratch,
        config=identity(run, recipe),
        **options(run, recipe),
    )
    test = training.evaluate(fit.model, data.test)
    return {
        "accuracy": test.accuracy,
        "loss": test.loss,
        "solver_steps": test.solver_steps,
        "residual": test.residual,
        "residual_max": test.residual_max,
        "fraction_converged": test.fraction_converged,
        "n_parameters": training.count_parameters(fit.model) - run.n_frozen,
        "best_epoch": fit.best_epoch,
        "training_seconds": round(fit.seconds, 2),
        "trained": trained(scratch),
        "history": {
            name: [round(float(epoch[name]), 5) for epoch in fit.history]
            for name in ("train_loss", "validation_loss", "validation_accuracy")
        },
        "step_memory_mb": round(step_memory_mb(fit.model, data, recipe.batch_size), 2),
        **examine(fit.model, data),
    }


def train_together(
    runs: list[Run], *, data_root: Path | None, epochs: int | None, scratch: Path
) -> None:
    """Trains runs that differ in seed or images as one computation, up to checkpoints from which
    `execute` has nothing left to train."""
    prepared = [prepare(run, data_root, epochs) for run in runs]
    folders = [scratch / run.name for run in runs]
    training.fit_together(
        [build(run, recipe) for run, (recipe, _) in zip(runs, prepared, strict=True)],
        [data for _, data in prepared],
        seeds=[run.seed for run in runs],
        progress=sys.stderr.isatty(),
        checkpoint_dirs=folders,
        configs=[identity(run, recipe) for run, (recipe, _) in zip(runs, prepared, strict=True)],
        **options(runs[0], prepared[0][0]),
    )
    for folder in folders:
        (folder / _TRAINED).write_text(json.dumps(_here(len(runs))), encoding="utf-8")


def trained(scratch: Path) -> dict[str, Any]:
    """Where a run was trained, and with how many others at once."""
    written = scratch / _TRAINED
    return json.loads(written.read_text(encoding="utf-8")) if written.exists() else _here(1)


def _here(runs_at_once: int) -> dict[str, Any]:
    return {"device": jax.devices()[0].device_kind, "runs_at_once": runs_at_once}


def build(run: Run, recipe: training.Recipe) -> Any:
    """The model before training."""
    return qdeq.classifier_from_config(dict(recipe.model), key=jax.random.key(run.seed))


def identity(run: Run, recipe: training.Recipe) -> dict[str, Any]:
    """What the run's checkpoint is known by."""
    return {"run": run.name, "epochs": recipe.epochs}


def options(run: Run, recipe: training.Recipe) -> dict[str, Any]:
    """How a run is trained, as arguments of `fit`."""
    # Frozen angles count neither in the clipping nor in Adam's moments.
    optimizer = optax.chain(
        freeze_last_angles(run.n_frozen),
        optax.clip_by_global_norm(recipe.clip or jnp.inf),
        optax.adam(recipe.learning_rate),
    )
    return {
        "optimizer": optimizer,
        "learning_rate": recipe.learning_rate,
        "epochs": recipe.epochs,
        "batch_size": recipe.batch_size,
        "jacobian_penalty": recipe.jacobian_penalty,
        "warmup_steps": recipe.warmup_steps,
        "warmup_layers": recipe.warmup_layers,
    }


def freeze_last_angles(n: int) -> optax.GradientTransformation:
    """Sets the gradients of the circuit's last `n` angles to zero."""

    def freeze(gradients: Any, params: Any) -> Any:
        if n == 0:
            return gradients
        where = lambda model: model.deq.cell.layer.angles
        return eqx.tree_at(where, gradients, where(gradients).at[-n:].set(0))

    return optax.stateless(freeze)


def step_memory_mb(model: Any, data: training.Dataset, batch_size: int) -> float:
    """What the gradient of a batch's loss needs beside its inputs and outputs, as XLA plans it."""
    params, static = eqx.partition(model, eqx.is_inexact_array)

    def loss(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        logits = jax.vmap(eqx.combine(params, static))(x)
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, y))

    x, y = data.train.x[:batch_size], data.train.y[:batch_size]
    compiled = jax.jit(jax.grad(loss)).lower(params, x, y).compile()
    analysis = compiled.memory_analysis()
    assert analysis is not None
    return analysis.temp_size_in_bytes / 2**20


def examine(model: Any, data: training.Dataset) -> dict[str, Any]:
    """What a training image costs, and the spectral radius at the equilibria of test images: for
    unrolled models, of the equilibria that they would have."""
    n_layers = getattr(model, "n_layers", None)
    deq = model.base.deq if n_layers else model.deq
    x = data.test.x[:_EXAMINED]
    radius = jax.jit(jax.vmap(lambda x: qdeq.spectral_radius(deq.cell.bind(x), deq(x))))(x)
    found = np.asarray(radius)[np.isfinite(radius)]
    if n_layers:
        forward, backward = float(n_layers), float(n_layers)
    else:
        report = jax.vmap(lambda x: deq.diagnose(x, n_steps=1))(data.train.x[:256])
        forward = float(np.mean(report.num_evals + report.num_jvps))
        backward = float(np.mean(report.backward.num_products))
    return {
        "spectral_radius": {
            "median": float(np.median(found)),
            "max": float(np.max(found)),
            "without_equilibrium": float(1 - len(found) / len(x)),
        },
        "forward_evaluations": round(forward, 2),
        "backward_evaluations": round(backward, 2),
    }
