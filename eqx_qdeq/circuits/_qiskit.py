"""Circuits as Qiskit's, and Qiskit's circuits as ours. Wire w is Qiskit's qubit w.

Qiskit's qubit 0 is the least significant bit of a basis state, and our wire 0 the most significant
one: matrices have their wires in reverse order there, and gates known by name do not care.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .._checks import need
from ._circuit import Circuit
from ._elsewhere import Angle, assembled, check_count, matrix_of, number, Place, values_of
from ._gates import gate_name, Unitary, ZZMAX_INVERSE

# What each of our gates is in Qiskit: the name, and its angles from ours. All are equalities of
# matrices, not only up to a phase: with e(α) = exp(iα),
#
# - V is Rx(π/2), and SXdg = e(-π/4) Rx(-π/2) with Rx(θ) = U(θ, -π/2, π/2). Under a control the
#   phase counts; it is the last angle of Qiskit's cu.
# - U2(φ, λ) = U3(π/2, φ, λ).
# - xx_plus_yy(θ, β) turns |01⟩ into cos(θ/2) |01⟩ - i sin(θ/2) e(β) |10⟩, and the other way round
#   with e(-β), qubit 1 written first. PhasedISWAP(φ, θ) does the same with wire 0 written first,
#   +i and the phases e(-2φ) and e(2φ): hence -θ and 2φ.
_HALF = math.pi / 2
_same = lambda *angles: angles
_ALIKE = "X Y Z H S Sdg T Tdg SX SXdg Rx Ry Rz CX CY CZ CH CSX ECR SWAP CRx CRy CRz CCX CSWAP"
_RENAMED = "I:id U1:p U3:u CU1:cp XXPhase:rxx YYPhase:ryy ZZPhase:rzz PhasedX:r"
_WRITTEN: Mapping[str, tuple[str, Callable[..., tuple[Any, ...]]]] = {
    **{name: (name.lower(), _same) for name in _ALIKE.split()},
    **{ours: (theirs, _same) for ours, theirs in (pair.split(":") for pair in _RENAMED.split())},
    "V": ("rx", lambda: (_HALF,)),
    "Vdg": ("rx", lambda: (-_HALF,)),
    "CV": ("crx", lambda: (_HALF,)),
    "CVdg": ("crx", lambda: (-_HALF,)),
    "CSXdg": ("cu", lambda: (-_HALF, -_HALF, _HALF, -_HALF / 2)),
    "ZZMax": ("rzz", lambda: (_HALF,)),
    "U2": ("u", lambda phi, lam: (_HALF, phi, lam)),
    "CU2": ("cu", lambda phi, lam: (_HALF, phi, lam, 0.0)),
    "CU3": ("cu", lambda theta, phi, lam: (theta, phi, lam, 0.0)),
    "ISWAP": ("xx_plus_yy", lambda theta: (-theta, 0.0)),
    "PhasedISWAP": ("xx_plus_yy", lambda phi, theta: (-theta, 2 * phi)),
}
# Older names of Qiskit for gates of ours.
_OLDER = {"u1": "U1", "u2": "U2", "u3": "U3", "cu1": "CU1", "cu3": "CU3"}

QISKIT_NAMES: Mapping[str, tuple[str, ...]] = {
    gate: (name, *(old for old, ours in _OLDER.items() if ours == gate))
    for gate, (name, _) in _WRITTEN.items()
}
"""What our gates are called in Qiskit: the name that is written, and older ones."""

# What is read as one gate of ours. (`u` and `rx` are U3 and Rx, whatever may be written as these.)
_READ = {name: gate for gate, (name, angles) in _WRITTEN.items() if angles is _same} | _OLDER


def to_qiskit(circuit: Circuit, angles: Any = None) -> Any:
    """A `qiskit.QuantumCircuit` of a circuit, with the same unitary: wire w is qubit w.

    Mind the order of bits: wire 0 is the most significant bit of a basis state here, and qubit 0
    the least significant one there.

    !!! example

        <!-- skip: needs the extra "qiskit" -->
        ```python
        import eqx_qdeq as qdeq

        circuit = qdeq.circuits.hardware_efficient(n_qubits=2, depth=1)
        theirs = qdeq.hardware.to_qiskit(circuit)
        again, angles = qdeq.circuits.from_qiskit(theirs)
        assert again == circuit
        ```

    **Arguments:**

    - `circuit`: the circuit.
    - `angles`: numbers in radians, or Qiskit's parameters, shape `(n_params,)`; a
        `ParameterVector` named `"theta"` if left out.

    **Returns:** the `QuantumCircuit`.

    **Raises:** `ImportError` without Qiskit, `ValueError` for another number of angles, or a gate
    that is a function of angles that are no numbers.
    """
    qiskit = need("qiskit", "qiskit", "writing a circuit for Qiskit")
    if angles is None:
        angles = qiskit.circuit.ParameterVector("theta", circuit.n_params)
    check_count(angles, circuit)
    out = qiskit.QuantumCircuit(circuit.n_qubits)
    for g in range(len(circuit)):
        append_gate(out, circuit, g, angles)
    return out


def append_gate(out: Any, circuit: Circuit, g: int, angles: Any) -> None:
    """Appends gate g at these angles to a `QuantumCircuit`."""
    from qiskit.circuit import library, ParameterExpression

    gate, wires = circuit.gates[g], circuit.wires[g]
    values = [
        value if isinstance(value, ParameterExpression) else float(value)
        for value in values_of(circuit, g, angles)
    ]
    if gate == ZZMAX_INVERSE:
        name, arguments = "rzz", (-_HALF,)
    elif isinstance(gate, str):
        name, translate = _WRITTEN[gate]
        arguments = translate(*values)
    elif any(isinstance(value, ParameterExpression) for value in values):
        raise ValueError(
            f"gate {g} ({gate_name(gate)!r} on wires {wires}) is a function, which Qiskit can be "
            "given at numbers only; pass `angles`, or write it as a circuit of named gates."
        )
    else:
        out.append(library.UnitaryGate(matrix_of(gate, values)), wires[::-1])
        return
    kind = library.get_standard_gate_name_mapping()[name].base_class
    out.append(kind(*arguments), wires)


def from_qiskit(circuit: Any) -> tuple[Circuit, np.ndarray]:
    """A circuit and its angles from a `qiskit.QuantumCircuit`; wire w is qubit w.

    Read are the gates of Qiskit's library that are ours, arrays (`UnitaryGate`), and what is made
    of those by definition: controlled and custom gates, whole circuits as gates. An angle is a
    number or `scale * parameter + offset`. Numbers inside a gate that takes none are fixed: such a
    part becomes an array. Left out are barriers, resets of qubits that nothing acted on yet,
    measurements at the end, and global phases. Anything else is an error: control flow, delays,
    gates after a measurement, an angle that depends on several parameters.

    !!! example

        <!-- skip: needs the extra "qiskit" -->
        ```python
        from qiskit import QuantumCircuit
        import eqx_qdeq as qdeq

        theirs = QuantumCircuit(2)
        theirs.rx(0.5, 0)
        theirs.cx(0, 1)
        circuit, angles = qdeq.circuits.from_qiskit(theirs)
        circuit  # <Circuit: 2 wires, 2 gates, 1 parameters, depth 2>
        angles  # [0.5]
        ```

    **Arguments:**

    - `circuit`: the `QuantumCircuit`.

    **Returns:**

    The circuit and the float64 array of its angles, shape `(n_params,)`: first Qiskit's parameters
    in the order of `circuit.parameters`, NaN because they have no values, then the numbers, each a
    parameter of its own.

    **Raises:** `ImportError` without Qiskit, `TypeError` for something else than a
    `QuantumCircuit`, `ValueError` for what has no counterpart; it names the instruction.
    """
    qiskit = need("qiskit", "qiskit", "reading a circuit of Qiskit")
    if not isinstance(circuit, qiskit.QuantumCircuit):
        raise TypeError(f"`circuit` must be a qiskit.QuantumCircuit; got {type(circuit)}.")
    if not circuit.num_qubits:
        raise ValueError("`circuit` has no qubits; a circuit has one wire at least.")
    reader = _Reader({parameter: i for i, parameter in enumerate(circuit.parameters)})
    reader.read(circuit, range(circuit.num_qubits))
    used = {angle.index for place in reader.places for angle in place.angles}
    unused = [str(parameter) for parameter, i in reader.inputs.items() if i not in used]
    if unused:
        raise ValueError(
            f"no gate of `circuit` uses the parameter {unused[0]!r}, which is left in a global "
            "phase at most; assign it a number, or remove it."
        )
    return assembled(reader.places, circuit.num_qubits, len(reader.inputs))


class _Reader:
    """What the instructions read so far have done."""

    def __init__(self, inputs: Mapping[Any, int]):
        from qiskit.circuit import library

        self.inputs = inputs
        self.places: list[Place] = []
        self.touched: set[int] = set()
        self.measured: set[int] = set()
        # Gates are known by class: anybody may call a gate of theirs "rx".
        standard = library.get_standard_gate_name_mapping()
        self.kinds = {kind.base_class: name for name, kind in standard.items()}

    def read(self, circuit: Any, wires: Sequence[int], fixed: bool = False) -> None:
        for instruction in circuit.data:
            on = tuple(wires[circuit.find_bit(qubit).index] for qubit in instruction.qubits)
            operation = instruction.operation
            try:
                self._apply(operation, on, fixed)
            except _Refused as refusal:
                raise ValueError(
                    f"`circuit` cannot be read: {operation.name!r} on qubits {on} {refusal}."
                ) from None

    def _apply(self, operation: Any, wires: tuple[int, ...], fixed: bool) -> None:
        from qiskit.circuit import AnnotatedOperation, Barrier, ControlledGate
        from qiskit.circuit.library import UnitaryGate

        if isinstance(operation, AnnotatedOperation):
            operation = _carried_out(operation)
        name = self.kinds.get(getattr(operation, "base_class", None))
        if isinstance(operation, ControlledGate):
            all_ones = operation.ctrl_state == 2**operation.num_ctrl_qubits - 1
            name = name if all_ones else None  # by |0⟩: X before and after, says its definition
        if isinstance(operation, Barrier):
            return
        if name == "measure":
            self.measured.update(wires)
            return
        if late := self.measured.intersection(wires):
            raise _Refused(
                f"acts on qubit {min(late)} after its measurement; only measurements at the end "
                "can be read"
            )
        if name == "reset" and not self.touched.intersection(wires):
            return
        if isinstance(operation, UnitaryGate):
            self._place(_unitary(operation), wires)
        elif name in _READ or name in ("cu", "xx_plus_yy"):
            angles = tuple(self._angle(value) for value in operation.params)
            if fixed and angles and all(angle.index is None for angle in angles):
                self._place(_unitary(operation), wires)
            else:
                self._named(name, wires, angles)
        elif getattr(operation, "definition", None) is None:
            raise _Refused(
                "is no gate, nor made of gates; remove it, or transpile the circuit to gates first"
            )
        else:
            self.read(operation.definition, wires, fixed or not operation.params)

    def _named(self, name: str, wires: tuple[int, ...], angles: tuple[Angle, ...]) -> None:
        if name in _READ:
            self._place(_READ[name], wires, angles)
        elif name == "cu":
            # The last angle is a phase of the control's |1⟩.
            if angles[3] != number(0):
                self._place("U1", wires[:1], angles[3:])
            self._place("CU3", wires, angles[:3])
        else:
            theta, beta = angles[0].times(-1.0), angles[1].times(0.5)
            if beta == number(0):
                self._place("ISWAP", wires, (theta,))
            else:
                self._place("PhasedISWAP", wires, (beta, theta))

    def _place(self, gate: Any, wires: tuple[int, ...], angles: tuple[Angle, ...] = ()) -> None:
        self.touched.update(wires)
        self.places.append(Place(gate, wires, angles))

    def _angle(self, value: Any) -> Angle:
        from qiskit.circuit import ParameterExpression

        try:
            if not isinstance(value, ParameterExpression) or not value.parameters:
                return number(value)
            parameters = sorted(value.parameters, key=str)
            if len(parameters) > 1:
                names = " and ".join(map(str, parameters))
                raise _Refused(f"has the angle {value}, of {names}; one parameter each can be read")
            # A straight line is its value at zero and a slope that is a number.
            slope = value.gradient(parameters[0])
            return Angle(
                self.inputs[parameters[0]],
                number(slope).offset,
                number(value.assign(parameters[0], 0)).offset,
            )
        except (TypeError, ValueError, ZeroDivisionError, KeyError) as error:
            if isinstance(error, _Refused):
                raise
            raise _Refused(
                f"has the angle {value}; it must be a finite number, or a multiple of a parameter "
                "plus a number, as in 2 * theta + 1"
            ) from error


class _Refused(ValueError):
    """Why an instruction has no counterpart: the rest of a sentence that names it."""


def _carried_out(operation: Any) -> Any:
    """The gate that a gate with modifiers is."""
    from qiskit.circuit import AnnotatedOperation, ControlModifier, InverseModifier

    base = operation.base_op
    gate = _carried_out(base) if isinstance(base, AnnotatedOperation) else base
    for modifier in operation.modifiers:
        if isinstance(modifier, InverseModifier):
            gate = gate.inverse()
        elif isinstance(modifier, ControlModifier):
            count, state = modifier.num_ctrl_qubits, modifier.ctrl_state
            gate = gate.control(count, ctrl_state=state, annotated=False)
        else:
            gate = gate.power(modifier.power, annotated=False)
    return gate


def _unitary(operation: Any) -> Unitary:
    """A gate of Qiskit as an array, its first qubit the most significant bit."""
    from qiskit.quantum_info import Operator

    return Unitary(Operator(operation).reverse_qargs().data)
