"""Draws the paper's table and its figure from the JSONs of the runs alone.

    python examples/paper/report.py

Replaces what stands between the two marks in the page; what is written around them stays.
"""

import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import tyro
from grid import PAPER, TASKS
from matplotlib.axes import Axes
from matplotlib.figure import Figure

HERE = Path(__file__).parent
DOCS = HERE.parents[1] / "docs" / "experiments"
BEGIN, END = "<!-- begin: examples/paper/report.py -->", "<!-- end -->"

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
}
COLOURS = {"amplitude": "#0072B2", "angle": "#D55E00", "pixels": "#666666"}

Runs = list[dict[str, Any]]
Groups = dict[tuple[str, str, str], Runs]  # by task, model and encoding


def main(
    results: Path = HERE / "results",
    page: Path = DOCS / "paper-table.md",
    figures: Path = DOCS.parent / "figures" / "experiments",
) -> None:
    """Writes the page's tables and the figure.

    Args:
        results: the folder of the JSONs.
        page: the Markdown file; made if it is not there.
        figures: the folder of the figure.
    """
    groups = load(results)
    if not groups:
        raise SystemExit(f"there are no results in {results}; run examples/paper/main.py first.")
    figures.mkdir(parents=True, exist_ok=True)
    figure(groups).savefig(figures / "paper-table.svg", metadata={"Date": None})
    tasks = [task for task in [*TASKS, "digits"] if any(key[0] == task for key in groups)]
    text = "\n\n".join(section(task, groups) for task in tasks)
    write_between(page, text)
    print(f"written: {page} and {figures / 'paper-table.svg'}")


def load(results: Path) -> Groups:
    groups: Groups = defaultdict(list)
    for path in sorted(results.glob("*.json")):
        found = json.loads(path.read_text(encoding="utf-8"))
        run = found["run"]
        groups[run["task"], run["model"], run["encoding"]].append(found)
    return dict(groups)


def write_between(page: Path, text: str) -> None:
    old = page.read_text(encoding="utf-8") if page.exists() else f"{BEGIN}\n{END}\n"
    before, rest = old.split(BEGIN)
    after = rest.split(END)[1]
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")


# --- Tables -----------------------------------------------------------------------------------


def mean(runs: Runs, name: str) -> float | None:
    values = [run[name] for run in runs if run.get(name) is not None]
    return float(np.mean(values)) if values else None


def accuracy(runs: Runs) -> tuple[float, float]:
    """Mean and standard deviation over seeds, in per cent; no deviation of a single seed."""
    values = [100 * run["accuracy"] for run in runs]
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else np.nan


def percent(runs: Runs) -> str:
    middle, deviation = accuracy(runs)
    return f"{middle:.2f}" + ("" if np.isnan(deviation) else f" ± {deviation:.2f}")


def shown(value: float | None, how: str) -> str:
    return "" if value is None else format(value, how)


COLUMNS: dict[str, Callable[[Runs], str]] = {
    "seeds": lambda runs: str(len(runs)),
    "test accuracy, %": percent,
    "residual": lambda runs: shown(mean(runs, "residual"), ".1e"),
    "spectral radius": lambda runs: _radius(runs),
    "steps": lambda runs: shown(mean(runs, "solver_steps"), ".1f"),
    "forward": lambda runs: shown(mean(runs, "forward_evaluations"), ".1f"),
    "backward": lambda runs: shown(mean(runs, "backward_evaluations"), ".1f"),
    "parameters": lambda runs: shown(mean(runs, "n_parameters"), ".0f"),
    "step, MB": lambda runs: shown(mean(runs, "step_memory_mb"), ".1f"),
    "process, MB": lambda runs: shown(mean(runs, "peak_memory_mb"), ".0f"),
    "training, s": lambda runs: shown(mean(runs, "training_seconds"), ".0f"),
}


def _radius(runs: Runs) -> str:
    if "spectral_radius" not in runs[0]:
        return ""
    median = np.mean([run["spectral_radius"]["median"] for run in runs])
    largest = np.max([run["spectral_radius"]["max"] for run in runs])
    return f"{median:.2f} (≤ {largest:.2f})"


def section(task: str, groups: Groups) -> str:
    lines = [f"### {TASKS.get(task, task)}", ""]
    header = ["model", "encoding", *COLUMNS]
    lines += ["| " + " | ".join(header) + " |"]
    lines += ["|---|---|" + "---:|" * len(COLUMNS)]
    for encoding in COLOURS:
        for model, title in MODELS.items():
            runs = groups.get((task, model, encoding))
            if runs:
                cells = [title, encoding, *(column(runs) for column in COLUMNS.values())]
                lines.append("| " + " | ".join(cells) + " |")
    if task in PAPER:
        lines.append(f"| *the paper's best* | | | {PAPER[task]} |" + " |" * (len(COLUMNS) - 2))
    return "\n".join(lines + ["", comparison(task, groups)])


def comparison(task: str, groups: Groups) -> str:
    """The implicit model against the others with the same encoding."""
    parts = []
    for encoding in ("amplitude", "angle"):
        implicit = groups.get((task, "implicit", encoding), [])
        for model in ("direct1", "direct2", "direct5", "direct10"):
            other = groups.get((task, model, encoding), [])
            if len(implicit) > 1 and len(other) > 1:
                (a, s), (b, t) = accuracy(implicit), accuracy(other)
                error = np.sqrt(s**2 / len(implicit) + t**2 / len(other))
                parts.append(f"{encoding}, L = {model[6:]}: {a - b:+.2f} ± {error:.2f}")
    if not parts:
        return "With one seed there is no error to compare with."
    return (
        "Implicit minus direct, in points, with the standard error of the difference: "
        + "; ".join(parts)
        + "."
    )


# --- Figure -----------------------------------------------------------------------------------


def figure(groups: Groups) -> Figure:
    """For each task the test accuracy of every model, seed by seed."""
    tasks = [task for task in [*TASKS, "digits"] if any(key[0] == task for key in groups)]
    with matplotlib.rc_context({"svg.hashsalt": "eqx-qdeq", "axes.spines.right": False}):
        drawn = Figure(figsize=(3.2 * len(tasks), 3.6), layout="constrained")
        for ax, task in zip(drawn.subplots(1, len(tasks), squeeze=False)[0], tasks, strict=True):
            _panel(ax, task, groups)
    return drawn


def _panel(ax: Axes, task: str, groups: Groups) -> None:
    order = list(MODELS)[::-1]
    labelled = set()
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
            label=encoding if encoding not in labelled else None,
            markersize=5,
            alpha=0.8,
        )
        labelled.add(encoding)
    if task in PAPER:
        ax.axvline(PAPER[task], color="#CC79A7", linestyle="--", label="the paper's best")
    ax.set_yticks(range(len(order)), [MODELS[model] for model in order], fontsize=8)
    ax.set_ylim(-0.6, len(order) - 0.4)
    ax.grid(axis="x", color="#dddddd", linewidth=0.6)
    ax.set_title(TASKS.get(task, task), fontsize=10)
    ax.set_xlabel("test accuracy (%)")
    ax.legend(fontsize=7, loc="lower left", framealpha=0.9)


if __name__ == "__main__":
    tyro.cli(main)
