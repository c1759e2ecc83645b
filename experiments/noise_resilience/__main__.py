"""Does noise spoil an equilibrium? Trains the models, and tests them under every noise.

    python -m experiments.noise_resilience --data-root ~/datasets     what is missing
    python -m experiments.noise_resilience --only "train-*"
    python -m experiments.noise_resilience --list
    python -m experiments.noise_resilience.report                     tables and figures

Each part of the study is one record. Those of the training hold the weights too, and the other
parts begin from them.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import jax
import tyro

from eqx_qdeq import training

from .. import load_records, Off, progress, Record, save_record, to_do
from .grid import all_runs, EPOCHS, MNIST10_EPOCHS, MNIST10_SWEEPS, Run, SEEDS, SOLVED
from .law import applications, law
from .models import load, restore, train
from .report import main as report, RESULTS
from .sampled import floors, NOISES, sample
from .sweep import sweep

# A part takes the run, its trained model, and the test images.
Part = Callable[[Run, Any, training.Split], Record]


def every(split: training.Split, n: int) -> training.Split:
    """Every n-th sample. (The first thousands of MNIST's test images are harder than the rest.)"""
    return training.Split(split.x[::n], split.y[::n])


def _sweep(run: Run, model: Any, test: training.Split) -> Record:
    coherent = run.model.startswith("coherent")
    if run.task == "mnist10":
        return sweep(model, test, coherent=coherent, sweeps=MNIST10_SWEEPS, devices=("ibm_fez",))
    return sweep(model, test, coherent=coherent)


def _shots(run: Run, model: Any, test: training.Split) -> Record:
    # What was trained under a noise is asked about that one.
    noises = tuple(NOISES) if run.training == "clean" else ("two-qubit 1 %",)
    return sample(run.model, model, every(test, 2), run.seed, noises=noises)


def _floors(run: Run, model: Any, test: training.Split) -> Record:
    return {"images": len(every(test, 2)), "rows": floors(model, every(test, 2), run.seed)}


def _law(run: Run, model: Any, test: training.Split) -> Record:
    return law(model, every(test, 4).x)


def _applications(run: Run, model: Any, test: training.Split) -> Record:
    return applications(model, every(test, 4).x)


SAMPLED = {
    "clean": (*SOLVED, "direct1", "direct5", "direct10", "coherent5", "coherent10free"),
    "p0.01": ("qdeq", "direct1", "direct5", "coherent5", "coherent10free"),
    "p0.03": (),
}
PARTS: dict[str, tuple[Part, Callable[[Run], bool]]] = {
    "sweep": (_sweep, lambda run: True),
    "law": (_law, lambda run: _clean(run) and not run.model.startswith("coherent")),
    "applications": (_applications, lambda run: _clean(run) and run.model in (*SOLVED, "direct10")),
    "floors": (_floors, lambda run: _clean(run) and run.model in SOLVED),
    "shots": (_shots, lambda run: run.task == "mnist4" and run.model in SAMPLED[run.training]),
}
"""What is asked of trained models, and of which."""


def _clean(run: Run) -> bool:
    return run.task == "mnist4" and run.training == "clean"


def main(
    only: str = "*",
    seeds: int = SEEDS,
    data_root: Path | None = None,
    results: Path = RESULTS,
    list: Annotated[bool, Off] = False,
    smoke: Annotated[bool, Off] = False,
) -> None:
    """Runs what is missing.

    Args:
        only: which parts, a pattern for their names such as "train-*" or "*-qdeq-clean-*".
        seeds: how many of each model.
        data_root: where the images are; EQX_QDEQ_DATA or "data" if left out.
        results: the file of the records.
        list: only print the names, and which are done.
        smoke: a little of everything on scikit-learn's digits, and its report.
    """
    if smoke:
        with tempfile.TemporaryDirectory() as folder:
            _smoke(Path(folder))
        return
    runs = [*all_runs(seeds), *all_runs(1, "mnist10")]
    parts = [("train", run) for run in runs]
    parts += [(part, run) for part, (_, asked) in PARTS.items() for run in runs if asked(run)]
    before = None
    named = {name_of(part, run): (part, run) for part, run in parts}
    for name, (part, run) in progress(to_do(results, named, only, show=list)):
        if before not in (None, (part, run.model)):
            jax.clear_caches()  # compiled programs of one model are of no use to the next
        before = (part, run.model)
        data = load(run, data_root, None)
        if part == "train":
            found = train(run, data, MNIST10_EPOCHS if run.task == "mnist10" else EPOCHS)
        else:
            assert isinstance(data.test, training.Split)
            found = _asked(part, run, results, data.test)
        save_record(results, name, found)


def name_of(part: str, run: Run) -> str:
    return f"{part}-{run.name}"


def _asked(part: str, run: Run, results: Path, test: training.Split) -> Record:
    trained = load_records(results).get(name_of("train", run))
    if trained is None:
        name = name_of("train", run)
        raise SystemExit(f"there is no {name} in {results}: train first, with --only 'train-*'.")
    return {"run": vars(run), **PARTS[part][0](run, restore(trained), test)}


def _smoke(folder: Path) -> None:
    # What takes the time is compiling programs that run once.
    jax.config.update("jax_disable_most_optimizations", True)
    run = Run("digits", "direct1", "clean", 0)
    data = load(run, None, 200)
    found = train(run, data, 1)
    assert isinstance(data.test, training.Split)
    model, test = restore(found), every(data.test, 2)
    rates, noises, numbers = {"two_qubit": (0.0, 0.01)}, ("two-qubit 1 %",), (128, 1024)
    parts = {
        "train": found,
        "sweep": sweep(model, test, coherent=False, sweeps=rates, devices=()),
        "shots": sample(run.model, model, test, 0, shots=numbers, noises=noises),
        "law": law(model, test.x, kinds=("two_qubit",), rates=(0.01,)),
        "applications": applications(model, test.x, rates=(0.01,), depths=(1, 2)),
    }
    results = folder / "results.jsonl"
    for part, answer in parts.items():
        save_record(results, name_of(part, run), {"run": vars(run), **answer})
    print(f"{run.name}: accuracy {found['test']['accuracy']:.2%}", flush=True)
    report(results, folder / "page.md", folder / "figures")
    print((folder / "page.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    tyro.cli(main)
