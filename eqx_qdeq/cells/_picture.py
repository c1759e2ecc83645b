"""What a cell is made of, as a picture: how the sample goes in, what is read out and fed back."""

import dataclasses
from typing import Any

from ..circuits import box, CHARACTER, Circuit, LINE, Picture, Shape
from ..layers import QuantumLayer
from ._injection import AbstractInjection, AngleFeedback


@dataclasses.dataclass(frozen=True)
class Flow:
    """The stations from a sample to the state, and the one to which the state goes back.

    A station is what it does and what does it.
    """

    stations: tuple[tuple[str, str], ...]
    into: int
    label: str
    circuit: Circuit | None

    @property
    def is_drawn(self) -> bool:
        """Whether notebooks show it as a picture."""
        return self.circuit is None or self.circuit.is_drawn

    def text(self, width: int, title: str) -> str:
        """The picture as text."""
        top, bottom, first, second = "", "", "", ""
        middles = []
        for what, name in self.stations:
            wide = max(len(what), len(name))
            middles.append(len(top) + wide // 2 + 2)
            top += f"┌{'─' * (wide + 2)}┐   "
            first += f"│ {what:^{wide}} │   "
            second += f"│ {name:^{wide}} │──▶"
            bottom += f"└{'─' * (wide + 2)}┘   "
        # What is fed back runs below, from behind the readout to a station.
        back, label = middles[self.into], f" {self.label} "
        fork = max(len(second) - 1, back + len(label) + 3)
        bottom = f"{bottom[:back]}▲{bottom[back + 1 :].rstrip():<{fork - back - 1}}│"
        rail = f"{' ' * back}└{label:─^{fork - back - 1}}┘"
        start = "x ──▶"
        second = f"{second[:-3]:─<{fork}}┬──▶ z"
        rows = [f"{' ' * len(start)}{row}".rstrip() for row in (top, first, second, bottom, rail)]
        rows[2] = start + second
        parts = [title, "\n".join(rows)]
        if self.circuit is not None:
            parts.append("The circuit:\n" + self.circuit.draw(width))
        return "\n\n".join(parts)

    def picture(self, width: int, title: str) -> Picture:
        """The picture in pixels, the circuit below."""
        gap, y, left = 34.0, 66.0, 16.0
        shapes = []
        x = left + CHARACTER
        shapes.append(Shape("text", left + CHARACTER / 2, y, text=("x",)))
        middles = []
        for station in self.stations:
            shape = box(0.0, y, *station)
            shapes.append(Shape("arrow", x + 4, y, gap - 4, 0))
            x += gap
            shapes.append(shape._replace(x=x + shape.width / 2))
            middles.append(x + shape.width / 2)
            x += shape.width
        half = LINE + 5
        fork, below = x + gap / 2, y + half + 26
        shapes.append(Shape("arrow", x, y, 1.5 * gap, 0))
        x += 1.5 * gap + 4
        shapes.append(Shape("text", x + CHARACTER / 2, y, text=("z",)))
        x += CHARACTER
        back = middles[self.into]
        shapes += [
            Shape("dot", fork, y),
            Shape("line", fork, y, 0, below - y),
            Shape("line", fork, below, back - fork, 0),
            Shape("arrow", back, below, 0, y + half - below),
            Shape("text", (back + fork) / 2, below + 12, text=(self.label,)),
        ]
        wide, tall = x + left, below + 36
        shapes.append(Shape("text", left + CHARACTER * len(title) / 2, 22, text=(title,)))
        wide = max(wide, 2 * left + CHARACTER * len(title))
        if self.circuit is not None:
            circuit = self.circuit.picture(max(width, int(wide)))
            words = "The circuit:"
            shapes.append(Shape("text", left + CHARACTER * len(words) / 2, tall, text=(words,)))
            shapes += [s._replace(y=s.y + tall + 2) for s in circuit.shapes]
            wide, tall = max(wide, circuit.width), tall + 2 + circuit.height
        return Picture(wide, tall, tuple(shapes), title)


def flow(cell: Any) -> Flow:
    """What a cell is made of, as far as its parts tell."""
    inner = getattr(cell, "cell", None)
    layer = getattr(cell, "layer", None)
    if not isinstance(layer, QuantumLayer):
        if inner is not None:  # a cell around a cell
            return flow(inner)
        made_of = getattr(cell, "fn", cell)
        name = getattr(made_of, "__name__", type(made_of).__name__)
        station = ("f(z, x)", "a function" if name == "<lambda>" else name)
        return Flow((station,), 0, "z fed back", None)
    injection = getattr(cell, "injection", None)
    circuit = layer.circuit
    size = f"{circuit.n_qubits} wires, {len(circuit)} gates"
    stations = [
        ("encoding", type(layer.encoding).__name__),
        ("circuit", size if layer.noise is None else f"{size}, noise"),
        ("readout", type(layer.measurement).__name__),
    ]
    into, label = 1, "z fed back as angles"
    if not isinstance(injection, AngleFeedback):
        known = isinstance(injection, AbstractInjection)
        stations.insert(0, ("injection", type(injection if known else cell).__name__))
        into, label = 0, "z fed back"
    return Flow(tuple(stations), into, label, circuit)
