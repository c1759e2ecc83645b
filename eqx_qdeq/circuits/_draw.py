"""Circuits as text."""

import dataclasses
import math
from fractions import Fraction
from typing import TYPE_CHECKING

from ._checks import gate_name

if TYPE_CHECKING:
    from ._circuit import Circuit

_CONTROLS = {"CCX": 2}  # the controls of a gate whose name begins with C are 1 otherwise
_SYMMETRIC = ("SWAP", "ISWAP", "XXPhase", "YYPhase", "ZZPhase", "ZZMax", "ZZMax†")
_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
_NARROWEST = 20


def draw(circuit: "Circuit", width: int) -> str:
    """The drawing, lines no longer than `width` unless a single gate is."""
    if width < _NARROWEST:
        raise ValueError(f"`width` must be at least {_NARROWEST} characters; got {width}.")
    digits = len(str(circuit.n_qubits - 1))
    room = width - (digits + 2) - 1  # the wire's label, and the mark of a line that goes on
    blocks: list[list[_Column]] = [[]]
    used = 0
    for column in _columns(circuit):
        if blocks[-1] and used + column.width > room:
            blocks.append([])
            used = 0
        blocks[-1].append(column)
        used += column.width
    return "\n\n".join(
        _block(circuit.n_qubits, digits, block, i + 1 < len(blocks))
        for i, block in enumerate(blocks)
    )


@dataclasses.dataclass
class _Column:
    """Gates drawn one above the other: what is on a wire, and below which wires a line runs."""

    cells: dict[int, str]
    joined: set[int]

    @property
    def width(self) -> int:
        return 2 + max(map(len, self.cells.values()))

    def wire(self, wire: int) -> str:
        return self._centred(self.cells.get(wire, "─"), "─")

    def below(self, wire: int) -> str:
        return self._centred("│" if wire in self.joined else " ", " ")

    def _centred(self, text: str, fill: str) -> str:
        # str.center rounds differently for odd and even, and lines would miss their gates.
        left = (self.width - 1) // 2 - (len(text) - 1) // 2
        return fill * left + text + fill * (self.width - left - len(text))


def _columns(circuit: "Circuit") -> list[_Column]:
    """Each gate as far to the left as the gates before it allow; a gate also keeps the wires
    between its own to itself, since its line crosses them."""
    columns: list[_Column] = []
    free = [0] * circuit.n_qubits
    for g, wires in enumerate(circuit.wires):
        span = range(min(wires), max(wires) + 1)
        at = max(free[wire] for wire in span)
        if at == len(columns):
            columns.append(_Column({}, set()))
        for wire in span:
            free[wire] = at + 1
        cells = dict.fromkeys(span, "┼") | dict(zip(wires, _cells(circuit, g), strict=True))
        columns[at].cells.update(cells)
        columns[at].joined.update(span[:-1])
    return columns


def _block(n_qubits: int, digits: int, columns: list[_Column], goes_on: bool) -> str:
    lines = []
    for wire in range(n_qubits):
        body = "".join(column.wire(wire) for column in columns) or "──"
        lines.append(f"{wire:>{digits}}: {body}" + ("…" if goes_on else ""))
        below = "".join(column.below(wire) for column in columns)
        lines.append((" " * (digits + 2) + below).rstrip())
    return "\n".join(lines[:-1])


def _cells(circuit: "Circuit", g: int) -> list[str]:
    """What gate g puts on each of its wires."""
    gate, n_wires = circuit.gates[g], len(circuit.wires[g])
    slots = zip(circuit.params[g], circuit.scales[g], circuit.offsets[g], strict=True)
    angles = ",".join(_angle(*slot) for slot in slots)
    angles = f"({angles})" if angles else ""
    if isinstance(gate, str) and gate.startswith("C"):
        n_controls = _CONTROLS.get(gate, 1)
        target = gate[n_controls:]
        targets = {"X": ["⊕"], "SWAP": ["×", "×"]}.get(target, [target + angles])
        return ["●"] * n_controls + targets
    if gate == "SWAP":
        return ["×", "×"]
    name = {"unitary": "U"}.get(gate_name(gate), gate_name(gate))
    if n_wires == 1:
        return [name + angles]
    if name in _SYMMETRIC:
        return [name + angles] + [name] * (n_wires - 1)
    # Which wire is the gate's first, second, … cannot be seen otherwise.
    names = [name + str(i).translate(_SUBSCRIPTS) for i in range(n_wires)]
    return [names[0] + angles, *names[1:]]


def _angle(index: int, scale: float, offset: float) -> str:
    factor = {1.0: "", -1.0: "-"}.get(scale)
    text = f"{_number(scale) if factor is None else factor}θ{index}"
    if offset == 0:
        return text
    return text + ("-" if offset < 0 else "+") + _number(abs(offset))


def _number(value: float) -> str:
    in_pi = Fraction(value / math.pi).limit_denominator(16)
    if in_pi == 0 or not math.isclose(float(in_pi) * math.pi, value, rel_tol=1e-9):
        return f"{value:.3g}"
    sign = "-" if in_pi < 0 else ""
    top, bottom = abs(in_pi.numerator), in_pi.denominator
    return sign + ("π" if top == 1 else f"{top}π") + ("" if bottom == 1 else f"/{bottom}")
