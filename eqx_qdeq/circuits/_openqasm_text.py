"""OpenQASM's tokens and definitions."""

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator


class QasmError(ValueError):
    r"""What is wrong with an OpenQASM text; `line` says where.

    !!! example

        ```python
        import eqx_qdeq as qdeq

        try:
            qdeq.Circuit.from_openqasm("OPENQASM 3.0;\nqubit[2] q;\nhadamard q[0];")
        except qdeq.circuits.QasmError as error:
            print(error)  # line 3: unknown gate 'hadamard'…
        ```
    """

    line: int

    def __init__(self, line: int, problem: str):
        super().__init__(f"line {line}: {problem}")
        self.line = line


QasmError.__init__.__doc__ = """**Arguments:**

- `line`: the line of the text, from 1.
- `problem`: what is wrong there.
"""


# --- Tokens -----------------------------------------------------------------------------------
#
# OpenQASM 2 and 3 are read as one language, but for what their numbers mean: where they differ
# otherwise in what a circuit can say, one of them lacks a word. Tokens are made as they are
# needed, so that a text that is refused costs no more than what was read of it.


@dataclasses.dataclass(slots=True)
class Token:
    """A word, number, string or sign, and its line; `""` at the end of the text.

    Tokens are equal where they say the same, wherever they stand.
    """

    text: str
    line: int = dataclasses.field(compare=False)
    kind: str = dataclasses.field(compare=False)

    def __str__(self) -> str:
        shown = self.text if len(self.text) < 40 else self.text[:36] + "…"
        return repr(shown) if self.text else "the end of the text"


_DIGITS = "[0-9](?:_?[0-9])*"
_TOKEN = re.compile(
    rf"""(?P<skip>\s+|//[^\n]*|/\*.*?\*/)
    |(?P<string>"[^"\n]*"|'[^'\n]*')
    |(?P<name>[^\W\d]\w*)
    |(?P<number>0[xX][0-9a-fA-F_]+|0[oO][0-7_]+|0[bB][01_]+
        |(?:{_DIGITS}(?:\.(?:{_DIGITS})?)?|\.{_DIGITS})(?:[eE][+-]?{_DIGITS})?)
    |(?P<sign>->|==|\*\*|\+\+|(?!/\*)[-+*/^(){{}}\[\],;=@<>!&|:%~])""",
    re.VERBOSE | re.DOTALL,
)


def tokens_of(text: str) -> Iterator[Token]:
    """The text's tokens, without comments."""
    position, line = 0, 1
    while position < len(text):
        match = _TOKEN.match(text, position)
        # isidentifier: `²` is a letter for regular expressions, and for nobody else.
        if match is None or (match.lastgroup == "name" and not match[0].isidentifier()):
            comment = text.startswith("/*", position)
            character = f"unexpected character {text[position]!r}."
            raise QasmError(line, "a comment without an end." if comment else character)
        if match.lastgroup != "skip":
            yield Token(match[0], line, match.lastgroup or "")
        line += match[0].count("\n")
        position = match.end()
    yield Token("", line, "end")


class Reader:
    """Goes through tokens one by one; the last of them is the end of the text."""

    def __init__(self, tokens: Iterable[Token]):
        self._tokens = iter(tokens)
        self.peek = next(self._tokens)
        """The next token, which stays the next."""

    @property
    def done(self) -> bool:
        """Whether the text has ended."""
        return self.peek.text == ""

    def take(self, expected: str = "", fits: Callable[[Token], bool] | None = None) -> Token:
        """The next token, which must be what is expected."""
        token = self.peek
        if fits is not None and not fits(token):
            raise QasmError(token.line, f"expected {expected}; got {token}.")
        self.peek = token if self.done else next(self._tokens)
        return token

    def take_if(self, text: str) -> bool:
        """Takes the next token if it is this one."""
        found = self.peek.text == text
        if found:
            self.take()
        return found

    def expect(self, text: str) -> None:
        """Takes the next token, which must be this one."""
        self.take(repr(text), lambda token: token.text == text)

    def name(self) -> Token:
        """The next token, which must be a word."""
        return self.take("a name", lambda token: token.kind == "name")

    def until(self, end: str) -> list[Token]:
        """The tokens before the next `end`, which is taken too."""
        tokens = []
        while not self.take_if(end):
            if self.done:
                raise QasmError(self.peek.line, f"the text ends before {end}.")
            tokens.append(self.take())
        return tokens

    def parenthesis(self, max_depth: int) -> list[Token]:
        """The tokens behind a parenthesis up to the one that closes it, which is the last."""
        tokens: list[Token] = []
        depth = 1
        while depth:
            tokens.append(self.take("')'", lambda token: token.text not in ("", ";")))
            depth += (tokens[-1].text == "(") - (tokens[-1].text == ")")
            check_depth(tokens[-1].line, depth, max_depth)
        return tokens


def check_depth(line: int, depth: int, max_depth: int) -> None:
    """Refuses what is nested too deep."""
    if depth > max_depth:
        raise QasmError(
            line, f"nested more than {max_depth} deep; if that is meant, raise `max_depth`."
        )


# --- Definitions ------------------------------------------------------------------------------
#
# A definition's body is kept as tokens, and read when a gate is first called: files define much
# that they never use. Two are equal if they differ in spaces and comments alone.


@dataclasses.dataclass
class Call:
    """A gate in a definition's body: what it is called with, and on which of its qubits."""

    name: Token
    modifiers: list[tuple[Token, list[Token]]]
    arguments: list[Token]
    operands: list[int]


@dataclasses.dataclass
class Definition:
    """What a gate statement says."""

    params: list[str]
    qubits: list[str]
    body: list[Token]
    # It sees the definitions in front of it: as many as this.
    before: int = dataclasses.field(compare=False, default=0)
    calls: list[Call] | None = dataclasses.field(compare=False, default=None)
    # The gates and calls that it stands for, and how deep these are nested.
    cost: int | None = dataclasses.field(compare=False, default=None)
    depth: int = dataclasses.field(compare=False, default=1)


def read_definition(reader: Reader, before: int = 0) -> tuple[Token, Definition]:
    """A gate statement behind the word gate."""
    name = reader.name()
    params = _names(reader.until(")")) if reader.take_if("(") else []
    qubits = _names(reader.until("{"))
    return name, Definition(params, qubits, reader.until("}"), before)


def _names(tokens: list[Token]) -> list[str]:
    for i, token in enumerate(tokens):
        if not (token.text == "," if i % 2 else token.kind == "name"):
            raise QasmError(token.line, f"expected names between commas; got {token}.")
    names = [token.text for token in tokens[::2]]
    if len(set(names)) < len(names):
        raise QasmError(tokens[0].line, "a gate's angles need different names, and its qubits too.")
    return names
