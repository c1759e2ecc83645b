"""Our circuits on PennyLane's `default.qubit`, gate by gate: an oracle that we did not write."""

import numpy as np
import pennylane as qml

from eqx_qdeq import Circuit, circuits


def _phased_iswap(a, b, wires):
    # Rotations about Z turn the exchange's phase: qujax's phase counts in units of 2π.
    qml.RZ(a, wires[0])
    qml.RZ(-a, wires[1])
    qml.IsingXY(b, wires)
    qml.RZ(-a, wires[0])
    qml.RZ(a, wires[1])


def _phased_x(a, b, wires):
    qml.RZ(-b, wires)
    qml.RX(a, wires)
    qml.RZ(b, wires)


_HALF_PI = np.pi / 2

GATES = {
    "I": lambda wires: qml.Identity(wires),
    "X": qml.PauliX,
    "Y": qml.PauliY,
    "Z": qml.PauliZ,
    "H": qml.Hadamard,
    "S": qml.S,
    "Sdg": lambda wires: qml.adjoint(qml.S)(wires),
    "T": qml.T,
    "Tdg": lambda wires: qml.adjoint(qml.T)(wires),
    "V": lambda wires: qml.RX(_HALF_PI, wires),
    "Vdg": lambda wires: qml.RX(-_HALF_PI, wires),
    "SX": qml.SX,
    "SXdg": lambda wires: qml.adjoint(qml.SX)(wires),
    "CX": qml.CNOT,
    "CY": qml.CY,
    "CZ": qml.CZ,
    "CH": qml.CH,
    "CV": lambda wires: qml.CRX(_HALF_PI, wires),
    "CVdg": lambda wires: qml.CRX(-_HALF_PI, wires),
    "CSX": lambda wires: qml.ctrl(qml.SX, wires[0])(wires[1]),
    "CSXdg": lambda wires: qml.ctrl(qml.adjoint(qml.SX), wires[0])(wires[1]),
    "CCX": qml.Toffoli,
    "ECR": qml.ECR,
    "SWAP": qml.SWAP,
    "CSWAP": qml.CSWAP,
    "Rx": qml.RX,
    "Ry": qml.RY,
    "Rz": qml.RZ,
    "CRx": qml.CRX,
    "CRy": qml.CRY,
    "CRz": qml.CRZ,
    "U1": qml.PhaseShift,
    "U2": qml.U2,
    "U3": qml.U3,
    "CU1": qml.ControlledPhaseShift,
    "CU2": lambda a, b, wires: qml.ctrl(qml.U2, wires[0])(a, b, wires[1]),
    "CU3": lambda a, b, c, wires: qml.ctrl(qml.U3, wires[0])(a, b, c, wires[1]),
    "ISWAP": qml.IsingXY,
    "PhasedISWAP": _phased_iswap,
    "XXPhase": qml.IsingXX,
    "YYPhase": qml.IsingYY,
    "ZZPhase": qml.IsingZZ,
    "ZZMax": lambda wires: qml.IsingZZ(_HALF_PI, wires),
    "PhasedX": _phased_x,
}


def apply(circuit: Circuit, angles: np.ndarray) -> None:
    """Queues the circuit's gates in PennyLane."""
    for gate, wires, params, scales, offsets in zip(
        circuit.gates, circuit.wires, circuit.params, circuit.scales, circuit.offsets, strict=True
    ):
        values = [s * angles[p] + o for p, s, o in zip(params, scales, offsets, strict=True)]
        where = wires[0] if len(wires) == 1 else list(wires)
        GATES[gate](*values, wires=where)


def state(circuit: Circuit, angles: np.ndarray, initial: np.ndarray) -> np.ndarray:
    """The circuit's state from an initial one."""
    wires = range(circuit.n_qubits)

    @qml.qnode(qml.device("default.qubit", wires=wires))
    def run():
        qml.StatePrep(initial, wires=wires)
        apply(circuit, angles)
        return qml.state()

    return np.asarray(run())


def random_circuit(rng: np.random.Generator, n_qubits: int, n_gates: int) -> Circuit:
    """Gates of every kind on random wires, each parameter fresh, some scaled and shifted."""
    names = [name for name, info in circuits.GATES.items() if info.n_wires <= n_qubits]
    gates, wires, params, scales, offsets, used = [], [], [], [], [], 0
    for _ in range(n_gates):
        name = str(rng.choice(names))
        info = circuits.GATES[name]
        gates.append(name)
        wires.append(tuple(int(w) for w in rng.choice(n_qubits, info.n_wires, replace=False)))
        params.append(tuple(range(used, used + info.n_params)))
        scales.append(rng.choice([1.0, -0.5], info.n_params).tolist())
        offsets.append(rng.choice([0.0, 0.3], info.n_params).tolist())
        used += info.n_params
    return Circuit(gates, wires, params, n_qubits, scales=scales, offsets=offsets)
