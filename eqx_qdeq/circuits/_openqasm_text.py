"""OpenQASM's tokens, formulas and definitions."""

import ast
import dataclasses
import math
import re
from collections.abc import Callable, Mapping


class QasmError(ValueError):
    """What is wrong with a text, and where."""

    def __init__(self, line: int, problem: str):
        super().__init__(f"line {line}: {problem}")


# --- Tokens -----------------------------------------------------------------------------------
#
# OpenQASM 2 and 3 are read as one language: where they differ in what a circuit can say, one of
# them lacks a word. Texts are short, so clear errors, each with its line, matter more than speed.


@dataclasses.dataclass(frozen=True)
class Token:
    """A word, number, string or sign, and its line; `""` at the end of the text.

    Tokens are equal where they say the same, wherever they stand.
    """

    text: str
    line: int = dataclasses.field(compare=False)

    @property
    def is_name(self) -> bool:
        """Whether it is a word."""
        return self.text[:1].isalpha() or self.text[:1] == "_"

    @property
    def is_number(self) -> bool:
        """Whether it is a number."""
        return self.text.lstrip(".")[:1].isdigit()

    def __str__(self) -> str:
        return repr(self.text) if self.text else "the end of the text"


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


class Reader:
    """Goes through tokens one by one; the last of them is the end of the text."""

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

    def take(self, expected: str = "", fits: Callable[[Token], bool] | None = None) -> Token:
        """The next token, which must be what is expected."""
        token = self.peek
        if fits is not None and not fits(token):
            raise QasmError(token.line, f"expected {expected}; got {token}.")
        self._next += not self.done
        return token

    def take_if(self, text: str) -> bool:
        """Takes the next token if it is this one."""
        found = self.peek.text == text
        self._next += found
        return found

    def expect(self, text: str) -> None:
        """Takes the next token, which must be this one."""
        self.take(repr(text), lambda token: token.text == text)

    def name(self) -> Token:
        """The next token, which must be a word."""
        return self.take("a name", lambda token: token.is_name)

    def integer(self) -> int:
        """The next token as an integer."""
        return int(self.take("an integer", lambda token: token.text.isdecimal()).text)

    def until(self, end: str) -> list[Token]:
        """The tokens before the next `end`, which is taken too."""
        start = self._next
        while self.peek.text != end:
            if self.done:
                raise QasmError(self.peek.line, f"the text ends before {end}.")
            self._next += 1
        self._next += 1
        return self._tokens[start : self._next - 1]

    def parenthesis(self) -> list[Token]:
        """The tokens behind a parenthesis, up to the one that closes it."""
        start, depth = self._next, 1
        while depth:
            token = self.take("')'", lambda token: token.text not in ("", ";"))
            depth += (token.text == "(") - (token.text == ")")
        return self._tokens[start : self._next - 1]


# --- Formulas ---------------------------------------------------------------------------------
#
# A circuit's angles are scale * θ + offset. Sums of such terms, and their products with numbers,
# are of that form again and can be read; anything else of an input, such as sin(θ), cannot.


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
_CONSTANTS = {
    **dict.fromkeys(("pi", "π"), math.pi),
    **dict.fromkeys(("tau", "τ"), math.tau),
    **dict.fromkeys(("euler", "ℇ"), math.e),
}
_SIGNS = ("+", "-", "*", "/", "**", "^", "(", ")", ",")


def read_formulas(tokens: list[Token], values: Mapping[str, Affine]) -> list[Affine]:
    """Formulas of numbers, π and the given names, between commas."""
    if not tokens:
        return []
    # OpenQASM's signs bind as Python's do, so Python's parser reads them. All that is no sign is
    # called n0, n1, … for it: none of Python's own words gets in, and nothing is executed but the
    # arithmetic below.
    names = {f"n{i}": token for i, token in enumerate(tokens)}
    source = " ".join(t.text if t.text in _SIGNS else name for name, t in names.items())
    try:
        tree = ast.parse(f"({source.replace('^', '**')},)", mode="eval").body
        return [_value(node, names, values) for node in tree.elts]  # pyright: ignore
    except SyntaxError:
        problem = f"expected an angle; got {' '.join(token.text for token in tokens)!r}."
    except ValueError as error:
        problem = str(error)
    raise QasmError(tokens[0].line, problem)


def _value(node: ast.AST, names: dict[str, Token], values: Mapping[str, Affine]) -> Affine:
    match node:
        case ast.Name(id=name):
            return _atom(names[name], values)
        case ast.UnaryOp(op=sign, operand=inside):
            factor = -1.0 if isinstance(sign, ast.USub) else 1.0
            return _value(inside, names, values).scaled(factor)
        case ast.BinOp(left=left, op=sign, right=right):
            return _operate(_value(left, names, values), sign, _value(right, names, values))
        case ast.Call(func=ast.Name(id=name), args=[inside]) if names[name].text in _FUNCTIONS:
            argument = _number(_value(inside, names, values))
            return _finite(_FUNCTIONS[names[name].text], argument)
    raise SyntaxError


def _atom(token: Token, values: Mapping[str, Affine]) -> Affine:
    if token.is_number:
        return Affine(float(token.text))
    if token.text in values:
        return values[token.text]
    if token.text in _CONSTANTS:
        return Affine(_CONSTANTS[token.text])
    if token.is_name:
        raise ValueError(f"{token.text!r} is not a declared input or a constant.")
    raise SyntaxError


def _operate(a: Affine, sign: ast.operator, b: Affine) -> Affine:
    if isinstance(sign, ast.Add | ast.Sub):
        b = b.scaled(1.0 if isinstance(sign, ast.Add) else -1.0)
        if None not in (a.index, b.index) and a.index != b.index:
            raise ValueError("an angle may contain one input, as in 2 * theta + pi; it has two.")
        index = b.index if a.index is None else a.index
        return Affine(a.offset + b.offset, index, a.scale + b.scale)
    if isinstance(sign, ast.Mult):
        return b.scaled(a.offset) if a.index is None else a.scaled(_number(b))
    number = _number(b)
    if isinstance(sign, ast.Pow):
        return _finite(lambda base: base**number, _number(a))
    if number == 0:
        raise ValueError("division by zero.")
    # Divided and not scaled by 1 / number: rounded once, as pi/3 is elsewhere.
    return Affine(a.offset / number, a.index, a.scale / number)


def _number(value: Affine) -> float:
    if value.index is not None:
        raise ValueError(
            "an angle must be a multiple of an input plus a number, as in 2 * theta + pi."
        )
    return value.offset


def _finite(function: Callable[[float], float], value: float) -> Affine:
    try:
        result = function(value)
        if isinstance(result, float) and math.isfinite(result):  # (-1)**0.5 is complex
            return Affine(result)
    except (ArithmeticError, ValueError):
        pass
    raise ValueError("a function of this value is not a finite number.")


# --- Definitions ------------------------------------------------------------------------------
#
# A definition's body is kept as tokens and read at each call, with the call's angles and qubits
# under the names that it gives them. Two are equal if they differ in spaces and comments alone.


@dataclasses.dataclass
class Definition:
    """What a gate statement says."""

    params: list[str]
    qubits: list[str]
    body: list[Token]


def read_definition(reader: Reader) -> tuple[str, Definition]:
    """A gate statement behind the word gate."""
    name = reader.name().text
    params = _names(reader.until(")")) if reader.take_if("(") else []
    qubits = _names(reader.until("{"))
    return name, Definition(params, qubits, reader.until("}"))


def _names(tokens: list[Token]) -> list[str]:
    for i, token in enumerate(tokens):
        if not (token.text == "," if i % 2 else token.is_name):
            raise QasmError(token.line, f"expected names between commas; got {token}.")
    return [token.text for token in tokens[::2]]
