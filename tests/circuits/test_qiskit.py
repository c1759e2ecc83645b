"""Circuits go to Qiskit and come back: as matrices, by Qiskit's own."""

import numpy as np
import pytest
from hypothesis import strategies as st

from eqx_qdeq import Circuit, circuits
from eqx_qdeq.circuits import from_qiskit, to_qiskit
from tests.circuits._tools import (
    angles_of,
    any_circuit,
    ARRAYS,
    given,
    matrix,
    same_up_to_phase,
    tilted,
)

qiskit = pytest.importorskip("qiskit", reason='pip install ".[qiskit]"')
from qiskit import QuantumCircuit  # noqa: E402
from qiskit.circuit import library, Parameter, ParameterVector  # noqa: E402
from qiskit.quantum_info import Operator  # noqa: E402


def theirs(circuit: QuantumCircuit) -> np.ndarray:
    """The unitary with qubit 0 as the most significant bit."""
    return Operator(circuit).reverse_qargs().data


@given(any_circuit(), st.integers(0, 9))
def test_the_same_matrix_there_and_back(c, seed):
    angles = angles_of(c, seed)
    written = to_qiskit(c, angles)
    np.testing.assert_allclose(theirs(written), matrix(c, angles), atol=1e-12)
    again, values = from_qiskit(written)
    assert same_up_to_phase(matrix(again, values), matrix(c, angles), 1e-12)


@given(any_circuit(functions=False), st.integers(0, 9))
def test_parameters_stay_parameters(c, seed):
    written, angles = to_qiskit(c), angles_of(c, seed)
    assert len(written.parameters) == c.n_params
    again, values = from_qiskit(written)
    np.testing.assert_array_equal(values[: c.n_params], np.full(c.n_params, np.nan))
    # What is left are the fixed angles of gates such as V.
    values[: c.n_params] = angles
    assert same_up_to_phase(matrix(again, values), matrix(c, angles), 1e-12)


@pytest.mark.parametrize("gate", circuits.GATES)
def test_every_gate_and_its_inverse(gate):
    info = circuits.GATES[gate]
    c = Circuit([gate], [range(info.n_wires)[::-1]], [range(info.n_params)])
    angles = angles_of(c)
    for one in (c, c.inverse()):
        written = to_qiskit(one, angles)
        np.testing.assert_allclose(theirs(written), matrix(one, angles), atol=1e-12)
        again, values = from_qiskit(written)
        assert same_up_to_phase(matrix(again, values), matrix(one, angles), 1e-12)


def test_gates_come_back_under_their_own_names():
    several = {"V", "Vdg", "CV", "CVdg", "CSXdg", "ZZMax", "U2", "CU2"}
    for gate, info in circuits.GATES.items():
        c = Circuit([gate], [range(info.n_wires)], [range(info.n_params)])
        assert (from_qiskit(to_qiskit(c))[0] == c) is (gate not in several)


def test_one_parameter_is_no_expression():
    c = circuits.hardware_efficient(n_qubits=2, depth=1)
    written = to_qiskit(c)
    assert [p.name for p in written.parameters] == [f"theta[{i}]" for i in range(c.n_params)]
    assert {type(p).__name__ for i in written.data for p in i.operation.params} == {
        "ParameterVectorElement"
    }


def of(n: int, *steps) -> QuantumCircuit:
    circuit = QuantumCircuit(n)
    for operation, qubits in steps:
        circuit.append(operation, qubits)
    return circuit


PART = of(2, (library.HGate(), [0]), (library.CRXGate(0.3), [1, 0]))
READ = {
    "u1": of(2, (library.U1Gate(0.3), [1])),
    "u2": of(2, (library.U2Gate(0.3, 0.4), [1])),
    "u3": of(2, (library.U3Gate(0.3, 0.4, 0.5), [1])),
    "cu1": of(2, (library.CU1Gate(0.3), [1, 0])),
    "cu3": of(2, (library.CU3Gate(0.3, 0.4, 0.5), [1, 0])),
    "cu with a phase": of(2, (library.CUGate(0.3, 0.4, 0.5, 0.6), [1, 0])),
    "xx_plus_yy": of(2, (library.XXPlusYYGate(0.3, 0.4), [1, 0])),
    "xx_minus_yy": of(2, (library.XXMinusYYGate(0.3, 0.4), [1, 0])),
    "iswap": of(2, (library.iSwapGate(), [1, 0])),
    "rzx": of(2, (library.RZXGate(0.3), [1, 0])),
    "controls that wait for 0": of(
        2, (library.SXGate().control(1, ctrl_state=0, annotated=False), [1, 0])
    ),
    "two controls": of(3, (library.SXGate().control(2, annotated=False), [2, 0, 1])),
    "a controlled rotation": of(3, (library.RZGate(0.3).control(2, annotated=False), [2, 0, 1])),
    "a controlled phase": of(
        2, (of(1, (library.RZGate(0.3), [0])).to_gate().control(annotated=False), [1, 0])
    ),
    "many controls": of(4, (library.C3XGate(), [3, 0, 1, 2])),
    "relative phases": of(3, (library.RCCXGate(), [2, 0, 1])),
    "modifiers": of(
        3,
        (library.RZGate(0.3).control(2, ctrl_state=1, annotated=True), [2, 0, 1]),
        (PART.to_gate().inverse(annotated=True).control(1, annotated=True), [2, 0, 1]),
        (library.SXGate().power(3, annotated=True), [0]),
    ),
    "circuits as gates": of(3, (PART.to_gate(), [2, 0])),
    "circuits as instructions": of(3, (PART.to_instruction(), [2, 0])),
    "inverses and powers": of(
        2, (library.CSXGate().inverse(), [1, 0]), (PART.power(2).to_gate(), [0, 1])
    ),
    "arrays": of(2, (library.UnitaryGate(ARRAYS[2]), [1, 0])),
    "strings of Paulis": of(3, (library.PauliGate("XYZ"), [2, 0, 1])),
    "fixed gates": of(3, (library.QFTGate(3), [2, 0, 1])),
    "barriers": of(2, (library.Barrier(2), [0, 1]), (library.XGate(), [1])),
}


@pytest.mark.parametrize("name", READ)
def test_what_is_made_of_gates(name):
    again, values = from_qiskit(READ[name])
    assert again.n_qubits == READ[name].num_qubits
    assert same_up_to_phase(matrix(again, values), theirs(READ[name]), 1e-10)
    # What is inside of a gate without angles is fixed.
    fixed = "fixed gates", "many controls", "relative phases", "circuits as gates"
    assert name not in fixed or again.n_params == 0


def test_angles_on_a_line():
    a, b = Parameter("a"), Parameter("b")
    circuit = QuantumCircuit(2)
    circuit.rx(2 * b + 0.5, 0)
    circuit.cp((a + 1) / 4 - a, 0, 1)
    circuit.u(b, 0.1, -b, 1)
    circuit.append(library.RZXGate(3 * a), [0, 1])
    again, values = from_qiskit(circuit)
    np.testing.assert_array_equal(values, [np.nan, np.nan, 0.1])  # a and b by name
    angles = {a: 0.7, b: -0.4}
    bound = theirs(circuit.assign_parameters(angles))
    assert same_up_to_phase(matrix(again, np.array([0.7, -0.4, 0.1])), bound, 1e-12)
    # Elements of a vector come in order, the tenth behind the ninth.
    vector = ParameterVector("v", 11)
    circuit = QuantumCircuit(1)
    for element in reversed(vector):
        circuit.rx(element, 0)
    assert from_qiskit(circuit)[0].params == tuple((i,) for i in reversed(range(11)))


def test_measurements_and_resets_at_the_ends():
    circuit = QuantumCircuit(2, 2)
    circuit.reset(0)
    circuit.x(0)
    circuit.measure([0, 1], [0, 1])
    circuit.barrier()
    assert from_qiskit(circuit)[0] == Circuit(["X"], [[0]], [[]], 2)
    prepared = QuantumCircuit(2)
    prepared.initialize(np.array([0.5, 0.5j, -0.5, 0.5]))
    found = matrix(*from_qiskit(prepared)).reshape(2, 2, 4)[..., 0].T.reshape(4)
    assert abs(np.vdot(found, [0.5, 0.5j, -0.5, 0.5])) == pytest.approx(1, abs=1e-12)


def _refused(write) -> QuantumCircuit:
    circuit = QuantumCircuit(2, 2)
    circuit.h(0)
    write(circuit)
    return circuit


def _branch(circuit):
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.x(1)


def _loop(circuit):
    with circuit.for_loop(range(3)):
        circuit.x(1)


def _late(circuit):
    circuit.measure(0, 0)
    circuit.cx(0, 1)


A, B = Parameter("a"), Parameter("b")
REFUSED = {
    "'if_else' on qubits": _branch,
    "'for_loop' on qubits": _loop,
    "'reset' on qubits (0,) is no gate": lambda c: c.reset(0),
    "'delay' on qubits (1,)": lambda c: c.delay(100, 1),
    "'cx' on qubits (0, 1) acts on qubit 0 after its measurement": _late,
    "'rx' on qubits (0,) has the angle": lambda c: c.rx(A * A, 0),
    "of a and b": lambda c: c.rx(A + B, 0),
    "as in 2 * theta + 1": lambda c: c.rx(A.sin(), 0),
    "must be a finite number": lambda c: c.rx(np.inf, 0),
    "uses the parameter 'a'": lambda c: setattr(c, "global_phase", A),
    "'rz' on qubits (1,) has the angle": lambda c: c.append(
        of(1, (library.RZGate(A**2), [0])).to_gate(), [1]
    ),
    "'mine' on qubits (0, 1)": lambda c: c.append(qiskit.circuit.Gate("mine", 2, []), [0, 1]),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_is_refused(message):
    with pytest.raises(ValueError) as caught:
        from_qiskit(_refused(REFUSED[message]))
    assert message in str(caught.value)


def test_gates_are_known_by_class_and_not_by_name():
    mine = qiskit.circuit.Gate("rx", 1, [0.3])
    mine.definition = of(1, (library.RYGate(0.3), [0]))
    assert from_qiskit(of(1, (mine, [0])))[0].gates == ("Ry",)


def test_other_things():
    with pytest.raises(TypeError, match=r"qiskit\.QuantumCircuit"):
        from_qiskit("h 0")
    with pytest.raises(ValueError, match="no qubits"):
        from_qiskit(QuantumCircuit(0))
    with pytest.raises(ValueError, match="one entry for each"):
        to_qiskit(circuits.paper(4), [0.1])
    with pytest.raises(ValueError, match=r"gate 0 \('tilted' on wires \(0,\)\) is a function"):
        to_qiskit(Circuit([tilted], [[0]], [[0, 1]]))
