"""Trains every model of the paper's table on real images, and the baselines beside them.

    python examples/paper/main.py --data-root ~/datasets             all of it: hours
    python examples/paper/main.py --data-root ~/datasets --only "mnist4-*-seed0"
    python examples/paper/main.py --list

Each run is a process of its own (so that its peak memory is its own) and ends as one JSON in
examples/paper/results. Runs whose JSON is there are skipped, one that was interrupted goes on from
its last epoch: start the command again until nothing is left. On a GPU, add --together: it trains
all runs of one model at once. Then

    python examples/paper/report.py

draws the tables and figures from the JSONs alone.
"""

import fnmatch
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import tyro
from grid import all_runs, Run
from report import main as report

Off = tyro.conf.FlagCreatePairsOff
HERE = Path(__file__).parent


def main(
    only: str = "*",
    seeds: int = 3,
    data_root: Path | None = None,
    epochs: int | None = None,
    results: Path = HERE / "results",
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
        epochs: instead of the paper's 100. The results then belong in a folder of their own.
        results: the folder of the JSONs.
        scratch: the folder of the checkpoints of runs that are not finished.
        together: first train runs that differ only in seed or images as one computation.
        list: only print the names, and which are done.
        smoke: two epochs of a few models on scikit-learn's digits, and their report.
    """
    if smoke:
        with tempfile.TemporaryDirectory() as folder:
            _smoke(Path(folder))
        return
    if epochs is not None and results == HERE / "results":
        raise SystemExit("--epochs makes other runs than the paper's: name a folder in --results.")
    runs = [run for run in all_runs(seeds) if fnmatch.fnmatch(run.name, only)]
    if not runs:
        raise SystemExit(f"no run matches --only {only!r}; --list shows their names.")
    missing = [run for run in runs if not (results / f"{run.name}.json").exists()]
    if list:
        for run in runs:
            print(f"{'to do' if run in missing else 'done':<6} {run.name}")
        return
    print(f"{len(runs) - len(missing)} of {len(runs)} runs are done", flush=True)
    options = [results, scratch, data_root or "", epochs or ""]
    for group in groups(missing) if together else ():
        _start("--train", ",".join(run.name for run in group), *options)
    for i, run in enumerate(missing):
        start = time.perf_counter()
        _start("--one", run.name, *options)
        took = time.perf_counter() - start
        print(f"{i + 1}/{len(missing)} {run.name}: {_read(results, run)}, {took:.0f} s", flush=True)


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
    subprocess.run([sys.executable, __file__, *map(str, arguments)], check=True)


def _train(names: str, results: str, scratch: str, data_root: str, epochs: str) -> None:
    """What the process of several runs does: it leaves their checkpoints in `scratch`."""
    from train import train_together

    wanted = names.split(",")
    train_together(
        [run for run in all_runs(100) if run.name in wanted],
        data_root=Path(data_root) if data_root else None,
        epochs=int(epochs) if epochs else None,
        scratch=Path(scratch),
    )


def _one(name: str, results: str, scratch: str, data_root: str, epochs: str) -> None:
    """What the process of one run does."""
    from train import execute

    run = next(run for run in all_runs(100) if run.name == name)
    _write(
        Path(results),
        run,
        execute(
            run,
            data_root=Path(data_root) if data_root else None,
            epochs=int(epochs) if epochs else None,
            limit=None,
            scratch=Path(scratch) / name,
        ),
    )
    shutil.rmtree(Path(scratch) / name, ignore_errors=True)


def _write(results: Path, run: Run, found: dict) -> None:
    """All or nothing: what is there counts as done."""
    results.mkdir(parents=True, exist_ok=True)
    path = results / f"{run.name}.json"
    lines = ",\n".join(f" {json.dumps(name)}: {json.dumps(found[name])}" for name in found)
    path.with_suffix(".tmp").write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")
    os.replace(path.with_suffix(".tmp"), path)


def _read(results: Path, run: Run) -> str:
    found = json.loads((results / f"{run.name}.json").read_text(encoding="utf-8"))
    return f"{found['accuracy']:.2%}"


def _smoke(folder: Path) -> None:
    from train import execute

    wanted = ("frozen-amplitude", "direct2-angle", "logistic")
    for run in all_runs(1, ("digits",)):
        if any(w in run.name for w in wanted):
            scratch = folder / "scratch" / run.name
            found = execute(run, data_root=None, epochs=2, limit=200, scratch=scratch)
            _write(folder / "results", run, found)
            print(f"{run.name}: {_read(folder / 'results', run)}", flush=True)
    report(folder / "results", folder / "page.md", folder / "figures")
    print((folder / "page.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    inner = {"--one": _one, "--train": _train}.get("".join(sys.argv[1:2]))
    inner(*sys.argv[2:]) if inner else tyro.cli(main)
