"""Draws the page's tables and its figure from the records of the runs alone.

    python -m experiments.graphs.report

What is written by hand around them stays.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from matplotlib.figure import Figure

from .. import markdown, report_command, require_records, tidy

RESULTS = Path(__file__).parent / "results.jsonl"

Runs = dict[tuple[str, str], list[dict[str, Any]]]  # by data and model, one for each seed

TITLES = {
    "classical": "classical backbone",
    "independent": "quantum, independent",
    "state": "quantum, of the state",
    "backbone": "quantum, of the backbone",
    "control": "network in the circuit's place",
}
STYLES = {
    "classical": ("#666666", "-"),
    "independent": ("#0072B2", "-"),
    "state": ("#D55E00", "--"),
    "backbone": ("#009E73", "-."),
    "control": ("#E69F00", ":"),
}
# How models of nine folds can be named; the second as IGNN's code does.
NINE = {"usual": "usual", "best": "best of each fold"}
# Percent: theirs with independent injection (arXiv:2605.09226), and IGNN (arXiv:2009.06211).
PUBLISHED = {"MUTAG": (88.7, 89.3), "PROTEINS": (76.9, 77.7), "NCI1": (75.1, 80.5)}


def all_tables(results: Path) -> dict[str, str]:
    """The text of the page by the names of its marks."""
    runs, nine = load(results), load(results, nine=True)
    return {
        "accuracy": accuracy(runs, nine),
        "differences": differences(runs, nine),
        "solves": solves(runs),
        "variance": variance(results),
    }


def load(results: Path, *, nine: bool = False) -> Runs:
    runs: Runs = {}
    for found in require_records(results).values():
        if "data" in found and found.get("nine", False) == nine:
            runs.setdefault((found["data"], found["model"]), []).append(found)
    return runs


def by_fold(some: Sequence[dict[str, Any]], name: str) -> np.ndarray:
    """Percent by fold, the mean over seeds: seeds share the folds, so that they are no samples of
    their own."""
    return 100 * np.mean([found[name] for found in some], axis=0)


def _with_error(values: np.ndarray, digits: int = 1) -> str:
    error = np.std(values, ddof=1) / np.sqrt(len(values))
    return f"{np.mean(values):.{digits}f} ± {error:.{digits}f}"


def accuracy(runs: Runs, nine: Runs) -> str:
    """Markdown: mean accuracy ± its standard error over folds, all ways to name it."""
    rows = []
    for data, published in PUBLISHED.items():
        for model, title in TITLES.items():
            some, more = runs.get((data, model)), nine.get((data, model))
            if some:
                counts = [str(some[0]["n_parameters"]), str(len(some)), str(some[0]["epochs"])]
                values = [_with_error(by_fold(some, name)) for name in ("test", "usual")]
                values += [_with_error(by_fold(more, n)) if more else "" for n in NINE]
                rows.append([data, title, *counts, *values])
        if any(key[0] == data for key in runs):
            for title, value in zip(("quantum, independent", "IGNN"), published, strict=True):
                rows.append([data, f"*published, {title}*", *[""] * 6, f"{value:.1f}"])
    header = ["data", "model", "parameters", "seeds", "epochs", "by validation", "usual"]
    return markdown([*header, *(f"{name}, nine folds" for name in NINE.values())], rows, 2)


def differences(runs: Runs, nine: Runs) -> str:
    """Markdown: what each model has more than the classical one, fold by fold."""
    rows = []
    for data, model in [
        (data, model) for data in PUBLISHED for model in TITLES if model != "classical"
    ]:
        cells = []
        for some, name in [
            (runs, "test"),
            (runs, "usual"),
            (runs, "last"),
            *((nine, n) for n in NINE),
        ]:
            own, base = some.get((data, model)), some.get((data, "classical"))
            # Seeds that both have, or one would be compared with another's luck.
            pairs = [(a, b) for a in own or [] for b in base or [] if a["seed"] == b["seed"]]
            if not pairs:
                cells.append("")
                continue
            own, base = zip(*pairs, strict=True)
            cells.append(_signed(by_fold(own, name) - by_fold(base, name)))
        if any(cells):
            rows.append([data, TITLES[model], *cells])
    header = ["data", "minus the classical backbone", "by validation", "usual", "last epoch"]
    return markdown([*header, *(f"{name}, nine folds" for name in NINE.values())], rows, 2)


def _signed(values: np.ndarray) -> str:
    text = _with_error(values)
    return text if text.startswith("-") else f"+{text}"


def solves(runs: Runs) -> str:
    """Markdown: how trained models solve, and the bound on their contraction."""
    rows = [
        [
            data,
            TITLES[model],
            f"{np.mean([found['steps'] for found in some]):.1f}",
            f"{100 * np.mean([found['solved'] for found in some]):.1f}",
            f"{max(found['bound'] for found in some):.3f}",
            f"{np.mean([found['seconds'] for found in some]):.0f}",
        ]
        for (data, model), some in runs.items()
    ]
    header = ["data", "model", "steps", "solved, %", "bound on the slope", "seconds, ten folds"]
    return markdown(header, rows, 2)


def variance(results: Path) -> str:
    """Markdown: the variance of a slope by α, and over α²."""
    found = [r for r in require_records(results).values() if "variance" in r]
    if not found:
        return "*(not run)*"
    alphas = list(found[0]["variance"])
    rows = []
    for record in found:
        values = [record["variance"][alpha] for alpha in alphas]
        whole = [f"{v:.1e}" for v in values]
        over = [f"{v / float(a) ** 2:.1e}" for v, a in zip(values, alphas, strict=True)]
        rows.append([TITLES[record["model"]], *whole, *over])
    header = ["injection", *(f"α = {a}" for a in alphas), *(f"over α², {a}" for a in alphas)]
    return markdown(header, rows)


def draw(runs: Runs) -> Figure:
    """Mean test accuracy over the folds, by epoch."""
    sets = [data for data in PUBLISHED if any(key[0] == data for key in runs)]
    figure = Figure(figsize=(4.2 * len(sets) + 0.6, 3.6), layout="constrained")
    axes = figure.subplots(1, len(sets), squeeze=False)[0]
    for ax, data in zip(axes, sets, strict=True):
        for model, (color, style) in STYLES.items():
            if (data, model) in runs:
                curve = by_fold(runs[data, model], "curve")
                epochs = np.arange(1, len(curve) + 1)
                ax.plot(epochs, curve, style, color=color, linewidth=1.4, label=TITLES[model])
        ax.axhline(PUBLISHED[data][1], color="#999999", linewidth=0.8, zorder=0)
        ax.set_xlabel("epoch")
        ax.set_title(data)
        tidy(ax)
    axes[0].set_ylabel("test accuracy (%), mean of ten folds")
    axes[0].legend(frameon=False, fontsize=8)
    return figure


main = report_command(
    RESULTS, "graphs.md", all_tables, lambda results: {"graphs": draw(load(results))}
)

if __name__ == "__main__":
    tyro.cli(main)
