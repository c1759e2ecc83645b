"""Draws the page's tables and its figures from the records of the runs alone.

    python -m experiments.transitions.report

What is written by hand around them stays.
"""

from pathlib import Path
from typing import Any

import numpy as np
import tyro
from matplotlib.figure import Figure

from .. import DOCS, fill_page, markdown, panels, Record, require_records, save_figure, tidy
from .systems import SYSTEMS

RESULTS = Path(__file__).parent / "results.jsonl"

Runs = dict[tuple[str, str], Record]  # by system and model

SOLVERS = {
    "picard": "plain iteration", "anderson": "Anderson", "broyden": "Broyden", "newton": "Newton",
    "pseudo-transient": "pseudo-transient",
}  # fmt: skip
# Okabe and Ito's colors, and markers for those who do not see colors.
STYLES = {
    "picard": ("#666666", "v:"),
    "anderson": ("#56B4E9", "x-"),
    "broyden": ("#009E73", "d-"),
    "newton": ("#0072B2", "o-"),
    "pseudo-transient": ("#CC79A7", "P-"),
    "1": ("#F0E442", "v--"),
    "5": ("#E69F00", "^--"),
    "10": ("#D55E00", "s--"),
    "50": ("#8B2500", "D--"),
}
# What rounding leaves of a relative error; smaller ones are drawn here.
_SMALLEST = 1e-12


def main(
    results: Path = RESULTS,
    page: Path = DOCS / "experiments" / "transitions.md",
    figures: Path = DOCS / "figures" / "experiments",
) -> None:
    """Writes the page's tables and figures.

    Args:
        results: the file of the records.
        page: the Markdown file; made if it is not there.
        figures: the folder of the figures.
    """
    runs = load(results)
    save_figure(draw(runs), figures / "transitions.svg")
    save_figure(draw_law(runs), figures / "transitions-law.svg")
    fill_page(page, all_tables(results))
    print(f"written: {page} and {figures / 'transitions.svg'}")


def load(results: Path) -> Runs:
    """The exact runs, by system and model."""
    records = require_records(results)
    return {
        (r["system"], r["model"]): r
        for name, r in records.items()
        if not name.startswith(("shots-", "images-"))
    }


def all_tables(results: Path) -> dict[str, str]:
    """The text of the page by the names of its marks."""
    records = require_records(results)
    runs = load(results)
    return {
        "errors": errors_table(runs),
        "cost": cost_table(runs),
        "shots": shots_table({n: r for n, r in records.items() if n.startswith("shots-")}),
        "images": images_table({n: r for n, r in records.items() if n.startswith("images-")}),
    }


def _title(model: str) -> str:
    return SOLVERS.get(model, f"{model} application{'s' * (model != '1')}")


def _models(runs: Runs, system: str) -> dict[str, Record]:
    order = [*SOLVERS, *sorted({m for _, m in runs if m.isdigit()}, key=int)]
    return {model: runs[system, model] for model in order if (system, model) in runs}


def _shown(run: Record, wanted: tuple[float, ...] = (0.5, 0.1, 0.01, 0.001)) -> list[int]:
    return [run["distance"].index(d) for d in wanted if d in run["distance"]]


def errors_table(runs: Runs) -> str:
    """Markdown: relative errors of the observable / of its derivative."""
    parts = []
    for system, about in SYSTEMS.items():
        models = _models(runs, system)
        if not models:
            continue
        first = next(iter(models.values()))
        at = _shown(first)
        heads = [f"{first['distance'][i]:g} (slope {first['slope'][i]:.4g})" for i in at]
        rows = [
            [
                _title(model),
                *(f"{_digits(run, 'error', i)} / {_digits(run, 'derivative', i)}" for i in at),
            ]
            for model, run in models.items()
        ]
        parts.append(f"**{about.title.capitalize()}**\n\n{markdown(['', *heads], rows)}")
    return "\n\n".join(parts) or "*(not run)*"


def _digits(run: Record, name: str, i: int) -> str:
    value = run[name][i]
    digits = ".0e" if value < 1e-3 else ".2g" if value < 10 else ".0f"
    text = "< 1e-8" if value < 1e-8 else f"{value:{digits}}"
    solved = run["success"][i] or run["model"].isdigit()
    return text if solved else f"{text}*"


def cost_table(runs: Runs) -> str:
    """Markdown: evaluations and microseconds of the value with its derivative."""
    parts = []
    for system, about in SYSTEMS.items():
        models = {m: r for m, r in _models(runs, system).items() if m in (*SOLVERS, "50")}
        if not models:
            continue
        first = next(iter(models.values()))
        at = _shown(first)
        rows = [
            [_title(model), *(f"{run['evals'][i]} / {run['time'][i]:.0f}" for i in at)]
            for model, run in models.items()
        ]
        heads = [f"{first['distance'][i]:g}" for i in at]
        parts.append(f"**{about.title.capitalize()}**\n\n{markdown(['', *heads], rows)}")
    return "\n\n".join(parts) or "*(not run)*"


def shots_table(records: dict[str, Record]) -> str:
    """Markdown: bias ± spread of one run, in percent."""
    parts = []
    for system in dict.fromkeys(r["system"] for r in records.values()):
        here = [r for r in records.values() if r["system"] == system]
        here.sort(key=lambda r: r["model"] != "equilibrium")
        at = _shown(here[0])
        rows = [
            [
                "equilibrium" if r["model"] == "equilibrium" else _title(r["model"]),
                *(f"{100 * r['bias'][i]:.1f} ± {100 * r['spread'][i]:.1f}" for i in at),
            ]
            for r in here
        ]
        heads = [f"{here[0]['distance'][i]:g} (slope {here[0]['slope'][i]:.3g})" for i in at]
        parts.append(f"**{SYSTEMS[system].title.capitalize()}**\n\n{markdown(['', *heads], rows)}")
    return "\n\n".join(parts) or "*(not run)*"


def images_table(records: dict[str, Record]) -> str:
    """Markdown: the slopes of trained classifiers, and what five applications leave of an error."""
    rows = [
        [f"`{r['recipe']}`", f"{r['mean']:.3f}", f"{r['largest']:.3f}", f"{r['mean'] ** 5:.1e}"]
        for r in records.values()
    ]
    return markdown(["weights of", "slope, mean", "largest", "mean⁵"], rows)


def draw(runs: Runs) -> Figure:
    """Errors of the derivative, and evaluations, against the distance to the transition."""
    systems = [name for name in SYSTEMS if any(key[0] == name for key in runs)]
    figure, flat = panels(2 * len(systems), len(systems), 2.3, sharey=False)
    axes = np.array(flat).reshape(2, -1)
    seen: dict[str, Any] = {}
    for column, system in enumerate(systems):
        for model, run in _models(runs, system).items():
            if model not in STYLES:
                continue
            color, style = STYLES[model]
            error = np.maximum(run["derivative"], _SMALLEST)
            for ax, values in zip(axes[:, column], (error, run["evals"]), strict=True):
                lines = ax.loglog(run["distance"], values, style, color=color, markersize=4)
            seen[_title(model)] = lines[0]
        axes[0, column].set_title(SYSTEMS[system].short, fontsize=10)
    axes[0, 0].set_ylabel("error of the derivative")
    axes[1, 0].set_ylabel("evaluations of the map")
    for ax in axes.flat:
        ax.invert_xaxis()
        ax.tick_params(labelsize=7)
        tidy(ax)
    for above, below in axes.T:
        above.set_ylim(_SMALLEST / 3, 3)
        below.set(ylim=(0.7, 2e4), xlabel="distance")
    keys = list(seen.values()), list(seen)
    figure.legend(*keys, loc="outside lower center", ncols=5, frameon=False, fontsize=8)
    return figure


def draw_law(runs: Runs) -> Figure:
    """L applications of all systems: the error is what the slope says."""
    figure, (left, right) = panels(2, 2, 3.2, sharey=False)
    markers = dict(zip(SYSTEMS, "osD^", strict=True))
    named: set[str] = set()
    for i, (system, about) in enumerate(SYSTEMS.items()):
        for model, run in _models(runs, system).items():
            slope = np.array(run["slope"])
            # The pair's map moves angles as well, at rates of its own.
            if model.isdigit() and system != "pair":
                error = np.maximum(run["error"], _SMALLEST)
                first = about.title if system not in named else None
                named.add(system)
                left.loglog(slope ** int(model), error, markers[system], markersize=4, label=first,
                            color=f"C{i}")  # fmt: skip
            if model == "picard":
                right.loglog(1 / (1 - slope), run["evals"], markers[system] + "-", markersize=4,
                             label=about.title, color=f"C{i}")  # fmt: skip
    line = np.geomspace(1e-12, 1, 3)
    left.loglog(line, line, color="0.6", zorder=0)
    left.set(xlabel="slope to the power of L", ylabel="relative error", title="L applications")
    left.set(xlim=(1e-12, 2), ylim=(1e-13, 3))
    right.set(xlabel="1 / (1 - slope)", ylabel="steps to 1e-10", title="Plain iteration")
    for ax in (left, right):
        tidy(ax)
        if ax.get_legend_handles_labels()[0]:
            ax.legend(frameon=False, fontsize=8)
    return figure


if __name__ == "__main__":
    tyro.cli(main)
