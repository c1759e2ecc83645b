"""What OpenQASM's versions mean by numbers, modifiers and parts of registers, as PennyLane says."""

import re

import numpy as np
import pennylane as qml
import pytest

from eqx_qdeq import Circuit, circuits
from eqx_qdeq.circuits import QASM_NAMES
from tests._pennylane import GATES
from tests.circuits._tools import (
    angles_of,
    assert_same_up_to_phase,
    matrix,
    pennylane,
)

_3 = "OPENQASM 3.0;\n"
_2 = "OPENQASM 2.0;\n"


def _angle(formula: str, version: str = _3) -> float:
    (angle,) = Circuit.from_openqasm(f"{version} qreg q[1]; rx({formula}) q;")[1]
    return angle


# --- numbers --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "formula, two, three",
    [
        ("1/2*pi", np.pi / 2, 0),
        ("pi*(3/2)", 1.5 * np.pi, np.pi),
        ("pi/2", np.pi / 2, np.pi / 2),
        ("1.0/2*pi", np.pi / 2, np.pi / 2),
        ("7/2/2", 1.75, 1),
        ("6/3*pi", 2 * np.pi, 2 * np.pi),
        ("-6/3", -2, -2),
        ("2**3/16", 0.5, 0),
        ("-2**2 + 2*3 - 1", 1, 1),
        ("2**3**0", 2, 2),
        ("2**-1.0", 0.5, 0.5),
        ("+3 - -+2 + -(+1)", 4, 4),
        ("0x1F", 31, 31),
        ("0b1_01 + 0o17", 20, 20),
        ("1_000.5e-0_3", 1.0005, 1.0005),
    ],
)
def test_integers_are_divided_as_each_version_does(formula, two, three):
    np.testing.assert_allclose([_angle(formula, _2), _angle(formula)], [two, three], rtol=1e-15)


def test_only_version_2_writes_powers_with_a_hat():
    assert _angle("2^3", _2) == 8
    with pytest.raises(circuits.QasmError, match="line 2: '.' is the exclusive or of bits in Open"):
        _angle("2^3")


@pytest.mark.parametrize("text", ["1/2", "-1/2", "-(7/2)", "2**3/5"])
def test_a_quotient_that_depends_on_the_version_needs_one(text):
    with pytest.raises(circuits.QasmError, match=r"is ambiguous: a quotient of integers .*\.0/"):
        _angle(text, "")


def test_what_a_gate_is_called_with_is_real_inside():
    _, angles = Circuit.from_openqasm(_3 + "gate g(t) a { rx(t/2) a; } qubit q; g(1) q;")
    np.testing.assert_array_equal(angles, [0.5])


def test_constants():
    circuit, angles = Circuit.from_openqasm(
        _3
        + """const int n = 2; const uint[4] m = 0xF; const float[64] half = 1;
        const float third = pi / (n + 1); qubit[n + 1] q;
        rx(half/2) q[n]; ry(m/n) q[n - 1]; rz(third) q[0];"""
    )
    assert circuit.wires == ((2,), (1,), (0,))
    np.testing.assert_array_equal(angles, [0.5, 7, np.pi / 3])


# --- registers ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "part, wires",
    [
        ("q[2]", [2]),
        ("q[-1]", [5]),
        ("q[1:3]", [1, 2, 3]),
        ("q[:2]", [0, 1, 2]),
        ("q[4:]", [4, 5]),
        ("q[:]", [0, 1, 2, 3, 4, 5]),
        ("q[1:2:5]", [1, 3, 5]),
        ("q[5:-2:0]", [5, 3, 1]),
        ("q[:-1:]", [5, 4, 3, 2, 1, 0]),
        ("q[-2:-1]", [4, 5]),
        ("q[{4, 0, -3}]", [4, 0, 3]),
        ("q[1:4][1:2]", [2, 3]),
        ("part", [1, 2, 0]),
        ("part[1:]", [2, 0]),
    ],
)
def test_parts_of_registers(part, wires):
    text = _3 + f"qubit[6] q; let part = q[1:2] ++ q[0]; x {part}; measure {part};"
    assert [w for (w,) in Circuit.from_openqasm(text)[0].wires] == wires


def test_a_register_that_is_reset_first():
    text = "\ufeff" + _2 + "qreg q[2]; reset q; h q[0]; reset q[1]; cx q[0], q[1];"
    assert Circuit.from_openqasm(text)[0].gates == ("H", "CX")


# --- the standard libraries -----------------------------------------------------------------


def _rc3x():
    # qelib1.inc, its u2(0, pi) being h.
    steps = "h- t- c2 t+ h- c0 t- c1 t+ c0 t- c1 t+ h- t- c2 t+ h-".split()
    for kind, sign in steps:
        if kind == "c":
            qml.CNOT([int(sign), 3])
        else:
            gate = {"h": qml.Hadamard, "t-": qml.T}.get(kind if kind == "h" else kind + sign)
            gate(3) if gate else qml.adjoint(qml.T)(3)


@pytest.mark.parametrize(
    "call, n_qubits, function",
    [
        ("c3x", 4, lambda: qml.ctrl(qml.X, [0, 1, 2])(3)),
        ("c4x", 5, lambda: qml.ctrl(qml.X, [0, 1, 2, 3])(4)),
        ("c3sqrtx", 4, lambda: qml.ctrl(qml.SX, [0, 1, 2])(3)),
        ("rc3x", 4, _rc3x),
        ("u0(3)", 1, lambda: qml.Identity(0)),
    ],
)
def test_gates_of_the_old_library(call, n_qubits, function):
    qubits = ", ".join(f"q[{i}]" for i in range(n_qubits))
    c, angles = Circuit.from_openqasm(f"{_2} qreg q[{n_qubits}]; {call} {qubits};")
    assert angles.shape == (0,)  # nothing fixed becomes a parameter
    assert_same_up_to_phase(matrix(c, angles), pennylane(function, n_qubits))


# --- modifiers ------------------------------------------------------------------------------

_CONTROLLABLE = sorted(set(circuits.GATES) - {"U2", "U3"})


def _read(modifiers: str, gate: str, n_controls: int) -> tuple:
    """The matrices of a gate under modifiers, as we read it, and of the gate by itself."""
    info = circuits.GATES[gate]
    name = QASM_NAMES[gate]
    values = angles_of(Circuit([gate], [range(info.n_wires)], [range(info.n_params)]))
    arguments = f"({', '.join(map(repr, values.tolist()))})" if len(values) else ""
    n_qubits = n_controls + info.n_wires
    qubits = ", ".join(f"q[{i}]" for i in range(n_qubits))
    c, angles = Circuit.from_openqasm(
        f"{_3} qubit[{n_qubits}] q; {modifiers} @ {name}{arguments} {qubits};"
    )
    on = 0 if info.n_wires == 1 else list(range(info.n_wires))
    return matrix(c, angles), pennylane(lambda: GATES[gate](*values, wires=on), info.n_wires)


@pytest.mark.parametrize("gate", _CONTROLLABLE)
def test_every_gate_under_controls(gate):
    # (The phase of the whole is global, that of the gate is not.)
    for modifiers, control_values in (
        ("ctrl", [1]),
        ("negctrl", [0]),
        ("ctrl @ negctrl", [1, 0]),
        ("ctrl(2) @ inv", [1, 1]),
    ):
        n = len(control_values)
        found, inner = _read(modifiers, gate, n)
        inner = inner.conj().T if "inv" in modifiers else inner
        place = len(inner) * int("".join(map(str, control_values)), 2)
        expected = np.eye(len(inner) * 2**n, dtype=complex)
        expected[place : place + len(inner), place : place + len(inner)] = inner
        assert_same_up_to_phase(found, expected)


@pytest.mark.parametrize("gate", circuits.GATES)
def test_every_gate_inverted_and_to_a_power(gate):
    for modifiers, exponent in (("inv", -1), ("pow(3)", 3), ("pow(-2)", -2), ("pow(0)", 0)):
        found, once = _read(modifiers, gate, 0)
        assert_same_up_to_phase(found, np.linalg.matrix_power(once, exponent))


_FIXED = [name for name, info in circuits.GATES.items() if not info.n_params]


@pytest.mark.parametrize("gate", _FIXED)
def test_fractional_powers_are_principal(gate):
    found, once = _read("ctrl @ pow(0.25)", gate, 1)
    half = len(found) // 2
    root = found[half:, half:] / found[0, 0]
    np.testing.assert_allclose(np.linalg.matrix_power(root, 4), once, atol=1e-12)
    phases = np.angle(np.linalg.eigvals(root))
    assert np.all(phases > -np.pi / 4 + 1e-6) and np.all(phases < np.pi / 4 + 1e-6)


def test_modifiers_of_definitions_and_phases():
    text = (
        _3
        + """gate g(t) a, b { gphase(t); rx(2*t) a; cx a, b; }
        qubit[3] q; ctrl @ inv @ g(0.3) q[2], q[0], q[1]; negctrl @ gphase(0.4) q[1];"""
    )
    c, angles = Circuit.from_openqasm(text)

    def expected():
        qml.ctrl(qml.CNOT, 2)([0, 1])
        qml.CRX(-0.6, [2, 0])
        qml.PhaseShift(-0.3, 2)
        qml.X(1)
        qml.PhaseShift(0.4, 1)
        qml.X(1)

    assert_same_up_to_phase(matrix(c, angles), pennylane(expected, 3))


def test_a_gate_without_angles_has_up_to_six_wires():
    c, _ = Circuit.from_openqasm(_3 + "qubit[6] q; ctrl(5) @ h q[0], q[1], q[2], q[3], q[4], q[5];")
    expected = pennylane(lambda: qml.ctrl(qml.Hadamard, range(5))(5), 6)
    assert_same_up_to_phase(matrix(c, np.zeros(0)), expected)
    with pytest.raises(circuits.QasmError, match="too many controls: .* may have 6 wires in all"):
        Circuit.from_openqasm(
            _3 + "qubit[7] q; ctrl(6) @ s q[0], q[1], q[2], q[3], q[4], q[5], q[6];"
        )


def test_inputs_pass_through_modifiers():
    c, _ = Circuit.from_openqasm(
        "input float t; qubit[2] q; ctrl @ pow(2) @ inv @ rx(t - 1) q[0], q[1];"
    )
    assert c == Circuit(["CRx"], [[0, 1]], [[0]], scales=[[-2]], offsets=[[2]])


def test_a_control_on_registers():
    c, _ = Circuit.from_openqasm("qubit[2] a; qubit[2] b; qubit c; ctrl @ x a, b; ctrl @ z c, a;")
    assert c.gates == ("CX", "CX", "CZ", "CZ")
    assert c.wires == ((0, 2), (1, 3), (4, 0), (4, 1))


# --- two versions are written ---------------------------------------------------------------


@pytest.mark.parametrize("gate", circuits.GATES)
def test_every_gate_and_its_inverse_through_version_2(gate):
    info = circuits.GATES[gate]
    once = Circuit([gate], [range(info.n_wires)[::-1]], [range(info.n_params)])
    c = once + once.inverse()
    values = 1e-5 * angles_of(c)  # 1e-05 has no point, which version 2 wants
    text = c.to_openqasm(values, version=2)
    assert text.startswith('OPENQASM 2.0;\ninclude "qelib1.inc";\n')
    again, angles = Circuit.from_openqasm(text)
    assert (again.gates, again.wires) == (c.gates, c.wires)
    np.testing.assert_allclose(matrix(again, angles), matrix(c, values), atol=1e-14)
    # The definitions say the same if they are carried out.
    for name in re.findall(r"gate (\w+)", text):
        text = re.sub(rf"\b{name}\b", f"my_{name}", text)
    assert_same_up_to_phase(matrix(*Circuit.from_openqasm(text)), matrix(c, values))


def test_version_2_as_text():
    c = Circuit(
        ["U1", "SXdg", "CU1", "CU2", "I"],
        [[0], [1], [0, 1], [1, 0], [2]],
        [[0], [], [1], [2, 3], []],
    )
    assert c.to_openqasm(np.array([1e-5, 2, 0.25, -1]), version=2) == (
        """OPENQASM 2.0;
include "qelib1.inc";
gate sxdg a { rx(-pi/2) a; }
gate cu2(r, s) a, b { cu3(pi/2, r, s) a, b; }
qreg q[3];
u1(1.0e-05) q[0];
sxdg q[1];
cu1(2.0) q[0], q[1];
cu2(0.25, -1.0) q[1], q[0];
id q[2];
"""
    )


def test_version_2_has_no_inputs_and_there_is_no_version_4():
    c = Circuit(["Rx"], [[0]], [[0]])
    with pytest.raises(ValueError, match=r"OpenQASM 2 has no inputs; give `angles`, .* \(1,\)"):
        c.to_openqasm(version=2)
    with pytest.raises(ValueError, match="`version` must be 2 or 3; got 4"):
        c.to_openqasm(version=4)


# --- errors ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, message",
    [
        ("qubit[2] q;\nctrl @ U(1.,2.,3.) q[0], q[1];", "line 2: the modifier 'ctrl': U3 under"),
        ("qubit[2] q;\nctrl @ u2(1.,2.) q[0], q[1];", "line 2: the modifier 'ctrl': U2 under"),
        ("qubit q;\nctrl @ x q;", "line 2: 'x' takes 2 qubits; got 1"),
        ("qubit[2] q;\nctrl @ x q[0], q[0];", "line 2: the qubits of 'x' must differ"),
        ("qubit q;\nctrl x q;", "line 2: expected '@'; got 'x'"),
        ("qubit q;\nctrl(0) @ x q;", "line 2: 'ctrl' takes at least one qubit; got 0"),
        ("qubit q;\nctrl(0.5) @ x q;", "line 2: expected an integer; got another number"),
        ("qubit q;\npow @ x q;", r"line 2: the modifier 'pow' is written pow\(k\) @"),
        ("qubit q;\ninv(2) @ x q;", "line 2: the modifier 'inv' is written inv @"),
        ("qubit q;\npow(0.5) @ rx(0.2) q;", "line 2: the modifier 'pow': only of a single gate wi"),
        # OpenQASM's own library means the square root by this, its rules say the power 0.
        ("OPENQASM 3;qubit q;\npow(1/2) @ x q;", "line 2: 1/2 is ambiguous"),
        ("input float t; qubit q;\npow(t) @ x q;", "line 2: the power of a gate must be a finite"),
        ("qubit[2] q;\nx q[2:3];", r"line 2: q\[2\] is out of range; 'q' has 2 qubits"),
        ("qubit[2] q;\nx q[-3];", r"line 2: q\[-3\] is out of range"),
        ("qubit[2] q;\nx q[1:0];", "line 2: this part of 'q' has no qubits"),
        ("qubit[2] q;\nx q[0:0:1];", "line 2: a range is start:end or start:step:end"),
        ("qubit[2] q;\nlet a = q ++ q[0];", "line 2: 'a' contains a qubit twice"),
        ("qubit[2] q;\nlet q = q[0];", "line 2: 'q' is declared twice"),
        ("qubit[2] q;\nx q[pi];", "line 2: expected an integer; got another number"),
        ("input float t;\nconst float a = t;", "line 2: the constant 'a' depends on an input"),
        ("const int a = 0.5;", "line 1: 'a' is no int of 64 bits: 0.5"),
        ("const uint[4] a = 16;", "line 1: 'a' is no uint of 4 bits: 16"),
        ("const angle a = pi;", "line 1: a constant is an int, a uint or a float; got 'angle'"),
        ("qubit q;\nOPENQASM 3;", "line 2: the version must stand in front of everything else"),
        ("qubit q;\nrx(2**-1) q;", r"line 2: 2\*\*-1 is not an integer; write 2.0\*\*-1"),
        ("qubit q;\nrx(2**64) q;", "line 2: an integer has at most 64 bits"),
        ("qubit q;\nmeasure q;\nreset q;", "line 3: 'reset' of q after something was done to it"),
        ("gate g a { x a; }\ngate g a { z a; }", "line 2: the gate 'g' is defined twice"),
        ("gate g(a, a) b { }", "line 1: a gate's angles need different names"),
        ("qubit q; /* x q;", "line 1: a comment without an end"),
    ],
)  # fmt: skip
def test_errors_say_what_is_wrong_and_where(text, message):
    with pytest.raises(circuits.QasmError, match=f"^{message}") as error:
        Circuit.from_openqasm(text)
    assert error.value.line == int(message.split()[1].rstrip(":"))


def test_a_definition_sees_those_in_front_of_it():
    text = "gate g a { x a; } gate x a { z a; } qubit q; g q; x q;"
    assert Circuit.from_openqasm(text)[0].gates == ("X", "Z")
