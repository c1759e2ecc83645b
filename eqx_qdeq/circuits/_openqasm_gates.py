"""What a gate in an OpenQASM text stands for: gates of ours."""

import dataclasses
import functools as ft
import math
from collections.abc import Callable, Mapping, Sequence

from ._gates import Gate, GATES, invert, NUMBER, Operation, Unitary, ZZMAX_INVERSE
from ._openqasm_formulas import Affine, Formulas, Number
from ._openqasm_modifiers import control, PHASE, power
from ._openqasm_text import (
    Call,
    check_depth,
    Definition,
    QasmError,
    read_definition,
    Reader,
    Token,
    tokens_of,
)
from ._openqasm_write import DEFINITIONS, definitions_of, QASM_NAMES

_NATIVE: Mapping[str, Gate] = {
    **{theirs: ours for ours, theirs in QASM_NAMES.items()},
    **{"CX": "CX", "U": "U3", "u": "U3", "u1": "U1", "cu1": "CU1"},
    **{"phase": "U1", "cphase": "CU1", "zzmaxdg": ZZMAX_INVERSE, PHASE: PHASE},
}
_SIZES = {PHASE: (0, 1), ZZMAX_INVERSE: (2, 0)} | {
    name: (gate.n_wires, gate.n_params) for name, gate in GATES.items()
}
# Gates of the standard libraries that are several of ours, without numbers of their own: those
# would become parameters.
_LIBRARY = """
gate cu(theta, phi, lambda, gamma) a, b { p(gamma) a; cu3(theta, phi, lambda) a, b; }
gate iswap a, b { s a; s b; h a; cx a, b; cx b, a; h b; }
gate rccx a, b, c { h c; t c; cx b, c; tdg c; cx a, c; t c; cx b, c; tdg c; h c; }
gate rzx(theta) a, b { h b; rzz(theta) a, b; h b; }
gate u0(gamma) a { id a; }
gate c3x a, b, c, d { ctrl @ ccx a, b, c, d; }
gate c4x a, b, c, d, e { ctrl(2) @ ccx a, b, c, d, e; }
gate c3sqrtx a, b, c, d { ctrl(3) @ sx a, b, c, d; }
gate rc3x a, b, c, d {
  h d; t d; cx c, d; tdg d; h d; cx a, d; t d; cx b, d; tdg d; cx a, d; t d; cx b, d; tdg d;
  h d; t d; cx c, d; tdg d; h d;
}
"""
# What gates with angles are made of where one of ours is controlled once more, to the phase.
# Rotations turn back between two X of the target, so they turn only if the control says so;
# U3(θ, φ, λ) = exp(i (φ + λ) / 2) Rz(φ) Ry(θ) Rz(λ), and Ry(π/2) = H Z.
_PARTS = """
gate crx(theta) a, b { h b; crz(theta) a, b; h b; }
gate cry(theta) a, b { ry(theta/2) b; cx a, b; ry(-theta/2) b; cx a, b; }
gate crz(theta) a, b { rz(theta/2) b; cx a, b; rz(-theta/2) b; cx a, b; }
gate cp(theta) a, b { p(theta/2) a; cx a, b; p(-theta/2) b; cx a, b; p(theta/2) b; }
gate cu2(r, s) a, b { p(r/2) a; p(s/2) a; crz(s) a, b; cz a, b; ch a, b; crz(r) a, b; }
gate cu3(r, s, t) a, b { p(s/2) a; p(t/2) a; crz(t) a, b; cry(r) a, b; crz(s) a, b; }
"""
_MODIFIERS = ("ctrl", "negctrl", "inv", "pow")
_UNSUPPORTED = (
    "array bool box break cal complex continue def defcal defcalgrammar delay duration else "
    "end extern float for if int opaque output return stretch switch uint while angle"
).split()


@dataclasses.dataclass(frozen=True)
class Limits:
    """How much a text may ask for: `Circuit.from_openqasm` says what of."""

    max_text: int
    max_qubits: int
    max_gates: int
    max_depth: int


@ft.cache
def _known(text: str) -> dict[str, Definition]:
    """The definitions of a text of ours."""
    reader = Reader(tokens_of(text))
    found = {}
    while reader.take_if("gate"):
        name, definition = read_definition(reader)
        found[name.text] = definition
    return found


class Gates:
    """The gates that a text has defined so far, and those that everybody knows."""

    def __init__(self, limits: Limits):
        self.limits = limits
        self.version: int | None = None
        self.definitions: dict[str, Definition] = {}
        self.spent = 0

    def formulas(self, values: Mapping[str, Affine]) -> Formulas:
        return Formulas(values, self.version, self.limits.max_depth)

    def spend(self, line: int, number: int) -> None:
        """Counts what takes time and memory: gates, and lists of qubits."""
        self.spent += number
        if self.spent > self.limits.max_gates:
            raise QasmError(
                line,
                f"the text asks for more than {self.limits.max_gates} gates; if you trust it, "
                "raise `max_gates`.",
            )

    def define(self, reader: Reader) -> None:
        name, new = read_definition(reader, len(self.definitions) + 1)
        if self.definitions.get(name.text, new) != new:
            raise QasmError(name.line, f"the gate {name.text!r} is defined twice.")
        # A text of ours defines the gates that OpenQASM lacks. Read as one of our gates again, and
        # not carried out, the circuit comes back as it was. Anybody else's gate of that name is
        # what its own definition says.
        ours = [definitions_of(version).get(name.text, "") for version in (2, 3)]
        if all(_known(text).get(name.text) != new for text in ours):
            self.definitions[name.text] = new

    def read_call(
        self, reader: Reader, operand: Callable[[Reader], Sequence[int]]
    ) -> tuple[Call, list[Sequence[int]]]:
        """A gate with its modifiers, arguments and operands."""
        modifiers = []
        while reader.peek.text in _MODIFIERS:
            modifier = reader.take()
            inside = self.parenthesis(reader) if reader.peek.text == "(" else []
            modifiers.append((modifier, inside))
            check_depth(modifier.line, len(modifiers), self.limits.max_depth)
            reader.expect("@")
        name = reader.take()
        if name.text == "OPENQASM":
            raise QasmError(name.line, "the version must stand in front of everything else.")
        if name.text in _UNSUPPORTED:
            raise QasmError(name.line, f"{name.text!r} is not supported: a circuit is only gates.")
        if name.kind != "name":
            raise QasmError(name.line, f"expected a statement; got {name}.")
        arguments = self.parenthesis(reader) if reader.peek.text == "(" else []
        operands = [] if name.text == PHASE and reader.peek.text == ";" else [operand(reader)]
        while reader.take_if(","):
            operands.append(operand(reader))
        reader.expect(";")
        if name.text == PHASE and not modifiers:  # PennyLane writes it on a qubit
            operands = []
        return Call(name, modifiers, arguments, []), operands

    def parenthesis(self, reader: Reader) -> list[Token]:
        line = reader.take().line
        return [*reader.parenthesis(self.limits.max_depth), Token("", line, "end")]

    def find(self, name: Token, before: int) -> Definition | None:
        """The definition that a gate's name means at a place; none for gates of ours."""
        found = self.definitions.get(name.text)
        if found is None or found.before >= before:
            found = _known(_LIBRARY).get(name.text)
        if found is None and name.text not in _NATIVE:
            known = ", ".join(sorted({*_NATIVE, *_known(_LIBRARY)}))
            raise QasmError(
                name.line,
                f"the gate {name.text!r} is defined by itself, or used before it is defined."
                if name.text in self.definitions
                else f"unknown gate {name.text!r}; define it with a gate statement, or use one of "
                f"{known}.",
            )
        return found

    def cost(self, call: Call, before: int, depth: int) -> int:
        """The gates that a call stands for, itself included: doubling definitions are refused by
        their number, before anything is carried out."""
        check_depth(call.name.line, depth, self.limits.max_depth)
        definition = self.find(call.name, before)
        # Long formulas and lists of qubits take time too.
        own = 1 + max(0, len(call.arguments) + len(call.operands) - 16) // 4
        if definition is None:
            return own
        if definition.cost is None:
            calls = self.body(definition)
            cost = sum(self.cost(c, definition.before, depth + 1) for c in calls)
            inside = (self.find(c.name, definition.before) for c in calls)
            definition.depth = 1 + max((d.depth for d in inside if d is not None), default=0)
            definition.cost = cost
        check_depth(call.name.line, definition.depth, self.limits.max_depth)
        return own + definition.cost

    def body(self, definition: Definition) -> list[Call]:
        """What a definition calls: read once, when it is first needed."""
        if definition.calls is not None:
            return definition.calls
        places = {name: i for i, name in enumerate(definition.qubits)}

        def qubit(reader: Reader) -> Sequence[int]:
            name = reader.name()
            if name.text not in places:
                raise QasmError(name.line, f"{name.text!r} is not a declared qubit.")
            return (places[name.text],)

        # A text of ours, and an empty body, have no last line; nothing goes wrong there.
        line = definition.body[-1].line if definition.body else 1
        reader = Reader([*definition.body, Token("", line, "end")])
        calls = []
        while not reader.done:
            if reader.take_if(";"):
                continue
            if reader.take_if("barrier"):
                reader.until(";")
                continue
            call, operands = self.read_call(reader, qubit)
            call.operands = [operand[0] for operand in operands]
            calls.append(call)
        definition.calls = calls
        return calls

    def expand(
        self, call: Call, wires: tuple[int, ...], values: Mapping[str, Affine], before: int
    ) -> list[Operation]:
        """The gates of ours that a call stands for."""
        name, formulas = call.name, self.formulas(values)
        modifiers = [
            (modifier, self.modifier_value(modifier, inside, formulas))
            for modifier, inside in call.modifiers
        ]
        n_controls = sum(int(v) for m, v in modifiers if m.text in ("ctrl", "negctrl"))
        controls, wires = list(wires[:n_controls]), wires[n_controls:]
        arguments = Reader(call.arguments or [Token(")", name.line, "sign"), Token("", 1, "end")])
        angles = [angle.real() for angle in formulas.between_commas(arguments)]
        definition = self.find(name, before)
        self.check(name, definition, angles, [*controls, *wires], n_controls)
        if definition is None:
            slots = tuple(
                (NUMBER if a.index is None else a.index, a.scale, a.offset) for a in angles
            )
            operations = [Operation(_NATIVE[name.text], wires, slots)]  # pyright: ignore
        else:
            operations = self.carry_out(definition, angles, wires)
        for modifier, value in reversed(modifiers):
            operations = self.modify(modifier, value, operations, controls)
        return operations

    def carry_out(
        self, definition: Definition, angles: list[Affine], wires: tuple[int, ...]
    ) -> list[Operation]:
        # Names of a definition are its own: nothing of the text is seen inside.
        values = dict(zip(definition.params, angles, strict=True))
        operations = []
        for call in self.body(definition):
            on = tuple(wires[i] for i in call.operands)
            operations += self.expand(call, on, values, definition.before)
        return operations

    def modifier_value(self, modifier: Token, inside: list[Token], formulas: Formulas) -> Number:
        if modifier.text == "inv" or not inside:
            if inside or modifier.text == "pow":
                form = {"inv": "inv @", "pow": "pow(k) @"}[modifier.text]
                raise QasmError(modifier.line, f"the modifier {modifier} is written {form}.")
            return 1
        reader = Reader(inside)
        exact = dataclasses.replace(formulas, exact=True)
        if modifier.text == "pow":
            value = exact.read(reader)
            if value.index is not None or not math.isfinite(value.offset):
                raise QasmError(modifier.line, "the power of a gate must be a finite number.")
            reader.expect(")")
            return value.offset
        number = exact.integer(reader)
        reader.expect(")")
        if not 1 <= number <= self.limits.max_qubits:
            raise QasmError(modifier.line, f"{modifier} takes at least one qubit; got {number}.")
        return number

    def modify(
        self, modifier: Token, value: Number, operations: list[Operation], controls: list[int]
    ) -> list[Operation]:
        try:
            if modifier.text == "inv":
                return [invert(operation) for operation in reversed(operations)]
            if modifier.text == "pow":
                operations = power(operations, value, self.limits.max_gates)
                self.spend(modifier.line, len(operations))
            for _ in range(int(value) if modifier.text.endswith("ctrl") else 0):
                wire = controls.pop()
                operations = control(operations, wire, ft.partial(self.parts, modifier.line))
                if modifier.text == "negctrl":
                    flip = Operation("X", (wire,), ())
                    operations = [flip, *operations, flip]
                # Arrays are what costs memory here.
                arrays = [o.wires for o in operations if isinstance(o.gate, Unitary)]
                self.spend(modifier.line, sum(2 ** len(array) for array in arrays))
        except QasmError:
            raise
        except ValueError as error:
            raise QasmError(modifier.line, f"the modifier {modifier}: {error}") from None
        return operations

    def parts(self, line: int, operation: Operation) -> Sequence[Operation]:
        """What a gate with angles is made of, to the phase."""
        gate, wires, slots = operation
        name = QASM_NAMES[gate]  # pyright: ignore[reportArgumentType]: only names have angles here
        definition = _known(_PARTS).get(name) or _known(DEFINITIONS.get(name, "")).get(name)
        if definition is None:
            raise ValueError(
                f"{gate} under a control depends on its global phase, on which OpenQASM's "
                "specification and its readers disagree; write it by p, rx, ry and rz, or use cu."
            )
        angles = [Affine(o, None if i == NUMBER else i, scale) for i, scale, o in slots]
        parts = self.carry_out(definition, angles, wires)
        self.spend(line, len(parts))
        return parts

    def check(
        self,
        name: Token,
        definition: Definition | None,
        angles: list[Affine],
        wires: list[int],
        n_controls: int,
    ) -> None:
        if definition is None:
            n_wires, n_params = _SIZES[_NATIVE[name.text]]
        else:
            n_wires, n_params = len(definition.qubits), len(definition.params)
        n_wires += n_controls
        if len(angles) != n_params:
            problem = f"{name} takes {n_params} angles; got {len(angles)}."
        elif len(wires) != n_wires:
            problem = f"{name} takes {n_wires} qubits; got {len(wires)}."
        elif len(set(wires)) < len(wires):
            problem = f"the qubits of {name} must differ."
        elif not all(math.isfinite(a.offset) and math.isfinite(a.scale) for a in angles):
            problem = f"the angles of {name} must be finite."
        else:
            return
        raise QasmError(name.line, problem)
