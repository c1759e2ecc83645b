"""Circuits as PennyLane's, and PennyLane's circuits as ours. Bits are ordered as here."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .._checks import need
from ._circuit import Circuit
from ._elsewhere import Angle, assembled, check_count, matrix_of, number, Place, values_of
from ._gates import Gate, GATES, Unitary, ZZMAX_INVERSE

# Our gates that PennyLane has under another name, or the same; with the same angles.
_OTHER_NAMES = """
    I:Identity X:PauliX Y:PauliY Z:PauliZ H:Hadamard S:S T:T SX:SX CX:CNOT CY:CY CZ:CZ CH:CH
    ECR:ECR SWAP:SWAP CCX:Toffoli CSWAP:CSWAP Rx:RX Ry:RY Rz:RZ U1:PhaseShift U2:U2 U3:U3
    CRx:CRX CRy:CRY CRz:CRZ CU1:ControlledPhaseShift ISWAP:IsingXY XXPhase:IsingXX YYPhase:IsingYY
    ZZPhase:IsingZZ
"""
_NAMES = {ours: theirs for ours, theirs in (pair.split(":") for pair in _OTHER_NAMES.split())}
# Those that are made of them: undone, controlled, or at a certain angle. (V is Rx(π/2) by
# definition, and ZZMax ZZPhase(π/2).)
_UNDONE = {"Sdg": "S", "Tdg": "T", "SXdg": "SX"}
_CONTROLLED = {"CSX": "SX", "CSXdg": "SXdg", "CU2": "U2", "CU3": "U3"}
_AT_ANGLE = {"V": ("Rx", 1), "Vdg": ("Rx", -1), "CV": ("CRx", 1), "CVdg": ("CRx", -1)} | {
    "ZZMax": ("ZZPhase", 1)
}
# Arrays of more wires than this are not read: they have 4⁶ numbers already.
_WIDEST = 6


def to_pennylane(circuit: Circuit, angles: Any) -> Any:
    """The circuit's gates at these angles in PennyLane, with the same unitary; wires are numbers.

    Inside of a quantum function the gates are queued, as PennyLane's own templates do:

    !!! example

        <!-- skip: needs the extra "pennylane" -->
        ```python
        import pennylane as qml
        import eqx_qdeq as qdeq

        circuit = qdeq.circuits.hardware_efficient(n_qubits=2, depth=1)


        @qml.qnode(qml.device("default.qubit"))
        def values(angles):
            qdeq.circuits.to_pennylane(circuit, angles)
            return qml.expval(qml.PauliZ(0))
        ```

    **Arguments:**

    - `circuit`: the circuit.
    - `angles`: in radians, shape `(n_params,)`, of any kind that PennyLane differentiates.

    **Returns:** a `pennylane.tape.QuantumScript` of the gates.

    **Raises:** `ImportError` without PennyLane, `ValueError` for another number of angles.
    """
    qml = need("pennylane", "pennylane", "writing a circuit for PennyLane")
    check_count(angles, circuit)
    operations = [
        operation
        for g, (gate, wires) in enumerate(zip(circuit.gates, circuit.wires, strict=True))
        for operation in _operations(qml, gate, values_of(circuit, g, angles), list(wires))
    ]
    return qml.tape.QuantumScript(operations)


def _operations(qml: Any, gate: Gate, values: Sequence[Any], wires: list[int]) -> list[Any]:
    again = lambda name, *at, on=wires: _operations(qml, name, at, on)
    if gate == ZZMAX_INVERSE:
        return again("ZZPhase", -math.pi / 2)
    if not isinstance(gate, str):
        return [qml.QubitUnitary(matrix_of(gate, values), wires)]
    if gate in _NAMES:
        return [getattr(qml, _NAMES[gate])(*values, wires=wires)]
    if gate in _AT_ANGLE:
        name, sign = _AT_ANGLE[gate]
        return again(name, sign * math.pi / 2)
    if gate in _UNDONE:
        return [qml.adjoint(each) for each in again(_UNDONE[gate])]
    if gate in _CONTROLLED:
        target = again(_CONTROLLED[gate], *values, on=wires[1:])
        return [qml.ctrl(each, wires[0]) for each in target]
    # Rotations about Z turn the frame in which the gate between them acts.
    if gate == "PhasedX":
        angle, phase = values
        return again("Rz", -phase) + again("Rx", angle) + again("Rz", phase)
    phase, angle = values
    turned, back = (
        again("Rz", sign * phase, on=wires[:1]) + again("Rz", -sign * phase, on=wires[1:])
        for sign in (1, -1)
    )
    return turned + again("ISWAP", angle) + back


def from_pennylane(tape: Any, wires: Sequence[Any] | None = None) -> tuple[Circuit, np.ndarray]:
    """A circuit and its angles from a PennyLane tape: `qml.workflow.construct_tape(qnode)(*args)`
    for a QNode, `qml.tape.make_qscript(function)(*args)` for a quantum function.

    Read are PennyLane's gates that are ours, arrays (`QubitUnitary`), and what PennyLane decomposes
    into those: templates, products, powers, adjoints, controlled gates, and a state preparation
    where nothing acted before. Numbers inside a gate that takes none are fixed: such a part becomes
    an array. Left out are barriers, measurements at the end and global phases. Anything else is an
    error: measurements in between and what depends on them, channels, batches of angles.

    !!! example

        <!-- skip: needs the extra "pennylane" -->
        ```python
        import pennylane as qml
        import eqx_qdeq as qdeq


        def quantum_function(angle):
            qml.RX(angle, wires=0)
            qml.CNOT(wires=[0, 1])


        tape = qml.tape.make_qscript(quantum_function)(0.5)
        circuit, angles = qdeq.circuits.from_pennylane(tape)
        circuit  # <Circuit: 2 wires, 2 gates, 1 parameters, depth 2>
        angles  # [0.5]
        ```

    **Arguments:**

    - `tape`: the tape.
    - `wires`: the label of each of our wires; by default wire w is PennyLane's `w` if all labels
        are numbers, and else the labels in the order of their use.

    **Returns:**

    The circuit and the float64 array of its angles, shape `(n_params,)`: the numbers of the tape,
    each a parameter of its own.

    **Raises:** `ImportError` without PennyLane, `TypeError` for something else than a tape,
    `ValueError` for what has no counterpart; it names the operation.
    """
    qml = need("pennylane", "pennylane", "reading a circuit of PennyLane")
    if not isinstance(tape, qml.tape.QuantumScript):
        raise TypeError(
            f"`tape` must be a pennylane.tape.QuantumScript; got {type(tape)}. Make one of a QNode "
            "by qml.workflow.construct_tape(qnode)(*args), of a function by "
            "qml.tape.make_qscript(function)(*args)."
        )
    labels = list(tape.wires) if wires is None else list(wires)
    if wires is None and all(
        isinstance(label, int | np.integer) and label >= 0 for label in labels
    ):
        labels = list(range(1 + max(labels, default=0)))
    if len(set(labels)) < len(labels) or set(tape.wires) - set(labels):
        raise ValueError(
            f"`wires` must name each wire of the tape once, {list(tape.wires)}; got {labels}."
        )
    reader = _Reader(qml, {label: wire for wire, label in enumerate(labels)})
    for operation in tape.operations:
        reader.read(operation, fixed=False)
    return assembled(reader.places, len(labels))


class _Reader:
    """What the operations read so far have done."""

    def __init__(self, qml: Any, wire_of: Mapping[Any, int]):
        self.qml, self.wire_of = qml, wire_of
        self.places: list[Place] = []
        # By class, as anybody may call an operation of theirs "RX".
        self.kinds = {getattr(qml, theirs): ours for ours, theirs in _NAMES.items()}
        self.kinds[qml.U1] = "U1"

    def read(self, operation: Any, fixed: bool) -> None:
        ops, name = self.qml.ops, operation.name
        if isinstance(operation, ops.Conditional | ops.MidMeasure):
            raise _refusal(name, "only measurements at the end can be read")
        if operation.batch_size is not None:
            raise _refusal(name, f"it has a batch of {operation.batch_size} angles; give one")
        if isinstance(operation, self.qml.operation.StatePrepBase):
            touched = {wire for place in self.places for wire in place.wires}
            if touched.intersection(map(self.wire_of.get, operation.wires)):
                raise _refusal(name, "it replaces the state of wires that gates acted on")
        if isinstance(operation, self.qml.GlobalPhase):
            return
        gate = self._gate(operation)
        if gate is None:
            self._parts(operation, fixed or operation.num_params == 0)
        elif fixed and GATES[gate].n_params:
            self._array(operation)
        else:
            angles = tuple(self._angle(name, value) for value in operation.data)
            self._place(gate, operation, angles)

    def _gate(self, operation: Any) -> str | None:
        """The gate of ours that an operation is."""
        ops, undone = self.qml.ops, {base: gate for gate, base in _UNDONE.items()}
        gate = self.kinds.get(type(operation))
        if gate is None and isinstance(operation, ops.Adjoint):
            gate = undone.get(self.kinds.get(type(operation.base), ""))
        elif gate is None and isinstance(operation, ops.Controlled):
            # (A name says neither how many controls there are nor which value they wait for.)
            if list(operation.control_values) == [True]:
                targets = {target: gate for gate, target in _CONTROLLED.items()}
                gate = targets.get(self._gate(operation.base) or "")
        if gate is not None and len(operation.wires) != GATES[gate].n_wires:
            return None  # the identity on several wires
        return gate

    def _parts(self, operation: Any, fixed: bool) -> None:
        if isinstance(operation, self.qml.QubitUnitary):
            self._array(operation)
        elif operation.has_decomposition:
            with self.qml.QueuingManager.stop_recording():
                parts = operation.decomposition()
            for part in parts:
                self.read(part, fixed)
        elif operation.has_matrix and len(operation.wires) <= _WIDEST:
            self._array(operation)
        else:
            raise _refusal(operation.name, "it is neither a gate nor made of gates")

    def _array(self, operation: Any) -> None:
        matrix = self.qml.matrix(operation, wire_order=operation.wires)
        try:
            self._place(Unitary(np.asarray(matrix)), operation)
        except ValueError as error:
            raise _refusal(operation.name, str(error).rstrip(".")) from None

    def _angle(self, name: str, value: Any) -> Angle:
        try:
            return number(value)
        except (TypeError, ValueError) as error:
            raise _refusal(name, f"its angle {value} is no finite number") from error

    def _place(self, gate: Gate, operation: Any, angles: tuple[Angle, ...] = ()) -> None:
        wires = tuple(self.wire_of[wire] for wire in operation.wires)
        self.places.append(Place(gate, wires, angles))


def _refusal(name: str, why: str) -> ValueError:
    return ValueError(f"`tape` cannot be read: {name!r}: {why}.")
