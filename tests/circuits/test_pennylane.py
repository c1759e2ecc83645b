"""Circuits go to PennyLane and come back: as matrices, by PennyLane's own."""

import math
import sys

import numpy as np
import pennylane as qml
import pytest
from hypothesis import strategies as st

from eqx_qdeq import Circuit, circuits
from eqx_qdeq.circuits import from_pennylane, to_pennylane
from tests.circuits._tools import angles_of, any_circuit, given, matrix, same_up_to_phase


def theirs(tape, n_qubits: int) -> np.ndarray:
    return qml.matrix(tape, wire_order=range(n_qubits)) if tape.operations else np.eye(2**n_qubits)


@given(any_circuit(), st.integers(0, 9))
def test_the_same_matrix_there_and_back(c, seed):
    angles = angles_of(c, seed)
    tape = to_pennylane(c, angles)
    np.testing.assert_allclose(theirs(tape, c.n_qubits), matrix(c, angles), atol=1e-12)
    again, values = from_pennylane(tape, wires=range(c.n_qubits))
    assert same_up_to_phase(matrix(again, values), matrix(c, angles), 1e-12)


@pytest.mark.parametrize("gate", circuits.GATES)
def test_every_gate_and_its_inverse(gate):
    info = circuits.GATES[gate]
    c = Circuit([gate], [range(info.n_wires)[::-1]], [range(info.n_params)])
    angles = angles_of(c)
    for one in (c, c.inverse()):
        tape = to_pennylane(one, angles)
        np.testing.assert_allclose(theirs(tape, c.n_qubits), matrix(one, angles), atol=1e-12)
        again, values = from_pennylane(tape)
        assert same_up_to_phase(matrix(again, values), matrix(one, angles), 1e-12)


def test_gates_come_back_under_their_own_names():
    several = {"V", "Vdg", "CV", "CVdg", "ZZMax", "PhasedX", "PhasedISWAP"}
    for gate, info in circuits.GATES.items():
        c = Circuit([gate], [range(info.n_wires)], [range(info.n_params)])
        again, _ = from_pennylane(to_pennylane(c, angles_of(c)))
        assert (again == c) is (gate not in several)


def test_inside_a_quantum_function():
    c = circuits.hardware_efficient(n_qubits=2, depth=1)

    @qml.qnode(qml.device("default.qubit"))
    def values(angles):
        to_pennylane(c, angles)
        return qml.expval(qml.PauliZ(0) @ qml.PauliX(1))

    angles = qml.numpy.array(angles_of(c), requires_grad=True)
    unitary, step = matrix(c, angles_of(c)), 1e-5
    observable = np.kron(np.diag([1, -1]), [[0, 1], [1, 0]])
    value = lambda u: (u[:, 0].conj() @ observable @ u[:, 0]).real
    np.testing.assert_allclose(values(angles), value(unitary), atol=1e-12)
    moved = [value(matrix(c, angles_of(c) + s * step * np.eye(c.n_params)[0])) for s in (1, -1)]
    slope = (moved[0] - moved[1]) / (2 * step)
    np.testing.assert_allclose(qml.grad(values)(angles)[0], slope, atol=1e-8)


READ = {
    "templates": lambda: qml.StronglyEntanglingLayers(0.1 * np.arange(12).reshape(2, 2, 3), [0, 1]),
    "rotations": lambda: qml.Rot(0.1, 0.2, 0.3, wires=1),
    "controls that wait for 0": lambda: qml.ctrl(qml.SX, 0, control_values=[0])(1),
    "two controls": lambda: qml.ctrl(qml.SX(2), [0, 1]),
    "many controls": lambda: qml.MultiControlledX([0, 1, 2, 3], [True, False, True]),
    "a controlled phase": lambda: qml.ctrl(qml.GlobalPhase(0.3), 1),
    "adjoints": lambda: qml.adjoint(qml.RX)(0.3, wires=0),
    "adjoints of controls": lambda: qml.adjoint(qml.ctrl(qml.SX(1), 0)),
    "powers": lambda: qml.pow(qml.RZ(0.4, 1), 3),
    "products": lambda: qml.prod(qml.PauliX(0), qml.RY(0.3, 1)),
    "exponentials": lambda: qml.exp(qml.PauliX(0) @ qml.PauliY(1), 0.3j),
    "fixed gates": lambda: qml.QFT(wires=[0, 1, 2]),
    "arrays": lambda: qml.QubitUnitary(np.diag([1, 1j, -1, 1]), [1, 0]),
    "the identity on several wires": lambda: qml.Identity(wires=[0, 1, 2]),
    "barriers": lambda: qml.Barrier([0, 1]),
}


@pytest.mark.parametrize("name", READ)
def test_what_is_made_of_gates(name):
    tape = qml.tape.make_qscript(READ[name])()
    again, values = from_pennylane(tape, wires=range(4))
    assert same_up_to_phase(matrix(again, values), theirs(tape, 4), 1e-10)
    assert name != "fixed gates" or again.n_params == 0
    assert name != "templates" or again.n_params == 12


def test_states_are_prepared_where_nothing_acted():
    state = np.array([0.5, 0.5j, -0.5, 0.5])
    again, values = from_pennylane(qml.tape.QuantumScript([qml.StatePrep(state, [0, 1])]))
    found = matrix(again, values)[:, 0]
    assert abs(np.vdot(found, state)) == pytest.approx(1, abs=1e-12)
    late = qml.tape.QuantumScript([qml.X(1), qml.StatePrep(state, [0, 1])])
    with pytest.raises(ValueError, match="'StatePrep': it replaces the state"):
        from_pennylane(late)


def test_wires_have_labels():
    tape = qml.tape.QuantumScript(
        [qml.CNOT(["b", "a"]), qml.RX(0.3, "a")], [qml.expval(qml.Z("b"))]
    )
    assert from_pennylane(tape)[0].wires == ((0, 1), (1,))
    again, values = from_pennylane(tape, wires=["a", "c", "b"])
    assert (again.wires, again.n_qubits, values.tolist()) == (((2, 0), (0,)), 3, [0.3])
    assert from_pennylane(qml.tape.QuantumScript([qml.X(2)]))[0].n_qubits == 3
    with pytest.raises(ValueError, match="`wires` must name each wire"):
        from_pennylane(tape, wires=["a", "c"])


def _midway():
    outcome = qml.measure(0)
    qml.cond(outcome, qml.X)(1)


class Mine(qml.operation.Operation):
    """Somebody's own operation."""

    num_wires = 1


REFUSED = {
    "only measurements at the end": lambda: qml.tape.make_qscript(_midway)(),
    "'AmplitudeDamping': it is neither": lambda: qml.tape.QuantumScript(
        [qml.AmplitudeDamping(0.1, 0)]
    ),
    "a batch of 3 angles": lambda: qml.tape.QuantumScript([qml.RX(np.arange(3.0), 0)]),
    "'Mine': it is neither": lambda: qml.tape.QuantumScript([Mine(0.1, wires=0)]),
    "is no finite number": lambda: qml.tape.QuantumScript([qml.RX(math.nan, 0)]),
    "not unitary": lambda: qml.tape.QuantumScript([qml.s_prod(2.0, qml.X(0))]),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_is_refused(message):
    with pytest.raises(ValueError, match=message):
        from_pennylane(REFUSED[message]())


def test_what_is_not_installed_is_named(monkeypatch):
    for module in ("pennylane", "qiskit"):
        monkeypatch.setitem(sys.modules, module, None)
    c = circuits.paper(4)
    for call in (lambda: to_pennylane(c, angles_of(c)), lambda: from_pennylane(None)):
        with pytest.raises(ImportError, match=r'pip install "\.\[pennylane\]"'):
            call()
    for call in (lambda: circuits.to_qiskit(c), lambda: circuits.from_qiskit(None)):
        with pytest.raises(ImportError, match=r'pip install "\.\[qiskit\]"'):
            call()


def test_other_things():
    with pytest.raises(TypeError, match="construct_tape"):
        from_pennylane(qml.RX)
    with pytest.raises(ValueError, match="one entry for each"):
        to_pennylane(circuits.paper(4), [0.1])
