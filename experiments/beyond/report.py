"""Writes the page's tables, from the records of the runs and of the search alone.

    python -m experiments.beyond.report

What is written by hand around them stays.
"""

from pathlib import Path

import numpy as np
import tyro

from .. import DOCS, fill_page, markdown, Record, require_records
from . import search

RESULTS = Path(__file__).parent / "results.jsonl"
OTHERS = {"once": "once", "unrolled5": "5 applications", "unrolled10": "10 applications"}

Runs = dict[str, list[Record]]


def main(
    results: Path = RESULTS,
    page: Path = DOCS / "experiments" / "beyond.md",
) -> None:
    """Writes the page's tables.

    Args:
        results: the file of the runs' records.
        page: the Markdown file; made if it is not there.
    """
    fill_page(page, all_tables(results))
    print(f"written: {page}")


def all_tables(results: Path) -> dict[str, str]:
    """The text of the page by the names of its marks; that of the search has a file of its own."""
    found = {"runs": table(results), "differences": differences(results)}
    return found | {"search": candidates(search.RESULTS)}


def load(results: Path) -> Runs:
    """The records by the names of their recipes."""
    found: Runs = {}
    for run in require_records(results).values():
        found.setdefault(run["recipe"]["name"], []).append(run)
    return found


def accuracies(runs: list[Record]) -> np.ndarray:
    """Test accuracies in percent."""
    return 100 * np.array([run["test_accuracy"] for run in runs])


def table(results: Path) -> str:
    """The runs, one row per recipe."""
    rows = []
    for name, runs in load(results).items():
        found = accuracies(runs)
        spread = f" ± {found.std(ddof=1):.2f}" if len(runs) > 1 else ""
        seconds = [run["training_seconds"] for run in runs if run["training_seconds"] is not None]
        time = f"{np.mean(seconds):.0f}" if seconds else ""
        steps = [run["solver_steps"] for run in runs if "solver_steps" in run]
        mean_steps = f"{np.mean(steps):.1f}" if steps else ""
        accuracy = f"{found.mean():.2f}{spread}"
        rows.append([name, f"{runs[0]['parameters']}", accuracy, mean_steps, f"{len(runs)}", time])
    header = ["recipe", "parameters", "test accuracy, %", "solver steps", "seeds", "training, s"]
    return markdown(header, rows, words=len(header), spaced=True)


def differences(results: Path) -> str:
    """What the equilibria have more than circuits applied a fixed number of times, in points of
    test accuracy with the standard error of the difference."""
    runs, rows = load(results), []
    for name in ("ours-mnist4", "ours-mnist10", "ours-fashion10", "ours-cifar10"):
        ours = accuracies(runs.get(name, []))
        cells = []
        for suffix in OTHERS:
            other = accuracies(runs.get(f"{name}-{suffix}", []))
            if min(len(ours), len(other)) < 2:
                cells.append("")
                continue
            error = np.sqrt(ours.var(ddof=1) / len(ours) + other.var(ddof=1) / len(other))
            cells.append(f"{ours.mean() - other.mean():+.2f} ± {error:.2f}")
        rows.append([name, *cells])
    header = ["recipe", *(f"than {name}" for name in OTHERS.values())]
    return markdown(header, rows, words=len(header), spaced=True)


def candidates(searched: Path) -> str:
    """The candidates of the search, the best first."""
    found = require_records(searched)
    names = [name for name in search.CANDIDATES if name in found]
    names.sort(key=lambda name: -found[name]["validation_accuracy"])  # equals stay in order
    rows = [
        [name, f"{found[name]['parameters']}", f"{100 * found[name]['validation_accuracy']:.2f}"]
        for name in names
    ]
    return markdown(["candidate", "parameters", "validation accuracy, %"], rows, 3, spaced=True)


if __name__ == "__main__":
    tyro.cli(main)
