"""The picture that is shown with a link to the site: `python -m docs.hooks.card`."""

from matplotlib.figure import Figure
from matplotlib.patches import Arc, FancyBboxPatch

from .pages import DOCS


def card() -> Figure:
    figure = Figure(figsize=(12, 6.3), facecolor="#303f9f")
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, 12), ylim=(0, 6.3))
    ax.axis("off")
    line = {"color": "white", "linewidth": 7, "solid_capstyle": "round"}
    box = "round,pad=0,rounding_size=0.25"
    ax.add_patch(FancyBboxPatch((1.55, 2.9), 1.7, 1.7, box, fill=False, edgecolor="white", lw=7))
    ax.add_patch(Arc((2.4, 3.4), 1.0, 1.0, theta1=0, theta2=180, color="white", lw=7))
    ax.plot([2.4, 2.75], [3.4, 4.05], **line)
    ax.plot([3.25, 4.0, 4.0, 0.8, 0.8, 1.5], [3.75, 3.75, 1.8, 1.8, 3.75, 3.75], **line)
    ax.plot([1.15, 1.5, 1.15], [4.1, 3.75, 3.4], **line)
    ax.text(4.8, 3.7, "eqx-qdeq", color="white", size=76, weight="bold", va="center")
    ax.text(4.85, 2.55, "Equilibria of quantum circuits,\nas Equinox modules in JAX",
            color="#c5cae9", size=31, va="center", linespacing=1.4)  # fmt: skip
    return figure


if __name__ == "__main__":
    card().savefig(DOCS / "assets" / "card.png", dpi=100, metadata={"Software": None})
