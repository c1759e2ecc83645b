"""Circuits read from OpenQASM 2 and 3."""

import math
from collections.abc import Callable, Mapping

import numpy as np

from ._gates import Gate, GateInfo, GATES, Operation, ZZMAX_INVERSE
from ._openqasm_text import (
    Affine,
    Definition,
    QasmError,
    read_definition,
    read_formulas,
    Reader,
    Token,
    tokens_of,
)
from ._openqasm_write import DEFINITIONS, QASM_NAMES

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
# Nothing is looked up in files: what these two define is known above, or is not ours.
_INCLUDES = ('"qelib1.inc"', '"stdgates.inc"')
_MODIFIERS = ("ctrl", "negctrl", "inv", "pow")
_UNSUPPORTED = (
    "array bool box break cal complex const continue def defcal defcalgrammar delay duration else "
    "end extern float for if int let opaque output reset return stretch switch uint while angle"
).split()

Qubits = Mapping[str, list[int]]


def read_openqasm(text: str) -> tuple[list[Operation], int, np.ndarray]:
    """The operations, the number of wires and the angles of `Circuit.from_openqasm`."""
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
        self.input_lines: list[int] = []
        self.definitions: dict[str, Definition] = {}
        self.measured: dict[int, int] = {}
        self.gates: list[tuple[Gate, tuple[int, ...], list[Affine]]] = []

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
            # A statement begins with its word, with a bit that is measured into, or is a call.
            first = reader.peek.text
            if reader.take_if(";"):
                continue
            if first in statements:
                reader.take()
                statements[first](reader)
            elif first in self.bits:
                reader.until("=")
                reader.expect("measure")
                self._measure(reader)
            else:
                self._call(reader, self.inputs, self.qubits, ())

    def finish(self) -> tuple[list[Operation], int, np.ndarray]:
        if not self.labels:
            raise QasmError(1, "the text declares no qubits.")
        used = {angle.index for _, _, angles in self.gates for angle in angles}
        for (name, value), line in zip(self.inputs.items(), self.input_lines, strict=True):
            if value.index not in used:
                raise QasmError(line, f"no gate uses the input {name!r}; remove it.")
        # The inputs are the first parameters; every number of the text becomes one of its own.
        values = [math.nan] * len(self.inputs)
        operations = []
        for gate, wires, angles in self.gates:
            slots = []
            for angle in angles:
                if angle.index is None:
                    slots.append((len(values), 1.0, 0.0))
                    values.append(angle.offset)
                else:
                    slots.append((angle.index, angle.scale, angle.offset))
            operations.append(Operation(gate, wires, tuple(slots)))
        return operations, len(self.labels), np.array(values, dtype=float)

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

    def _new_name(self, reader: Reader) -> Token:
        name = reader.name()
        if name.text in {*self.qubits, *self.bits, *self.inputs}:
            raise QasmError(name.line, f"{name.text!r} is declared twice.")
        return name

    def _declare(self, reader: Reader, *, quantum: bool, size_first: bool) -> None:
        size = self._size(reader) if size_first else None
        name = self._new_name(reader).text
        if not size_first:
            size = self._size(reader)
        if quantum:
            labels = [name] if size is None else [f"{name}[{i}]" for i in range(size)]
            start = len(self.labels)
            self.labels += labels
            self.qubits[name] = list(range(start, len(self.labels)))
        else:
            self.bits.add(name)
            if reader.take_if("="):
                reader.expect("measure")
                return self._measure(reader)
        reader.expect(";")

    def _size(self, reader: Reader) -> int | None:
        line = reader.peek.line
        if not reader.take_if("["):
            return None
        size = reader.integer()
        if size < 1:
            raise QasmError(line, "a register has at least one element; got 0.")
        reader.expect("]")
        return size

    def _input(self, reader: Reader) -> None:
        kind = reader.name()
        if kind.text not in ("float", "angle"):
            raise QasmError(kind.line, f"an input is a float or an angle; got {kind}.")
        self._size(reader)
        name = self._new_name(reader)
        reader.expect(";")
        self.inputs[name.text] = Affine(0.0, len(self.inputs), 1.0)
        self.input_lines.append(name.line)

    def _define(self, reader: Reader) -> None:
        name, new = read_definition(reader)
        self.definitions[name] = new
        # A text of ours defines the gates that OpenQASM lacks. Read as one of our gates again, and
        # not carried out, the circuit comes back as it was. Anybody else's gate of that name is
        # what its own definition says.
        ours = DEFINITIONS.get(name)
        if ours is not None and new == read_definition(Reader(tokens_of(ours)[1:]))[1]:
            del self.definitions[name]  # what we wrote: the gate itself

    def _measure(self, reader: Reader) -> None:
        line = reader.peek.line
        # What becomes of the outcome does not matter, but nothing may act on the qubit afterwards.
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
            raise QasmError(name.line, f"expected a statement; got {name}.")
        if name.text in ("barrier", "gphase"):  # neither changes what can be measured
            reader.until(";")
            return
        tokens = reader.parenthesis() if reader.take_if("(") else []
        arguments = read_formulas(tokens, values)
        operands = [self._operand(reader, qubits)]
        while reader.take_if(","):
            operands.append(self._operand(reader, qubits))
        reader.expect(";")
        # A gate on registers acts on their first qubits, on their second ones, …; a single qubit
        # takes part each time.
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
            size = GateInfo(len(definition.qubits), len(definition.params))
        elif name.text in _NATIVE:
            native = _NATIVE[name.text]
            size = GATES[native if isinstance(native, str) else "ZZMax"]
        else:
            known = ", ".join(sorted({*_NATIVE, *self.definitions}))
            raise QasmError(
                name.line,
                f"unknown gate {name.text!r}; define it with a gate statement, or use "
                f"one of {known}.",
            )
        self._check(name, size, arguments, wires)
        if definition is None:
            self.gates.append((_NATIVE[name.text], wires, arguments))
            return
        if name.text in within:
            raise QasmError(name.line, f"the gate {name.text!r} is defined by itself.")
        # Names of a definition are its own: neither inputs nor qubits of the text are seen inside.
        body = Reader([*definition.body, Token("", name.line)])
        values = dict(zip(definition.params, arguments, strict=True))
        qubits = {q: [wire] for q, wire in zip(definition.qubits, wires, strict=True)}
        while not body.done:
            if not body.take_if(";"):
                self._call(body, values, qubits, (*within, name.text))

    def _check(
        self, name: Token, size: GateInfo, arguments: list[Affine], wires: tuple[int, ...]
    ) -> None:
        measured = [wire for wire in wires if wire in self.measured]
        if len(arguments) != size.n_params:
            problem = f"{name} takes {size.n_params} angles; got {len(arguments)}."
        elif len(wires) != size.n_wires:
            problem = f"{name} takes {size.n_wires} qubits; got {len(wires)}."
        elif len(set(wires)) < len(wires):
            problem = f"the qubits of {name} must differ."
        elif not all(math.isfinite(a.offset) and math.isfinite(a.scale) for a in arguments):
            problem = f"the angles of {name} must be finite."
        elif measured:
            problem = (
                f"{name} acts on {self.labels[measured[0]]} after its measurement in line "
                f"{self.measured[measured[0]]}; only measurements at the end can be read."
            )
        else:
            return
        raise QasmError(name.line, problem)
