"""Figures of training runs and of convergence. Needs the extra `plot`.

Each function returns a Matplotlib figure and touches no global state (no pyplot, no style): show it
in a notebook, or save it with `figure.savefig("name.png")`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol, runtime_checkable, TYPE_CHECKING

import numpy as np

from ._checks import need
from .circuits import arrowhead, Circuit, LINE, Picture, RADIUS, Shape

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette, which color-blind readers can tell apart.
_BLUE, _ORANGE, _GREEN, _GREY = "#0072B2", "#D55E00", "#009E73", "#666666"
_COLOURS = (_BLUE, _ORANGE, _GREEN, "#CC79A7", "#56B4E9")
_MARKERS = "os^Dv"
_DPI = 150

History = Sequence[Mapping[str, Any]]
"""The numbers of each epoch by name, as [`eqx_qdeq.training.FitResult`][] has them in `history`."""


@runtime_checkable
class _Diagnosed(Protocol):
    """What `plot_diagnosis` draws: the arrays of an [`eqx_qdeq.Diagnosis`][], which stands above
    this module and draws itself with it."""

    residuals: Any
    num_steps: Any
    spectral_radius: Any
    spectral_norm: Any
    gradient_norms: Any


def plot_training(history: History) -> "Figure":
    """Loss; accuracy, or R² of a regression; and, where something is solved, residual and solver
    steps; by epoch.

    !!! example

        ```python
        from eqx_qdeq import plotting

        history = [
            {"epoch": 1, "train_loss": 1.1, "validation_loss": 1.0},
            {"epoch": 2, "train_loss": 0.7, "validation_loss": 0.8},
        ]
        figure = plotting.plot_training(history)
        figure.savefig("training.png")
        ```

    **Arguments:**

    - `history`: as in `FitResult.history`, or the lines of a metrics file.

    **Returns:**

    A Matplotlib figure.

    **Raises:** `ValueError` for an empty history.
    """
    wanted = {
        "validation_accuracy": _draw_accuracy,
        "validation_r2": _draw_r2,
        "train_solver_steps": _draw_equilibrium,
    }
    panels = [draw for name, draw in wanted.items() if _has(history, name)]
    panels = [_draw_loss, *panels]
    figure = _new_figure(3.4 * len(panels), 3.2)
    for axes, draw in zip(np.atleast_1d(figure.subplots(1, len(panels))), panels, strict=True):
        draw(axes, history)
    return figure


def plot_residuals(
    residuals: Mapping[str, Any] | Any, *, tolerance: float | None = None
) -> "Figure":
    """How the residual falls from step to step of a solver.

    !!! example

        ```python
        from eqx_qdeq import plotting

        residuals = {"Picard": [1.0, 0.5, 0.25], "Newton": [1.0, 0.1, 1e-3]}
        figure = plotting.plot_residuals(residuals, tolerance=1e-5)
        ```

    **Arguments:**

    - `residuals`: ‖f(z) - z‖ after step 0, 1, …: an array of shape `(n_steps,)` for one sample or
        `(n_samples, n_steps)` for many (drawn as the median and the range of the middle 90 %), or
        a dictionary of such arrays by the solver's name. See
        [`eqx_qdeq.training.residual_history`][].
    - `tolerance`: drawn as a line if given.

    **Returns:**

    A Matplotlib figure.

    **Raises:** `ValueError` for arrays of another shape.
    """
    figure = _new_figure(5.0, 3.4)
    _draw_residuals(figure.subplots(), residuals, tolerance)
    return figure


def plot_confusion(matrix: Any, class_names: Sequence[str] | None = None) -> "Figure":
    """A confusion matrix: counts, colored by their share of the true class.

    !!! example

        ```python
        import numpy as np
        from eqx_qdeq import plotting

        counts = np.array([[48, 2], [5, 45]])
        figure = plotting.plot_confusion(counts, class_names=["cat", "dog"])
        ```

    **Arguments:**

    - `matrix`: counts of shape `(classes, classes)`; rows are true classes, columns guesses.
    - `class_names`: the names of the classes; their numbers if left out.

    **Returns:**

    A Matplotlib figure.

    **Raises:** `ValueError` if the matrix is not square or the names do not fit.
    """
    side = 2.2 + 0.5 * len(matrix)
    figure = _new_figure(side + 0.8, side)
    _draw_confusion(figure.subplots(), matrix, class_names)
    return figure


def plot_summary(
    history: History,
    residuals: Mapping[str, Any] | Any,
    matrix: Any,
    class_names: Sequence[str] | None = None,
) -> "Figure":
    """A run in one figure: loss, accuracy, convergence, and the confusion matrix of the test.

    !!! example

        ```python
        import numpy as np
        from eqx_qdeq import plotting

        epoch = {"train_loss": 0.7, "validation_loss": 0.8}
        epoch |= {"train_accuracy": 0.9, "validation_accuracy": 0.8}
        history = [epoch | {"epoch": 1}, epoch | {"epoch": 2}]
        counts = np.array([[48, 2], [5, 45]])
        figure = plotting.plot_summary(history, [1.0, 0.1, 1e-3, 1e-7], counts)
        ```

    **Arguments:** as for [`eqx_qdeq.plotting.plot_training`][],
    [`eqx_qdeq.plotting.plot_residuals`][] and [`eqx_qdeq.plotting.plot_confusion`][].

    **Returns:**

    A Matplotlib figure.

    **Raises:** `ValueError` as they do.
    """
    figure = _new_figure(9.0, 7.0)
    (loss, accuracy), (convergence, confusion) = figure.subplots(2, 2)
    _draw_loss(loss, history)
    _draw_accuracy(accuracy, history)
    _draw_residuals(convergence, residuals, None)
    _draw_confusion(confusion, matrix, class_names, "Test accuracy")
    return figure


def plot_diagnosis(diagnosis: _Diagnosed) -> "Figure":
    """Convergence, conditioning and gradients of an equilibrium, for one sample or a batch.

    Left, the residual of each step; in the middle, how the spectral radius and norm are
    distributed over the batch, with the line at 1 beyond which plain iteration is not sure to
    converge; right, the gradient norm of each parameter (the median, and the range of the middle
    90 %).

    !!! example

        ```python
        import jax.numpy as jnp
        import eqx_qdeq as qdeq
        from eqx_qdeq import plotting

        weight = 0.5 * jnp.eye(2)
        cell = qdeq.FunctionCell(lambda z, x: jnp.tanh(weight @ z + x), jnp.zeros_like)
        deq = qdeq.DEQ(cell)
        figure = plotting.plot_diagnosis(deq.diagnose(jnp.ones(2)))
        ```

    **Arguments:**

    - `diagnosis`: by [`eqx_qdeq.DEQ.diagnose`][].

    **Returns:**

    A Matplotlib figure.
    """
    figure = _new_figure(10.5, 3.2)
    convergence, spectrum, gradients = figure.subplots(1, 3)
    residuals = np.atleast_2d(np.asarray(diagnosis.residuals, float))
    # A sample that is done keeps its last residual, or the median would be of those that are not.
    shown = np.minimum.accumulate(np.where(np.isnan(residuals), np.inf, residuals), axis=1)
    residuals = np.where(np.isnan(residuals), shown, residuals)
    steps = int(np.max(np.asarray(diagnosis.num_steps)))
    _draw_residuals(convergence, residuals[:, :steps], None)
    _draw_spectrum(spectrum, diagnosis)
    _draw_gradients(gradients, diagnosis.gradient_norms)
    return figure


def draw_circuit(circuit: Circuit, width: int = 900) -> "Figure":
    """A circuit as a figure, e.g. for a paper.

    !!! example

        ```python
        from eqx_qdeq import circuits, plotting

        figure = plotting.draw_circuit(circuits.hardware_efficient(3, depth=1))
        figure.savefig("circuit.pdf")
        ```

    **Arguments:**

    - `circuit`: the circuit.
    - `width`: in pixels of 1/96 inch; the circuit is broken before it gets wider.

    **Returns:**

    A Matplotlib figure.
    """
    return draw_picture(circuit.picture(width))


def draw_picture(picture: Picture) -> "Figure":
    """A picture of a circuit, a cell or an equilibrium as a figure.

    !!! example

        ```python
        import jax
        import eqx_qdeq as qdeq
        from eqx_qdeq import plotting

        deq = qdeq.QDEQ(4, 16, key=jax.random.key(0)).deq
        figure = plotting.draw_picture(deq.picture())
        ```

    **Arguments:**

    - `picture`: what `thing.picture()` gives.

    **Returns:**

    A Matplotlib figure, an inch for 96 pixels.
    """
    figure = _new_figure(picture.width / 96, picture.height / 96)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, picture.width), ylim=(picture.height, 0))
    axes.set_axis_off()
    for kind, x, y, width, height, text in picture.shapes:
        if kind in ("line", "arrow"):
            axes.plot([x, x + width], [y, y + height], color="#333333", linewidth=1, zorder=1)
        if kind == "arrow":
            shape = Shape(kind, x, y, width, height)
            axes.fill(*zip(*arrowhead(shape), strict=True), color="#333333", zorder=1)
        if kind == "dot":
            axes.plot(x, y, "o", color="#333333", markersize=1.5 * RADIUS[kind], zorder=2)
        if kind == "ring":
            style = {"markerfacecolor": "white", "markeredgecolor": "#333333"}
            axes.plot(x, y, "o", markersize=1.5 * RADIUS[kind], zorder=1, **style)
        style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 9, "zorder": 4}
        if kind == "box":
            corner = [x - width / 2, x + width / 2], [y - height / 2, y + height / 2]
            (left, right), (top, bottom) = corner
            outline = [left, right, right, left], [top, top, bottom, bottom]
            axes.fill(*outline, facecolor="#E8F2FA", edgecolor=_BLUE, linewidth=1, zorder=3)
        for i, line in enumerate(text):
            place = y + LINE * (i - (len(text) - 1) / 2)
            axes.text(x, place, line, family="monospace", **style)
    return figure


# --- Panels -----------------------------------------------------------------------------------


def _new_figure(width: float, height: float) -> "Figure":
    # Imported where it is needed, and without pyplot, whose figures outlive the call in a registry.
    module = need("matplotlib.figure", "plot", "a figure")
    return module.Figure(figsize=(width, height), dpi=_DPI, layout="constrained")


def _finish(
    axes: "Axes", *, legend: bool = False, grid: Literal["both", "x"] = "both", **labels: Any
) -> None:
    axes.set(**labels)
    if legend:
        axes.legend(frameon=False)
    # Ink for data: a light grid behind the curves, no box around them.
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, axis=grid, color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)


def _log_scale(axes: "Axes", values: np.ndarray) -> None:
    """Whole decades, so that noise in the last digit does not look like an event."""
    positive = values[np.isfinite(values) & (values > 0)]
    if positive.size:
        axes.set_yscale("log")  # not for zeros alone, which it cannot show
        low, high = np.floor(np.log10(positive.min())), np.ceil(np.log10(positive.max()))
        axes.set_ylim(10.0**low, 10.0 ** max(high, low + 1))


def _has(history: History, name: str) -> bool:
    return any(row.get(name) is not None for row in history)


def _column(history: History, name: str) -> np.ndarray:
    """A column of the history; NaN where there is none."""
    return np.array([np.nan if row.get(name) is None else row[name] for row in history], float)


def _draw_curves(
    axes: "Axes", history: History, name: str, scale: float = 1.0, **options: Any
) -> None:
    # A line through a few points shows the points; through one, nothing else would be seen.
    marker = "o" if len(history) < 8 else None
    epochs = _column(history, "epoch")
    for part, colour, style in (("train", _BLUE, "-"), ("validation", _ORANGE, "--")):
        values = scale * _column(history, f"{part}_{name}")
        axes.plot(epochs, values, style, color=colour, label=part, marker=marker, markersize=4)
    _finish(axes, xlabel="epoch", **options)
    axes.locator_params(axis="x", integer=True)  # there is no half an epoch


def _draw_loss(axes: "Axes", history: History) -> None:
    if not history:
        raise ValueError("`history` has no epochs; train for at least one.")
    losses, epochs = _column(history, "validation_loss"), _column(history, "epoch")
    # Of a loss of one's own nothing else is known during training.
    label = "cross-entropy (nats)" if _has(history, "train_accuracy") else "loss"
    _draw_curves(axes, history, "loss", ylabel=label, title="Loss")
    if np.isfinite(losses).any():
        # The epoch whose parameters training keeps.
        best = int(np.nanargmin(losses))
        star = {"color": _ORANGE, "markersize": 11, "label": "best epoch"}
        axes.plot(epochs[best], losses[best], "*", **star)
    axes.legend(frameon=False)


def _draw_accuracy(axes: "Axes", history: History) -> None:
    _draw_curves(axes, history, "accuracy", 100.0, ylabel="accuracy (%)", title="Accuracy")


def _draw_r2(axes: "Axes", history: History) -> None:
    _draw_curves(axes, history, "r2", ylabel="R²", title="Coefficient of determination")


def _draw_equilibrium(axes: "Axes", history: History) -> None:
    label = "mean residual ‖f(z) − z‖"
    _draw_curves(axes, history, "residual", ylabel=label, title="Equilibrium")
    # One scale for both, or the better of them would not look it.
    both = [_column(history, f"{part}_residual") for part in ("train", "validation")]
    _log_scale(axes, np.concatenate(both))
    # Steps and residuals share epochs and nothing else.
    steps = axes.twinx()
    steps.plot(_column(history, "epoch"), _column(history, "train_solver_steps"), ":", color=_GREEN)
    steps.set_ylabel("solver steps (mean, dotted)", color=_GREEN)
    steps.tick_params(axis="y", colors=_GREEN)
    steps.set_ylim(bottom=0)
    steps.spines["top"].set_visible(False)


def _draw_residuals(
    axes: "Axes", residuals: Mapping[str, Any] | Any, tolerance: float | None
) -> None:
    series = dict(residuals) if isinstance(residuals, Mapping) else {"": residuals}
    if not series:
        raise ValueError("`residuals` is empty; give at least one array.")
    drawn = []
    for i, (name, values) in enumerate(series.items()):
        array = np.asarray(values, float)
        if array.ndim not in (1, 2) or array.size == 0:
            raise ValueError(
                "`residuals` must have shape (n_steps,) or (n_samples, n_steps); got "
                f"{array.shape}."
            )
        # Quantiles, as residuals span decades: a mean would be the worst sample's.
        low, middle, high = _middle_90(np.atleast_2d(array))
        steps, colour = np.arange(len(middle)), _COLOURS[i % len(_COLOURS)]
        marker = _MARKERS[i % len(_MARKERS)]
        axes.plot(steps, middle, color=colour, marker=marker, markersize=4, label=name)
        if array.ndim == 2 and len(array) > 1:
            axes.fill_between(steps, low, high, color=colour, alpha=0.2, linewidth=0)
        drawn += [low, high]
    _log_scale(axes, np.concatenate(drawn))
    if tolerance is not None:
        axes.axhline(tolerance, color=_GREY, linestyle=":", label="tolerance")
    label, legend = "residual ‖f(z) − z‖", any(series) or tolerance is not None
    _finish(axes, legend=legend, xlabel="solver step", ylabel=label, title="Convergence")
    axes.locator_params(axis="x", integer=True)


def _middle_90(samples: np.ndarray) -> np.ndarray:
    """The 5 %, 50 % and 95 % quantiles over the samples, which are the rows."""
    return np.nanquantile(samples, [0.05, 0.5, 0.95], axis=0)


def _draw_spectrum(axes: "Axes", diagnosis: _Diagnosed) -> None:
    both = {"radius": diagnosis.spectral_radius, "norm": diagnosis.spectral_norm}
    for (name, values), colour in zip(both.items(), (_BLUE, _ORANGE), strict=True):
        # The distribution over the batch: at the k-th smallest of n values, a share of k/n.
        values = np.sort(np.asarray(values, float).reshape(-1))
        share = 100 * (np.arange(1, len(values) + 1) / len(values))
        label, marker = f"spectral {name}", "o" if len(values) == 1 else ""
        axes.plot(values, share, color=colour, label=label, marker=marker, drawstyle="steps-post")
    axes.axvline(1, color=_GREY, linestyle=":", label="contraction below")
    label = "samples at or below (%)"
    axes.set_xlim(left=0)
    _finish(axes, legend=True, xlabel="at the equilibrium", ylabel=label, title="Jacobian")
    axes.set_ylim(0, 103)


def _draw_gradients(axes: "Axes", norms: Mapping[str, Any]) -> None:
    columns = [np.asarray(norm, float).reshape(-1) for norm in norms.values()]
    low, middle, high = _middle_90(np.stack(columns, axis=1))
    places = np.arange(len(norms))
    axes.errorbar(middle, places, xerr=[middle - low, high - middle], fmt="o", color=_BLUE)
    axes.set_yticks(places, list(norms))
    limits = (-0.7, len(norms) - 0.3)
    _finish(axes, grid="x", xlabel="gradient norm", title="Gradient of the loss", ylim=limits)
    # A parameter without any gradient has no place on a logarithmic scale.
    if np.all(low > 0):
        axes.set_xscale("log")
    axes.invert_yaxis()


def _draw_confusion(
    axes: "Axes", matrix: Any, class_names: Sequence[str] | None, title: str = "Accuracy"
) -> None:
    counts = np.asarray(matrix)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or counts.size == 0:
        raise ValueError(f"`matrix` must be square; got shape {counts.shape}.")
    n = len(counts)
    names = [str(i) for i in range(n)] if class_names is None else list(class_names)
    if len(names) != n:
        raise ValueError(f"`class_names` needs {n} names; got {len(names)}.")
    # Of the true class, so that a rare class is as visible as a common one; an empty one is 0.
    share = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(share, cmap="cividis", vmin=0, vmax=100)
    for row, column in np.ndindex(n, n):
        # Cividis is dark below and bright above.
        colour = "black" if share[row, column] > 55 else "white"
        text = f"{counts[row, column]:g}"
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=9)
    # Long names would run into each other.
    long = max(map(len, names)) > 3
    axes.set_xticks(range(n), names, rotation=45 if long else 0, ha="right" if long else "center")
    axes.set_yticks(range(n), names)
    right = np.trace(counts) / max(counts.sum(), 1)
    axes.set(xlabel="guessed class", ylabel="true class", title=f"{title} {right:.1%}")
    axes.figure.colorbar(image, ax=axes, label="share of the true class (%)", shrink=0.8)
