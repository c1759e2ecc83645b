"""Where an equilibrium is needed: what stands arbitrarily far away.

    python -m experiments.long_range                      all runs that are missing
    python -m experiments.long_range --only "chain-*"
    python -m experiments.long_range.report               the figure and the tables

Two tasks on n nodes in a row, each with two features and the same quantum circuit on 4 wires. In
the chain (after Gu et al., "Implicit graph neural networks", NeurIPS 2020) the first node has a
bit, and all nodes must tell it; each hears its two neighbors. In the other one each node has a bit
and must tell the parity of those up to its own; it hears the node before.

The same cell, with the same number of parameters, curriculum of lengths and optimizer, is trained
as an equilibrium and applied 1, 2, 5 and 10 times. "exact" is the equilibrium trained by the exact
implicit gradient alone.
"""

import tempfile
from pathlib import Path
from typing import Annotated

import tyro

from .. import Off, progress, save_record, to_do
from .report import main as report, RESULTS
from .tasks import TASKS
from .train import execute

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
    results: Path = RESULTS,
    list: Annotated[bool, Off] = False,
    smoke: Annotated[bool, Off] = False,
) -> None:
    """Trains what is missing.

    Args:
        only: which runs, a pattern for names such as "chain-implicit-seed0".
        seeds: how many of each.
        results: the file of the records.
        list: only print the names, and which are done.
        smoke: a few steps of three models, somewhere else, and their report.
    """
    if smoke:
        with tempfile.TemporaryDirectory() as folder:
            _smoke(Path(folder))
        return
    runs = {
        f"{task}-{model}-seed{seed}": (task, model, seed)
        for seed in range(seeds)
        for task in TASKS
        for model in MODELS
    }
    for name, (task, model, seed) in progress(to_do(results, runs, only, show=list)):
        save_record(results, name, execute(task, seed=seed, **MODELS[model]))


def _smoke(folder: Path) -> None:
    for model in ("implicit", "unrolled2", "exact"):
        found = execute("chain", seed=0, short=True, **MODELS[model])
        save_record(folder / "results.jsonl", f"chain-{model}-seed0", found)
    report(folder / "results.jsonl", folder / "page.md", folder)
    print((folder / "page.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    tyro.cli(main)
