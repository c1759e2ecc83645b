"""The gates that a circuit may hold: what each is called, how it is undone, and what it is as plain
data and in qujax."""

import dataclasses
import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np


@dataclasses.dataclass(frozen=True)
class GateInfo:
    """A gate of qujax: the wires it acts on and the angles it takes.

    !!! example

        ```python
        import eqx_qdeq as qdeq

        qdeq.circuits.GATES["CRx"]  # GateInfo(n_wires=2, n_params=1)
        ```
    """

    n_wires: int
    n_params: int


GateInfo.__init__.__doc__ = """**Arguments:**

- `n_wires`: on how many wires it acts.
- `n_params`: how many angles it takes.
"""


# By number of wires and of angles. The names are qujax's; what each gate is, qujax says.
_NAMES = {
    (1, 0): "I X Y Z H S Sdg T Tdg V Vdg SX SXdg",
    (2, 0): "CX CY CZ CH CV CVdg CSX CSXdg ECR SWAP ZZMax",
    (3, 0): "CCX CSWAP",
    (1, 1): "Rx Ry Rz U1",
    (1, 2): "U2 PhasedX",
    (1, 3): "U3",
    (2, 1): "CRx CRy CRz CU1 ISWAP XXPhase YYPhase ZZPhase",
    (2, 2): "CU2 PhasedISWAP",
    (2, 3): "CU3",
}
GATES: Mapping[str, GateInfo] = MappingProxyType(
    {name: GateInfo(*size) for size, names in _NAMES.items() for name in names.split()}
)
"""The gates known by name, with the names of `qujax.gates`."""


class Unitary:
    """A gate given as an array: immutable, compared and hashed by value."""

    _array: np.ndarray

    __slots__ = ("_array",)

    def __init__(self, matrix: Any):
        # + 0.0 leaves one zero only: -0.0 == 0.0, but their bytes, which are hashed, differ.
        array = np.array(matrix, complex) + 0.0
        dim = math.isqrt(array.size)
        power_of_two = dim >= 2 and dim & (dim - 1) == 0
        if (array.shape != (dim, dim) and array.shape != (2,) * array.ndim) or not power_of_two:
            raise ValueError(
                f"a gate's array has shape (2**k, 2**k) or (2,) * 2k; got {array.shape}."
            )
        if dim * dim != array.size:
            raise ValueError(f"a gate's array has an even number of axes; got {array.shape}.")
        array = array.reshape(dim, dim)
        with np.errstate(over="ignore", invalid="ignore"):  # the gap is then infinite, or NaN
            gap = np.abs(array @ array.conj().T - np.eye(dim)).max()
        if not gap < 1e-5:  # what rounding a unitary to float32 leaves, and some
            raise ValueError(f"the array is not unitary: U U† differs from 1 by {gap:.2g}.")
        array.setflags(write=False)
        object.__setattr__(self, "_array", array)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("unitaries are immutable; make a new one.")

    def __reduce__(self) -> tuple[Any, ...]:
        return Unitary, (self._array,)

    @property
    def n_wires(self) -> int:
        """The number of wires."""
        return self._array.shape[0].bit_length() - 1

    def adjoint(self) -> "Unitary":
        """The inverse gate."""
        return Unitary(self._array.conj().T)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self._array, dtype=dtype, copy=copy)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Unitary) and np.array_equal(self._array, other._array)

    def __hash__(self) -> int:
        return hash(self._array.tobytes())

    def __repr__(self) -> str:
        return f"Unitary({self._array.tolist()})"


# A dataclass and no lambda: two adjoints of one function are equal, so circuits with them are.
@dataclasses.dataclass(frozen=True)
class Adjoint:
    """The inverse of a gate given as a function."""

    gate: Callable

    def __call__(self, *angles: Any) -> Any:
        tensor = self.gate(*angles)
        dim = math.isqrt(tensor.size)
        return tensor.reshape(dim, dim).conj().T


Gate = str | Unitary | Callable
Slot = tuple[int, float, float]
"""A parameter slot: index into the angles, scale, offset; the gate's angle is
`scale * angles[index] + offset`."""


class Operation(NamedTuple):
    """A gate in its place. A circuit is a list of these; what draws, counts, writes or reads
    circuits knows no more of them than this list."""

    gate: Gate
    wires: tuple[int, ...]
    slots: tuple[Slot, ...]


# In a slot of what was read: the index of a number, which is no parameter yet.
NUMBER = -1


def numbers_as_parameters(
    read: Iterable[Operation], n_inputs: int
) -> tuple[list[Operation], np.ndarray]:
    """What was read, as a circuit's operations and angles: NaN for each input, and then the
    numbers, each a parameter of its own."""
    values = [math.nan] * n_inputs
    operations = []
    for gate, wires, slots in read:
        own = []
        for slot in slots:
            if slot[0] == NUMBER:
                values.append(slot[2])
                slot = (len(values) - 1, 1.0, 0.0)
            own.append(slot)
        operations.append(Operation(gate, wires, tuple(own)))
    return operations, np.array(values, dtype=float)


def gate_name(gate: Any) -> str:
    """A short name for any gate."""
    if isinstance(gate, str):
        return gate
    if isinstance(gate, Adjoint):
        return f"{gate_name(gate.gate)}†"
    if isinstance(gate, Unitary) and gate == ZZMAX_INVERSE:
        return "ZZMax†"
    if isinstance(gate, Unitary) or hasattr(gate, "__array__"):
        return "unitary"
    if callable(getattr(gate, "gate", None)):  # a wrapper of ours around a function
        return gate_name(gate.gate)
    return getattr(gate, "__name__", type(gate).__name__)


# --- Undone -----------------------------------------------------------------------------------
#
# The inverse of a named gate is a named gate with other scales and offsets: then a circuit and its
# inverse share their angles, and the inverse can be drawn, written and simulated as fast.

# qujax has no name for the inverse of ZZMax, the only such gate.
ZZMAX_INVERSE = Unitary(np.diag(np.exp(0.25j * np.pi * np.array([1, -1, -1, 1]))))

_PARTNERS = ("S Sdg", "T Tdg", "V Vdg", "SX SXdg", "CV CVdg", "CSX CSXdg")
_PARTNER = {a: b for pair in map(str.split, _PARTNERS) for a, b in (pair, pair[::-1])}


def invert(operation: Operation) -> Operation:
    """The operation that undoes this one. Inverting twice gives back the same operation."""
    gate, wires, slots = operation
    negative = [_negate(slot) for slot in slots]
    if isinstance(gate, Unitary):
        gate = "ZZMax" if gate == ZZMAX_INVERSE else gate.adjoint()
    elif isinstance(gate, Adjoint):
        gate = gate.gate
    elif not isinstance(gate, str):
        gate = Adjoint(gate)
    elif gate == "ZZMax":
        gate = ZZMAX_INVERSE
    elif gate in ("U2", "CU2"):
        # U2(φ, λ) = U3(π/2, φ, λ), and U3(-θ, φ, λ) = U3(θ, φ + π, λ + π).
        slots = tuple((index, scale, offset + math.pi) for index, scale, offset in negative[::-1])
    elif gate in ("U3", "CU3"):
        # U3(θ, φ, λ) = exp(i (φ + λ) / 2) Rz(φ) Ry(θ) Rz(λ).
        slots = (negative[0], negative[2], negative[1])
    elif gate == "PhasedISWAP":
        # The first angle only turns the frame in which the second one acts;
        slots = (slots[0], negative[1])
    elif gate == "PhasedX":
        # here it is the other way round.
        slots = (negative[0], slots[1])
    else:
        # A rotation turns back with -θ, and gates without angles are their own inverses or come
        # in pairs.
        gate, slots = _PARTNER.get(gate, gate), tuple(negative)
    return Operation(gate, wires, slots)


def _negate(slot: Slot) -> Slot:
    index, scale, offset = slot
    return index, -scale, 0.0 - offset  # not -offset, which makes a negative zero


# --- As plain data ----------------------------------------------------------------------------


def to_plain(position: int, gate: Gate) -> str | dict[str, Any]:
    """A gate as a string or numbers, for JSON."""
    if isinstance(gate, str):
        return gate
    if isinstance(gate, Unitary):
        matrix = np.asarray(gate)
        return {"real": np.real(matrix).tolist(), "imag": np.imag(matrix).tolist()}
    raise TypeError(
        f"gate {position} is a function, which cannot be written to a file; use a named gate or a "
        "unitary array instead."
    )


def from_plain(position: int, data: str | dict[str, Any]) -> str | np.ndarray:
    """The gate that `to_plain` wrote.

    **Raises:** `ValueError` or `TypeError` for anything else.
    """
    if isinstance(data, str):
        return data
    try:
        if set(data) != {"real", "imag"}:
            raise ValueError
        return np.array(data["real"], float) + 1j * np.array(data["imag"], float)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(
            f"gate {position} is neither a name nor a unitary array as a dictionary of two lists, "
            '{"real": [[…], …], "imag": [[…], …]}.'
        ) from None


# --- In qujax, which measures angles in units of π --------------------------------------------
#
# A named gate needs no wrapper: `angles / π` gives qujax what it wants. A function does, and so
# does a gate with scales and offsets, which qujax does not know. Both wrappers are compared by
# value and are taken off again on the way back.


@dataclasses.dataclass(frozen=True)
class InUnitsOfPi:
    """A function of angles in units of π, as qujax takes it, called with radians."""

    gate: Callable

    def __call__(self, *angles: Any) -> Any:
        return self.gate(*(angle / math.pi for angle in angles))

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self.gate)


@dataclasses.dataclass(frozen=True)
class Scaled:
    """A gate of ours as a function of qujax's angles, with its scales and offsets.

    `Circuit.from_qujax` takes it apart again, so that the way there and back changes nothing.
    """

    gate: str | Callable
    scales: tuple[float, ...]
    offsets: tuple[float, ...]

    def __call__(self, *angles: Any) -> Any:
        radians = [
            scale * math.pi * angle + offset
            for angle, scale, offset in zip(angles, self.scales, self.offsets, strict=True)
        ]
        if not isinstance(self.gate, str):
            return self.gate(*radians)
        import qujax  # it is qujax that calls this; describing circuits needs no simulator

        return getattr(qujax.gates, self.gate)(*(angle / math.pi for angle in radians))

    @property
    def __signature__(self) -> inspect.Signature:
        # qujax counts a function's arguments by its signature.
        kind = inspect.Parameter.POSITIONAL_ONLY
        names = [f"angle{i}" for i in range(len(self.scales))]
        return inspect.Signature([inspect.Parameter(name, kind) for name in names])


def to_qujax(operation: Operation) -> Any:
    """The gate of an operation as qujax takes it, for angles in units of π."""
    gate, _, slots = operation
    if isinstance(gate, Unitary):
        return np.asarray(gate)
    if any(slot[1:] != (1, 0) for slot in slots) or not isinstance(gate, str | InUnitsOfPi):
        return Scaled(gate, tuple(slot[1] for slot in slots), tuple(slot[2] for slot in slots))
    return gate if isinstance(gate, str) else gate.gate


def from_qujax(gate: Any, n_params: int) -> tuple[Any, tuple[float, ...], tuple[float, ...]]:
    """A gate of qujax, with scales and offsets, for angles in radians."""
    if isinstance(gate, Scaled):
        return gate.gate, gate.scales, gate.offsets
    if callable(gate) and not isinstance(gate, str):
        # A function of qujax's own is known by where it comes from; qujax need not be imported.
        name = getattr(gate, "__name__", "")
        named = name in GATES and getattr(gate, "__module__", None) == "qujax.gates"
        gate = name if named else InUnitsOfPi(gate)
    return gate, (1.0,) * n_params, (0.0,) * n_params
