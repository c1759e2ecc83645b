"""Qiskit reads what we write, and reads other texts as we do."""

import numpy as np
import pytest

from eqx_qdeq import Circuit, circuits
from tests.circuits._tools import angles_of, assert_same_up_to_phase, matrix

QuantumCircuit = pytest.importorskip("qiskit", reason="needs Qiskit").QuantumCircuit
qasm2 = pytest.importorskip("qiskit.qasm2", reason="needs Qiskit: the extra `qiskit`")


def _qiskit(circuit) -> np.ndarray:
    from qiskit.quantum_info import Operator

    # Qiskit's first qubit is the least significant bit, ours the most significant one.
    return np.asarray(Operator(circuit.reverse_bits()).data)


@pytest.mark.parametrize("gate", [*circuits.GATES, "inverse ZZMax"])
def test_version_2_of_every_gate(gate):
    info = circuits.GATES[gate.split()[-1]]
    c = Circuit([gate.split()[-1]], [range(info.n_wires)[::-1]], [range(info.n_params)])
    c = c.inverse() if gate.startswith("inverse") else c
    text = c.to_openqasm(angles_of(c), version=2)
    for read in (lambda text: qasm2.loads(text, strict=True), QuantumCircuit.from_qasm_str):
        assert_same_up_to_phase(_qiskit(read(text)), matrix(c, angles_of(c)))


@pytest.mark.parametrize("gate", circuits.GATES)
def test_version_3_of_every_gate(gate):
    reader = pytest.importorskip("qiskit_qasm3_import", reason="needs qiskit-qasm3-import")
    info = circuits.GATES[gate]
    c = Circuit([gate], [range(info.n_wires)[::-1]], [range(info.n_params)])
    theirs = reader.parse(c.to_openqasm(angles_of(c)))
    assert_same_up_to_phase(_qiskit(theirs), matrix(c, angles_of(c)))


@pytest.mark.parametrize(
    "statements",
    [
        "h q[0]; c3x q[0], q[1], q[2], q[3];",
        "c4x q[4], q[1], q[2], q[0], q[3];",
        "c3sqrtx q[2], q[1], q[0], q[3];",
        "rc3x q[2], q[0], q[1], q[3];",
        "rccx q[2], q[0], q[1];",
        "u0(1) q[0]; cu(0.1, 0.2, 0.3, 0.4) q[0], q[1];",
        "gate g(a, b) x, y { rx(a/2) x; cu1(-b*a^2) x, y; } reset q; g(1/2*pi, 3) q[2], q[0];",
    ],
)
def test_version_2_from_elsewhere(statements):
    text = f'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[5];\n{statements}'
    theirs = QuantumCircuit.from_qasm_str(text.replace("reset q; ", ""))  # no unitary otherwise
    assert_same_up_to_phase(matrix(*Circuit.from_openqasm(text)), _qiskit(theirs), atol=1e-10)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Qiskit, in its importer
@pytest.mark.parametrize(
    "statements",
    [
        "rx(pi*(1/2)) q[0]; ry(pi*(3/2)) q[1]; rz(pi/2) q[0];",
        "rx(7/2/2) q[0]; ry(0x1F) q[1]; rz(1_0.5) q[2];",
        "x q[1:2]; h q[{0, 3}]; let a = q[0:1] ++ q[3:3]; cx a[0:1], q[2];",
        "y q[4:-2:1]; h q[1:2:3];",
        "inv @ s q[0]; pow(3) @ t q[1]; ctrl @ h q[0], q[1]; negctrl @ x q[3], q[2];",
        "ctrl(2) @ ry(0.3) q[0], q[1], q[2]; ctrl @ inv @ rz(0.7) q[1], q[0];",
        "ctrl @ negctrl @ p(0.3) q[0], q[1], q[2]; ctrl @ crx(0.4) q[3], q[1], q[0];",
        "gate g(a) x, y { rx(a) x; cx x, y; } ctrl @ g(0.4) q[2], q[0], q[1];",
    ],
)
def test_version_3_from_elsewhere(statements):
    reader = pytest.importorskip("qiskit_qasm3_import", reason="needs qiskit-qasm3-import")
    text = f'OPENQASM 3.0;\ninclude "stdgates.inc";\nqubit[5] q;\n{statements}'
    c, angles = Circuit.from_openqasm(text)
    assert_same_up_to_phase(matrix(c, angles), _qiskit(reader.parse(text)), atol=1e-10)
