"""The picture of the front page: a circuit, its feedback, and the equilibrium that it settles in.

    python -m docs.hooks.picture

Its colors can be read on white and on black.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Arc, FancyBboxPatch, Rectangle

import eqx_qdeq as qdeq

from .pages import DOCS, save_figure

INK, COLORS = "#7c8196", ("#4c6fd6", "#c2792e", "#2f9c76", "#b4559b")


def circuit_and_feedback(ax: Axes) -> None:
    """Four wires through an encoding, a circuit and its measurements, and the way back."""
    ax.set(xlim=(-1.6, 8.4), ylim=(-2.4, 3.9))
    ax.axis("off")
    box = {"facecolor": "none", "edgecolor": INK, "linewidth": 1.2}
    for wire, color in enumerate(COLORS):
        y = 3 - wire
        ax.plot([1.3, 2.2], [y, y], color=INK, linewidth=1)
        ax.plot([4.6, 5.5], [y, y], color=INK, linewidth=1)
        ax.add_artist(_meter(5.85, y, color))
        ax.add_artist(_meter(5.85, y, color, arc=True))
        ax.plot([5.92, 6.05], [y - 0.1, y + 0.16], color=color, linewidth=1.2)
        ax.plot([6.2, 7.2], [y, y], color=color, linewidth=1.2)
    ax.add_patch(_box(0.0, -0.5, 1.3, 4.0, **box))
    ax.add_patch(_box(2.2, -0.5, 2.4, 4.0, **box))
    for x, text in ((0.65, "encoding"), (3.4, "circuit $U(\\theta)$"), (5.85, "")):
        ax.text(x, 1.5, text, rotation=90 if x < 1 else 0, ha="center", va="center", color=INK)
    arrow = {"arrowstyle": "-|>", "color": INK, "linewidth": 1.2, "shrinkA": 0, "shrinkB": 0}
    ax.annotate("", (0.0, 2.2), (-1.5, 2.2), arrowprops=arrow)
    ax.text(-1.35, 2.4, "sample $x$", color=INK, ha="left")
    ax.plot([7.2, 7.6, 7.6, -0.7, -0.7], [1.5, 1.5, -1.5, -1.5, 0.8], color=INK, linewidth=1.2)
    ax.plot([7.2, 7.2], [0, 3], color=INK, linewidth=1.2)
    ax.annotate("", (0.0, 0.8), (-0.7, 0.8), arrowprops=arrow)
    ax.text(3.4, -2.0, "fed back until $z = f_\\theta(z, x)$", color=INK, ha="center")
    ax.text(7.75, 1.6, "$z$", color=INK, ha="left")


def _box(x: float, y: float, width: float, height: float, **style: Any) -> FancyBboxPatch:
    return FancyBboxPatch((x, y), width, height, boxstyle="round,pad=0,rounding_size=0.15", **style)


def _meter(x: float, y: float, color: str, *, arc: bool = False) -> Arc | Rectangle:
    if arc:
        return Arc((x, y - 0.12), 0.44, 0.44, theta1=0, theta2=180, color=color, linewidth=1.2)
    return Rectangle((x - 0.35, y - 0.3), 0.7, 0.6, fill=False, edgecolor=color, linewidth=1.2)


def settling(ax: Axes) -> None:
    """The measured values after each application, and the equilibrium."""
    circuit = qdeq.circuits.hardware_efficient(n_qubits=4, depth=12)
    key = jax.random.key(2)
    layer = qdeq.QuantumLayer(circuit, qdeq.AmplitudeEncoding(), qdeq.PauliZ(), key=key)
    cell = qdeq.QuantumCell(layer, qdeq.AddInjection(in_size=16, gain=2.0))
    x = jax.random.normal(jax.random.key(4), (16,))
    z, f = jnp.zeros(4), eqx.filter_jit(cell.bind(x))
    path = [z]
    for _ in range(12):
        path.append(z := f(z))
    deq = qdeq.DEQ(cell)
    values = np.array(deq(x))
    for k, color in enumerate(COLORS):
        ax.axhline(values[k], color=color, linewidth=0.8, linestyle=(0, (4, 3)))
        ax.plot([float(z[k]) for z in path], "o-", color=color, markersize=4, linewidth=1.4)
    ax.set_xlabel("applications of the circuit")
    ax.set_ylabel("measured values $z$")
    ax.set_title("dashed: the equilibrium, found by DEQ", fontsize=10, color=INK)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(INK)
    ax.tick_params(colors=INK)
    ax.xaxis.label.set_color(INK)
    ax.yaxis.label.set_color(INK)


def main() -> None:
    """Draws docs/figures/equilibrium.svg."""
    figure = Figure(figsize=(9.5, 3.3), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
    circuit_and_feedback(left)
    settling(right)
    figure.patch.set_alpha(0)
    right.patch.set_alpha(0)
    save_figure(figure, DOCS / "figures" / "equilibrium.svg")


if __name__ == "__main__":
    main()
