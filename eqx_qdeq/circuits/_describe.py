"""A circuit as one looks at it: drawn as text, and counted."""

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

from .._checks import check_at_least
from .._deprecated import warn_renamed
from ._gates import gate_name, Operation

# --- Drawn ------------------------------------------------------------------------------------

# A drawing is a list of columns, which are as wide as their widest gate. Gates share a column if no
# wire, and no line between two wires, would cross another's.

_CONTROLS = {"CCX": 2}  # the controls of a gate whose name begins with C are 1 otherwise
_SYMMETRIC = ("SWAP", "ISWAP", "XXPhase", "YYPhase", "ZZPhase", "ZZMax", "ZZMax†")
_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
_NARROWEST = 20


def draw(operations: Sequence[Operation], n_qubits: int, width: int) -> str:
    """The drawing, lines no longer than `width` unless a single gate is."""
    check_at_least("width", width, 1)
    if width < _NARROWEST:
        raise ValueError(f"`width` must be at least {_NARROWEST} characters; got {width}.")
    digits = len(str(n_qubits - 1))
    room = width - (digits + 2) - 1  # the wire's label, and the mark of a line that goes on
    blocks: list[list[Column]] = [[]]
    used = 0
    for column in columns_of(operations, n_qubits):
        if blocks[-1] and used + column.width > room:
            blocks.append([])
            used = 0
        blocks[-1].append(column)
        used += column.width
    return "\n\n".join(
        _block(n_qubits, digits, block, i + 1 < len(blocks)) for i, block in enumerate(blocks)
    )


@dataclasses.dataclass
class Column:
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
        # str.center rounds differently for odd and even, and lines would miss their gates. Here the
        # middle of all texts of a column is the same character.
        left = (self.width - 1) // 2 - (len(text) - 1) // 2
        return fill * left + text + fill * (self.width - left - len(text))


def columns_of(operations: Sequence[Operation], n_qubits: int) -> list[Column]:
    """Each gate as far to the left as the gates before it allow; a gate also keeps the wires
    between its own to itself, since its line crosses them."""
    columns: list[Column] = []
    # The first column in which each wire is free. No gate is moved past another on its wires, so
    # the drawing is the circuit.
    free = [0] * n_qubits
    for operation in operations:
        wires = operation.wires
        span = range(min(wires), max(wires) + 1)
        at = max(free[wire] for wire in span)
        if at == len(columns):
            columns.append(Column({}, set()))
        for wire in span:
            free[wire] = at + 1
        cells = dict.fromkeys(span, "┼") | dict(zip(wires, _cells(operation), strict=True))
        columns[at].cells.update(cells)
        columns[at].joined.update(span[:-1])
    return columns


def _block(n_qubits: int, digits: int, columns: list[Column], goes_on: bool) -> str:
    lines = []
    for wire in range(n_qubits):
        body = "".join(column.wire(wire) for column in columns) or "──"
        lines.append(f"{wire:>{digits}}: {body}" + ("…" if goes_on else ""))
        below = "".join(column.below(wire) for column in columns)
        lines.append((" " * (digits + 2) + below).rstrip())
    return "\n".join(lines[:-1])


def _cells(operation: Operation) -> list[str]:
    """What a gate puts on each of its wires."""
    gate, n_wires = operation.gate, len(operation.wires)
    angles = ",".join(_angle(*slot) for slot in operation.slots)
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
    # Angles are mostly simple parts of π, and are written so if they are that to all digits that
    # arithmetic in double precision leaves. Sixteenths are the finest that one reads at a glance.
    in_pi = Fraction(value / math.pi).limit_denominator(16)
    if in_pi == 0 or not math.isclose(float(in_pi) * math.pi, value, rel_tol=1e-9):
        return f"{value:.3g}"
    sign = "-" if in_pi < 0 else ""
    top, bottom = abs(in_pi.numerator), in_pi.denominator
    return sign + ("π" if top == 1 else f"{top}π") + ("" if bottom == 1 else f"/{bottom}")


# --- Counted ----------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Resources:
    """What a circuit costs; `print` shows a table.

    A depth is the number of gates on the longest chain in which each gate shares a wire with the
    next: the number of time steps if every gate takes one and starts as early as it can.

    !!! example

        ```python
        import eqx_qdeq as qdeq

        circuit = qdeq.circuits.hardware_efficient(n_qubits=3, depth=2)
        resources = circuit.resources()
        resources.depth, resources.n_two_qubit  # (10, 6)
        print(resources)
        # qubits               3
        # parameters          12
        # gates               18
        #   CX                 6
        #   Ry                 6
        #   Rz                 6
        # parametrized gates  12
        # two-qubit gates      6
        # depth               10
        # two-qubit depth      6
        ```
    """

    n_qubits: int
    n_params: int
    """The angles to choose."""
    n_gates: int
    gate_counts: Mapping[str, int] = dataclasses.field(hash=False)
    """How often each gate occurs, the most frequent first."""
    depth: int
    n_two_qubit: int
    """Gates on exactly two wires."""
    two_qubit_depth: int
    """The depth if only gates on exactly two wires take time."""
    n_parametrized: int
    """Gates that take at least one angle; more than `n_params` where gates share one."""

    @property
    def n_parametrised(self) -> int:  # the old name, which pages do not show
        warn_renamed("Resources.n_parametrised", "Resources.n_parametrized")
        return self.n_parametrized

    def __str__(self) -> str:
        rows = [
            ("qubits", self.n_qubits),
            ("parameters", self.n_params),
            ("gates", self.n_gates),
            *((f"  {name}", count) for name, count in self.gate_counts.items()),
            ("parametrized gates", self.n_parametrized),
            ("two-qubit gates", self.n_two_qubit),
            ("depth", self.depth),
            ("two-qubit depth", self.two_qubit_depth),
        ]
        left = max(len(name) for name, _ in rows)
        right = max(len(str(count)) for _, count in rows)
        return "\n".join(f"{name:<{left}}  {count:>{right}}" for name, count in rows)


Resources.__init__.__doc__ = """**Arguments:**

- `n_qubits`: the number of wires.
- `n_params`: the angles to choose.
- `n_gates`: the gates, and `gate_counts` how often each occurs, the most frequent first.
- `depth`: the depth.
- `n_two_qubit`: gates on exactly two wires; `two_qubit_depth` is the depth if only they take time.
- `n_parametrized`: gates that take at least one angle; more than `n_params` where gates share one.
"""


def count_resources(operations: Sequence[Operation], n_qubits: int, n_params: int) -> Resources:
    """Counts the gates of a circuit."""
    counts = Counter(gate_name(operation.gate) for operation in operations)
    two = [len(operation.wires) == 2 for operation in operations]
    return Resources(
        n_qubits=n_qubits,
        n_params=n_params,
        n_gates=len(operations),
        gate_counts=dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))),
        depth=_depth(operations, n_qubits, [True] * len(two)),
        n_two_qubit=sum(two),
        two_qubit_depth=_depth(operations, n_qubits, two),
        n_parametrized=sum(1 for operation in operations if operation.slots),
    )


def _depth(operations: Iterable[Operation], n_qubits: int, counted: Iterable[bool]) -> int:
    # When each wire is free again, if gates that are not counted take no time. The last of these
    # times is the length of the longest chain.
    free = [0] * n_qubits
    for (_, wires, _), counts in zip(operations, counted, strict=True):
        end = max(free[wire] for wire in wires) + counts
        for wire in wires:
            free[wire] = end
    return max(free)
