"""Figures of training runs and of convergence. Needs the extra `plot`.

Each function returns a Matplotlib figure and touches no global state (no pyplot, no style): show it
in a notebook, or save it with `figure.savefig("name.png")`.
"""

import importlib
from collections.abc import Mapping, Sequence
from typing import Any, TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette, which colour-blind readers can tell apart.
_BLUE, _ORANGE, _GREEN, _GREY = "#0072B2", "#D55E00", "#009E73", "#666666"
_DPI = 150


def _new_figure(width: float, height: float) -> "Figure":
    try:
        module = importlib.import_module("matplotlib.figure")
    except ImportError:
        raise ImportError('figures need Matplotlib: pip install "eqx-qdeq[plot]"') from None
    return module.Figure(figsize=(width, height), dpi=_DPI, layout="constrained")


def _tidy(axes: "Axes") -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)


def _values(history: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
    """A column of the history; NaN where there is none."""
    return np.array([np.nan if row.get(name) is None else row[name] for row in history], float)


def plot_training(history: Sequence[Mapping[str, Any]]) -> "Figure":
    """Loss, accuracy and, for models with a solver, residual and solver steps by epoch.

    **Arguments:**

    - `history`: as in `FitResult.history`, or the lines of a metrics file.

    **Returns:**

    A Matplotlib figure.

    **Raises:** `ValueError` for an empty history.
    """
    if not history:
        raise ValueError("`history` has no epochs; train for at least one.")
    has_solver = any(row.get("train_solver_steps") is not None for row in history)
    figure = _new_figure(10 if has_solver else 7, 3.2)
    panels = figure.subplots(1, 3 if has_solver else 2)
    epochs = _values(history, "epoch")
    marker = "o" if len(history) < 8 else None

    def curves(axes: "Axes", name: str, scale: float) -> None:
        for part, colour, style in (("train", _BLUE, "-"), ("validation", _ORANGE, "--")):
            values = scale * _values(history, f"{part}_{name}")
            axes.plot(epochs, values, style, color=colour, label=part, marker=marker, markersize=4)

    loss, accuracy = panels[:2]
    curves(loss, "loss", 1)
    loss.set(ylabel="cross-entropy (nats)", title="Loss")
    losses = _values(history, "validation_loss")
    if np.isfinite(losses).any():
        best = int(np.nanargmin(losses))
        loss.plot(epochs[best], losses[best], "*", color=_ORANGE, markersize=11, label="best epoch")
    curves(accuracy, "accuracy", 100)
    accuracy.set(ylabel="accuracy (%)", title="Accuracy")
    if has_solver:
        residual = panels[2]
        curves(residual, "residual", 1)
        residual.set(ylabel="mean residual ‖f(z) − z‖", title="Equilibrium")
        if (_values(history, "train_residual") > 0).any():
            residual.set_yscale("log")
        steps = residual.twinx()
        steps.plot(epochs, _values(history, "train_solver_steps"), ":", color=_GREEN)
        steps.set_ylabel("solver steps (mean, dotted)", color=_GREEN)
        steps.tick_params(axis="y", colors=_GREEN)
        steps.set_ylim(bottom=0)
        steps.spines["top"].set_visible(False)
    for axes in panels:
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        _tidy(axes)
    loss.legend(frameon=False)
    if has_solver:
        panels[2].spines["right"].set_visible(True)
    return figure


def plot_residuals(
    residuals: Mapping[str, Any] | Any, *, tolerance: float | None = None
) -> "Figure":
    """How the residual falls from step to step of a solver.

    **Arguments:**

    - `residuals`: ‖f(z) - z‖ after step 0, 1, …: an array of shape `(n_steps,)` for one sample or
        `(n_samples, n_steps)` for many (median, and the range of the middle 90 %), or a dictionary
        of such arrays by the solver's name.
    - `tolerance`: drawn as a line if given.

    **Returns:**

    A Matplotlib figure.

    **Raises:** `ValueError` for arrays of another shape.
    """
    series = dict(residuals) if isinstance(residuals, Mapping) else {"": residuals}
    if not series:
        raise ValueError("`residuals` is empty; give at least one array.")
    figure = _new_figure(5, 3.4)
    axes = figure.subplots()
    styles = zip((_BLUE, _ORANGE, _GREEN, "#CC79A7", "#56B4E9"), "os^Dv", strict=True)
    for (name, values), (colour, marker) in zip(series.items(), list(styles) * 9, strict=False):
        array = np.asarray(values, float)
        if array.ndim not in (1, 2) or array.size == 0:
            raise ValueError(
                "`residuals` must have shape (n_steps,) or (n_samples, n_steps); got "
                f"{array.shape}."
            )
        array = np.atleast_2d(array)
        steps = np.arange(array.shape[1])
        low, middle, high = np.nanquantile(array, [0.05, 0.5, 0.95], axis=0)
        axes.plot(steps, middle, color=colour, marker=marker, markersize=4, label=name)
        if len(array) > 1:
            axes.fill_between(steps, low, high, color=colour, alpha=0.2, linewidth=0)
    if tolerance is not None:
        axes.axhline(tolerance, color=_GREY, linestyle=":")
        axes.annotate(
            "tolerance", (1, tolerance), xycoords=("axes fraction", "data"), ha="right",
            va="bottom", color=_GREY,
        )  # fmt: skip
    axes.set(xlabel="solver step", ylabel="residual ‖f(z) − z‖", title="Convergence")
    if any((np.asarray(values, float) > 0).any() for values in series.values()):
        axes.set_yscale("log")
    axes.xaxis.get_major_locator().set_params(integer=True)
    if any(series):
        axes.legend(frameon=False)
    _tidy(axes)
    return figure


def plot_confusion(matrix: Any, class_names: Sequence[str] | None = None) -> "Figure":
    """A confusion matrix: counts, coloured by their share of the true class.

    **Arguments:**

    - `matrix`: counts of shape `(classes, classes)`; rows are true classes, columns guesses.
    - `class_names`: the names of the classes; their numbers if left out.

    **Returns:**

    A Matplotlib figure.

    **Raises:** `ValueError` if the matrix is not square or the names do not fit.
    """
    counts = np.asarray(matrix)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or counts.size == 0:
        raise ValueError(f"`matrix` must be square; got shape {counts.shape}.")
    n = len(counts)
    names = [str(i) for i in range(n)] if class_names is None else list(class_names)
    if len(names) != n:
        raise ValueError(f"`class_names` needs {n} names; got {len(names)}.")
    share = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 2.2 + 0.5 * n
    figure = _new_figure(side + 0.8, side)
    axes = figure.subplots()
    image = axes.imshow(share, cmap="cividis", vmin=0, vmax=100)
    for row in range(n):
        for column in range(n):
            colour = "black" if share[row, column] > 55 else "white"
            text = f"{counts[row, column]:d}" if counts.dtype.kind in "iu" else (
                f"{counts[row, column]:g}"
            )  # fmt: skip
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=9)
    long = max(map(len, names)) > 3
    axes.set_xticks(range(n), names, rotation=45 if long else 0, ha="right" if long else "center")
    axes.set_yticks(range(n), names)
    right = np.trace(counts) / max(counts.sum(), 1)
    axes.set(xlabel="guessed class", ylabel="true class", title=f"Accuracy {right:.1%}")
    figure.colorbar(image, ax=axes, label="share of the true class (%)", shrink=0.8)
    return figure
