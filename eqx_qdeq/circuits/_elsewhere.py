"""What readers of other libraries' circuits share."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ._circuit import Circuit
from ._gates import Gate, NUMBER, numbers_as_parameters, Operation, Unitary


class Angle(NamedTuple):
    """What turns a gate: a number, or `scale * θ[index] + offset`."""

    index: int | None
    scale: float
    offset: float

    def times(self, factor: float) -> "Angle":
        """This times a number."""
        return Angle(self.index, factor * self.scale, factor * self.offset + 0.0)  # no -0.0


def number(value: Any) -> Angle:
    """A number, which must be finite."""
    found = float(value)
    if not math.isfinite(found):
        raise ValueError(f"its angle {found} is not finite")
    return Angle(None, 0.0, found)


class Place(NamedTuple):
    """A gate as it was read."""

    gate: Gate
    wires: tuple[int, ...]
    angles: tuple[Angle, ...] = ()


def assembled(
    places: Sequence[Place], n_qubits: int, n_inputs: int = 0
) -> tuple[Circuit, np.ndarray]:
    """The circuit and its angles, as `numbers_as_parameters`."""
    slot = lambda angle: angle._replace(index=NUMBER) if angle.index is None else angle
    read = (Operation(g, wires, tuple(map(slot, angles))) for g, wires, angles in places)
    operations, values = numbers_as_parameters(read, n_inputs)
    return Circuit._of(operations, n_qubits), values


def values_of(circuit: Circuit, g: int, angles: Any) -> list[Any]:
    """The angles of gate g, of whatever kind the given ones are. One that is neither scaled nor
    shifted stays itself: a parameter, not an expression of one."""
    slots = zip(circuit.params[g], circuit.scales[g], circuit.offsets[g], strict=True)
    return [
        angles[p] if (scale, offset) == (1, 0) else scale * angles[p] + offset
        for p, scale, offset in slots
    ]


def matrix_of(gate: Any, values: Sequence[Any]) -> np.ndarray:
    """The matrix of an array or of a function of angles."""
    array = np.asarray(gate if isinstance(gate, Unitary) else gate(*values), complex)
    dim = math.isqrt(array.size)
    return array.reshape(dim, dim)


def check_count(angles: Any, circuit: Circuit) -> None:
    if len(angles) != circuit.n_params:
        raise ValueError(
            f"`angles` must have one entry for each of the {circuit.n_params} parameters; got "
            f"{len(angles)}."
        )
