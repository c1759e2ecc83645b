"""The tables of the runs that there are, from their JSON files alone."""

import json
from pathlib import Path
from typing import Any

import numpy as np

OTHERS = {"once": "once", "unrolled5": "5 applications", "unrolled10": "10 applications"}


Runs = dict[str, list[dict[str, Any]]]


def load(results: Path) -> Runs:
    """What the JSON files in a folder hold, by the names of their recipes."""
    found: Runs = {}
    for path in sorted(results.glob("*.json")):
        run = json.loads(path.read_text(encoding="utf-8"))
        found.setdefault(run["recipe"]["name"], []).append(run)
    return found


def accuracies(runs: list[dict[str, Any]]) -> np.ndarray:
    """Test accuracies in percent."""
    return 100 * np.array([run["test_accuracy"] for run in runs])


def table(results: Path) -> str:
    """The runs in a folder as a Markdown table, one row per recipe."""
    lines = [
        "| recipe | parameters | test accuracy, % | solver steps | seeds | training, s |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, runs in load(results).items():
        found = accuracies(runs)
        spread = f" ± {found.std(ddof=1):.2f}" if len(runs) > 1 else ""
        seconds = [run["training_seconds"] for run in runs if run["training_seconds"] is not None]
        time = f"{np.mean(seconds):.0f}" if seconds else ""
        steps = [run["solver_steps"] for run in runs if "solver_steps" in run]
        mean_steps = f"{np.mean(steps):.1f}" if steps else ""
        lines.append(
            f"| {name} | {runs[0]['parameters']} | {found.mean():.2f}{spread} | {mean_steps} "
            f"| {len(runs)} | {time} |"
        )
    return "\n".join(lines)


def differences(results: Path) -> str:
    """What the equilibria have more than circuits applied a fixed number of times, in points of
    test accuracy with the standard error of the difference, as a Markdown table."""
    runs = load(results)
    lines = [
        "| recipe | " + " | ".join(f"than {name}" for name in OTHERS.values()) + " |",
        "| --- " * (1 + len(OTHERS)) + "|",
    ]
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
        lines.append("| " + " | ".join([name, *cells]) + " |")
    return "\n".join(lines)
