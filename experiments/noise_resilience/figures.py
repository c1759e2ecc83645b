"""The figures of the page, from the records alone."""

from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import panels, tidy
from .grid import MODELS, SOLVED
from .tables import bins, Groups, KINDS, ordered, pooled, ratios, Rows, TRAINED, values

# Okabe and Ito's colors, and markers for those who do not see colors.
STYLES = {
    "qdeq": ("#0072B2", "o-"),
    "unpenalised": ("#56B4E9", "o:"),
    "direct1": ("#666666", "v-"),
    "direct5": ("#E69F00", "^--"),
    "direct10": ("#D55E00", "s--"),
    "coherent5": ("#CC79A7", "D-."),
    "coherent10": ("#009E73", "P-."),
    "coherent10free": ("#000000", "x:"),
}


def all_figures(groups: Groups) -> dict[str, Figure]:
    """Those for which there are results, by file name."""
    wanted: dict[str, tuple[str, Callable[[Groups], Figure]]] = {
        "noise-accuracy": ("sweep", accuracy),
        "noise-training": ("sweep", training),
        "noise-depth": ("applications", depth),
        "noise-amplification": ("law", amplification),
        "noise-contraction": ("law", contraction),
        "noise-shots": ("shots", shots),
        "noise-mitigation": ("shots", mitigation),
    }
    parts = {part for part, *_ in groups}
    return {name: draw(groups) for name, (part, draw) in wanted.items() if part in parts}


def _curve(ax: Axes, x: list[float], y: list[list[float]], model: str, label: str | None) -> None:
    """Means over seeds with the smallest and largest as a band."""
    colour, style = STYLES[model]
    means = [100 * np.mean(numbers) for numbers in y]
    ax.plot(x, means, style, color=colour, markersize=4, linewidth=1.4, label=label)
    low, high = ([100 * pick(numbers) for numbers in y] for pick in (np.min, np.max))
    ax.fill_between(x, low, high, color=colour, alpha=0.1, linewidth=0)


def _over_rates(ax: Axes, seeds: Rows, kind: str, model: str, label: str | None) -> None:
    rates = [row["rate"] for row in seeds[0].get(kind, ()) if row["rate"] > 0]
    numbers = [values(seeds, kind, "accuracy", rate=rate) for rate in rates]
    _curve(ax, [100 * rate for rate in rates], numbers, model, label)


def _below(figure: Figure, ax: Axes, columns: int) -> None:
    handles, labels = ax.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize=8
    )


def accuracy(groups: Groups) -> Figure:
    """Accuracy against the rate of each noise; trained clean."""
    found = [seeds for *_, seeds in ordered(groups, "sweep")]
    wanted = ("two_qubit", "two_qubit_prepared", "damping", "readout")
    kinds = [kind for kind in wanted if kind in found[0][0]]
    figure, axes = panels(len(kinds), 2, 2.6)
    for ax, kind in zip(axes, kinds, strict=True):
        for model, trained, seeds in ordered(groups, "sweep"):
            if trained == "clean" and model in STYLES:
                _over_rates(ax, seeds, kind, model, MODELS[model])
        if kind != "readout":
            ax.set_xscale("log")
        ax.set_title(KINDS[kind], fontsize=9)
        ax.set_xlabel("rate (%)")
        tidy(ax)
    for ax in axes[::2]:
        ax.set_ylabel("test accuracy (%)")
    _below(figure, axes[0], 4)
    return figure


def training(groups: Groups) -> Figure:
    """Accuracy against the two-qubit error by the error that was trained under."""
    wanted = ("qdeq", "direct1", "direct5", "coherent5", "coherent10free")
    models = [m for m in wanted if ("sweep", m, "clean") in groups]
    if not models:
        return Figure()
    figure, axes = panels(len(models), 3, 2.4)
    styles = {"clean": ("#0072B2", "o-"), "p0.01": ("#E69F00", "^--"), "p0.03": ("#D55E00", "s:")}
    for ax, wanted in zip(axes, models, strict=True):
        for model, trained, seeds in ordered(groups, "sweep"):
            if model == wanted:
                rates = [row["rate"] for row in seeds[0]["two_qubit"] if row["rate"] > 0]
                numbers = [values(seeds, "two_qubit", "accuracy", rate=r) for r in rates]
                colour, style = styles[trained]
                x, y = [100 * r for r in rates], [100 * np.mean(n) for n in numbers]
                label = f"trained {TRAINED[trained]}"
                ax.plot(x, y, style, color=colour, markersize=4, label=label)
        ax.set_xscale("log")
        ax.set_title(MODELS[wanted], fontsize=9)
        ax.set_xlabel("two-qubit error (%)")
        tidy(ax)
    for ax in axes[::3]:
        ax.set_ylabel("test accuracy (%)")
    _below(figure, axes[0], 3)
    return figure


def depth(groups: Groups) -> Figure:
    """The relative error over the number of applications."""
    found = [(m, s) for m, _, s in ordered(groups, "applications")]
    figure, axes = panels(len(found), 2, 3.0)
    colours = ("#56B4E9", "#0072B2", "#000000")
    for ax, (model, seeds) in zip(axes, found, strict=True):
        first = seeds[0]
        for i, (rate, colour) in enumerate(zip(first["rates"], colours, strict=False)):
            mean = lambda name, i=i, seeds=seeds: np.mean([s[name][i] for s in seeds], axis=0)
            title = f"error {100 * rate:g} %"
            ax.plot(first["steps"], mean("measured"), "o-", color=colour, markersize=3,
                    label=f"measured each time, {title}")  # fmt: skip
            ax.plot(first["depths"], mean("coherent"), "D:", color=colour, markersize=4,
                    label=f"coherent, {title}")  # fmt: skip
        ax.set_title(f"angles of: {MODELS[model]}", fontsize=9)
        ax.set_xlabel("applications of the circuit")
        ax.set_yscale("log")
        ax.set_xticks([1, 5, 10, 15, 20])
        tidy(ax)
    axes[0].set_ylabel("relative error of the values")
    _below(figure, axes[0], 3)
    return figure


def amplification(groups: Groups) -> Figure:
    """‖Δz‖/‖δ‖ by κ."""
    figure = Figure(figsize=(5.4, 4.6), layout="constrained")
    ax = figure.subplots()
    found = sorted(bins(groups).items())
    x = [middle for middle, _ in found]
    fine = np.linspace(0.05, 0.88, 100)
    ax.plot(fine, 1 / (1 - fine), "-", color="#000000", linewidth=1, label="the bound 1/(1 - κ)")
    for name, label, colour, style in (
        ("worst", "an error in the worst direction", "#D55E00", "s--"),
        ("amplification_95", "two-qubit error of 1 %: 95 % of samples are below", "#56B4E9", "v:"),
        ("random", "an error in a random direction", "#E69F00", "^--"),
        ("amplification", "two-qubit error of 1 %: median", "#0072B2", "o-"),
    ):
        y = [pooled(rows, name) for _, rows in found]
        ax.plot(x, y, style, color=colour, markersize=4, label=label)
    ax.set_xlabel("κ, the largest ‖J‖ between the clean and the noisy equilibrium")
    ax.set_ylabel("error of the equilibrium\nover error of one evaluation")
    ax.set_yscale("log")
    ax.set_yticks([0.5, 1, 2, 4, 8], ["0.5", "1", "2", "4", "8"])
    ax.minorticks_off()
    ax.axhline(1, color="#999999", linewidth=0.8, zorder=0)
    _below(figure, ax, 1)
    tidy(ax)
    return figure


def contraction(groups: Groups) -> Figure:
    """How much of ‖J‖ and of the signal is left, by kind of noise."""
    found = [(m, s) for m, _, s in ordered(groups, "law") if m in SOLVED]
    if not found:
        return Figure()
    figure, axes = panels(len(found), 2, 3.0)
    colours = {"two_qubit": "#0072B2", "dephasing": "#E69F00", "damping": "#D55E00"}
    for ax, (model, seeds) in zip(axes, found, strict=True):
        for kind, colour in colours.items():
            rates = [row["rate"] for row in seeds[0].get(kind, ())]
            if not rates:
                continue
            kept = [np.mean(values(seeds, kind, "jacobian_kept", rate=r)) for r in rates]
            left = [np.mean(ratios(seeds, kind, "signal", r)) for r in rates]
            x = [100 * r for r in rates]
            title = KINDS[kind]
            ax.plot(x, kept, "o-", color=colour, markersize=4, label=f"‖J‖ at the same z: {title}")
            ax.plot(x, left, "s:", color=colour, markersize=4, label=f"signal: {title}")
        ax.set_xscale("log")
        ax.set_title(MODELS[model], fontsize=9)
        ax.set_xlabel("rate (%)")
        tidy(ax)
    axes[0].set_ylabel("left, of the noiseless value")
    _below(figure, axes[0], 3)
    return figure


def _shot_curve(ax: Axes, seeds: Rows, model: str, label: str, **where: str) -> None:
    numbers = sorted({row["shots"] for seed in seeds for row in seed["rows"]})
    y = [values(seeds, "rows", "accuracy", shots=n, **where) for n in numbers]
    kept = [(float(n), each) for n, each in zip(numbers, y, strict=True) if each]
    if kept:
        x, y = zip(*kept, strict=True)
        # The last number stands for infinitely many, and is drawn beside the others.
        x = [min(n, 32768.0) for n in x]
        _curve(ax, x, list(y), model, label)


def _shot_axis(ax: Axes) -> None:
    ax.set_xscale("log", base=2)
    ticks = {128: "128", 512: "512", 2048: "2,048", 8192: "8,192", 32768: "∞"}
    ax.set_xticks(list(ticks), list(ticks.values()))
    ax.minorticks_off()
    ax.set_xlabel("shots for an image, in all")
    tidy(ax)


def shots(groups: Groups) -> Figure:
    """Accuracy against the shots of an image; trained clean."""
    rows = [row for *_, seeds in ordered(groups, "shots") for seed in seeds for row in seed["rows"]]
    wanted = ("none", "two-qubit 1 %", "two-qubit 3 %")
    noises = [noise for noise in wanted if any(row["noise"] == noise for row in rows)]
    figure, axes = panels(len(noises), 3, 3.0)
    for ax, noise in zip(axes, noises, strict=True):
        for model, trained, seeds in ordered(groups, "shots"):
            if trained == "clean" and model in STYLES:
                way = "averaged" if model in SOLVED else ""
                where = {"noise": noise, "way": way, "mitigation": "none"}
                _shot_curve(ax, seeds, model, MODELS[model], **where)
        ax.set_title("no other noise" if noise == "none" else noise, fontsize=9)
        _shot_axis(ax)
    axes[0].set_ylabel("test accuracy (%)")
    _below(figure, axes[0], 4)
    return figure


def mitigation(groups: Groups) -> Figure:
    """Accuracy with and without mitigation at equal shots."""
    wanted = (
        ("qdeq", "averaged", "two-qubit 3 %"),
        ("direct1", "", "two-qubit 3 %"),
        ("qdeq", "averaged", "readout 5 %"),
        ("direct1", "", "readout 5 %"),
    )
    found = [p for p in wanted if ("shots", p[0], "clean") in groups
             and values(groups["shots", p[0], "clean"], "rows", "loss", noise=p[2])]  # fmt: skip
    if not found:
        return Figure()
    styles = {
        "none": ("#666666", "o-", "no mitigation"),
        "zero-noise": ("#0072B2", "^--", "zero noise, each evaluation"),
        "zero-noise after": ("#56B4E9", "v:", "zero noise, afterwards"),
        "readout": ("#D55E00", "s--", "readout inversion"),
    }
    figure, axes = panels(len(found), 2, 2.6)
    for ax, (model, way, noise) in zip(axes, found, strict=True):
        seeds = groups["shots", model, "clean"]
        numbers = sorted({row["shots"] for row in seeds[0]["rows"]})
        for name, (colour, style, label) in styles.items():
            where = {"noise": noise, "way": way, "mitigation": name}
            y = [values(seeds, "rows", "accuracy", shots=n, **where) for n in numbers]
            if all(y):
                x = [min(n, 32768) for n in numbers]
                means = [100 * np.mean(each) for each in y]
                ax.plot(x, means, style, color=colour, markersize=4, label=label)
        ax.set_title(f"{MODELS[model]}: {noise}", fontsize=9)
        _shot_axis(ax)
    for ax in axes[::2]:
        ax.set_ylabel("test accuracy (%)")
    handles = {
        label: h for ax in axes for h, label in zip(*ax.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=2,
                  frameon=False, fontsize=8)  # fmt: skip
    return figure
