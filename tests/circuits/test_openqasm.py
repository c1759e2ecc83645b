"""Circuits go to OpenQASM and back; other people's texts mean what PennyLane says."""

import math
import re

import numpy as np
import pennylane as qml
import pytest
from hypothesis import settings, strategies as st

from eqx_qdeq import Circuit, circuits
from eqx_qdeq.circuits import DEFINITIONS
from tests._pennylane import apply, GATES
from tests.circuits._tools import (
    angles_of,
    any_circuit,
    ARRAYS,
    assert_same_up_to_phase,
    given,
    matrix,
    pennylane,
    tilted,
)


def _named(c: Circuit) -> Circuit:
    """The circuit without arrays, which OpenQASM has no names for."""
    kept = [g for g, gate in enumerate(c.gates) if isinstance(gate, str)]
    lists = (c.gates, c.wires, c.params, c.scales, c.offsets)
    gates, wires, params, scales, offsets = ([values[g] for g in kept] for values in lists)
    return Circuit(gates, wires, params, c.n_qubits, scales=scales, offsets=offsets)


# --- there and back -------------------------------------------------------------------------


@given(any_circuit(functions=False))
def test_with_inputs_the_same_circuit_comes_back(c):
    c = _named(c)
    again, angles = Circuit.from_openqasm(c.to_openqasm())
    assert again == c
    assert angles.shape == (c.n_params,)
    assert np.isnan(angles).all()


@given(any_circuit(functions=False), st.integers(0, 9))
def test_with_angles_the_same_unitary_comes_back(c, seed):
    c = _named(c)
    values = angles_of(c, seed)
    again, angles = Circuit.from_openqasm(c.to_openqasm(values))
    assert (again.gates, again.wires, again.n_qubits) == (c.gates, c.wires, c.n_qubits)
    assert_same_up_to_phase(matrix(again, angles), matrix(c, values))


def test_the_papers_circuit_comes_back_with_its_angles():
    c = circuits.paper(10)
    again, angles = Circuit.from_openqasm(c.to_openqasm(angles_of(c)))
    assert again == c
    assert angles.dtype == np.float64
    np.testing.assert_array_equal(angles, angles_of(c))


def test_the_inverse_of_each_gate_comes_back():
    for gate, info in circuits.GATES.items():
        c = Circuit([gate], [range(info.n_wires)], [range(info.n_params)]).inverse()
        assert Circuit.from_openqasm(c.to_openqasm())[0] == c


@pytest.mark.parametrize("file", ["'stdgates.inc'", "'qelib1.inc'", '"stdgates.inc"'])
def test_an_included_file_stands_in_quotes_of_either_kind(file):
    circuit, _ = Circuit.from_openqasm(f"OPENQASM 3.0;\ninclude {file};\nqubit q;\nh q;")
    assert circuit == Circuit(["H"], [[0]], [[]])


def test_what_is_written():
    c = Circuit(
        ["H", "Rx", "ZZMax", "CRz", "Ry"],
        [[2], [0], [0, 2], [1, 0], [1]],
        [[], [0], [], [1], [0]],
        scales=[[], [-1], [], [2], [1]],
        offsets=[[], [0], [], [-0.5], [0.25]],
    )
    head = """OPENQASM 3.0;
include "stdgates.inc";
gate rzz(theta) a, b { cx a, b; rz(theta) b; cx a, b; }
gate zzmax a, b { rzz(pi/2) a, b; }
"""
    assert c.to_openqasm() == (
        head
        + """input float theta_0;
input float theta_1;
qubit[3] q;
h q[2];
rx(-theta_0) q[0];
zzmax q[0], q[2];
crz(2.0 * theta_1 - 0.5) q[1], q[0];
ry(theta_0 + 0.25) q[1];
"""
    )
    assert c.to_openqasm(np.array([0.5, 1.0])) == (
        head
        + """qubit[3] q;
h q[2];
rx(-0.5) q[0];
zzmax q[0], q[2];
crz(1.5) q[1], q[0];
ry(0.75) q[1];
"""
    )


# OpenQASM's own definition, in terms of gates that we do not define with it.
_CU = """
gate cu(theta, phi, lambda, gamma) c, t {
  p(gamma) c; p((lambda + phi)/2) c; p((lambda - phi)/2) t; cx c, t;
  u3(-theta/2, 0, -(phi + lambda)/2) t; cx c, t; u3(theta/2, phi, 0) t;
}
"""


@pytest.mark.parametrize("gate", [*circuits.GATES, "inverse ZZMax"])
def test_definitions_are_the_gates(gate):
    info = circuits.GATES[gate.split()[-1]]
    c = Circuit([gate.split()[-1]], [range(info.n_wires)[::-1]], [range(info.n_params)])
    c = c.inverse() if gate.startswith("inverse") else c
    text = c.to_openqasm(angles_of(c))
    # Under other names the definitions are not ours any more, so they are carried out.
    text = re.sub(rf"\b({'|'.join(DEFINITIONS)})\b", r"my_\1", text)
    text = text.replace('include "stdgates.inc";', 'include "stdgates.inc";' + _CU)
    expanded, angles = Circuit.from_openqasm(text)
    assert (c.gates[0] in expanded.gates) == ("my_" not in text)
    assert_same_up_to_phase(matrix(expanded, angles), matrix(c, angles_of(c)))


def test_definitions_name_their_angles_in_alphabetical_order():
    # qiskit-qasm3-import 0.6 binds them in that order, whatever the definition says.
    for text in DEFINITIONS.values():
        names = re.findall(r"\w+", text.split("{")[0].partition("(")[2].partition(")")[0])
        assert names == sorted(names)


# --- other people's texts -------------------------------------------------------------------


@given(any_circuit(functions=False, max_gates=5), st.integers(0, 9))
@settings(max_examples=15)
def test_texts_that_pennylane_writes(c, seed):
    c = _named(c)
    values = angles_of(c, seed)
    with qml.queuing.AnnotatedQueue() as queue:
        apply(c, values)
    tape = qml.tape.QuantumScript.from_queue(queue)
    if not tape.operations:
        return
    text = qml.to_openqasm(tape, wires=range(c.n_qubits))
    found, angles = Circuit.from_openqasm(text)
    assert_same_up_to_phase(matrix(found, angles), matrix(c, values), atol=1e-9)


def _ghz():
    qml.Hadamard(0)
    qml.CNOT([0, 1])
    qml.CNOT([0, 2])


def _library():
    qml.U3(0.1, 0.2, 0.3, 0)
    qml.U2(0.1, 0.2, 1)
    qml.PhaseShift(0.3, 2)
    qml.ctrl(qml.U3, 1)(0.1, 0.2, 0.3, 0)
    qml.ControlledPhaseShift(0.4, [2, 0])
    qml.IsingZZ(0.5, [0, 1])
    qml.IsingXX(0.6, [1, 2])
    qml.adjoint(qml.SX)(0)
    qml.ctrl(qml.SX, 2)(1)
    qml.ISWAP([0, 2])
    relative_toffoli = np.diag([1, 1, 1, 1, 1, -1, 0, 0]).astype(complex)
    relative_toffoli[6, 7], relative_toffoli[7, 6] = -1j, 1j
    qml.QubitUnitary(relative_toffoli, wires=[1, 2, 0])
    qml.PhaseShift(0.7, 1)
    qml.ctrl(qml.U3, 1)(0.2, 0.3, 0.4, 2)


def _expressions():
    qml.RX(-np.pi / 2 + 3 * np.pi / 4, 0)
    qml.RY(np.sin(0.3) * 2.0**3 - (1 - 0.5e-1), 0)
    qml.RZ(-(2.0**2) + np.sqrt(2) / 4 / 2, 0)
    qml.RX(np.log(2) * np.cos(-0.5), 0)


def _own_gates():
    for a, b in ((0, 1), (2, 1)):
        qml.RX(0.4 / 2, a)
        qml.CNOT([a, b])
        qml.RZ(0.4 - 0.1, b)
        qml.CNOT([a, b])
    qml.PauliZ(0)  # the text has its own x


def _registers():
    for wire in range(2):
        qml.Hadamard(wire)
    for wire in range(2):
        qml.CNOT([wire, 2 + wire])
    for wire in range(2):
        qml.CZ([4, wire])
    qml.SWAP([0, 4])


def _builtin():
    qml.U3(0.3, 0.2, 0.1, 0)
    qml.CNOT([0, 1])


_QASM2 = 'OPENQASM 2.0;\ninclude "qelib1.inc";\n'
_QASM3 = 'OPENQASM 3.0;\ninclude "stdgates.inc";\n'


@pytest.mark.parametrize(
    "text, n_qubits, function",
    [
        (
            _QASM2
            + """// a state of three cats
            qreg q[3]; creg c[3];
            h q[0]; cx q[0],q[1]; /* in
            two lines */ barrier q; cx q[0] , q[2];
            measure q -> c;""",
            3,
            _ghz,
        ),
        (
            _QASM2
            + """qreg q[3];
            u3(0.1,0.2,0.3) q[0]; u2(.1,.2) q[1]; u1(3e-1) q[2]; cu3(0.1,0.2,0.3) q[1],q[0];
            cu1(0.4) q[2],q[0]; rzz(0.5) q[0],q[1]; rxx(0.6) q[1],q[2]; sxdg q[0];
            csx q[2],q[1]; iswap q[0],q[2]; rccx q[1],q[2],q[0]; cu(0.2,0.3,0.4,0.7) q[1],q[2];""",
            3,
            _library,
        ),
        (
            _QASM2
            + """qreg q[1];
            rx(-pi/2 + 3*pi/4) q[0]; ry(sin(0.3)*2^3-(1-0.5e-1)) q[0];
            rz(-2**2 + sqrt(2)/4/2) q[0]; rx(ln(2)*cos(-0.5)) q[0];""",
            1,
            _expressions,
        ),
        (
            _QASM2
            + """gate half(t) a { rx(t/2) a; }
            gate both(t, s) a, b { half(t) a; cx a, b; barrier a, b; rz(t - s) b; cx a, b; }
            gate x a { z a; }
            qreg q[3];
            both(0.4, 0.1) q[0], q[1]; both(0.4, 0.1) q[2], q[1]; x q[0];""",
            3,
            _own_gates,
        ),
        (
            _QASM3
            + """qubit[2] a; qubit[2] b; qubit c; bit[2] r;
            h a; cx a, b; cz c, a; swap a[0], c; gphase(pi/3);
            r = measure a; bit s = measure c;""",
            5,
            _registers,
        ),
        ("OPENQASM 2.0; qreg q[2]; U(0.3, 0.2, 0.1) q[0]; CX q[0], q[1];", 2, _builtin),
    ],
    ids=["ghz", "library", "expressions", "own-gates", "registers", "builtin"],
)
def test_texts_written_by_hand(text, n_qubits, function):
    c, angles = Circuit.from_openqasm(text)
    assert c.n_qubits == n_qubits
    assert_same_up_to_phase(matrix(c, angles), pennylane(function, n_qubits))


def test_inputs_come_before_numbers():
    c, angles = Circuit.from_openqasm(
        _QASM3
        + """input float[64] a; input angle b;
        qubit q;
        rx(0.5) q; ry(2*b / 4 + π) q; rz(-(a + tau)) q; u2(a, 0.25) q;"""
    )
    np.testing.assert_array_equal(angles, [np.nan, np.nan, 0.5, 0.25])
    assert c == Circuit(
        ["Rx", "Ry", "Rz", "U2"],
        [[0]] * 4,
        [[2], [1], [0], [0, 3]],
        scales=[[1], [0.5], [-1], [1, 1]],
        offsets=[[0], [math.pi], [-math.tau], [0, 0]],
    )


def test_inputs_pass_through_definitions():
    c, _ = Circuit.from_openqasm(
        "input float t; gate g(a) q { rx(-a/2) q; ry(2*a + 1) q; } qubit q; g(3*t - 1) q;"
    )
    assert c.scales == ((-1.5,), (6.0,))
    assert c.offsets == ((0.5,), (-1.0,))


# --- errors ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "gate, wires, name",
    [(ARRAYS[1], [0], "unitary"), (ARRAYS[2], [1, 0], "unitary"), (tilted, [0], "tilted")],
)
def test_gates_without_a_name_cannot_be_written(gate, wires, name):
    params = [0, 1] if gate is tilted else []
    c = Circuit(["H", gate], [[0], wires], [[], params])
    where = re.escape(f"gate 1 ({name!r} on wires {tuple(wires)})")
    with pytest.raises(ValueError, match=f"{where}: OpenQASM has no name for an array or a func"):
        c.to_openqasm()


def test_angles_that_do_not_fit():
    c = Circuit(["U2"], [[0]], [[0, 1]])
    with pytest.raises(ValueError, match=r"`angles` must have shape \(2,\).*; got \(3,\)\. Leave"):
        c.to_openqasm(np.zeros(3))
    with pytest.raises(ValueError, match="`angles` must be finite; angle 1 is nan"):
        c.to_openqasm(np.array([0, np.nan]))


@pytest.mark.parametrize(
    "text, message",
    [
        ("qubit q;\nfoo q;", "line 2: unknown gate 'foo'; define it with a gate statement, or use"),
        ("qubit q;\n\nrx q;", "line 3: 'rx' takes 1 angles; got 0"),
        ("qubit q; h(0.1) q;", "line 1: 'h' takes 0 angles; got 1"),
        ("qubit[2] q; cx q[0];", "line 1: 'cx' takes 2 qubits; got 1"),
        ("qubit[2] q;\ncx q[1], q[1];", "line 2: the qubits of 'cx' must differ"),
        ("qubit[2] q;\nh q[2];", r"line 2: q\[2\] is out of range; 'q' has 2 qubits"),
        ("qubit q;\nh p;", "line 2: 'p' is not a declared qubit"),
        ("qubit[2] a; qubit[3] b;\ncx a, b;", r"line 2: registers of different sizes: \[2, 3\]"),
        ("qubit q;\nqubit[2] q;", "line 2: 'q' is declared twice"),
        ("qubit q;\ninput float q;", "line 2: 'q' is declared twice"),
        ("qubit[0] q;", "line 1: a register has at least one element; got 0"),
        ("qubit[n] q;", "line 1: 'n' is not a declared input or a constant"),
        ("creg c[1];", "line 1: the text declares no qubits"),
        ("", "line 1: the text declares no qubits"),
        ("OPENQASM 1.0;", "line 1: OpenQASM '1.0' is not known; only 2 and 3 are"),
        ('include "my.inc";', 'line 1: cannot include "my.inc"; only "qelib1.inc" and "stdgates'),
        ("include 'stdgates.inc\";", "line 1: unexpected character"),
        ("include 'my.inc';", "line 1: cannot include 'my.inc'; only"),
        ("qubit q;\nh q", "line 2: expected ';'; got the end of the text"),
        ("qubit q;\nh q h q;", "line 2: expected ';'; got 'h'"),
        ("qubit q;\n3;", "line 2: expected a statement; got '3'"),
        ("qubit q;\nh 3;", "line 2: expected a name; got '3'"),
        ("qubit q;\nch ;", "line 2: expected a name; got ';'"),
        ("qubit q; $", r"line 1: unexpected character '\$'"),
        (
            "qubit q; h q;\nreset q;",
            "line 2: 'reset' of q after something was done",
        ),
        ("qubit q;\nif (c == 1) x q;", "line 2: 'if' is not supported"),
        ("input int n;", "line 1: an input is a float or an angle; got 'int'"),
        ("input float a;\nqubit q;\nh q;", "line 1: no gate uses the input 'a'; remove it"),
        ("qubit q;\nrx(b) q;", "line 2: 'b' is not a declared input or a constant"),
        ("qubit q;\nrx() q;", "line 2: 'rx' takes 1 angles; got 0"),
        ("qubit q;\nrx(*) q;", r"line 2: expected an angle; got '\*'"),
        ("qubit q;\nrx(1/0) q;", "line 2: division by zero"),
        ("qubit q;\nrx(sqrt(-1)) q;", "line 2: a function of this value is not a finite number"),
        ("qubit q;\nrx((-1)**0.5) q;", "line 2: a function of this value is not a finite number"),
        ("qubit q;\nrx(1e999) q;", "line 2: the angles of 'rx' must be finite"),
        ("input float a; qubit q;\nrx(a*a) q;", "line 2: an angle must be a multiple of an input"),
        ("input float a; qubit q;\nrx(sin(a)) q;", "line 2: an angle must be a multiple"),
        (
            "input float a; input float b; qubit q;\nrx(a+b) q;",
            "line 2: an angle may contain one input, as in 2 [*] theta [+] pi; it has two",
        ),
        (
            "qubit q; bit c;\nc = measure q;\nx q;",
            "line 3: 'x' acts on q after its measurement in line 2; only measurements at the end",
        ),
        ("gate g a { g a; }\nqubit q; g q;", "line 1: the gate 'g' is defined by itself"),
        ("gate g a {\nh b; }\nqubit q; g q;", "line 2: 'b' is not a declared qubit"),
        ("gate g(1) a { }", "line 1: expected names between commas; got '1'"),
        ("gate g a {\nh a;", r"line 2: the text ends before }"),
    ],
)
def test_errors_say_what_is_wrong_and_where(text, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        Circuit.from_openqasm(text)


def test_every_gate_has_a_name():
    texts = [
        Circuit([g], [range(i.n_wires)], [range(i.n_params)]).to_openqasm().split("\n")[-2]
        for g, i in circuits.GATES.items()
    ]
    assert len({text.split(" ")[0].split("(")[0] for text in texts}) == len(circuits.GATES)
    assert set(GATES) == set(circuits.GATES)
