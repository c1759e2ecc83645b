"""The gates that a circuit may hold, and how each is undone."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class GateInfo:
    """A gate of qujax: the wires it acts on and the angles it takes."""

    n_wires: int
    n_params: int


def _table() -> dict[str, GateInfo]:
    groups = {
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
    return {name: GateInfo(*size) for size, names in groups.items() for name in names.split()}


GATES: Mapping[str, GateInfo] = MappingProxyType(_table())
"""The gates known by name, with the names of `qujax.gates`."""


class Unitary:
    """A gate given as an array: immutable, compared and hashed by value."""

    _array: np.ndarray

    __slots__ = ("_array",)

    def __init__(self, matrix: Any):
        array = np.array(matrix, complex) + 0.0  # + 0.0: one zero only, as -0.0 == 0.0
        dim = math.isqrt(array.size)
        power_of_two = dim >= 2 and dim & (dim - 1) == 0
        if (array.shape != (dim, dim) and array.shape != (2,) * array.ndim) or not power_of_two:
            raise ValueError(
                f"a gate's array has shape (2**k, 2**k) or (2,) * 2k; got {array.shape}."
            )
        if dim * dim != array.size:
            raise ValueError(f"a gate's array has an even number of axes; got {array.shape}.")
        array = array.reshape(dim, dim)
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

# qujax has no name for the inverse of ZZMax, the only such gate.
ZZMAX_INVERSE = Unitary(np.diag(np.exp(0.25j * np.pi * np.array([1, -1, -1, 1]))))

_PARTNERS = ("S Sdg", "T Tdg", "V Vdg", "SX SXdg", "CV CVdg", "CSX CSXdg")
_PARTNER = {a: b for pair in map(str.split, _PARTNERS) for a, b in (pair, pair[::-1])}


def invert(gate: Gate, slots: tuple[Slot, ...]) -> tuple[Gate, tuple[Slot, ...]]:
    """The gate and the parameter slots that undo `gate` with `slots`.

    Inverting twice gives back the same gate and slots.
    """
    if gate == ZZMAX_INVERSE:
        return "ZZMax", slots
    if isinstance(gate, Unitary):
        return gate.adjoint(), slots
    if isinstance(gate, Adjoint):
        return gate.gate, slots
    if not isinstance(gate, str):
        return Adjoint(gate), slots
    if gate == "ZZMax":
        return ZZMAX_INVERSE, slots
    if gate in ("U2", "CU2"):
        # U2(φ, λ) = U3(π/2, φ, λ), and U3(-θ, φ, λ) = U3(θ, φ + π, λ + π).
        phi, lam = (_shift(_negate(slot), math.pi) for slot in slots)
        return gate, (lam, phi)
    if gate in ("U3", "CU3"):
        # U3(θ, φ, λ) = exp(i (φ + λ) / 2) Rz(φ) Ry(θ) Rz(λ).
        theta, phi, lam = (_negate(slot) for slot in slots)
        return gate, (theta, lam, phi)
    if gate == "PhasedISWAP":
        return gate, (slots[0], _negate(slots[1]))
    if gate == "PhasedX":
        return gate, (_negate(slots[0]), slots[1])
    return _PARTNER.get(gate, gate), tuple(_negate(slot) for slot in slots)


def _negate(slot: Slot) -> Slot:
    index, scale, offset = slot
    return index, -scale, 0.0 - offset  # not -offset, which makes a negative zero


def _shift(slot: Slot, by: float) -> Slot:
    index, scale, offset = slot
    return index, scale, offset + by
