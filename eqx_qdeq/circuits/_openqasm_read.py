"""Circuits read from OpenQASM 2 and 3."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from .._checks import short
from ._gates import numbers_as_parameters, Operation
from ._openqasm_formulas import Affine, Formulas
from ._openqasm_gates import Gates, Limits
from ._openqasm_modifiers import PHASE
from ._openqasm_text import check_depth, QasmError, Reader, Token, tokens_of

# Nothing is looked up in files: what these two define is known above, or is not ours.
_INCLUDES = ('"qelib1.inc"', '"stdgates.inc"')


def read_openqasm(text: str, limits: Limits) -> tuple[list[Operation], int, np.ndarray]:
    """The operations, the number of wires and the angles of `Circuit.from_openqasm`."""
    if not isinstance(text, str):
        raise TypeError(f"`text` must be a string; got {type(text).__name__}.")
    for name, limit in dataclasses.asdict(limits).items():
        if limit < 1:
            raise ValueError(f"`{name}` must be at least 1; got {limit}.")
    if len(text) > limits.max_text:
        raise QasmError(
            1,
            f"the text has {len(text)} characters, more than {limits.max_text}; if you trust it, "
            "raise `max_text`.",
        )
    program = _Program(limits)
    try:
        program.read(text.removeprefix("\ufeff"))
    except RecursionError:
        raise QasmError(program.line, "nested deeper than Python can follow.") from None
    return program.finish()


class _Program:
    """What the statements read so far have declared and done."""

    def __init__(self, limits: Limits):
        self.limits = limits
        self.line = 1
        self.gates = Gates(limits)
        self.n_qubits = 0
        self.qubits: dict[str, Sequence[int]] = {}
        self.bits: set[str] = set()
        self.inputs: dict[str, tuple[int, int]] = {}
        self.values: dict[str, Affine] = {}
        self.used: set[int] = set()
        self.measured: dict[int, int] = {}
        self.operations: list[Operation] = []

    @property
    def formulas(self) -> Formulas:
        return self.gates.formulas(self.values)

    def read(self, text: str) -> None:
        reader = Reader(tokens_of(text))
        statements: dict[str, Callable[[Reader], None]] = {
            "include": self.include,
            "qreg": lambda r: self.declare(r, quantum=True, size_first=False),
            "creg": lambda r: self.declare(r, quantum=False, size_first=False),
            "qubit": lambda r: self.declare(r, quantum=True, size_first=True),
            "bit": lambda r: self.declare(r, quantum=False, size_first=True),
            "input": self.input,
            "const": self.constant,
            "let": self.alias,
            "gate": self.gates.define,
            "measure": self.measure,
            "reset": self.reset,
        }
        if reader.take_if("OPENQASM"):
            self.read_version(reader)
        while not reader.done:
            # A statement begins with its word, with a bit that is measured into, or is a call.
            first, self.line = reader.peek.text, reader.peek.line
            if reader.take_if(";"):
                self.gates.spend(self.line, 1)
            elif first in statements:
                self.gates.spend(self.line, 1)
                reader.take()
                statements[first](reader)
            elif first in self.bits:
                reader.until("=")
                reader.expect("measure")
                self.measure(reader)
            elif first == "barrier":
                self.gates.spend(self.line, 1 + len(reader.until(";")) // 4)
            else:
                self.call(reader)

    def finish(self) -> tuple[list[Operation], int, np.ndarray]:
        if not self.n_qubits:
            raise QasmError(1, "the text declares no qubits.")
        used = {index for operation in self.operations for index, _, _ in operation.slots}
        for name, (index, line) in self.inputs.items():
            if index not in used:
                raise QasmError(line, f"no gate uses the input {name!r}; remove it.")
        operations, values = numbers_as_parameters(self.operations, len(self.inputs))
        return operations, self.n_qubits, values

    # --- Declarations -------------------------------------------------------------------------

    def read_version(self, reader: Reader) -> None:
        version = reader.take()
        if version.text not in ("2", "2.0", "3", "3.0", "3.1"):
            raise QasmError(
                version.line, f"OpenQASM {version.text!r} is not known; only 2 and 3 are."
            )
        self.gates.version = int(version.text[0])
        reader.expect(";")

    def include(self, reader: Reader) -> None:
        file = reader.take()
        if file.text.replace("'", '"') not in _INCLUDES:
            raise QasmError(
                file.line, f"cannot include {short(file.text)}; only {' and '.join(_INCLUDES)}."
            )
        reader.expect(";")

    def new_name(self, reader: Reader) -> Token:
        name = reader.name()
        if any(name.text in names for names in (self.qubits, self.bits, self.values)):
            raise QasmError(name.line, f"{name.text!r} is declared twice.")
        return name

    def declare(self, reader: Reader, *, quantum: bool, size_first: bool) -> None:
        size = self.size(reader) if size_first else None
        name = self.new_name(reader)
        if not size_first:
            size = self.size(reader)
        if quantum:
            start, self.n_qubits = self.n_qubits, self.n_qubits + (size or 1)
            if self.n_qubits > self.limits.max_qubits:
                raise QasmError(
                    name.line,
                    f"{name.text!r} makes {self.n_qubits} qubits, more than "
                    f"{self.limits.max_qubits}; if you trust the text, raise `max_qubits`.",
                )
            self.qubits[name.text] = range(start, self.n_qubits)
        else:
            self.bits.add(name.text)
            if reader.take_if("="):
                reader.expect("measure")
                return self.measure(reader)
        reader.expect(";")

    def size(self, reader: Reader) -> int | None:
        line = reader.peek.line
        if not reader.take_if("["):
            return None
        size = self.formulas.integer(reader)
        if size < 1:
            raise QasmError(line, f"a register has at least one element; got {size}.")
        reader.expect("]")
        return size

    def input(self, reader: Reader) -> None:
        kind = reader.name()
        if kind.text not in ("float", "angle"):
            raise QasmError(kind.line, f"an input is a float or an angle; got {kind}.")
        self.size(reader)
        name = self.new_name(reader)
        reader.expect(";")
        self.values[name.text] = Affine(0.0, len(self.inputs), 1.0)
        self.inputs[name.text] = (len(self.inputs), name.line)

    def constant(self, reader: Reader) -> None:
        kind = reader.name()
        if kind.text not in ("int", "uint", "float"):
            # (An angle is kept between 0 and 2π, which its half would tell.)
            raise QasmError(kind.line, f"a constant is an int, a uint or a float; got {kind}.")
        width = min(self.size(reader) or 64, 64)
        name = self.new_name(reader)
        reader.expect("=")
        value = self.formulas.read(reader)
        reader.expect(";")
        if value.index is not None:
            raise QasmError(name.line, f"the constant {name.text!r} depends on an input.")
        if kind.text == "float":
            value = value.real()
        else:
            low = -(2 ** (width - 1)) if kind.text == "int" else 0
            if not isinstance(value.offset, int) or not low <= value.offset < low + 2**width:
                raise QasmError(
                    name.line, f"{name.text!r} is no {kind.text} of {width} bits: {value.offset}."
                )
        self.values[name.text] = value

    def alias(self, reader: Reader) -> None:
        name = self.new_name(reader)
        reader.expect("=")
        wires = self.operand(reader)
        while reader.take_if("++"):
            wires = (*wires, *self.operand(reader))
            self.gates.spend(name.line, len(wires))
        reader.expect(";")
        if len(set(wires)) < len(wires):
            raise QasmError(name.line, f"{name.text!r} contains a qubit twice.")
        self.qubits[name.text] = wires

    # --- What is done to qubits ---------------------------------------------------------------

    def measure(self, reader: Reader) -> None:
        line = reader.peek.line
        # What becomes of the outcome does not matter, but nothing may act on the qubit afterwards.
        wires = self.operand(reader)
        self.gates.spend(line, len(wires))
        for wire in wires:
            self.measured.setdefault(wire, line)
        if reader.take_if("->"):
            reader.until(";")
        else:
            reader.expect(";")

    def reset(self, reader: Reader) -> None:
        line = reader.peek.line
        wires = self.operand(reader)
        self.gates.spend(line, len(wires))
        late = [wire for wire in wires if wire in self.used or wire in self.measured]
        if late:
            raise QasmError(
                line,
                f"'reset' of {self.label(late[0])} after something was done to it is not "
                "supported: a circuit is only gates.",
            )
        reader.expect(";")

    def call(self, reader: Reader) -> None:
        call, operands = self.gates.read_call(reader, self.operand)
        line = call.name.line
        # A gate on registers acts on their first qubits, on their second ones, …; a single qubit
        # takes part each time.
        sizes = {len(operand) for operand in operands} - {1}
        if len(sizes) > 1:
            raise QasmError(line, f"registers of different sizes: {sorted(sizes)}.")
        n = max(sizes, default=1)
        whole = len(self.gates.definitions) + 1
        self.gates.spend(line, n * self.gates.cost(call, whole, 0))
        for i in range(n):
            wires = tuple(o[i] if len(o) > 1 else o[0] for o in operands)
            found = self.gates.expand(call, wires, self.values, whole)
            measured = [wire for wire in wires if wire in self.measured]
            if measured:
                raise QasmError(
                    line,
                    f"{call.name} acts on {self.label(measured[0])} after its measurement in line "
                    f"{self.measured[measured[0]]}; only measurements at the end can be read.",
                )
            self.used.update(wires)
            self.operations += [operation for operation in found if operation.gate != PHASE]

    def operand(self, reader: Reader) -> Sequence[int]:
        """A register, or what its indices choose: one, a range, or a set."""
        name = reader.name()
        if name.text not in self.qubits:
            raise QasmError(name.line, f"{name.text!r} is not a declared qubit.")
        wires, depth = self.qubits[name.text], 0
        while reader.take_if("["):
            depth += 1
            check_depth(name.line, depth, self.limits.max_depth)
            if reader.take_if("{"):
                chosen = [self.formulas.integer(reader)]
                while reader.take_if(","):
                    chosen.append(self.formulas.integer(reader))
                reader.expect("}")
                wires = tuple(wires[self.place(name, wires, index)] for index in chosen)
            else:
                wires = self.chosen(reader, name, wires)
            reader.expect("]")
            self.gates.spend(name.line, 0 if isinstance(wires, range) else len(wires))
            if not wires:
                raise QasmError(name.line, f"this part of {name.text!r} has no qubits.")
        return wires

    def chosen(self, reader: Reader, name: Token, wires: Sequence[int]) -> Sequence[int]:
        places: list[int | None] = []
        while True:
            absent = reader.peek.text in (":", "]")
            places.append(None if absent else self.formulas.integer(reader))
            if not reader.take_if(":"):
                break
        if len(places) == 1 and places[0] is not None:
            place = self.place(name, wires, places[0])
            return wires[place : place + 1]
        # From start to end, which is meant too: start:end or start:step:end.
        step = places[1] if len(places) == 3 and places[1] is not None else 1
        if len(places) not in (2, 3) or step == 0:
            raise QasmError(name.line, "a range is start:end or start:step:end, with a step not 0.")
        ends = (places[0], 0), (places[-1], len(wires) - 1)
        start, end = (
            self.place(name, wires, default if given is None else given)
            for (given, _), (_, default) in zip(ends, ends[:: 1 if step > 0 else -1], strict=True)
        )
        stop = end + (1 if step > 0 else -1)
        return wires[start : None if stop < 0 else stop : step]

    def place(self, name: Token, wires: Sequence[int], index: int) -> int:
        if not -len(wires) <= index < len(wires):
            raise QasmError(
                name.line,
                f"{name.text}[{index}] is out of range; {name.text!r} has {len(wires)} qubits.",
            )
        return index % len(wires)

    def label(self, wire: int) -> str:
        """A wire as the text calls it."""
        name, wires = next(item for item in self.qubits.items() if wire in item[1])
        return name if len(wires) == 1 else f"{name}[{wires.index(wire)}]"
