"""Circuits read from OpenQASM 2 and 3."""

import math
from collections.abc import Callable, Mapping

import numpy as np

from ._circuit import Circuit
from ._gates import Gate, GATES, ZZMAX_INVERSE
from ._openqasm import DEFINITIONS, QASM_NAMES
from ._openqasm_text import (
    Affine,
    Definition,
    QasmError,
    read_definition,
    Reader,
    Token,
    tokens_of,
)

_NATIVE: Mapping[str, Gate] = {
    **{theirs: ours for ours, theirs in QASM_NAMES.items()},
    **{"CX": "CX", "U": "U3", "u": "U3", "u1": "U1", "cu1": "CU1"},
    **{"phase": "U1", "cphase": "CU1", "zzmaxdg": ZZMAX_INVERSE},
}
# Gates of the standard libraries that are several of ours, without numbers of their own: those
# would become parameters.
_LIBRARY = """
gate cu(theta, phi, lambda, gamma) a, b { p(gamma) a; cu3(theta, phi, lambda) a, b; }
gate iswap a, b { s a; s b; h a; cx a, b; cx b, a; h b; }
gate rccx a, b, c { h c; t c; cx b, c; tdg c; cx a, c; t c; cx b, c; tdg c; h c; }
gate rzx(theta) a, b { h b; rzz(theta) a, b; h b; }
"""
_INCLUDES = ('"qelib1.inc"', '"stdgates.inc"')
_MODIFIERS = ("ctrl", "negctrl", "inv", "pow")
_UNSUPPORTED = (
    "array bool box break cal complex const continue def defcal defcalgrammar delay duration else "
    "end extern float for if int let opaque output reset return stretch switch uint while angle"
).split()

Qubits = Mapping[str, list[int]]


def read_openqasm(text: str) -> tuple[Circuit, np.ndarray]:
    """The circuit and angles of `Circuit.from_openqasm`."""
    program = _Program()
    program.read(_LIBRARY)
    program.read(text)
    return program.finish()


class _Program:
    """What the statements read so far have declared and done."""

    def __init__(self):
        self.qubits: dict[str, list[int]] = {}
        self.labels: list[str] = []
        self.bits: set[str] = set()
        self.inputs: dict[str, Affine] = {}
        self.input_lines: dict[str, int] = {}
        self.definitions: dict[str, Definition] = {}
        self.measured: dict[int, int] = {}
        self.gates: list[Gate] = []
        self.wires: list[tuple[int, ...]] = []
        self.angles: list[list[Affine]] = []

    def read(self, text: str) -> None:
        reader = Reader(tokens_of(text))
        statements: dict[str, Callable[[Reader], None]] = {
            "OPENQASM": self._version,
            "include": self._include,
            "qreg": lambda r: self._declare(r, quantum=True, size_first=False),
            "creg": lambda r: self._declare(r, quantum=False, size_first=False),
            "qubit": lambda r: self._declare(r, quantum=True, size_first=True),
            "bit": lambda r: self._declare(r, quantum=False, size_first=True),
            "input": self._input,
            "gate": self._define,
            "measure": self._measure,
        }
        while not reader.done:
            if reader.take_if(";"):
                continue
            first = reader.peek
            if first.text in statements:
                reader.take()
                statements[first.text](reader)
            elif first.text in self.bits:
                reader.until("=")
                reader.expect("measure")
                self._measure(reader)
            else:
                self._call(reader, self.inputs, self.qubits, ())

    def finish(self) -> tuple[Circuit, np.ndarray]:
        if not self.labels:
            raise QasmError(1, "the text declares no qubits.")
        used = {angle.index for angles in self.angles for angle in angles}
        for name, value in self.inputs.items():
            if value.index not in used:
                raise QasmError(
                    self.input_lines[name], f"no gate uses the input {name!r}; remove it."
                )
        values = [math.nan] * len(self.inputs)
        params, scales, offsets = [], [], []
        for angles in self.angles:
            slots = []
            for angle in angles:
                if angle.index is None:
                    slots.append((len(values), 1.0, 0.0))
                    values.append(angle.offset)
                else:
                    slots.append((angle.index, angle.scale, angle.offset))
            params.append([slot[0] for slot in slots])
            scales.append([slot[1] for slot in slots])
            offsets.append([slot[2] for slot in slots])
        circuit = Circuit(
            self.gates, self.wires, params, len(self.labels), scales=scales, offsets=offsets
        )
        return circuit, np.array(values, dtype=float)

    def _version(self, reader: Reader) -> None:
        version = reader.take()
        if version.text not in ("2", "2.0", "3", "3.0", "3.1"):
            raise QasmError(
                version.line, f"OpenQASM {version.text!r} is not known; only 2 and 3 are."
            )
        reader.expect(";")

    def _include(self, reader: Reader) -> None:
        file = reader.take()
        if file.text not in _INCLUDES:
            raise QasmError(
                file.line, f"cannot include {file.text}; only {' and '.join(_INCLUDES)}."
            )
        reader.expect(";")

    def _declare(self, reader: Reader, *, quantum: bool, size_first: bool) -> None:
        size = self._size(reader) if size_first else None
        name = reader.name()
        if not size_first:
            size = self._size(reader)
        if name.text in self.qubits or name.text in self.bits or name.text in self.inputs:
            raise QasmError(name.line, f"{name.text!r} is declared twice.")
        if quantum:
            labels = [name.text] if size is None else [f"{name.text}[{i}]" for i in range(size)]
            start = len(self.labels)
            self.qubits[name.text] = list(range(start, start + len(labels)))
            self.labels += labels
        else:
            self.bits.add(name.text)
            if reader.take_if("="):
                reader.expect("measure")
                self._measure(reader)
                return
        reader.expect(";")

    def _size(self, reader: Reader) -> int | None:
        line = reader.peek.line
        if reader.take_if("[") is None:
            return None
        size = reader.integer()
        if size < 1:
            raise QasmError(line, "a register has at least one element; got 0.")
        reader.expect("]")
        return size

    def _input(self, reader: Reader) -> None:
        kind = reader.name()
        if kind.text not in ("float", "angle"):
            raise QasmError(kind.line, f"an input is a float or an angle; got {kind.text!r}.")
        self._size(reader)
        name = reader.name()
        if name.text in self.inputs or name.text in self.qubits or name.text in self.bits:
            raise QasmError(name.line, f"{name.text!r} is declared twice.")
        reader.expect(";")
        self.input_lines[name.text] = name.line
        self.inputs[name.text] = Affine(0.0, len(self.inputs), 1.0)

    def _define(self, reader: Reader) -> None:
        name, new = read_definition(reader)
        ours = DEFINITIONS.get(name.text)
        if ours is not None and new.same(read_definition(Reader(tokens_of(ours)[1:]))[1]):
            self.definitions.pop(name.text, None)  # what we wrote: the gate itself
        else:
            self.definitions[name.text] = new

    def _measure(self, reader: Reader) -> None:
        line = reader.peek.line
        for wire in self._operand(reader, self.qubits):
            self.measured.setdefault(wire, line)
        if reader.take_if("->"):
            reader.until(";")
        else:
            reader.expect(";")

    def _call(
        self, reader: Reader, values: Mapping[str, Affine], qubits: Qubits, within: tuple[str, ...]
    ) -> None:
        """One statement that may also stand in a gate's definition."""
        name = reader.take()
        if name.text in _MODIFIERS and reader.peek.text in ("@", "("):
            raise QasmError(name.line, f"the modifier {name.text!r} is not supported.")
        if name.text in _UNSUPPORTED:
            raise QasmError(name.line, f"{name.text!r} is not supported: a circuit is only gates.")
        if not name.is_name:
            raise QasmError(name.line, f"expected a statement; got {name.text!r}.")
        if name.text in ("barrier", "gphase"):  # neither changes what can be measured
            reader.until(";")
            return
        arguments: list[Affine] = []
        if reader.take_if("(") and not reader.take_if(")"):
            arguments.append(reader.expression(values))
            while reader.take_if(","):
                arguments.append(reader.expression(values))
            reader.expect(")")
        operands = [self._operand(reader, qubits)]
        while reader.take_if(","):
            operands.append(self._operand(reader, qubits))
        reader.expect(";")
        sizes = {len(operand) for operand in operands} - {1}
        if len(sizes) > 1:
            raise QasmError(name.line, f"registers of different sizes: {sorted(sizes)}.")
        for i in range(max(sizes, default=1)):
            wires = tuple(o[i] if len(o) > 1 else o[0] for o in operands)
            self._apply(name, arguments, wires, within)

    def _operand(self, reader: Reader, qubits: Qubits) -> list[int]:
        name = reader.name()
        if name.text not in qubits:
            raise QasmError(name.line, f"{name.text!r} is not a declared qubit.")
        wires = qubits[name.text]
        if reader.take_if("["):
            index = reader.integer()
            reader.expect("]")
            if index >= len(wires):
                raise QasmError(
                    name.line,
                    f"{name.text}[{index}] is out of range; {name.text!r} has {len(wires)} qubits.",
                )
            return [wires[index]]
        return wires

    def _apply(
        self, name: Token, arguments: list[Affine], wires: tuple[int, ...], within: tuple[str, ...]
    ) -> None:
        definition = self.definitions.get(name.text)
        if definition is not None:
            n_params, n_wires = len(definition.params), len(definition.qubits)
        elif name.text in _NATIVE:
            native = _NATIVE[name.text]
            info = GATES[native if isinstance(native, str) else "ZZMax"]
            n_params, n_wires = info.n_params, info.n_wires
        else:
            known = ", ".join(sorted({*_NATIVE, *self.definitions}))
            raise QasmError(
                name.line,
                f"unknown gate {name.text!r}; define it with a gate statement, or use "
                f"one of {known}.",
            )
        for what, needed, got in (
            ("angles", n_params, len(arguments)),
            ("qubits", n_wires, len(wires)),
        ):
            if needed != got:
                raise QasmError(name.line, f"{name.text!r} takes {needed} {what}; got {got}.")
        if len(set(wires)) < len(wires):
            raise QasmError(name.line, f"the qubits of {name.text!r} must differ.")
        if not all(math.isfinite(a.offset) and math.isfinite(a.scale) for a in arguments):
            raise QasmError(name.line, f"the angles of {name.text!r} must be finite.")
        for wire in wires:
            if wire in self.measured:
                raise QasmError(
                    name.line,
                    f"{name.text!r} acts on {self.labels[wire]} after its measurement "
                    f"in line {self.measured[wire]}; only measurements at the end can be read.",
                )
        if definition is None:
            self.gates.append(_NATIVE[name.text])
            self.wires.append(wires)
            self.angles.append(arguments)
            return
        if name.text in within:
            raise QasmError(name.line, f"the gate {name.text!r} is defined by itself.")
        body = Reader([*definition.body, Token("", name.line)])
        values = dict(zip(definition.params, arguments, strict=True))
        qubits = {q: [wire] for q, wire in zip(definition.qubits, wires, strict=True)}
        while not body.done:
            if not body.take_if(";"):
                self._call(body, values, qubits, (*within, name.text))
