"""Tables and figures into the pages of the docs, for the studies and the benchmarks."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

DOCS = Path(__file__).parents[1]

_BEGIN, _END = "<!-- begin: {} -->", "<!-- end -->"


def markdown(
    header: Sequence[str], rows: Iterable[Sequence[str]], words: int = 1, *, spaced: bool = False
) -> str:
    """A table whose first columns are words, and the others numbers."""
    rows = list(rows)
    if not rows:
        return "*(not run)*"
    pad = " " if spaced else ""
    rules = [f"{pad}---{pad}"] * words + [f"{pad}---:{pad}"] * (len(header) - words)
    lines = ["| " + " | ".join(row) + " |" for row in (header, *rows)]
    return "\n".join([lines[0], "|" + "|".join(rules) + "|", *lines[1:]])


def fill_page(page: Path, texts: Mapping[str, str]) -> None:
    """Puts every text between its two marks in a page; what is written around them stays.

    A page that is not there is made of marks alone. One that is there may do without a text.
    """
    new = not page.exists()
    old = "" if new else page.read_text(encoding="utf-8")
    for name, text in texts.items():
        begin = _BEGIN.format(name)
        if new:
            old += f"{begin}\n{_END}\n\n"
        marked = re.escape(begin) + r".*?" + re.escape(_END)
        whole = f"{begin}\n\n{text}\n\n{_END}"
        old = re.sub(marked, lambda _, whole=whole: whole, old, count=1, flags=re.DOTALL)
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(old, encoding="utf-8")


def panels(
    n: int, columns: int, height: float, *, sharey: bool = True
) -> tuple[Figure, list[Axes]]:
    """A figure as wide as a page, so that its text has the size of the page's, and its panels."""
    rows = -(-n // columns)
    figure = Figure(figsize=(7.4, 0.4 + height * rows), layout="constrained")
    found = list(figure.subplots(rows, columns, sharey=sharey, squeeze=False).flat)
    for empty in found[n:]:
        empty.set_axis_off()
    return figure, found[:n]


def save_figure(figure: Figure, path: Path) -> None:
    """As SVG, on no background; the same figure is the same file. (The site draws it for a light
    and a dark page, see `stylesheets/extra.css`.)
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context({"svg.hashsalt": "eqx-qdeq"}):
        figure.savefig(path, metadata={"Date": None, "Creator": None}, transparent=True)


def tidy(ax: Axes) -> None:
    """A pale grid, and no frame where there are no ticks."""
    ax.grid(color="#e5e5e5", linewidth=0.6)
    ax.spines[["top", "right"]].set_visible(False)
