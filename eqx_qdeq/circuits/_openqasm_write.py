"""Circuits written as OpenQASM 2 and 3."""

import functools as ft
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ._gates import gate_name, Operation, ZZMAX_INVERSE

QASM_NAMES = {
    # in stdgates.inc
    **{name: name.lower() for name in "X Y Z H S Sdg T Tdg SX Rx Ry Rz".split()},
    **{name: name.lower() for name in "CX CY CZ CH CRx CRy CRz SWAP CCX CSWAP".split()},
    **{"I": "id", "U1": "p", "CU1": "cp", "U2": "u2", "U3": "u3"},
    # defined below, with the names that Qiskit's libraries and devices use where they have one
    **{name: name.lower() for name in "V Vdg SXdg CV CVdg CSX CSXdg CU2 CU3 ECR ZZMax".split()},
    **{"XXPhase": "rxx", "YYPhase": "ryy", "ZZPhase": "rzz"},
    **{"ISWAP": "xy", "PhasedISWAP": "phased_xy", "PhasedX": "prx"},
}
"""What our gates are called in OpenQASM."""

# Each is the gate up to a global phase, by these identities:
#
# - V = Rx(π/2) by name, and SX = e^{iπ/4} Rx(π/2). Under a control a phase is no longer global:
#   it becomes a phase of the control's |1⟩, which is p.
# - cu(θ, φ, λ, γ) is the controlled U3(θ, φ, λ) for γ = 0.
# - CX carries Z of the target to Z Z, so that rz between two of them is exp(-iθ/2 Z Z). H carries Z
#   to X, and Rx(-π/2) Z Rx(π/2) = Y: in front of and behind rzz they make rxx and ryy.
# - ECR = (X 1 - Y X) / √2 = X exp(-iπ/4 Z X), with X on the first wire: -i X Z = -Y.
# - X X and Y Y commute, so xy, exp(iθ/4 (X X + Y Y)), is one after the other.
# - In phased_xy and prx, rotations about Z turn the frame in which the gate between them acts.
DEFINITIONS = {
    "v": "gate v a { rx(pi/2) a; }",
    "vdg": "gate vdg a { rx(-pi/2) a; }",
    "sxdg": "gate sxdg a { gphase(-pi/4); rx(-pi/2) a; }",
    "cv": "gate cv a, b { crx(pi/2) a, b; }",
    "cvdg": "gate cvdg a, b { crx(-pi/2) a, b; }",
    "csx": "gate csx a, b { p(pi/4) a; crx(pi/2) a, b; }",
    "csxdg": "gate csxdg a, b { p(-pi/4) a; crx(-pi/2) a, b; }",
    # Qiskit's importer takes a definition's angles in alphabetical order, hence these names.
    "cu2": "gate cu2(r, s) a, b { cu(pi/2, r, s, 0) a, b; }",
    "cu3": "gate cu3(r, s, t) a, b { cu(r, s, t, 0) a, b; }",
    "rzz": "gate rzz(theta) a, b { cx a, b; rz(theta) b; cx a, b; }",
    "rxx": "gate rxx(theta) a, b { h a; h b; cx a, b; rz(theta) b; cx a, b; h a; h b; }",
    "ryy": "gate ryy(theta) a, b { v a; v b; cx a, b; rz(theta) b; cx a, b; vdg a; vdg b; }",
    "zzmax": "gate zzmax a, b { rzz(pi/2) a, b; }",
    "zzmaxdg": "gate zzmaxdg a, b { rzz(-pi/2) a, b; }",
    "ecr": "gate ecr a, b { h b; rzz(pi/2) a, b; h b; x a; }",
    "xy": "gate xy(theta) a, b { rxx(-theta/2) a, b; ryy(-theta/2) a, b; }",
    "phased_xy": (
        "gate phased_xy(r, s) a, b { rz(r) a; rz(-r) b; xy(s) a, b; rz(-r) a; rz(r) b; }"
    ),
    "prx": "gate prx(r, s) a { rz(-s) a; rx(r) a; rz(s) a; }",
}
"""Our gates that OpenQASM's standard library lacks, by those that it has and one another."""


# OpenQASM 2 has other names for phases, real numbers with a point only, no global phase, and in
# the library that everybody has (that of its first paper) fewer gates.
_NAMES_2 = {"p": "u1", "cp": "cu1"}
_DEFINITIONS_2 = {
    "sx": "gate sx a { rx(pi/2) a; }",
    "swap": "gate swap a, b { cx a, b; cx b, a; cx a, b; }",
    "cswap": "gate cswap a, b, c { cx c, b; ccx a, b, c; cx c, b; }",
    "crx": "gate crx(theta) a, b { h b; crz(theta) a, b; h b; }",
    "cry": "gate cry(theta) a, b { ry(theta/2) b; cx a, b; ry(-theta/2) b; cx a, b; }",
}


@ft.cache
def definitions_of(version: int) -> dict[str, str]:
    """The definitions that a text of this version may need."""
    if version == 3:
        return DEFINITIONS
    old = {"gphase(-pi/4); ": "", "cu(pi/2, r, s, 0)": "cu3(pi/2, r, s)", " p(": " u1("}
    changed = {
        name: ft.reduce(lambda text, item: text.replace(*item), old.items(), text)
        for name, text in DEFINITIONS.items()
        if name != "cu3"
    }
    return _DEFINITIONS_2 | changed


def write_openqasm(
    operations: Sequence[Operation], n_qubits: int, n_params: int, angles: Any, version: int
) -> str:
    """The text of `Circuit.to_openqasm`."""
    if version not in (2, 3):
        raise ValueError(f"`version` must be 2 or 3; got {version!r}.")
    if version == 2 and n_params and angles is None:
        raise ValueError(
            f"OpenQASM 2 has no inputs; give `angles`, an array of shape ({n_params},), or write "
            "version 3."
        )
    values = None if angles is None else _checked(angles, n_params)
    names = [_qasm_name(g, operation) for g, operation in enumerate(operations)]
    definitions = definitions_of(version)
    if version == 2:
        names = [_NAMES_2.get(name, name) for name in names]
        lines = ["OPENQASM 2.0;", 'include "qelib1.inc";']
    else:
        lines = ["OPENQASM 3.0;", 'include "stdgates.inc";']
    lines += [definitions[name] for name in _needed(names, definitions)]
    if values is None:
        lines += [f"input float theta_{index};" for index in range(n_params)]
    lines.append(f"qubit[{n_qubits}] q;" if version == 3 else f"qreg q[{n_qubits}];")
    for name, (_, wires, slots) in zip(names, operations, strict=True):
        if values is None:
            arguments = [_expression(*slot) for slot in slots]
        else:
            arguments = [_real(scale * values[index] + offset) for index, scale, offset in slots]
        called = name + (f"({', '.join(arguments)})" if arguments else "")
        lines.append(f"{called} {', '.join(f'q[{wire}]' for wire in wires)};")
    return "\n".join(lines) + "\n"


def _checked(angles: Any, n_params: int) -> list[float]:
    values = np.asarray(angles, dtype=float)
    if values.shape != (n_params,):
        raise ValueError(
            f"`angles` must have shape ({n_params},), one for each parameter of the "
            f"circuit; got {values.shape}. Leave it out to write the parameters as inputs."
        )
    if not np.isfinite(values).all():
        index = int(np.flatnonzero(~np.isfinite(values))[0])
        raise ValueError(f"`angles` must be finite; angle {index} is {values[index]}.")
    return values.tolist()


def _qasm_name(g: int, operation: Operation) -> str:
    gate = operation.gate
    if isinstance(gate, str):
        return QASM_NAMES[gate]
    if gate == ZZMAX_INVERSE:
        return "zzmaxdg"
    raise ValueError(
        f"gate {g} ({gate_name(gate)!r} on wires {operation.wires}): OpenQASM has no name for an "
        "array or a function; write the gate as a circuit of named gates."
    )


def _needed(names: Iterable[str], definitions: dict[str, str]) -> list[str]:
    """The definitions that a text with these names needs, each behind those that it uses."""
    # A dictionary keeps the order in which names came first; a definition stands behind its own.
    needed: dict[str, None] = {}
    for name in dict.fromkeys(names):
        if name in definitions:
            used = re.findall(r"\w+", definitions[name].partition("{")[2])
            needed |= dict.fromkeys([*_needed(used, definitions), name])
    return list(needed)


def _real(value: float) -> str:
    # repr: the shortest text that is read back as the same float64. OpenQASM 2 wants a point in it.
    mantissa, e, exponent = repr(value).partition("e")
    return mantissa + (".0" if "." not in mantissa else "") + e + exponent


def _expression(index: int, scale: float, offset: float) -> str:
    name = f"theta_{index}"
    product = {1.0: name, -1.0: f"-{name}"}.get(scale, f"{scale!r} * {name}")
    if offset == 0:
        return product
    return f"{product} {'-' if math.copysign(1, offset) < 0 else '+'} {abs(offset)!r}"
