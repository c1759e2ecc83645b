"""Running a recipe: data, model, training, test, and a folder with all that came of it."""

import dataclasses
import os
from pathlib import Path
from typing import Any

import jax
import optax

from ..models import classifier_from_config
from ._dataset import Dataset
from ._errors import CheckpointError
from ._files import to_json, write_atomic
from ._fit import fit, FitResult
from ._load import load_dataset
from ._metrics import count_parameters, evaluate, Metrics
from ._recipe import Recipe
from ._recipes import get_recipe
from ._save import save


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


def load_recipe_data(
    recipe: Recipe | str,
    *,
    root: str | os.PathLike[str] | None = None,
    download: bool = False,
    seed: int = 0,
    limit: int | None = None,
) -> Dataset:
    """The data of a recipe.

    **Arguments:**

    - `recipe`: the recipe or its name.
    - `root`, `download`, `seed`, `limit`: as for [`eqx_qdeq.training.load_dataset`][].

    **Returns:**

    A [`eqx_qdeq.training.Dataset`][].

    **Raises:** [`eqx_qdeq.training.DataError`][] as `load_dataset`.
    """
    recipe = get_recipe(recipe) if isinstance(recipe, str) else recipe
    return load_dataset(
        recipe.dataset,
        classes=recipe.classes,
        preprocess=recipe.preprocess,
        root=root,
        download=download,
        seed=seed,
        limit=limit,
    )


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
    dataset = load_recipe_data(recipe, root=root, download=download, seed=seed, limit=limit)
    model = classifier_from_config(dict(recipe.model), key=jax.random.key(seed))
    if folder is not None:
        write_atomic(folder / "run.json", (to_json(config) + "\n").encode())
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
