"""Gates as plain data for JSON, and as gates of qujax."""

import dataclasses
import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ._gates import Gate, GATES, Unitary


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


def from_plain(data: str | dict[str, Any]) -> str | np.ndarray:
    """The gate that `to_plain` wrote."""
    if isinstance(data, str):
        return data
    return np.array(data["real"]) + 1j * np.array(data["imag"])


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
        import qujax  # here and not above: describing circuits needs no simulator

        return getattr(qujax.gates, self.gate)(*(angle / math.pi for angle in radians))

    @property
    def __signature__(self) -> inspect.Signature:
        # qujax counts a function's arguments by its signature.
        kind = inspect.Parameter.POSITIONAL_ONLY
        names = [f"angle{i}" for i in range(len(self.scales))]
        return inspect.Signature([inspect.Parameter(name, kind) for name in names])


def to_qujax(gate: Gate, scales: tuple[float, ...], offsets: tuple[float, ...]) -> Any:
    """A gate as qujax takes it, for angles in units of π."""
    if isinstance(gate, Unitary):
        return np.asarray(gate)
    trivial = all(s == 1 for s in scales) and all(o == 0 for o in offsets)
    if trivial and isinstance(gate, str):
        return gate
    if trivial and isinstance(gate, InUnitsOfPi):
        return gate.gate
    return Scaled(gate, scales, offsets)


def from_qujax(gate: Any, n_params: int) -> tuple[Any, tuple[float, ...], tuple[float, ...]]:
    """A gate of qujax, with scales and offsets, for angles in radians."""
    if isinstance(gate, Scaled):
        return gate.gate, gate.scales, gate.offsets
    if callable(gate) and not isinstance(gate, str):
        import qujax  # here and not above: describing circuits needs no simulator

        name = getattr(gate, "__name__", "")
        known = name in GATES and gate is getattr(qujax.gates, name)
        gate = name if known else InUnitsOfPi(gate)
    return gate, (1.0,) * n_params, (0.0,) * n_params
