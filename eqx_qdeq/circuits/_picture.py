"""Pictures of circuits, and of what is built from them: laid out here, written as SVG."""

import dataclasses
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from ._describe import columns_of
from ._gates import Operation

# --- Shapes -----------------------------------------------------------------------------------


class Shape(NamedTuple):
    """A line from (x, y) to (x + width, y + height), an arrow that ends there, a dot or a ring
    around (x, y), a box around (x, y), or lines of text around it.

    !!! example

        ```python
        import eqx_qdeq as qdeq

        wire = qdeq.circuits.Shape("line", x=10.0, y=20.0, width=100.0)
        picture = qdeq.circuits.Picture(120.0, 40.0, (wire,), "a wire")
        picture.svg().startswith("<svg")  # True
        ```

    **Arguments:**

    - `kind`: `"line"`, `"arrow"`, `"dot"`, `"ring"`, `"box"` or `"text"`.
    - `x`, `y`: its place in pixels, from the upper left corner.
    - `width`, `height`: its size in pixels; 0 for what has none.
    - `text`: the lines of a text.
    """

    kind: str
    x: float
    y: float
    width: float = 0.0
    height: float = 0.0
    text: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture of a circuit, a cell or an equilibrium: shapes on paper of `width` times `height`
    pixels, from the upper left corner.

    !!! example

        ```python
        from pathlib import Path
        from eqx_qdeq import circuits

        picture = circuits.hardware_efficient(3, depth=1).picture()
        Path("circuit.svg").write_text(picture.svg())
        ```
    """

    width: float
    height: float
    shapes: tuple[Shape, ...]
    label: str

    def svg(self) -> str:
        """The picture as SVG that needs nothing else."""
        inside = "".join(map(_svg, self.shapes))
        size = f'width="{self.width:g}" height="{self.height:g}"'
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="qdeq" role="img" {size} '
            f'viewBox="0 0 {self.width:g} {self.height:g}">'
            f"<title>{escape(self.label)}</title><style>{_STYLE}</style>"
            f'<rect class="paper" {size} rx="6"/>{inside}</svg>'
        )


Picture.__init__.__doc__ = """**Arguments:**

- `width`, `height`: in pixels.
- `shapes`: what is drawn, from the bottom to the top.
- `label`: what a screen reader says.
"""


CHARACTER = 7.3
"""The width of a character of 12 pixels, in a font in which all are as wide."""
RADIUS = {"dot": 4.5, "ring": 9.0}
LINE = 14.0
"""From one line of text to the next."""

# On paper of its own, so that it can be read on a page of any color.
_STYLE = (
    ".qdeq .paper{fill:#fff}.qdeq .line{stroke:#333;stroke-width:1.3;fill:none}"
    ".qdeq .box{stroke:#0072b2;stroke-width:1.3;fill:#e8f2fa}.qdeq .dot{fill:#333}"
    ".qdeq .ring{stroke:#333;stroke-width:1.3;fill:#fff}"
    ".qdeq text{fill:#111;font:12px ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace;"
    "text-anchor:middle;dominant-baseline:central}"
    "@media (prefers-color-scheme:dark){.qdeq .paper{fill:#1b1d21}.qdeq .line{stroke:#c9ccd1}"
    ".qdeq .box{stroke:#56b4e9;fill:#22384a}.qdeq .dot{fill:#c9ccd1}"
    ".qdeq .ring{stroke:#c9ccd1;fill:#1b1d21}.qdeq text{fill:#f0f1f3}}"
)


def box(x: float, y: float, *lines: str) -> Shape:
    """A box that is as large as its text."""
    width = CHARACTER * max(map(len, lines)) + 14
    return Shape("box", x, y, max(width, 28.0), LINE * len(lines) + 10, lines)


def _svg(shape: Shape) -> str:
    kind, x, y, width, height, text = shape
    lines = "".join(
        f'<text x="{x:g}" y="{y + LINE * (i - (len(text) - 1) / 2):g}">{escape(line)}</text>'
        for i, line in enumerate(text)
    )
    if kind in ("dot", "ring"):
        return f'<circle class="{kind}" cx="{x:g}" cy="{y:g}" r="{RADIUS[kind]:g}"/>'
    if kind == "box":
        return (
            f'<rect class="box" x="{x - width / 2:g}" y="{y - height / 2:g}" width="{width:g}" '
            f'height="{height:g}" rx="4"/>{lines}'
        )
    if kind == "text":
        return lines
    path = f'<path class="line" d="M{x:g} {y:g}l{width:g} {height:g}"/>'
    if kind == "arrow":
        points = " ".join(f"{px:g},{py:g}" for px, py in arrowhead(shape))
        path += f'<polygon class="dot" points="{points}"/>'
    return path


def arrowhead(arrow: Shape) -> list[tuple[float, float]]:
    """The corners of the head of an arrow, which runs along an axis."""
    x, y = arrow.x + arrow.width, arrow.y + arrow.height
    along = [(v > 0) - (v < 0) for v in (arrow.width, arrow.height)]
    back = (x - 8 * along[0], y - 8 * along[1])
    across = (4 * along[1], 4 * along[0])
    return [
        (x, y),
        (back[0] + across[0], back[1] + across[1]),
        (back[0] - across[0], back[1] - across[1]),
    ]


# --- A circuit --------------------------------------------------------------------------------

_ROW = 46.0  # from one wire to the next
_GAP = 12.0  # between columns
_MARGIN = 16.0


def picture_of(operations: Sequence[Operation], n_qubits: int, width: int) -> Picture:
    """The picture of a circuit, no wider than `width` unless a single gate is."""
    # The columns are those of the drawing as text: what does not overlap there does not here.
    left = _MARGIN + CHARACTER * len(str(n_qubits - 1)) + 8
    blocks: list[list[tuple[float, dict[int, list[Shape]], set[int]]]] = [[]]
    x = left
    for column in columns_of(operations, n_qubits):
        placed = {wire: _symbol(text) for wire, text in column.cells.items()}
        # A box says how wide it is; other symbols fit into the narrowest.
        wide = max([28.0, *(s.width for shapes in placed.values() for s in shapes)])
        if blocks[-1] and x + 2 * _GAP + wide > width - _MARGIN:
            blocks.append([])
            x = left
        blocks[-1].append((x + _GAP + wide / 2, placed, column.joined))
        x += _GAP + wide
    tall = _ROW * n_qubits
    right = left + _GAP
    wires, gates = [], []
    for b, block in enumerate(blocks):
        top = _MARGIN + b * (tall + _ROW / 2) + _ROW / 2
        end = left + _GAP
        for middle, placed, joined in block:
            gates += [Shape("line", middle, top + _ROW * wire, 0, _ROW) for wire in sorted(joined)]
            for wire, shapes in placed.items():
                gates += [s._replace(x=s.x + middle, y=s.y + top + _ROW * wire) for s in shapes]
                end = max([end, *(middle + max(s.width / 2, 14) for s in shapes)])
        end += _GAP
        right = max(right, end)
        for wire in range(n_qubits):
            y = top + _ROW * wire
            wires.append(Shape("text", _MARGIN + (left - _MARGIN - 8) / 2, y, text=(str(wire),)))
            wires.append(Shape("line", left, y, end - left, 0))
            if b + 1 < len(blocks):  # the wire goes on below
                wires.append(Shape("text", end + 8, y, text=("…",)))
    height = 2 * _MARGIN + len(blocks) * tall + (len(blocks) - 1) * _ROW / 2
    count = lambda n, what: f"{n} {what}{'' if n == 1 else 's'}"
    label = f"circuit of {count(n_qubits, 'wire')} and {count(len(operations), 'gate')}"
    return Picture(right + _MARGIN, height, (*wires, *gates), label)


def _symbol(text: str) -> list[Shape]:
    """What stands for the symbol of the drawing as text, around the origin."""
    cross = [Shape("line", -6, -6, 12, 12), Shape("line", -6, 6, 12, -12)]
    plus = [Shape("line", -9, 0, 18, 0), Shape("line", 0, -9, 0, 18)]
    match text:
        case "●":
            return [Shape("dot", 0, 0)]
        case "⊕":
            return [Shape("ring", 0, 0), *plus]
        case "×":
            return cross
        case "┼":  # a wire that a gate passes by
            return []
    name, bracket, angles = text.partition("(")
    return [box(0.0, 0.0, name, angles.removesuffix(")")) if bracket else box(0.0, 0.0, name)]
