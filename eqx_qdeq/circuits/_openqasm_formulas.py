"""OpenQASM's formulas: angles, and numbers as each of its versions means them."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

from ._openqasm_text import check_depth, QasmError, Reader, Token

# A circuit's angles are scale * θ + offset. Sums of such terms, and their products with numbers,
# are of that form again and can be read; anything else of an input, such as sin(θ), cannot.


Number = int | float
"""OpenQASM 3 tells integers from real numbers."""


@dataclasses.dataclass(frozen=True)
class Affine:
    """A number, or `scale * θ[index] + offset`: what the angle of a gate can be."""

    offset: Number
    index: int | None = None
    scale: float = 0.0

    def scaled(self, factor: Number) -> "Affine":
        """This times a number."""
        # + 0: no negative zero
        return Affine(factor * self.offset + 0, self.index, factor * self.scale + 0.0)

    def real(self) -> "Affine":
        """This with a real number for its offset, as gates take it."""
        return Affine(float(self.offset), self.index, self.scale)


_FUNCTIONS: Mapping[str, Callable[[Number], float]] = {
    **{"sin": math.sin, "cos": math.cos, "tan": math.tan, "exp": math.exp},
    **{"ln": math.log, "log": math.log, "sqrt": math.sqrt},
    **{"arcsin": math.asin, "arccos": math.acos, "arctan": math.atan},
}
_CONSTANTS = {
    **dict.fromkeys(("pi", "π"), math.pi),
    **dict.fromkeys(("tau", "τ"), math.tau),
    **dict.fromkeys(("euler", "ℇ"), math.e),
}
# How tight a sign binds; a sign in front of a number binds tighter than *, and less than a power.
_BINDS = {"+": 1, "-": 1, "*": 2, "/": 2, "**": 4, "^": 4}
_POWER = 4


@dataclasses.dataclass(frozen=True)
class Formulas:
    """Reads formulas of numbers, π and the given names.

    OpenQASM 2 knows real numbers only. In OpenQASM 3 a quotient of integers is one, so that 1/2
    is 0, and `^` is no power. A text that does not say its version may not depend on it.
    """

    values: Mapping[str, Affine]
    version: int | None
    max_depth: int
    # Set for what has to be an integer in OpenQASM 2 as well.
    integers: bool = False
    # Set where authors disagree: OpenQASM's own library means the square root by pow(1/2).
    exact: bool = False

    def between_commas(self, reader: Reader, end: str = ")") -> list[Affine]:
        """The formulas up to the end, which is taken too."""
        if reader.take_if(end):
            return []
        found = [self.read(reader)]
        while reader.take_if(","):
            found.append(self.read(reader))
        reader.expect(end)
        return found

    def integer(self, reader: Reader) -> int:
        """A formula that is an integer."""
        line = reader.peek.line
        value = dataclasses.replace(self, integers=True).read(reader)
        if not isinstance(value.offset, int) or value.index is not None:
            raise QasmError(line, "expected an integer; got another number.")
        return value.offset

    def read(self, reader: Reader, binding: int = 1, depth: int = 0) -> Affine:
        """One formula, as far as its signs bind at least this tight."""
        value = self._operand(reader, depth)
        # Signs of the same kind are taken from left to right, powers from right to left.
        while (tight := _BINDS.get(reader.peek.text, 0)) >= binding:
            sign = reader.take()
            right = self.read(reader, tight + (tight != _POWER), depth + 1)
            value = self._fits(sign.line, self._operate(value, sign, right))
        return value

    def _operand(self, reader: Reader, depth: int) -> Affine:
        token = reader.take()
        check_depth(token.line, depth, self.max_depth)
        if token.text in ("+", "-"):
            return self.read(reader, _POWER, depth + 1).scaled(-1 if token.text == "-" else 1)
        if token.text == "(":
            inside = self.read(reader, depth=depth + 1)
            reader.expect(")")
            return inside
        if token.kind == "number":
            return self._fits(token.line, Affine(self._literal(token)))
        if token.text in self.values:
            return self.values[token.text]
        if token.text in _CONSTANTS:
            return Affine(_CONSTANTS[token.text])
        if token.text in _FUNCTIONS and reader.take_if("("):
            inside = self.read(reader, depth=depth + 1)
            reader.expect(")")
            return _finite(token.line, _FUNCTIONS[token.text], _number(token.line, inside))
        if token.kind == "name":
            raise QasmError(token.line, f"{token} is not a declared input or a constant.")
        raise QasmError(token.line, f"expected an angle; got {token}.")

    def _literal(self, token: Token) -> Number:
        text = token.text.replace("_", "")
        base = {"0x": 16, "0o": 8, "0b": 2}.get(text[:2].lower(), 10)
        if base == 10 and (not text.isdecimal() or (self.version == 2 and not self.integers)):
            return float(text)
        # 64 bits have 64 digits at most; Python takes long over thousands of them, or none.
        digits = text if base == 10 else text[2:]
        if not digits or len(digits.lstrip("0")) > 64:
            raise QasmError(token.line, f"{token} is not an integer of 64 bits.")
        return int(digits, base)

    def _fits(self, line: int, value: Affine) -> Affine:
        if isinstance(value.offset, int) and not -(2**63) <= value.offset < 2**64:
            raise QasmError(line, "an integer has at most 64 bits; 1e20 is a real number.")
        return value

    def _operate(self, a: Affine, sign: Token, b: Affine) -> Affine:
        line, text = sign.line, sign.text
        if text in ("+", "-"):
            b = b.scaled(1 if text == "+" else -1)
            if None not in (a.index, b.index) and a.index != b.index:
                raise QasmError(
                    line, "an angle may contain one input, as in 2 * theta + pi; it has two."
                )
            index = b.index if a.index is None else a.index
            return Affine(a.offset + b.offset, index, a.scale + b.scale)
        if text == "*":
            return b.scaled(a.offset) if a.index is None else a.scaled(_number(line, b))
        number = _number(line, b)
        if text == "^" and self.version != 2:
            raise QasmError(
                line, "'^' is the exclusive or of bits in OpenQASM 3; a power is written **."
            )
        if text != "/":
            return self._power(line, _number(line, a), number)
        if number == 0:
            raise QasmError(line, "division by zero.")
        if isinstance(a.offset, int) and isinstance(number, int) and a.index is None:
            return Affine(self._quotient(line, a.offset, number))
        # Divided and not scaled by 1 / number: rounded once, as pi/3 is elsewhere.
        return Affine(a.offset / number, a.index, a.scale / number)

    def _quotient(self, line: int, a: int, b: int) -> int:
        if a % b and (self.version != 3 or self.exact or (a < 0) != (b < 0)):
            raise QasmError(
                line,
                f"{a}/{b} is ambiguous: a quotient of integers is rounded in OpenQASM 3 (not all "
                f"agree where and how) and is not in OpenQASM 2; write {a}.0/{b}, or the version.",
            )
        return a // b

    def _power(self, line: int, base: Number, exponent: Number) -> Affine:
        if isinstance(base, int) and isinstance(exponent, int):
            if exponent < 0:
                raise QasmError(
                    line, f"{base}**{exponent} is not an integer; write {base}.0**{exponent}."
                )
            return Affine(base ** min(exponent, 64) if abs(base) > 1 else base**exponent)
        return _finite(line, lambda base: float(base) ** exponent, base)


def _number(line: int, value: Affine) -> Number:
    if value.index is not None:
        raise QasmError(
            line, "an angle must be a multiple of an input plus a number, as in 2 * theta + pi."
        )
    return value.offset


def _finite(line: int, function: Callable[[Number], Any], value: Number) -> Affine:
    try:
        result = function(value)
        if isinstance(result, float) and math.isfinite(result):  # (-1)**0.5 is complex
            return Affine(result)
    except (ArithmeticError, ValueError):
        pass
    raise QasmError(line, "a function of this value is not a finite number.")
