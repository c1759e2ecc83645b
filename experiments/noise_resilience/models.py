"""The models: how they are built, trained, written down and read again."""

import dataclasses
import functools as ft
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

import eqx_qdeq as qdeq
from eqx_qdeq import noise, training

from .grid import Run, TRAININGS

# One object for all runs, so that what was compiled for one serves the next.
_OPTIMIZER = optax.adam(5e-3)


def recipe_of(run: Run) -> training.Recipe:
    """The paper's recipe of the task, for this run's model."""
    recipe = training.get_recipe(f"paper-mnist{run.n_qubits}")
    if run.task == "digits":
        recipe = dataclasses.replace(
            recipe, dataset="digits", preprocess=training.unit_norm_preprocess(4)
        )
    if run.model != "qdeq":
        recipe = dataclasses.replace(recipe, jacobian_penalty=0.0)
    return recipe


def build(run: Run) -> qdeq.AbstractEquilibriumModel:
    """The untrained, noiseless model. Those of a seed start from the same angles and head, but for
    the untied circuit, which has ten times as many angles."""
    config = dict(recipe_of(run).model)
    layers = n_layers(run.model)
    if run.model.startswith("coherent"):
        circuit = qdeq.circuits.paper(run.n_qubits)
        config["circuit"] = circuit.repeat(layers, tied=not run.model.endswith("free"))
        layers = 1
    base = qdeq.classifier_from_config(config, key=jax.random.key(run.seed))
    model = base.unrolled(layers) if layers else base
    assert isinstance(model, qdeq.AbstractClassifier)
    return model


def n_layers(model: str) -> int:
    """The L of a model's name; 0 for an equilibrium."""
    return int("".join(filter(str.isdigit, model)) or 0)


def base_of(model: Any) -> Any:
    """The classifier with the cell, of which a direct model applies it L times."""
    return getattr(model, "base", model)


def with_noise(model: Any, noise_model: noise.NoiseModel | None) -> Any:
    """The same parameters under noise, for direct models too."""
    noisy = base_of(model).with_noise(noise_model)
    return noisy.unrolled(model.n_layers) if hasattr(model, "n_layers") else noisy


def two_qubit_error(rate: Any) -> noise.NoiseModel:
    """Depolarizing noise after gates on two wires, and nothing else."""
    return noise.NoiseModel(two_wire=(noise.Depolarizing(probability=rate, n_wires=2),))


@ft.lru_cache(maxsize=4)
def load(run: Run, data_root: Any, limit: int | None) -> training.Dataset:
    """The run's data: the split of the training images depends on the seed."""
    return training.load_recipe_data(recipe_of(run), root=data_root, seed=run.seed, limit=limit)


def train(run: Run, data: training.Dataset, epochs: int) -> dict[str, Any]:
    """Trains a model, under noise if its training says so, and returns what to write down: its
    weights too, as they are few."""
    recipe, rate = recipe_of(run), TRAININGS[run.training]
    model = build(run)
    if rate:
        # A number, not an array: an array would be trained.
        model = with_noise(model, two_qubit_error(rate))
    fit = training.fit(
        model,
        data,
        optimizer=_OPTIMIZER,
        learning_rate=recipe.learning_rate,
        epochs=epochs,
        batch_size=recipe.batch_size,
        seed=run.seed,
        clip=recipe.clip,
        jacobian_penalty=recipe.jacobian_penalty,
        progress=False,
    )
    test = training.evaluate(fit.model, data.test)
    return {
        "run": dataclasses.asdict(run),
        "epochs": epochs,
        "best_epoch": fit.best_epoch,
        "training_seconds": round(fit.seconds, 1),
        "n_parameters": training.count_parameters(fit.model),
        "test": test.to_dict(),
        "weights": [leaf.ravel().tolist() for leaf in arrays_of(fit.model)],
    }


def arrays_of(model: Any) -> list[jax.Array]:
    """What is trained: the circuit's angles, and the head's weights and biases."""
    return jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array))


def restore(found: dict[str, Any]) -> Any:
    """The trained model, without noise, from what `train` wrote down."""
    arrays, rest = eqx.partition(build(Run(**found["run"])), eqx.is_inexact_array)
    leaves, structure = jax.tree.flatten(arrays)
    weights = [
        jnp.asarray(values, leaf.dtype).reshape(leaf.shape)
        for values, leaf in zip(found["weights"], leaves, strict=True)
    ]
    return eqx.combine(jax.tree.unflatten(structure, weights), rest)
