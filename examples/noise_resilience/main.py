"""Does noise spoil an equilibrium? Trains the models, and tests them under every noise.

    python examples/noise_resilience/main.py --data-root ~/datasets     what is missing
    python examples/noise_resilience/main.py --only "train-*"
    python examples/noise_resilience/main.py --list
    python examples/noise_resilience/report.py                          tables and figures

Each part of the study is one JSON in examples/noise_resilience/results; parts whose JSON is there
are skipped. Those of the training hold the weights too, and the other parts begin from them.
"""

import builtins
import fnmatch
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import jax
import tyro
from grid import all_runs, EPOCHS, MNIST10_EPOCHS, MNIST10_SWEEPS, Run, SEEDS, SOLVED
from law import applications, law
from models import load, restore, train
from report import main as report
from sampled import floors, NOISES, sample
from sweep import sweep

from eqx_qdeq import training

Off = tyro.conf.FlagCreatePairsOff
HERE = Path(__file__).parent

# A part takes the run, its trained model, and the test images.
Part = Callable[[Run, Any, training.Split], dict[str, Any]]


def every(split: training.Split, n: int) -> training.Split:
    """Every n-th sample. (The first thousands of MNIST's test images are harder than the rest.)"""
    return training.Split(split.x[::n], split.y[::n])


def _sweep(run: Run, model: Any, test: training.Split) -> dict[str, Any]:
    coherent = run.model.startswith("coherent")
    if run.task == "mnist10":
        return sweep(model, test, coherent=coherent, sweeps=MNIST10_SWEEPS, devices=("ibm_fez",))
    return sweep(model, test, coherent=coherent)


def _shots(run: Run, model: Any, test: training.Split) -> dict[str, Any]:
    # What was trained under a noise is asked about that one.
    noises = tuple(NOISES) if run.training == "clean" else ("two-qubit 1 %",)
    return sample(run.model, model, every(test, 2), run.seed, noises=noises)


def _floors(run: Run, model: Any, test: training.Split) -> dict[str, Any]:
    return {"images": len(every(test, 2)), "rows": floors(model, every(test, 2), run.seed)}


def _law(run: Run, model: Any, test: training.Split) -> dict[str, Any]:
    return law(model, every(test, 4).x)


def _applications(run: Run, model: Any, test: training.Split) -> dict[str, Any]:
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
    results: Path = HERE / "results",
    list: Annotated[bool, Off] = False,
    smoke: Annotated[bool, Off] = False,
) -> None:
    """Runs what is missing.

    Args:
        only: which parts, a pattern for their names such as "train-*" or "*-qdeq-clean-*".
        seeds: how many of each model.
        data_root: where the images are; EQX_QDEQ_DATA or "data" if left out.
        results: the folder of the JSONs.
        list: only print the names, and which are done.
        smoke: a little of everything on scikit-learn's digits, and its report.
    """
    if smoke:
        with tempfile.TemporaryDirectory() as folder:
            _smoke(Path(folder))
        return
    runs = [*all_runs(seeds), *all_runs(1, "mnist10")]
    todo = [("train", run) for run in runs]
    todo += [(part, run) for part, (_, asked) in PARTS.items() for run in runs if asked(run)]
    todo = [each for each in todo if fnmatch.fnmatch(name_of(*each), only)]
    if not todo:
        raise SystemExit(f"no part matches --only {only!r}; --list shows their names.")
    missing = [each for each in todo if not (results / f"{name_of(*each)}.json").exists()]
    if list:
        for each in todo:
            print(f"{'to do' if each in missing else 'done':<6} {name_of(*each)}")
        return
    print(f"{len(todo) - len(missing)} of {len(todo)} parts are done", flush=True)
    for i, (part, run) in enumerate(missing):
        if i and (part, run.model) != (missing[i - 1][0], missing[i - 1][1].model):
            jax.clear_caches()  # compiled programs of one model are of no use to the next
        start = time.perf_counter()
        data = load(run, data_root, None)
        if part == "train":
            found = train(run, data, MNIST10_EPOCHS if run.task == "mnist10" else EPOCHS)
        else:
            found = _asked(part, run, results, data.test)
        write(results / f"{name_of(part, run)}.json", found)
        took = time.perf_counter() - start
        print(f"{i + 1}/{len(missing)} {name_of(part, run)}: {took:.0f} s", flush=True)


def name_of(part: str, run: Run) -> str:
    return f"{part}-{run.name}"


def _asked(part: str, run: Run, results: Path, test: training.Split) -> dict[str, Any]:
    trained = results / f"{name_of('train', run)}.json"
    if not trained.exists():
        raise SystemExit(f"there is no {trained}: train first, with --only 'train-*'.")
    model = restore(json.loads(trained.read_text(encoding="utf-8")))
    return {"run": vars(run), **PARTS[part][0](run, model, test)}


def write(path: Path, found: dict[str, Any]) -> None:
    """All or nothing: what is there counts as done."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(f" {json.dumps(name)}: {_value(found[name])}" for name in found)
    path.with_suffix(".tmp").write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")
    os.replace(path.with_suffix(".tmp"), path)


def _value(value: Any) -> str:
    """JSON, lists of rows with a line for each."""
    if isinstance(value, builtins.list) and value and isinstance(value[0], dict):
        return "[\n" + ",\n".join(f"  {json.dumps(row)}" for row in value) + "\n ]"
    return json.dumps(value)


def _smoke(folder: Path) -> None:
    # What takes the time is compiling programs that run once.
    jax.config.update("jax_disable_most_optimizations", True)
    run = Run("digits", "direct1", "clean", 0)
    data = load(run, None, 200)
    found = train(run, data, 1)
    model, test = restore(found), every(data.test, 2)
    rates, noises, numbers = {"two_qubit": (0.0, 0.01)}, ("two-qubit 1 %",), (128, 1024)
    parts = {
        "train": found,
        "sweep": sweep(model, test, coherent=False, sweeps=rates, devices=()),
        "shots": sample(run.model, model, test, 0, shots=numbers, noises=noises),
        "law": law(model, test.x, kinds=("two_qubit",), rates=(0.01,)),
        "applications": applications(model, test.x, rates=(0.01,), depths=(1, 2)),
    }
    for part, answer in parts.items():
        write(folder / f"{name_of(part, run)}.json", {"run": vars(run), **answer})
    print(f"{run.name}: accuracy {found['test']['accuracy']:.2%}", flush=True)
    report(folder, folder / "page.md", folder / "figures")
    print((folder / "page.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    tyro.cli(main)
