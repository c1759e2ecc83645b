"""The code that readers copy runs: README, docs pages and docstrings.

The Python blocks of a page share one namespace, in order, as a reader would type them; a docstring
is a page of its own. `<!-- skip: why -->` before a block leaves it out; for blocks that need data
that are not here. Doctests (`>>>`) in docstrings are run as well.
"""

import ast
import doctest
import importlib
import pkgutil
import re
import textwrap
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

import eqx_qdeq

pytestmark = pytest.mark.usefixtures("once")

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

_BLOCK = re.compile(
    r"(?P<skip><!--\s*skip:[^>]+-->\s*\n)?"
    r"^(?P<indent>[ \t]*)```python[^\n]*\n(?P<code>.*?)^(?P=indent)```",
    re.DOTALL | re.MULTILINE,
)


def blocks(text: str) -> Iterator[tuple[int, str]]:
    """The Python blocks of a Markdown text, each with the line before its first."""
    for match in _BLOCK.finditer(text):
        if match["skip"] is None:
            yield text.count("\n", 0, match.start("code")), textwrap.dedent(match["code"])


def run(text: str, name: str, first_line: int = 0) -> None:
    module = types.ModuleType("__main__")
    for line, code in blocks(text):
        # Line numbers as in the file, so that a traceback shows where.
        tree = ast.increment_lineno(ast.parse(code, filename=name), first_line + line)
        exec(compile(tree, name, "exec"), module.__dict__)


def modules() -> list[types.ModuleType]:
    found = pkgutil.walk_packages(eqx_qdeq.__path__, "eqx_qdeq.")
    return [eqx_qdeq, *(importlib.import_module(info.name) for info in found)]


def docstrings(module: types.ModuleType) -> Iterator[tuple[str, str]]:
    """Everything that is documented in a module, with its name."""
    yield module.__name__, module.__doc__ or ""
    todo = [(module.__name__, module.__dict__)]
    while todo:
        prefix, members = todo.pop()
        for name, member in list(members.items()):
            member = getattr(member, "__func__", member)  # class methods, static methods
            # Equinox wraps a module's methods, and some decorators a module's functions.
            member = getattr(member, "method", getattr(member, "__wrapped__", member))
            if getattr(member, "__module__", None) != module.__name__:
                continue
            doc = member.__dict__.get("__doc__") if isinstance(member, type) else member.__doc__
            yield f"{prefix}.{name}", doc or ""
            if isinstance(member, type):
                todo.append((f"{prefix}.{name}", vars(member)))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_page(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = page.read_text(encoding="utf-8")
    assert text.count("```") % 2 == 0, f"{page}: a block of code is not closed"
    monkeypatch.chdir(tmp_path)  # what a snippet writes goes here
    run(text, str(page))


EXAMPLES = [
    pytest.param(doc, id=name)
    for module in modules()
    for name, doc in docstrings(module)
    if "```python" in doc
]


@pytest.mark.parametrize("doc", EXAMPLES)
def test_docstring(
    doc: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run(doc, f"<docstring of {request.node.callspec.id}>")


def test_docstring_examples_are_found() -> None:
    names = [param.id for param in EXAMPLES]
    assert "eqx_qdeq.equilibrium._deq.DEQ" in names


@pytest.mark.parametrize("module", modules(), ids=lambda module: module.__name__)
def test_doctest(module: types.ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    assert doctest.testmod(module, optionflags=flags).failed == 0


def test_blocks() -> None:
    text = textwrap.dedent(
        """
        ```python
        a = 1
        ```

        ```bash
        not python
        ```

        <!-- skip: needs data -->
        ```python
        raise AssertionError
        ```

            ```python
            assert a == 1
            b = 2
            ```
        """
    )
    assert list(blocks(text)) == [(2, "a = 1\n"), (15, "assert a == 1\nb = 2\n")]
    run(text, "text")
    with pytest.raises(ZeroDivisionError):
        run("```python\n1 / 0\n```", "text")
