"""OpenQASM's tokens, expressions and definitions."""

import dataclasses
import math
import re
from collections.abc import Callable, Mapping


class QasmError(ValueError):
    """What is wrong with a text, and where."""

    def __init__(self, line: int, problem: str):
        super().__init__(f"line {line}: {problem}")


@dataclasses.dataclass(frozen=True)
class Token:
    """A word, number, string or sign, and its line; `""` at the end of the text."""

    text: str
    line: int

    @property
    def is_name(self) -> bool:
        """Whether it is a word."""
        return self.text[:1].isalpha() or self.text[:1] == "_"

    @property
    def is_number(self) -> bool:
        """Whether it is a number."""
        return self.text[:1].isdigit() or (self.text[:1] == "." and len(self.text) > 1)


_TOKEN = re.compile(
    r"""(?P<skip>\s+|//[^\n]*|/\*.*?\*/)
    |(?P<keep>"[^"\n]*"|[^\W\d]\w*
    |(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|->|==|\*\*|[-+*/^(){}\[\],;=@<>!&|:%~])""",
    re.VERBOSE | re.DOTALL,
)


def tokens_of(text: str) -> list[Token]:
    """The text's tokens, without comments."""
    tokens, position, line = [], 0, 1
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise QasmError(line, f"unexpected character {text[position]!r}.")
        if match["keep"] is not None:
            tokens.append(Token(match["keep"], line))
        line += match[0].count("\n")
        position = match.end()
    return [*tokens, Token("", line)]


@dataclasses.dataclass(frozen=True)
class Affine:
    """A number, or `scale * θ[index] + offset`: what the angle of a gate can be."""

    offset: float
    index: int | None = None
    scale: float = 0.0

    def scaled(self, factor: float) -> "Affine":
        """This times a number."""
        # + 0.0: no negative zero
        return Affine(factor * self.offset + 0.0, self.index, factor * self.scale)


_FUNCTIONS: Mapping[str, Callable[[float], float]] = {
    **{"sin": math.sin, "cos": math.cos, "tan": math.tan, "exp": math.exp},
    **{"ln": math.log, "log": math.log, "sqrt": math.sqrt},
    **{"arcsin": math.asin, "arccos": math.acos, "arctan": math.atan},
}
CONSTANTS = {
    **dict.fromkeys(("pi", "π"), math.pi),
    **dict.fromkeys(("tau", "τ"), math.tau),
    **dict.fromkeys(("euler", "ℇ"), math.e),
}


class Reader:
    """Goes through tokens one by one."""

    def __init__(self, tokens: list[Token]):
        self._tokens = tokens
        self._next = 0

    @property
    def peek(self) -> Token:
        """The next token, which stays the next."""
        return self._tokens[self._next]

    @property
    def done(self) -> bool:
        """Whether the text has ended."""
        return self.peek.text == ""

    def take(self) -> Token:
        """The next token."""
        token = self.peek
        if not self.done:
            self._next += 1
        return token

    def take_if(self, *texts: str) -> str | None:
        """The next token if it is one of these."""
        return self.take().text if self.peek.text in texts and not self.done else None

    def expect(self, text: str) -> Token:
        """The next token, which must be this one."""
        token = self.take()
        if token.text != text:
            raise QasmError(token.line, f"expected {text!r}; got {_shown(token)}.")
        return token

    def name(self) -> Token:
        """The next token, which must be a word."""
        token = self.take()
        if not token.is_name:
            raise QasmError(token.line, f"expected a name; got {_shown(token)}.")
        return token

    def integer(self) -> int:
        """The next token as an integer."""
        token = self.take()
        if not token.text.isdecimal():
            raise QasmError(token.line, f"expected an integer; got {_shown(token)}.")
        return int(token.text)

    def until(self, *ends: str) -> list[Token]:
        """The tokens before the next of these, which is taken too."""
        start = self._next
        while self.peek.text not in ends:
            if self.done:
                raise QasmError(self.peek.line, f"the text ends before {' or '.join(ends)}.")
            self._next += 1
        self._next += 1
        return self._tokens[start : self._next - 1]

    def expression(self, values: Mapping[str, Affine]) -> Affine:
        """A formula of numbers, π and the given names."""
        line, total = self.peek.line, self._product(values)
        while sign := self.take_if("+", "-"):
            total = _sum(line, total, self._product(values).scaled(1.0 if sign == "+" else -1.0))
        return total

    def _product(self, values: Mapping[str, Affine]) -> Affine:
        line, total = self.peek.line, self._signed(values)
        while sign := self.take_if("*", "/"):
            other = self._signed(values)
            if sign == "*" and total.index is None:
                total = other.scaled(total.offset)
            elif sign == "*":
                total = total.scaled(_number(line, other))
            elif (divisor := _number(line, other)) == 0:
                raise QasmError(line, "division by zero.")
            elif total.index is None:
                total = Affine(total.offset / divisor)  # rounded once, as pi/3 is elsewhere
            else:
                total = Affine(total.offset / divisor, total.index, total.scale / divisor)
        return total

    def _signed(self, values: Mapping[str, Affine]) -> Affine:
        if sign := self.take_if("-", "+"):
            return self._signed(values).scaled(-1.0 if sign == "-" else 1.0)
        line, base = self.peek.line, self._atom(values)
        if self.take_if("**", "^"):
            exponent = _number(line, self._signed(values))
            return Affine(_finite(line, lambda b: b**exponent, _number(line, base)))
        return base

    def _atom(self, values: Mapping[str, Affine]) -> Affine:
        token = self.take()
        if token.text == "(":
            inside = self.expression(values)
            self.expect(")")
            return inside
        if token.is_number:
            return Affine(float(token.text))
        if token.text in values:
            return values[token.text]
        if token.text in CONSTANTS:
            return Affine(CONSTANTS[token.text])
        if token.text in _FUNCTIONS:
            self.expect("(")
            inside = _number(token.line, self.expression(values))
            self.expect(")")
            return Affine(_finite(token.line, _FUNCTIONS[token.text], inside))
        if token.is_name:
            raise QasmError(token.line, f"{token.text!r} is not a declared input or a constant.")
        raise QasmError(token.line, f"expected an angle; got {_shown(token)}.")


@dataclasses.dataclass
class Definition:
    """What a gate statement says."""

    params: list[str]
    qubits: list[str]
    body: list[Token]

    def same(self, other: "Definition") -> bool:
        """Whether the texts are the same but for spaces and comments."""
        texts = [[token.text for token in each.body] for each in (self, other)]
        heads = [(each.params, each.qubits) for each in (self, other)]
        return texts[0] == texts[1] and heads[0] == heads[1]


def read_definition(reader: Reader) -> tuple[Token, Definition]:
    """A gate statement behind the word gate."""
    name = reader.name()
    params = _names(reader.until(")")) if reader.take_if("(") else []
    qubits = _names(reader.until("{"))
    return name, Definition(params, qubits, reader.until("}"))


def _names(tokens: list[Token]) -> list[str]:
    for i, token in enumerate(tokens):
        if not (token.text == "," if i % 2 else token.is_name):
            raise QasmError(token.line, f"expected names between commas; got {token.text!r}.")
    return [token.text for token in tokens[::2]]


def _sum(line: int, a: Affine, b: Affine) -> Affine:
    if a.index is not None and b.index is not None and a.index != b.index:
        raise QasmError(line, "an angle may contain one input, as in 2 * theta + pi; it has two.")
    index = a.index if a.index is not None else b.index
    return Affine(a.offset + b.offset, index, a.scale + b.scale)


def _number(line: int, value: Affine) -> float:
    if value.index is not None:
        raise QasmError(
            line, "an angle must be a multiple of an input plus a number, as in 2 * theta + pi."
        )
    return value.offset


def _finite(line: int, function: Callable[[float], float], value: float) -> float:
    try:
        result = function(value)
        if isinstance(result, float) and math.isfinite(result):
            return result
    except (ArithmeticError, ValueError):
        pass
    raise QasmError(line, "a function of this value is not a finite number.")


def _shown(token: Token) -> str:
    return repr(token.text) if token.text else "the end of the text"
