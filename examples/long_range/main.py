"""Where an equilibrium is needed: what stands arbitrarily far away.

    python examples/long_range/main.py                    all runs that are missing
    python examples/long_range/main.py --only "chain-*"
    python examples/long_range/main.py --report           the figure and the table alone

Two tasks on n nodes in a row, each with two features and the same quantum circuit on 4 wires. In
the chain (after Gu et al., "Implicit graph neural networks", NeurIPS 2020) the first node has a
bit, and all nodes must tell it; each hears its two neighbours. In the other one each node has a bit
and must tell the parity of those up to its own; it hears the node before.

The same cell, with the same number of parameters, curriculum of lengths and optimiser, is trained
as an equilibrium and applied 1, 2, 5 and 10 times. "exact" is the equilibrium trained by the exact
implicit gradient alone. Each run ends as one JSON; those that are there are skipped.
"""

import fnmatch
import json
import os
import tempfile
from pathlib import Path
from typing import Annotated

import matplotlib
import tyro
from report import draw, load, table
from tasks import TASKS
from train import execute

Off = tyro.conf.FlagCreatePairsOff
HERE = Path(__file__).parent
FIGURES = HERE.parents[1] / "docs" / "figures" / "experiments"

MODELS = {
    "implicit": {"layers": 0},
    "unrolled10": {"layers": 10},
    "unrolled5": {"layers": 5},
    "unrolled2": {"layers": 2},
    "unrolled1": {"layers": 1},
    "exact": {"layers": 0, "exact": True},
}


def main(
    only: str = "*",
    seeds: int = 5,
    results: Path = HERE / "results",
    figure: Path = FIGURES / "long-range.svg",
    report: Annotated[bool, Off] = False,
    smoke: Annotated[bool, Off] = False,
) -> None:
    """Trains what is missing, and reports.

    Args:
        only: which runs, a pattern for names such as "chain-implicit-seed0".
        seeds: how many of each.
        results: the folder of the JSONs.
        figure: where the figure goes.
        report: train nothing.
        smoke: a few steps of two models, somewhere else.
    """
    if smoke:
        with tempfile.TemporaryDirectory() as folder:
            for model in ("implicit", "unrolled2", "exact"):
                found = execute("chain", seed=0, short=True, **MODELS[model])
                _write(Path(folder) / f"chain-{model}-seed0.json", found)
            _report(Path(folder), Path(folder) / "figure.svg")
        return
    names = [
        (f"{task}-{model}-seed{seed}", task, model, seed)
        for seed in range(seeds)
        for task in TASKS
        for model in MODELS
    ]
    chosen = [run for run in names if fnmatch.fnmatch(run[0], only)]
    if not chosen:
        raise SystemExit(f"no run matches --only {only!r}; names are like {names[0][0]}.")
    for name, task, model, seed in chosen:
        path = results / f"{name}.json"
        if report or path.exists():
            continue
        found = execute(task, seed=seed, **MODELS[model])
        _write(path, found)
        print(f"{name}: {found['seconds']:.0f} s", flush=True)
    _report(results, figure)


def _write(path: Path, found: dict) -> None:
    """All or nothing: what is there counts as done."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".tmp").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    os.replace(path.with_suffix(".tmp"), path)


def _report(results: Path, figure: Path) -> None:
    runs = load(results)
    figure.parent.mkdir(parents=True, exist_ok=True)
    # The same figure is the same file.
    with matplotlib.rc_context({"svg.hashsalt": "eqx-qdeq"}):
        draw(runs).savefig(figure, metadata={"Date": None})
    print(table(runs))


if __name__ == "__main__":
    tyro.cli(main)
