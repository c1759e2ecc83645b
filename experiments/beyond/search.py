"""The search behind `ours-mnist4`: candidates judged on validation data alone.

    python -m experiments.beyond.search --data-root DATA

Each differs from the recipe in what its name says. Writes one record per candidate.
"""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import optax
import tyro

import eqx_qdeq as qdeq
from eqx_qdeq import training

from .. import load_records, Off, save_record

RESULTS = Path(__file__).parent / "search.jsonl"

HARDWARE, STRONG = "hardware_efficient", "strongly_entangling"


def pixels(height: int, width: int, margin: int) -> dict[str, Any]:
    """So many pixels inside a margin; more than 16 become complex amplitudes."""
    steps = (
        training.Crop(margin),
        training.AdaptivePool((height, width)),
        training.Flatten(),
        training.UnitNorm(),
    )
    encoding = "amplitude" if height * width <= 16 else "complex"
    model = {"in_size": height * width, "encoding": encoding}
    return {"preprocess": training.Compose(steps), "model": model}


def circuit(name: str, depth: int, readout: str) -> dict[str, Any]:
    return {"model": {"circuit": name, "depth": depth, "readout": readout}}


def changed(recipe: training.Recipe, *changes: dict[str, Any]) -> training.Recipe:
    for change in changes:
        model = {**recipe.model, **change.get("model", {})}
        recipe = dataclasses.replace(recipe, **{**change, "model": model})
    return recipe


CANDIDATES: dict[str, tuple[dict[str, Any], ...]] = {
    "the recipe": (),
    "4×4 pixels, real amplitudes, 18 layers, zz": (pixels(4, 4, 4), circuit(HARDWARE, 18, "zz")),
    "4×8 pixels": (pixels(4, 8, 3),),
    "6×5 pixels": (pixels(6, 5, 4),),
    "margin of 4": (pixels(8, 4, 4),),
    "18 layers, zz": (circuit(HARDWARE, 18, "zz"),),
    "11 strongly entangling layers, zzz": (circuit(STRONG, 11, "zzz"),),
    "learning rate 0.03": ({"learning_rate": 0.03},),
    "learning rate 0.1": ({"learning_rate": 0.1},),
    "batches of 256": ({"batch_size": 256},),
    "gain 1 at the start": ({"model": {"gain": 1.0}},),
}


def main(
    epochs: int = 60,
    seeds: int = 2,
    data_root: Path | None = None,
    out: Path = RESULTS,
    smoke: Annotated[bool, Off] = False,
) -> None:
    """Trains every candidate and writes down its accuracy on the validation data, unless the file
    has it of as many seeds and epochs.

    Args:
        epochs: passes over the training data; fewer than the recipe's, to search widely.
        seeds: how many of each.
        data_root: where the images are; EQX_QDEQ_DATA or "data" if left out.
        out: the file of the records.
        smoke: two candidates on the digits, for an epoch; nothing is written.
    """
    done = {} if smoke else load_records(out)
    for name, changes in list(CANDIDATES.items())[: 2 if smoke else None]:
        recipe = changed(training.get_recipe("ours-mnist4"), *changes)
        recipe = dataclasses.replace(recipe, epochs=1 if smoke else epochs)
        if smoke:
            digits = training.get_recipe("digits-demo")
            model = {**recipe.model, "encoding": "amplitude", "in_size": 16}
            recipe = dataclasses.replace(digits, model=model, epochs=1)
        how = {"seeds": seeds, "epochs": recipe.epochs}
        if how.items() <= done.get(name, {}).items():
            continue
        accuracies, n_parameters = [], 0
        for seed in range(seeds):
            accuracy, n_parameters = validate(recipe, seed, data_root)
            accuracies.append(accuracy)
        found = {"validation_accuracy": float(np.mean(accuracies)), **how}
        if not smoke:
            save_record(out, name, found | {"parameters": n_parameters})
        print(f"{np.mean(accuracies):.2%}  {n_parameters} parameters  {name}", flush=True)


def validate(recipe: training.Recipe, seed: int, data_root: Path | None) -> tuple[float, int]:
    """Validation accuracy after the best epoch, and the number of parameters."""
    data = training.load_recipe_data(recipe, root=data_root, seed=seed)
    model = qdeq.classifier_from_config(dict(recipe.model), key=jax.random.key(seed))
    rate = recipe.rate(len(data.train))
    fit = training.fit(
        model,
        data,
        optimizer=optax.adam(rate),
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        seed=seed,
        clip=recipe.clip,
        progress=False,
    )
    accuracy = fit.history[fit.best_epoch - 1]["validation_accuracy"]
    return float(accuracy), training.count_parameters(model)


if __name__ == "__main__":
    tyro.cli(main)
