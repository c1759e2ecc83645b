"""Our recipes on the paper's tasks: trains each over several seeds, and the same circuit applied
once or a fixed number of times.

    python -m experiments.beyond --task mnist4 --seeds 3 --data-root DATA
    python -m experiments.beyond --task mnist4 --seeds 3 --unrolled 5 --data-root DATA
    python -m experiments.beyond.report                                the tables

A run that was interrupted goes on from its checkpoint.
"""

import dataclasses
from pathlib import Path
from typing import Annotated

import jax
import numpy as np
import tyro

from eqx_qdeq import training

from .. import load_records, markdown, Off, Record, save_record
from ..logistic_regression import logistic_regression
from .report import RESULTS, table


@dataclasses.dataclass
class Options:
    """Trains our recipes over several seeds, where there is no record of it yet."""

    task: tuple[str, ...] = ("mnist4",)
    """Which of mnist4, mnist10, fashion10 and cifar10."""
    seeds: int = 3
    """Seeds 0, 1, …, so many."""
    once: Annotated[bool, Off] = False
    """The circuit without feedback, instead of the equilibrium."""
    unrolled: int | None = None
    """The circuit applied so many times with its feedback, instead of the equilibrium."""
    together: Annotated[bool, Off] = False
    """Train all seeds of a recipe as one computation: faster on a GPU."""
    baseline: Annotated[bool, Off] = False
    """Instead, logistic regression on the same features."""
    cost: Annotated[bool, Off] = False
    """Only print what the shipped models reach with so many evaluations of their circuit."""
    ship: Annotated[bool, Off] = False
    """Put the weights of the seed with the best validation accuracy into the package."""
    data_root: Path | None = None
    """Where the images are; EQX_QDEQ_DATA or "data" if left out."""
    results: Path = RESULTS
    """The file of the records."""
    scratch: Path = Path("outputs/beyond")
    """Where checkpoints and models go."""
    smoke: Annotated[bool, Off] = False
    """Two epochs on the digits, in seconds; writes to --scratch only."""


def without_feedback(recipe: training.Recipe) -> training.Recipe:
    """The recipe with a gain of zero: the equilibrium is then one application of the circuit."""
    model = dict(recipe.model) | {"gain": 0.0, "train_gain": False}
    return dataclasses.replace(
        recipe,
        name=f"{recipe.name}-once",
        summary=f"{recipe.summary}; without feedback",
        model=model,
    )


def variant(recipe: training.Recipe, options: Options) -> training.Recipe:
    """The recipe as the options change it."""
    if options.smoke:
        recipe = dataclasses.replace(recipe, epochs=2)
    if options.once:
        return without_feedback(recipe)
    if options.unrolled is not None:
        return recipe.with_model("unrolled", n_layers=options.unrolled)
    return recipe


def train(options: Options, recipe: training.Recipe, seeds: list[int]) -> list[Record]:
    """Runs of a recipe: their records."""
    limit = 100 if options.smoke else None
    outs = [options.scratch / f"{recipe.name}-seed{seed}" for seed in seeds]
    if len(seeds) > 1:
        results = training.run_recipe_together(
            recipe, seeds=seeds, root=options.data_root, limit=limit, outs=outs, progress=False
        )
    else:
        result = training.run_recipe(
            recipe, seed=seeds[0], root=options.data_root, limit=limit, out=outs[0], progress=False
        )
        results = [result]
    return [describe(seed, result, len(seeds)) for seed, result in zip(seeds, results, strict=True)]


def describe(seed: int, result: training.RecipeResult, runs_at_once: int) -> Record:
    """What the record of a run holds."""
    best = result.fit.history[result.fit.best_epoch - 1]
    return {
        "recipe": result.recipe.to_dict(),
        "seed": seed,
        "parameters": result.n_parameters,
        "validation_accuracy": best["validation_accuracy"],
        "test_accuracy": result.test.accuracy,
        "solver_steps": result.test.solver_steps,
        "fraction_converged": result.test.fraction_converged,
        "training_seconds": result.fit.seconds,
        "trained": {"device": jax.devices()[0].device_kind, "runs_at_once": runs_at_once},
        "best_epoch": result.fit.best_epoch,
    }


def baseline(options: Options, recipe: training.Recipe) -> Record:
    """Multinomial logistic regression on the recipe's features."""
    data = training.load_recipe_data(
        recipe, root=options.data_root, limit=100 if options.smoke else None
    )
    found = logistic_regression(data, max_iter=200)
    return {
        "recipe": {"name": f"{recipe.name}-logistic"},
        "seed": 0,
        "parameters": found.n_parameters,
        "test_accuracy": found.accuracy,
        "training_seconds": None,
    }


def ship(recipe: training.Recipe, results: Path, scratch: Path) -> None:
    """Puts the weights of the best seed, by its validation accuracy, into the package."""
    records = load_records(results)
    runs = [records[name] for name in records if name.startswith(f"{recipe.name}-seed")]
    best = max(runs, key=lambda run: run["validation_accuracy"])  # the first of equals
    model = training.load(scratch / f"{recipe.name}-seed{best['seed']}" / "model.eqx")
    kept = ("recipe", "seed", "parameters", "test_accuracy")
    metadata = {name: best[name] for name in kept}
    path = Path(training.__file__).parent / "recipe" / "weights" / f"{recipe.name}.eqx"
    training.save(path, model, metadata=metadata)
    print(f"written: {path.name}, seed {best['seed']}, {best['test_accuracy']:.2%}")


APPLICATIONS = (1, 2, 3, 5, 10)


def cost(options: Options) -> str:
    """Test accuracy by circuit evaluations: of the cell applied so many times, starting from zero,
    and of the equilibrium. One row for each model with weights in the package."""
    header = ["model", *(f"{n}" for n in APPLICATIONS), "solved", "evaluations", "J products"]
    rows = []
    for task in options.task:
        recipe = training.get_recipe(f"ours-{task}")
        model = training.load_pretrained(recipe.name)
        test = training.load_recipe_data(recipe, root=options.data_root).test
        found = [training.evaluate(model.unrolled(n), test).accuracy for n in APPLICATIONS]
        found.append(training.evaluate(model, test).accuracy)
        stats = jax.jit(jax.vmap(lambda x, model=model: model.solve(x)[1].stats))(test.x[:1000])
        counts = [float(np.mean(stats[name])) for name in ("num_evals", "num_jvps")]
        cells = [f"{100 * a:.2f}" for a in np.asarray(found, float)] + [f"{n:.1f}" for n in counts]
        rows.append([recipe.name, *cells])
    return markdown(header, rows, words=len(header))


def main(options: Options) -> None:
    """Runs what is missing and prints the table of what there is."""
    if options.cost:
        print(cost(options))
        return
    results = options.scratch / "results.jsonl" if options.smoke else options.results
    names = ["digits-demo"] if options.smoke else [f"ours-{task}" for task in options.task]
    for name in names:
        recipe = variant(training.get_recipe(name), options)
        done = load_records(results)
        suffix = "-logistic" if options.baseline else ""
        seeds = range(1 if options.baseline else options.seeds)
        missing = [seed for seed in seeds if f"{recipe.name}{suffix}-seed{seed}" not in done]
        together = options.together and not options.baseline and missing
        for batch in [missing] if together else [[seed] for seed in missing]:
            if options.baseline:
                runs = [baseline(options, recipe)]
            else:
                runs = train(options, recipe, batch)
            for seed, run in zip(batch, runs, strict=True):
                save_record(results, f"{recipe.name}{suffix}-seed{seed}", run)
                print(f"{recipe.name}{suffix}-seed{seed}: {run['test_accuracy']:.2%}", flush=True)
        if options.ship:
            ship(recipe, results, options.scratch)
    print(table(results))


if __name__ == "__main__":
    main(tyro.cli(Options))
