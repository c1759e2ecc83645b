"""Trains every model of the paper's table on real images, and the baselines beside them.

    python -m experiments.paper --data-root ~/datasets             all of it: hours
    python -m experiments.paper --data-root ~/datasets --only "mnist4-*-seed0"
    python -m experiments.paper --list
    python -m experiments.paper.report                             the tables and the figure

Each run is a process of its own, so that its peak memory is its own. One that was interrupted goes
on from its last epoch: start the command again until nothing is left. On a GPU, add --together: it
trains all runs of one model at once.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import tyro

from .. import load_records, Off, progress, save_record, to_do
from .grid import all_runs, Run
from .report import main as report, RESULTS


def main(
    only: str = "*",
    seeds: int = 3,
    data_root: Path | None = None,
    epochs: int | None = None,
    results: Path = RESULTS,
    scratch: Path = Path("outputs/paper"),
    together: Annotated[bool, Off] = False,
    list: Annotated[bool, Off] = False,
    smoke: Annotated[bool, Off] = False,
) -> None:
    """Runs what is missing.

    Args:
        only: which runs, a pattern for their names such as "mnist4-*" or "*-seed0".
        seeds: how many of each.
        data_root: where the images are; EQX_QDEQ_DATA or "data" if left out.
        epochs: instead of the paper's 100. The results then belong in a file of their own.
        results: the file of the records.
        scratch: the folder of the checkpoints of runs that are not finished.
        together: first train runs that differ only in seed or images as one computation.
        list: only print the names, and which are done.
        smoke: two epochs of a few models on scikit-learn's digits, and their report.
    """
    if smoke:
        with tempfile.TemporaryDirectory() as folder:
            _smoke(Path(folder))
        return
    if epochs is not None and results == RESULTS:
        raise SystemExit("--epochs makes other runs than the paper's: name a file in --results.")
    runs = to_do(results, {run.name: run for run in all_runs(seeds)}, only, show=list)
    options = [results, scratch, data_root or "", epochs or ""]
    for group in groups([*runs.values()]) if together else ():
        _start("--train", ",".join(run.name for run in group), *options)
    for name, _ in progress(runs):
        _start("--one", name, *options)
        print(f"{name}: {load_records(results)[name]['accuracy']:.2%}", flush=True)


def groups(runs: list[Run]) -> list[list[Run]]:
    """Runs that can be trained together: of one model, on equally many images."""
    found: dict[tuple[Any, ...], list[Run]] = {}
    for run in runs:
        if run.model != "logistic":
            size = "small" if run.task in ("mnist4", "digits") else run.task == "cifar10"
            found.setdefault((run.model, run.encoding, size), []).append(run)
    return [*found.values()]


def _start(*arguments: Any) -> None:
    """A process of its own."""
    command = [sys.executable, "-m", "experiments.paper", *map(str, arguments)]
    subprocess.run(command, check=True)


def _train(names: str, results: str, scratch: str, data_root: str, epochs: str) -> None:
    """What the process of several runs does: it leaves their checkpoints in `scratch`."""
    from .train import train_together

    wanted = names.split(",")
    train_together(
        [run for run in all_runs(100) if run.name in wanted],
        data_root=Path(data_root) if data_root else None,
        epochs=int(epochs) if epochs else None,
        scratch=Path(scratch),
    )


def _one(name: str, results: str, scratch: str, data_root: str, epochs: str) -> None:
    """What the process of one run does."""
    from .train import execute

    found = execute(
        next(run for run in all_runs(100) if run.name == name),
        data_root=Path(data_root) if data_root else None,
        epochs=int(epochs) if epochs else None,
        limit=None,
        scratch=Path(scratch) / name,
    )
    save_record(Path(results), name, found)
    shutil.rmtree(Path(scratch) / name, ignore_errors=True)


def _smoke(folder: Path) -> None:
    from .train import execute

    wanted = ("frozen-amplitude", "direct2-angle", "logistic")
    results = folder / "results.jsonl"
    for run in all_runs(1, ("digits",)):
        if any(w in run.name for w in wanted):
            scratch = folder / "scratch" / run.name
            found = execute(run, data_root=None, epochs=2, limit=200, scratch=scratch)
            save_record(results, run.name, found)
            print(f"{run.name}: {found['accuracy']:.2%}", flush=True)
    report(results, folder / "page.md", folder / "figures")
    print((folder / "page.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    inner = {"--one": _one, "--train": _train}.get("".join(sys.argv[1:2]))
    inner(*sys.argv[2:]) if inner else tyro.cli(main)
