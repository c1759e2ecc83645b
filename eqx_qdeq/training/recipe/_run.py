"""Running a recipe: data, model, training, test, and a folder with all that came of it."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from ...models import classifier_from_config
from .. import (
    CheckpointError,
    count_parameters,
    evaluate,
    fit,
    fit_together,
    FitResult,
    Metrics,
    save,
    to_json,
    write_atomic,
)
from ..data import Dataset, load_dataset
from ._recipe import get_recipe, Recipe


@dataclasses.dataclass(frozen=True, eq=False)
class RecipeResult:
    """What [`eqx_qdeq.training.run_recipe`][] returns.

    !!! example

        <!-- skip: trains for half a minute -->
        ```python
        from eqx_qdeq import training

        result = training.run_recipe("digits-demo")
        print(result)
        training.save("digits.eqx", result.fit.model)
        ```

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
        test, fitted = self.test, self.fit
        rows = {
            "recipe": f"{self.recipe.name}: {self.recipe.summary}",
            "test accuracy": f"{test.accuracy:.2%} on {len(self.dataset.test)} samples",
            "parameters": f"{self.n_parameters}",
        }
        if test.solver_steps is not None:  # models of other kinds solve nothing
            rows["solver steps"] = f"{test.solver_steps:.2f} (mean)"
            rows["residual"] = f"{test.residual:.1e} (mean), {test.residual_max:.1e} (largest)"
            rows["converged"] = f"{test.fraction_converged:.1%}"
        best = f"best epoch {fitted.best_epoch} of {len(fitted.history)}"
        rows["training"] = f"{fitted.seconds:.1f} s, {fitted.steps} steps, {best}"
        return "\n".join(f"{name:<16}{text}" for name, text in rows.items())


def load_recipe_data(
    recipe: Recipe | str,
    *,
    root: str | os.PathLike[str] | None = None,
    download: bool = False,
    seed: int = 0,
    limit: int | None = None,
) -> Dataset:
    """The data of a recipe.

    !!! example

        ```python
        from eqx_qdeq import training

        data = training.load_recipe_data("digits-demo", limit=40)
        data.train.x.shape[1:]  # (16,)
        ```

    **Arguments:**

    - `recipe`: the recipe or its name.
    - `root`, `download`, `seed`, `limit`: as for [`eqx_qdeq.training.load_dataset`][].

    **Returns:**

    A [`eqx_qdeq.training.Dataset`][].

    **Raises:** [`eqx_qdeq.training.DataError`][] as `load_dataset`.
    """
    recipe = _named(recipe)
    return load_dataset(
        recipe.dataset,
        classes=recipe.classes,
        preprocess=recipe.preprocess,
        root=root,
        download=download,
        seed=seed,
        limit=limit,
    )


def _named(recipe: Recipe | str) -> Recipe:
    return get_recipe(recipe) if isinstance(recipe, str) else recipe


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

    !!! example

        <!-- skip: trains for half a minute -->
        ```python
        from eqx_qdeq import training

        result = training.run_recipe("digits-demo", seed=1)
        print(result.test.accuracy)
        ```

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
    run = _Run(_named(recipe), seed, limit, None if out is None else Path(out))
    # First whether it may write, then whether there are data, and only then the folder: what fails
    # early leaves nothing behind.
    run.check()
    dataset = run.load(root=root, download=download)
    result = fit(
        run.start(),
        dataset,
        options=run.recipe.options(len(dataset.train)),
        seed=seed,
        progress=progress,
        metrics_path=run.folder and run.folder / "metrics.jsonl",
        checkpoint_dir=run.folder,
        config=run.config,
    )
    return run.finish(dataset, result)


def run_recipe_together(
    recipe: Recipe | str,
    *,
    seeds: Sequence[int],
    root: str | os.PathLike[str] | None = None,
    download: bool = False,
    limit: int | None = None,
    outs: Sequence[str | os.PathLike[str]] | None = None,
    progress: bool = True,
) -> list[RecipeResult]:
    """Trains and tests by a recipe with several seeds at once, by
    [`eqx_qdeq.training.fit_together`][].

    !!! example

        <!-- skip: trains for minutes -->
        ```python
        from eqx_qdeq import training

        results = training.run_recipe_together("digits-demo", seeds=(0, 1, 2))
        print([result.test.accuracy for result in results])
        ```

    **Arguments:**

    - `recipe`, `root`, `download`, `limit`, `progress`: as for [`eqx_qdeq.training.run_recipe`][].
    - `seeds`: the seeds.
    - `outs`: a folder for each, as `out` of `run_recipe` (but for `metrics.jsonl`), which also
        goes on from there.

    **Returns:**

    A [`eqx_qdeq.training.RecipeResult`][] for each.

    **Raises:** as `run_recipe` and `fit_together`.
    """
    recipe = _named(recipe)
    folders = [None] * len(seeds) if outs is None else [Path(out) for out in outs]
    if len(folders) != len(seeds):
        raise ValueError(
            f"`outs` must have one folder for each of {len(seeds)} seeds; has {len(folders)}."
        )
    runs = [_Run(recipe, seed, limit, out) for seed, out in zip(seeds, folders, strict=True)]
    # All of them before any takes its folder.
    for run in runs:
        run.check()
    datasets = [run.load(root=root, download=download) for run in runs]
    # One compiled step for all seeds, which is what makes this quicker than one after the other.
    results = fit_together(
        [run.start() for run in runs],
        datasets,
        seeds=seeds,
        checkpoint_dirs=outs,
        configs=[run.config for run in runs],
        # Splits are stratified by fractions, so all seeds have equally many training samples.
        options=recipe.options(len(datasets[0].train)),
        progress=progress,
    )
    each = zip(runs, datasets, results, strict=True)
    return [run.finish(dataset, result) for run, dataset, result in each]


@dataclasses.dataclass(frozen=True)
class _Run:
    """One seed of a recipe, and the folder for what comes of it."""

    recipe: Recipe
    seed: int
    limit: int | None
    folder: Path | None

    # What tells one run from another; the same text means that it may go on there.
    @property
    def config(self) -> dict[str, Any]:
        return {"recipe": self.recipe.to_dict(), "seed": self.seed, "limit": self.limit}

    def check(self) -> None:
        """Whether it may write there: into a new or empty folder, or that of the same run. Asked
        before anything long is done."""
        folder = self.folder
        if folder is None or not folder.exists():
            return
        if not folder.is_dir():
            raise CheckpointError(f"'{folder}' is not a folder; choose another one.")
        # The file that a run writes first: what is beside it is the run's.
        written = folder / "run.json"
        if not written.exists():
            if any(folder.iterdir()):
                text = "has other files in it; choose a new folder for this run."
                raise CheckpointError(f"'{folder}' {text}")
        elif not written.is_file() or written.read_bytes() != self._text(self.config):
            raise CheckpointError(
                f"'{folder}' has a run of another configuration; choose another folder, or remove "
                "it."
            )

    def load(self, **where: Any) -> Dataset:
        return load_recipe_data(self.recipe, seed=self.seed, limit=self.limit, **where)

    def start(self) -> Any:
        """The model before training; takes the folder."""
        # Before the first step: a folder with anything else in it but this file is not a run's.
        self._write("run.json", self.config)
        return classifier_from_config(dict(self.recipe.model), key=jax.random.key(self.seed))

    def finish(self, dataset: Dataset, result: FitResult) -> RecipeResult:
        """Tests the model and writes it down."""
        # The model is chosen by validation; the test samples are looked at once, here.
        test = evaluate(result.model, dataset.test)
        n_parameters = count_parameters(result.model)
        if self.folder is not None:
            save(self.folder / "model.eqx", result.model, metadata=self.config)
        # Last, so that a test in the folder says that all before it is whole.
        more = {"confusion": test.confusion, "parameters": n_parameters}
        self._write("test.json", test.to_dict() | more)
        return RecipeResult(self.recipe, dataset, result, test, n_parameters)

    def _write(self, name: str, content: dict[str, Any]) -> None:
        if self.folder is not None:
            write_atomic(self.folder / name, self._text(content))

    def _text(self, content: dict[str, Any]) -> bytes:
        return f"{to_json(content)}\n".encode()
