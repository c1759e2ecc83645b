"""Three ways to inject a quantum signal into an implicit graph network, and what they are worth.

    python -m experiments.graphs                      all runs that are missing
    python -m experiments.graphs --only "MUTAG-*"
    python -m experiments.graphs.report               the tables and the figure

MUTAG, PROTEINS and NCI1 of the TU Dortmund collection, in ten stratified folds. The classical
backbone is Z = tanh(W Z A + U X + b) with ‖W‖ ‖A‖ ≤ 0.8. Into it goes α = 0.1 times a signal:
independent of the state, of the state, or of the backbone's output. The control has a small
network in place of the circuit, with about as many parameters. Folds, features, optimizer and
epochs are the same for all.
"""

import tempfile
from pathlib import Path
from typing import Annotated

import tyro

from .. import Off, progress, Record, save_record, to_do
from .data import folder, load, SOURCES
from .model import MODELS
from .report import main as report, RESULTS
from .train import execute, gradient_variance

SEEDS = {"MUTAG": 3, "PROTEINS": 1, "NCI1": 1}
ALPHAS = (0.01, 0.1, 1.0)


def main(
    only: str = "*",
    results: Path = RESULTS,
    list: Annotated[bool, Off] = False,
    smoke: Annotated[bool, Off] = False,
) -> None:
    """Trains what is missing.

    Args:
        only: which runs, a pattern for names such as "MUTAG-state-seed0".
        results: the file of the records.
        list: only print the names, and which are done.
        smoke: two epochs of two models on a few graphs, somewhere else, and their report.
    """
    if smoke:
        with tempfile.TemporaryDirectory() as path:
            _smoke(Path(path))
        return
    runs: dict[str, tuple] = {f"variance-{m}": (m,) for m in ("independent", "state", "backbone")}
    for data, seeds in SEEDS.items():
        for seed in range(seeds):
            for model in MODELS:
                runs[f"{data}-{model}-seed{seed}"] = (data, model, seed)
                runs[f"nine-{data}-{model}-seed{seed}"] = (data, model, seed, True)
    for name, run in progress(to_do(results, runs, only, show=list)):
        save_record(results, name, _execute(*run))


def _execute(data: str, model: str | None = None, seed: int = 0, nine: bool = False) -> Record:
    if model is None:
        graphs = load(folder() / "MUTAG.txt", 64)
        found = {str(alpha): gradient_variance(graphs, data, alpha) for alpha in ALPHAS}
        return {"model": data, "variance": found}
    graphs = load(folder() / f"{data}.txt")
    return {"data": data, **execute(graphs, SOURCES[data], model, seed, nine=nine)}


def _smoke(path: Path) -> None:
    graphs = load(folder() / "MUTAG.txt", 60)
    for model in ("classical", "state"):
        found = execute(graphs, SOURCES["MUTAG"], model, 0, short=True)
        save_record(path / "results.jsonl", f"MUTAG-{model}-seed0", {"data": "MUTAG", **found})
    report(path / "results.jsonl", path / "page.md", path)
    print((path / "page.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    tyro.cli(main)
