"""The tables and figures of chain/main.py, from its result files."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#666666", "#E69F00", "#D55E00", "#CC79A7")
MARKERS = "os^Dv"


def read(folder: Path) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """The runs of each (task, model)."""
    runs: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for path in sorted(folder.glob("*.json")):
        record = json.loads(path.read_text())
        runs.setdefault((record["task"], record["model"]), []).append(record)
    if not runs:
        raise SystemExit(f"no results in {folder}; run with --all first.")
    return runs


def accuracies(runs: Sequence[dict[str, Any]], length: int) -> np.ndarray:
    return np.array([run["accuracy"][str(length)] for run in runs])


def error(values: np.ndarray) -> float:
    """The standard error of the mean."""
    return float(values.std(ddof=1) / np.sqrt(values.size)) if values.size > 1 else float("nan")


def report(folder: Path, lengths: Sequence[int], models: Sequence[str]) -> None:
    runs = read(folder)
    tasks = sorted({task for task, _ in runs})
    for task in tasks:
        print(f"\n{task}: test accuracy in %, mean ± standard error over seeds")
        print(f"{'length':<16}" + "".join(f"{n:>13}" for n in lengths))
        for model in (m for m in models if (task, m) in runs):
            some = runs[task, model]
            cells = [accuracies(some, n) * 100 for n in lengths]
            row = "".join(f"{c.mean():>7.1f} ±{error(c):>4.1f}" for c in cells)
            print(f"{model:<9}n={len(some):<3}  {row}")
        if (task, "implicit") not in runs:
            continue
        print("implicit minus the other, paired by seed, in points ± standard error")
        ours = {run["seed"]: run for run in runs[task, "implicit"]}
        for model in (m for m in models[1:] if (task, m) in runs):
            theirs = {run["seed"]: run for run in runs[task, model]}
            both = sorted(ours.keys() & theirs.keys())
            differences = [
                100
                * (
                    accuracies([ours[s] for s in both], n)
                    - accuracies([theirs[s] for s in both], n)
                )
                for n in lengths
            ]
            row = "".join(f"{d.mean():>7.1f} ±{error(d):>4.1f}" for d in differences)
            print(f"{model:<14}  {row}")
        for run in runs[task, "implicit"]:
            steps = " ".join(f"{n}:{run['n_steps'][str(n)]:.0f}" for n in lengths)
            print(
                f"implicit seed {run['seed']}: at 100 nodes {100 * run['accuracy']['100']:.1f} %, "
                f"median residual {run['residual']['100']:.1e}, steps {steps}"
            )
    draw(runs, tasks, lengths, models).savefig(folder / "accuracy.png")
    waves = [(t, runs[t, "implicit"][0]["wave"]) for t in tasks if _has_wave(runs, t)]
    if waves:
        draw_waves(waves).savefig(folder / "wave.png")
    print(f"figures in {folder}")


def _has_wave(runs: Any, task: str) -> bool:
    return (task, "implicit") in runs and "wave" in runs[task, "implicit"][0]


def draw(runs: Any, tasks: Sequence[str], lengths: Sequence[int], models: Sequence[str]) -> Figure:
    figure = Figure(figsize=(5 * len(tasks), 4), dpi=150, layout="constrained")
    for axes, task in zip(figure.subplots(1, len(tasks), squeeze=False)[0], tasks, strict=True):
        for i, model in enumerate(models):
            if (task, model) not in runs:
                continue
            values = [100 * accuracies(runs[task, model], n) for n in lengths]
            axes.errorbar(
                lengths,
                [v.mean() for v in values],
                [error(v) for v in values],
                color=COLOURS[i],
                marker=MARKERS[i],
                capsize=2,
                label="equilibrium" if model == "implicit" else f"L = {model[1:]}",
            )
        axes.set(xscale="log", xlabel="nodes in the chain", ylabel="test accuracy, %", title=task)
        axes.set_xticks(lengths, [str(n) for n in lengths])
        axes.minorticks_off()
        axes.grid(True, color="#DDDDDD", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    return figure


def draw_waves(waves: Sequence[tuple[str, Any]]) -> Figure:
    figure = Figure(figsize=(5 * len(waves), 4), dpi=150, layout="constrained")
    for axes, (task, wave) in zip(
        figure.subplots(1, len(waves), squeeze=False)[0], waves, strict=True
    ):
        image = axes.imshow(
            np.log10(np.maximum(wave, 1e-3)), origin="lower", aspect="auto", cmap="viridis"
        )
        axes.set(xlabel="node", ylabel="Picard step", title=f"{task}: log10 of a node's residual")
        figure.colorbar(image, ax=axes)
    return figure
