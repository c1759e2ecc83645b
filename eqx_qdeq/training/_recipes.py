"""Recipes: everything that a training run needs beside its seed, under a name."""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import jax
import optax

from ..models import classifier_from_config
from ._dataset import Dataset
from ._errors import CheckpointError, DataError
from ._files import to_json, write_atomic
from ._fit import fit, FitResult
from ._load import load_dataset
from ._metrics import count_parameters, evaluate, Metrics
from ._preprocess import paper_preprocess, Preprocess, unit_norm_preprocess
from ._save import save


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Data, model and training of a classifier.

    **Arguments:**

    - `name`: its name.
    - `summary`: what it is, in a line.
    - `dataset`, `classes`, `preprocess`: as for [`eqx_qdeq.training.load_dataset`][].
    - `model`: the `config` of a classifier, see [`eqx_qdeq.classifier_from_config`][].
    - `epochs`, `batch_size`, `clip`, `jacobian_penalty`, `warmup_steps`, `warmup_layers`: as for
        [`eqx_qdeq.training.fit`][]; trained with Adam.
    - `learning_rate`: Adam's; where it starts.
    - `schedule`: "constant", or "cosine" for a decay to zero over the whole run.
    """

    name: str
    summary: str
    dataset: str
    model: Mapping[str, Any]
    preprocess: Preprocess
    epochs: int
    learning_rate: float
    classes: tuple[int | str, ...] | None = None
    schedule: Literal["constant", "cosine"] = "constant"
    batch_size: int = 256
    clip: float | None = None
    jacobian_penalty: float = 0.0
    warmup_steps: int = 0
    warmup_layers: int = 2

    def to_dict(self) -> dict[str, Any]:
        """The recipe as JSON can hold it; the preprocessing as it prints."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return fields | {"preprocess": repr(self.preprocess), "model": dict(self.model)}

    def rate(self, n_train: int) -> optax.ScalarOrSchedule:
        """The learning rate, for so many training samples."""
        if self.schedule == "constant":
            return self.learning_rate
        steps = self.epochs * -(-n_train // min(self.batch_size, n_train))
        return optax.cosine_decay_schedule(self.learning_rate, steps)


def _ours(
    name: str,
    dataset: str,
    n_qubits: int,
    depth: int,
    classes: tuple[int, ...] | None,
    **training: Any,
) -> Recipe:
    n_classes = 10 if classes is None else len(classes)
    return Recipe(
        name=name,
        summary=(
            f"ours: {n_qubits} qubits, hardware-efficient circuit, pixels of unit norm, ⟨Z⟩ and "
            "⟨ZZ⟩ read out, trained feedback gain"
        ),
        dataset=dataset,
        classes=classes,
        preprocess=unit_norm_preprocess(n_qubits),
        model=MappingProxyType(
            {
                "model": "QDEQClassifier",
                "n_qubits": n_qubits,
                "in_size": n_qubits**2,
                "n_classes": n_classes,
                "circuit": "hardware_efficient",
                "depth": depth,
                "gain": 0.3,
                "train_gain": True,
                "readout": "zz",
            }
        ),
        schedule="cosine",
        **training,
    )


def _paper(name: str, dataset: str, n_qubits: int, classes: tuple[int, ...] | None) -> Recipe:
    return Recipe(
        name=name,
        summary=(
            f"the paper's: {n_qubits} qubits, its circuit, pixels and head, its training; solved "
            "exactly"
        ),
        dataset=dataset,
        classes=classes,
        preprocess=paper_preprocess(n_qubits),
        model=MappingProxyType(
            {
                "model": "QDEQClassifier",
                "n_qubits": n_qubits,
                "in_size": n_qubits**2,
                "n_classes": 10 if classes is None else len(classes),
                "circuit": "paper",
                "head": "paper",
                "dropout": 0.05,
            }
        ),
        epochs=100,
        learning_rate=5e-3,
        clip=0.25,
        jacobian_penalty=0.8,
    )


_FOUR = (0, 3, 6, 9)

recipes: Mapping[str, Recipe] = MappingProxyType(
    {
        recipe.name: recipe
        for recipe in (
            _ours(
                "digits-demo", "digits", 4, 12, _FOUR, epochs=60, learning_rate=0.02, batch_size=32
            ),
            _ours("ours-mnist4", "mnist", 4, 18, _FOUR, epochs=60, learning_rate=0.01),
            _ours("ours-mnist10", "mnist", 10, 16, None, epochs=30, learning_rate=5e-3),
            _ours("ours-fashion10", "fashion_mnist", 10, 16, None, epochs=15, learning_rate=5e-3),
            _ours("ours-cifar10", "cifar10", 10, 16, None, epochs=15, learning_rate=5e-3),
            _paper("paper-mnist4", "mnist", 4, _FOUR),
            _paper("paper-mnist10", "mnist", 10, None),
            _paper("paper-fashion10", "fashion_mnist", 10, None),
            _paper("paper-cifar10", "cifar10", 10, None),
        )
    }
)
"""The recipes by name."""


@dataclasses.dataclass(frozen=True, eq=False)
class RecipeResult:
    """What [`eqx_qdeq.training.run_recipe`][] returns.

    **Attributes:**

    - `recipe`: the recipe, as it was run.
    - `dataset`: its data.
    - `fit`: the training, a [`eqx_qdeq.training.FitResult`][].
    - `test`: the best model on the whole test set, a [`eqx_qdeq.training.Metrics`][].
    - `n_parameters`: the model's number of trainable parameters.
    """

    recipe: Recipe
    dataset: Dataset
    fit: FitResult
    test: Metrics
    n_parameters: int

    def __str__(self) -> str:
        test = self.test
        lines = [
            f"recipe          {self.recipe.name}: {self.recipe.summary}",
            f"test accuracy   {test.accuracy:.2%} on {test.confusion.sum()} samples",
            f"parameters      {self.n_parameters}",
        ]
        if test.solver_steps is not None:
            lines += [
                f"solver steps    {test.solver_steps:.2f} (mean)",
                f"residual        {test.residual:.1e} (mean), {test.residual_max:.1e} (largest)",
                f"converged       {test.fraction_converged:.1%}",
            ]
        lines.append(
            f"training        {self.fit.seconds:.1f} s, {self.fit.steps} steps, best epoch "
            f"{self.fit.best_epoch} of {len(self.fit.history)}"
        )
        return "\n".join(lines)


def get_recipe(name: str) -> Recipe:
    """A recipe by name.

    **Raises:** [`eqx_qdeq.training.DataError`][] that lists the names there are.
    """
    if name not in recipes:
        raise DataError(f"unknown recipe {name!r}; choose one of {', '.join(recipes)}.")
    return recipes[name]


def run_recipe(
    recipe: Recipe | str,
    *,
    seed: int = 0,
    root: str | os.PathLike[str] | None = None,
    download: bool = False,
    limit: int | None = None,
    out: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> RecipeResult:
    """Trains and tests by a recipe. Change one with `dataclasses.replace(recipe, epochs=5)`.

    **Arguments:**

    - `recipe`: the recipe or its name.
    - `seed`: of the initial parameters, the validation split and the training.
    - `root`, `download`, `limit`: as for [`eqx_qdeq.training.load_dataset`][].
    - `out`: a folder for `run.json` (the configuration), `metrics.jsonl`, `checkpoint.eqx`,
        `model.eqx` and `test.json`. A run that was interrupted goes on there.
    - `progress`: whether to show a progress bar.

    **Returns:**

    A [`eqx_qdeq.training.RecipeResult`][].

    **Raises:** [`eqx_qdeq.training.DataError`][] for missing data;
    [`eqx_qdeq.training.CheckpointError`][] if `out` has something else in it, which stays as it is;
    [`eqx_qdeq.training.TrainingError`][] if training diverges.
    """
    recipe = get_recipe(recipe) if isinstance(recipe, str) else recipe
    config = {"recipe": recipe.to_dict(), "seed": seed, "limit": limit}
    folder = None if out is None else Path(out)
    if folder is not None:
        _check_folder(folder, config)
    dataset = load_dataset(
        recipe.dataset,
        classes=recipe.classes,
        preprocess=recipe.preprocess,
        root=root,
        download=download,
        seed=seed,
        limit=limit,
    )
    if folder is not None:
        write_atomic(folder / "run.json", (to_json(config) + "\n").encode())
    model = classifier_from_config(dict(recipe.model), key=jax.random.key(seed))
    rate = recipe.rate(len(dataset.train))
    result = fit(
        model,
        dataset,
        optimiser=optax.adam(rate),
        learning_rate=rate,
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        seed=seed,
        clip=recipe.clip,
        jacobian_penalty=recipe.jacobian_penalty,
        warmup_steps=recipe.warmup_steps,
        warmup_layers=recipe.warmup_layers,
        progress=progress,
        metrics_path=None if folder is None else folder / "metrics.jsonl",
        checkpoint_dir=folder,
        config=config,
    )
    test = evaluate(result.model, dataset.test)
    done = RecipeResult(recipe, dataset, result, test, count_parameters(result.model))
    if folder is not None:
        save(folder / "model.eqx", result.model, metadata=config)
        summary = {**test.to_dict(), "confusion": test.confusion, "parameters": done.n_parameters}
        write_atomic(folder / "test.json", (to_json(summary) + "\n").encode())
    return done


def _check_folder(folder: Path, config: dict[str, Any]) -> None:
    """Whether a run may write there: into a new or empty folder, or that of the same run."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise CheckpointError(f"'{folder}' is not a folder; choose another one.")
    written = folder / "run.json"
    if not written.exists():
        if any(folder.iterdir()):
            raise CheckpointError(
                f"'{folder}' has other files in it; choose a new folder for this run."
            )
    elif written.read_text(encoding="utf-8") != to_json(config) + "\n":
        raise CheckpointError(
            f"'{folder}' has a run of another configuration; choose another folder, or remove it."
        )
