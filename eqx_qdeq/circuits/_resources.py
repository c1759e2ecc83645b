"""What a circuit costs."""

import dataclasses
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ._checks import gate_name

if TYPE_CHECKING:
    from ._circuit import Circuit


@dataclasses.dataclass(frozen=True)
class Resources:
    """What a circuit costs; `print` shows a table.

    A depth is the number of gates on the longest chain in which each gate shares a wire with the
    next: the number of time steps if every gate takes one and starts as early as it can.
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
    n_parametrised: int
    """Gates that take at least one angle; more than `n_params` where gates share one."""

    def __str__(self) -> str:
        rows = [
            ("qubits", self.n_qubits),
            ("parameters", self.n_params),
            ("gates", self.n_gates),
            *((f"  {name}", count) for name, count in self.gate_counts.items()),
            ("parametrised gates", self.n_parametrised),
            ("two-qubit gates", self.n_two_qubit),
            ("depth", self.depth),
            ("two-qubit depth", self.two_qubit_depth),
        ]
        left = max(len(name) for name, _ in rows)
        right = max(len(str(count)) for _, count in rows)
        return "\n".join(f"{name:<{left}}  {count:>{right}}" for name, count in rows)


def count_resources(circuit: "Circuit") -> Resources:
    """Counts the circuit's gates."""
    counts = Counter(map(gate_name, circuit.gates))
    two = [len(wires) == 2 for wires in circuit.wires]
    return Resources(
        n_qubits=circuit.n_qubits,
        n_params=circuit.n_params,
        n_gates=len(circuit),
        gate_counts=dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))),
        depth=_depth(circuit, [True] * len(circuit)),
        n_two_qubit=sum(two),
        two_qubit_depth=_depth(circuit, two),
        n_parametrised=sum(1 for params in circuit.params if params),
    )


def _depth(circuit: "Circuit", counted: list[bool]) -> int:
    ends = [0] * circuit.n_qubits
    for wires, counts in zip(circuit.wires, counted, strict=True):
        end = max(ends[wire] for wire in wires) + counts
        for wire in wires:
            ends[wire] = end
    return max(ends)
