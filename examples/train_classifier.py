"""Trains a classifier by a recipe, ours or the paper's, or tests one that was saved.

    python examples/train_classifier.py --recipe ours-mnist4 --data-root ~/datasets
    python examples/train_classifier.py --task mnist4 --model unrolled --layers 5
    python examples/train_classifier.py --evaluate outputs/ours-mnist4/model.eqx
    python examples/train_classifier.py --evaluate ours-mnist4

A run that was interrupted goes on where it was when started again with the same --out.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro

from eqx_qdeq import plotting, training

Off = tyro.conf.FlagCreatePairsOff


@dataclasses.dataclass
class Options:
    """Trains a classifier by a recipe, or tests one that was saved."""

    recipe: str | None = None
    """The recipe by name: ours-mnist4, paper-mnist4, …; a wrong one lists them all."""
    task: str | None = None
    """Instead of a recipe: digits, mnist4, mnist10, fashion10 or cifar10, by our recipe."""
    model: Literal["qdeq", "unrolled", "classical"] = "qdeq"
    """The recipe's model, its unrolled version, or a classical equilibrium of the same size."""
    layers: int = 2
    """How often the unrolled model applies the cell."""
    data_root: Path | None = None
    """Where the images are; EQX_QDEQ_DATA or "data" if left out."""
    download: Annotated[bool, Off] = False
    """Fetch missing images."""
    epochs: int | None = None
    """Instead of the recipe's."""
    seed: int = 0
    """Of the initial parameters, the validation split and the training."""
    out: Path | None = None
    """A folder for metrics, checkpoint, model and figures; outputs/RECIPE if left out."""
    evaluate: Path | None = None
    """Test this model instead of training one: a file, or the name of one in the package."""
    smoke: Annotated[bool, Off] = False
    """A little of everything on the digits, in seconds."""


def choose_recipe(options: Options) -> training.Recipe:
    """The recipe that the options ask for."""
    name = options.recipe
    if name is None and options.task is None and options.evaluate is not None:
        metadata = training.load_metadata(options.evaluate)["metadata"]
        if not metadata:
            raise training.DataError("the file does not name its recipe: pass --recipe NAME.")
        name = metadata["recipe"]["name"]
    elif name is None:
        task = options.task or ("digits" if options.smoke else None)
        if task is None:
            raise ValueError(f"name a --recipe or a --task; recipes: {', '.join(training.recipes)}")
        name = "digits-demo" if task == "digits" else f"ours-{task}"
    recipe = training.get_recipe(name).with_model(options.model, n_layers=options.layers)
    if options.smoke:
        recipe = dataclasses.replace(recipe, epochs=2)
    if options.epochs is not None:
        recipe = dataclasses.replace(recipe, epochs=options.epochs)
    return recipe


def test(options: Options, recipe: training.Recipe) -> None:
    """Loads a model and tests it on the test set of the recipe."""
    assert options.evaluate is not None
    model = training.load(options.evaluate)
    data = training.load_recipe_data(recipe, root=options.data_root, download=options.download)
    print(f"{options.evaluate}: {training.evaluate(model, data.test)}")


def train(options: Options, recipe: training.Recipe) -> None:
    """Trains, tests, and writes everything down."""
    out = options.out or Path("outputs") / recipe.name
    result = training.run_recipe(
        recipe,
        seed=options.seed,
        root=options.data_root,
        download=options.download,
        limit=200 if options.smoke else None,
        out=out,
    )
    plotting.plot_training(result.fit.history).savefig(out / "training.png")
    figure = plotting.plot_confusion(result.test.confusion, result.dataset.class_names)
    figure.savefig(out / "confusion.png")
    print(result)
    print(f"written to      {out}")


def main(options: Options) -> int:
    """Returns the exit code."""
    given = options.evaluate
    if given is not None and not given.exists() and str(given) in training.pretrained():
        path = training.pretrained_path(str(given))
        options = dataclasses.replace(options, evaluate=path)
    try:
        recipe = choose_recipe(options)
        train(options, recipe) if options.evaluate is None else test(options, recipe)
    except (ValueError, RuntimeError, OSError) as error:
        print("error:", " ".join(str(error).split()), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options)))
