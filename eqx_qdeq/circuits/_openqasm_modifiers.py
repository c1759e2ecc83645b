"""OpenQASM's modifiers: gates under controls, and to a power."""

import functools as ft
import math
from collections.abc import Callable, Sequence

import numpy as np

from ._gates import Gate, gate_name, invert, Operation, Unitary

PHASE = "gphase"
"""A global phase: a gate on no wires. It is left out of circuits, but under a control it counts."""

# The gates that are others under a control; a phase is one of the control's |1⟩.
_CONTROLLED: dict[Gate, Gate] = {
    **{PHASE: "U1", "I": "I", "CX": "CCX", "U1": "CU1"},
    **{name: f"C{name}" for name in "X Y Z H V Vdg SX SXdg SWAP Rx Ry Rz".split()},
}
# Matrices of 64 x 64 numbers; of more controls nobody simulates many.
_MOST_WIRES = 6


def control(
    operations: Sequence[Operation],
    wire: int,
    parts: Callable[[Operation], Sequence[Operation]],
) -> list[Operation]:
    """The operations under a control; `parts` says of which a gate with angles consists.

    **Raises:** `ValueError` for a gate that cannot be controlled.
    """
    # A product is controlled if each factor is. Without angles a gate is a matrix; with them it is
    # one of those that have a name under a control, or is made of such.
    controlled = []
    for operation in operations:
        gate, wires, slots = operation
        if gate in _CONTROLLED:
            wires = wires if gate == "I" else (wire, *wires)
            controlled.append(Operation(_CONTROLLED[gate], wires, slots))
        elif slots:
            controlled += control(parts(operation), wire, parts)
        else:
            controlled.append(Operation(_controlled_array(gate), (wire, *wires), ()))
    return controlled


def power(operations: list[Operation], exponent: int | float, max_gates: int) -> list[Operation]:
    """The operations to a power.

    **Raises:** `ValueError` for a fraction of anything but a single gate without angles.
    """
    if exponent < 0:
        operations, exponent = [invert(operation) for operation in operations[::-1]], -exponent
    if exponent == int(exponent):
        if len(operations) == 1 and len(operations[0].slots) == 1:
            # exp(iθG)ᵏ = exp(ikθG); all our gates with one angle are such.
            gate, wires, ((index, scale, offset),) = operations[0]
            slot = (index, float(exponent * scale), float(exponent * offset))
            return [Operation(gate, wires, (slot,))] if exponent else []
        if len(operations) * exponent > max_gates:
            raise ValueError(f"more than {max_gates} gates; if they are meant, raise `max_gates`.")
        return operations * int(exponent)
    if len(operations) != 1 or operations[0].slots:
        raise ValueError(
            "only of a single gate without angles can a fraction of a power be taken: that of "
            "others depends on the angles in a way that no circuit can follow."
        )
    gate, wires, _ = operations[0]
    matrix = _matrix(gate)
    # Real and imaginary part of a unitary are hermitian and commute, so that eigenvectors of a
    # combination in which no two of them fall together are the unitary's own.
    adjoint = matrix.conj().T
    _, vectors = np.linalg.eigh((matrix + adjoint) / 2 + 0.618034j * (adjoint - matrix) / 2)
    phases = np.angle(np.diag(vectors.conj().T @ matrix @ vectors))
    # The principal power: phases above -π, where rounding must not tell -1 from -1.
    phases = np.where(phases < -math.pi + 1e-9, math.pi, phases)
    root = (vectors * np.exp(1j * exponent * phases)) @ vectors.conj().T
    return [Operation(Unitary(root), wires, ())]


@ft.lru_cache(maxsize=256)
def _controlled_array(gate: Gate) -> Unitary:
    return Unitary(_controlled(_matrix(gate)))


def _controlled(matrix: np.ndarray) -> np.ndarray:
    size = len(matrix)
    if 2 * size > 2**_MOST_WIRES:
        raise ValueError(
            f"too many controls: a gate without angles may have {_MOST_WIRES} wires in all."
        )
    whole = np.eye(2 * size, dtype=complex)
    whole[size:, size:] = matrix
    return whole


def _matrix(gate: Gate) -> np.ndarray:
    """The matrix of a gate without angles."""
    if not isinstance(gate, str):
        return np.asarray(gate)
    if gate.endswith("dg"):
        return _matrix(gate[:-2]).conj().T
    if gate.startswith("C"):
        return _controlled(_matrix(gate[1:]))
    one, x, y, z = np.eye(2), np.array([[0, 1], [1, 0]]), np.array([[0, -1j], [1j, 0]]), [1, -1]
    matrices = {
        **{"I": one, "X": x, "Y": y, "Z": np.diag(z), "H": (x + np.diag(z)) / math.sqrt(2)},
        **{"S": np.diag([1, 1j]), "T": np.diag([1, np.exp(0.25j * math.pi)])},
        # V = exp(-iπ/4 X), and SX = √X is the same but for a phase.
        **{"V": (one - 1j * x) / math.sqrt(2), "SX": ((1 + 1j) * one + (1 - 1j) * x) / 2},
        "SWAP": np.eye(4)[[0, 2, 1, 3]],
        "ECR": (np.kron(x, one) - np.kron(y, x)) / math.sqrt(2),
        "ZZMax": np.diag(np.exp(-0.25j * math.pi * np.kron(z, z))),
    }
    if gate not in matrices:
        raise ValueError(f"{gate_name(gate)!r} has no matrix without angles.")
    return matrices[gate].astype(complex)
