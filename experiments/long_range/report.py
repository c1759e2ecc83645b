"""Draws the page's tables and its figure from the records of the runs alone.

    python -m experiments.long_range.report

What is written by hand around them stays.
"""

from pathlib import Path
from typing import Any

import numpy as np
import tyro
from matplotlib.figure import Figure

from .. import markdown, report_command, require_records, tidy
from .tasks import TASKS

RESULTS = Path(__file__).parent / "results.jsonl"

Runs = dict[tuple[str, str], list[dict[str, Any]]]  # by task and model

TITLES = {
    "implicit": "equilibrium",
    "unrolled10": "applied 10 times",
    "unrolled5": "applied 5 times",
    "unrolled2": "applied twice",
    "unrolled1": "applied once",
    "exact": "equilibrium, exact gradient from the start",
}
# Okabe and Ito's colors, and markers for those who do not see colors.
STYLES = {
    "implicit": ("#0072B2", "o-"),
    "unrolled10": ("#D55E00", "s--"),
    "unrolled5": ("#E69F00", "^--"),
    "unrolled2": ("#CC79A7", "D:"),
    "unrolled1": ("#666666", "v:"),
    "exact": ("#56B4E9", "x-."),
}


def all_tables(results: Path) -> dict[str, str]:
    """The text of the page by the names of its marks."""
    return {"tables": table(load(results))}


def load(results: Path) -> Runs:
    runs: Runs = {}
    for found in require_records(results).values():
        runs.setdefault((found["task"], found["model"]), []).append(found)
    return runs


def collect(runs: list[dict[str, Any]], name: str) -> dict[int, list[float]]:
    """A number by the length tested, one for each seed."""
    found: dict[int, list[float]] = {}
    for run in runs:
        for length, numbers in run["tests"].items():
            found.setdefault(int(length), []).append(numbers[name])
    return found


def table(runs: Runs) -> str:
    """Markdown: mean accuracy ± its standard error, in percent."""
    parts = []
    for task, meaning in TASKS.items():
        here = {model: runs[task, model] for model in TITLES if (task, model) in runs}
        if not here:
            continue
        columns = sorted({key for some in here.values() for key in collect(some, "accuracy")})
        rows = []
        for model, some in here.items():
            cells = [_cell(collect(some, "accuracy").get(key, [])) for key in columns]
            rows.append([TITLES[model], str(some[0]["n_parameters"]), str(len(some)), *cells])
        for model in ("implicit", "exact"):
            if model in here:
                for name, digits in (("converged", 1), ("steps", 0)):
                    found = collect(here[model], name)
                    factor = 100 if name == "converged" else 1
                    cells = [f"{factor * np.mean(found[key]):.{digits}f}" for key in columns]
                    unit = "solved, %" if name == "converged" else "steps"
                    rows.append([f"*{TITLES[model]}: {unit}* | |", *cells])
        header = ["cell", "parameters", "seeds", *map(str, columns)]
        title = meaning.title[0].upper() + meaning.title[1:]
        parts.append(f"**{title}**\n\n{markdown(header, rows)}")
    return "\n\n".join(parts)


def _cell(values: list[float]) -> str:
    if not values:
        return ""
    error = 100 * np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else None
    return f"{100 * np.mean(values):.1f}" + ("" if error is None else f" ± {error:.1f}")


def draw(runs: Runs) -> Figure:
    """Accuracy against the length that is tested."""
    tasks = [task for task in TASKS if any(key[0] == task for key in runs)]
    figure = Figure(figsize=(5 * len(tasks), 3.8), layout="constrained")
    axes = figure.subplots(1, len(tasks), squeeze=False)[0]
    for ax, task in zip(axes, tasks, strict=True):
        for model, (colour, style) in STYLES.items():
            if (task, model) in runs:
                found = sorted(collect(runs[task, model], "accuracy").items())
                ax.errorbar(
                    [length for length, _ in found],
                    [100 * np.mean(values) for _, values in found],
                    [100 * np.std(values) / np.sqrt(len(values)) for _, values in found],
                    fmt=style,
                    color=colour,
                    markersize=5,
                    capsize=2,
                    label=TITLES[model],
                )
        ax.set_xscale("log")
        some = next(value for key, value in runs.items() if key[0] == task)
        ticks = sorted(collect(some, "accuracy"))
        ax.set_xticks(ticks, [str(n) for n in ticks])
        ax.minorticks_off()
        ax.set_xlabel("nodes")
        ax.set_ylabel("nodes that are right (%)")
        ax.set_title(TASKS[task].title)
        ax.axhline(50, color="#999999", linewidth=0.8, zorder=0)
        tidy(ax)
    axes[0].legend(frameon=False, fontsize=8)
    return figure


main = report_command(
    RESULTS, "long-range.md", all_tables, lambda results: {"long-range": draw(load(results))}
)

if __name__ == "__main__":
    tyro.cli(main)
