"""Draws the paper's table and its figure from the records of the runs alone.

    python -m experiments.paper.report

What is written by hand around them stays.
"""

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import markdown, panels, report_command, require_records, tidy
from .grid import PAPER, TASKS

RESULTS = Path(__file__).parent / "results.jsonl"

MODELS = {
    "logistic": "logistic regression",
    "classical": "classical equilibrium",
    "direct1": "direct, L = 1 (no feedback)",
    "direct2": "direct, L = 2",
    "direct5": "direct, L = 5",
    "direct10": "direct, L = 10",
    "implicit": "implicit",
    "warmup": "implicit after warm-up",
    "frozen": "implicit, gate sets frozen",
    "unpenalised": "implicit, no Jacobian penalty",
}
COLOURS = {"amplitude": "#0072B2", "angle": "#D55E00", "pixels": "#666666"}

Runs = list[dict[str, Any]]
Groups = dict[tuple[str, str, str], Runs]  # by task, model and encoding


def all_tables(results: Path) -> dict[str, str]:
    """The text of the page by the names of its marks."""
    groups = load(results)
    return {"tables": "\n\n".join(section(task, groups) for task in tasks_of(groups))}


def tasks_of(groups: Groups) -> list[str]:
    return [task for task in [*TASKS, "digits"] if any(key[0] == task for key in groups)]


def load(results: Path) -> Groups:
    groups: Groups = defaultdict(list)
    for found in require_records(results).values():
        run = found["run"]
        groups[run["task"], run["model"], run["encoding"]].append(found)
    return dict(groups)


# --- Tables -----------------------------------------------------------------------------------


def mean(runs: Runs, name: str) -> float | None:
    values = [run[name] for run in runs if run.get(name) is not None]
    return float(np.mean(values)) if values else None


def accuracy(runs: Runs) -> tuple[float, float]:
    """Mean and standard deviation over seeds, in percent; no deviation of a single seed."""
    values = [100 * run["accuracy"] for run in runs]
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else np.nan


def percent(runs: Runs) -> str:
    middle, deviation = accuracy(runs)
    return f"{middle:.2f}" + ("" if np.isnan(deviation) else f" ± {deviation:.2f}")


def shown(value: float | None, how: str) -> str:
    return "" if value is None else format(value, how)


# What a model reaches and how it stands there; what that costs.
COLUMNS: dict[str, Callable[[Runs], str]] = {
    "seeds": lambda runs: str(len(runs)),
    "test accuracy, %": percent,
    "residual": lambda runs: shown(mean(runs, "residual"), ".1e"),
    "spectral radius": lambda runs: _radius(runs),
    "steps": lambda runs: shown(mean(runs, "solver_steps"), ".1f"),
    "parameters": lambda runs: shown(mean(runs, "n_parameters"), ".0f"),
}
COSTS: dict[str, Callable[[Runs], str]] = {
    "forward": lambda runs: shown(mean(runs, "forward_evaluations"), ".1f"),
    "backward": lambda runs: shown(mean(runs, "backward_evaluations"), ".1f"),
    "step, MB": lambda runs: shown(mean(runs, "step_memory_mb"), ".1f"),
    "process, MB": lambda runs: shown(mean(runs, "peak_memory_mb"), ".0f"),
    "training, s": lambda runs: _seconds(runs),
}


def _radius(runs: Runs) -> str:
    if "spectral_radius" not in runs[0]:
        return ""
    median = np.mean([run["spectral_radius"]["median"] for run in runs])
    largest = np.max([run["spectral_radius"]["max"] for run in runs])
    return f"{median:.2f} (≤ {largest:.2f})"


def _seconds(runs: Runs) -> str:
    """For each kind of device; none of runs that began on one and ended on another."""
    found: dict[str, list[float]] = defaultdict(list)
    for run in runs:
        device = run.get("trained", {}).get("device", "cpu")
        if run.get("training_seconds") is not None and "then" not in device:
            found["" if device == "cpu" else " (GPU)"].append(run["training_seconds"])
    return ", ".join(f"{np.mean(found[kind]):.0f}{kind}" for kind in sorted(found))


def section(task: str, groups: Groups) -> str:
    found = [
        (title, encoding, groups[task, model, encoding])
        for encoding in COLOURS
        for model, title in MODELS.items()
        if (task, model, encoding) in groups
    ]
    table = lambda columns: markdown(
        ["model", "encoding", *columns],
        [
            [title, encoding, *(c(runs) for c in columns.values())]
            for title, encoding, runs in found
        ],
        2,
    )
    reached = table(COLUMNS)
    if task in PAPER:
        reached += f"\n| *the paper's QDEQ* | | | {PAPER[task]} |" + " |" * (len(COLUMNS) - 2)
    title = f"### {TASKS.get(task, task)}"
    return "\n\n".join([title, reached, table(COSTS), comparison(task, groups)]).rstrip()


def comparison(task: str, groups: Groups) -> str:
    """The implicit models, with and without the penalty, against the direct ones."""
    rows = []
    for encoding in ("amplitude", "angle"):
        for model in ("implicit", "unpenalised"):
            these = groups.get((task, model, encoding), [])
            for other, title in MODELS.items():
                others = groups.get((task, other, encoding), [])
                if other.startswith("direct") and these and others:
                    rows.append([MODELS[model], title, encoding, *_difference(these, others)])
    return markdown(["this", "minus", "encoding", "points", "seeds"], rows, 3) if rows else ""


def _difference(these: Runs, others: Runs) -> list[str]:
    """Of the mean accuracies, with its standard error; and how many seeds are behind it."""
    (a, s), (b, t) = accuracy(these), accuracy(others)
    error = np.sqrt(s**2 / len(these) + t**2 / len(others))
    shown = f"{a - b:+.2f}" + ("" if np.isnan(error) else f" ± {error:.2f}")
    return [shown, f"{len(these)}, {len(others)}"]


# --- Figure -----------------------------------------------------------------------------------


def figure(groups: Groups) -> Figure:
    """For each task the test accuracy of every model, seed by seed."""
    tasks = tasks_of(groups)
    drawn, axes = panels(len(tasks), 2, 3.0)
    for ax, task in zip(axes, tasks, strict=True):
        _panel(ax, task, groups)
    handles = {
        label: h for ax in axes for h, label in zip(*ax.get_legend_handles_labels(), strict=True)
    }
    drawn.legend(
        handles.values(), handles.keys(), loc="outside lower center", ncols=4, frameon=False
    )
    return drawn


def _panel(ax: Axes, task: str, groups: Groups) -> None:
    order = list(MODELS)[::-1]
    for (of, model, encoding), runs in groups.items():
        if of != task:
            continue
        shift = {"amplitude": 0.12, "angle": -0.22, "pixels": 0.0}[encoding]
        values = [100 * run["accuracy"] for run in runs]
        ax.plot(
            values,
            [order.index(model) + shift] * len(values),
            "o",
            color=COLOURS[encoding],
            label=encoding,
            markersize=5,
            alpha=0.8,
        )
    if task in PAPER:
        ax.axvline(PAPER[task], color="#CC79A7", linestyle="--", label="the paper's QDEQ")
    ax.set_yticks(range(len(order)), [MODELS[model] for model in order], fontsize=8)
    ax.set_ylim(-0.6, len(order) - 0.4)
    tidy(ax)
    ax.set_title(TASKS.get(task, task), fontsize=10)
    ax.set_xlabel("test accuracy (%)")


main = report_command(
    RESULTS, "paper-table.md", all_tables, lambda results: {"paper-table": figure(load(results))}
)

if __name__ == "__main__":
    tyro.cli(main)
