"""The code that readers copy from pages runs and prints what is written: README and docs.

How a page is run stands in `docs/hooks/outputs.py`. Doctests (`>>>`) in docstrings are run as well;
their examples are in `tests/surface/test_docstrings.py`.
"""

import doctest
import textwrap
import types
from pathlib import Path

import pytest

from docs.hooks.outputs import alike, blocks, run
from tests.docs._snippets import modules

pytestmark = pytest.mark.usefixtures("once")

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_page(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = page.read_text(encoding="utf-8")
    assert text.count("```") % 2 == 0, f"{page}: a block of code is not closed"
    monkeypatch.chdir(tmp_path)  # what a snippet writes goes here
    for block, printed in run(text, str(page)):
        assert block.prints(printed), f"{page}:{block.line} prints\n{printed}"


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
            print(a + 1)
            ```

            ```text
            2
            ```
        """
    )
    assert [(b.line, b.code, b.output) for b in blocks(text)] == [
        (2, "a = 1\n", None),
        (15, "assert a == 1\nprint(a + 1)\n", "2\n"),
    ]
    assert [printed for _, printed in run(text, "text")] == ["", "2\n"]
    with pytest.raises(ZeroDivisionError):
        run("```python\n1 / 0\n```", "text")


def test_outputs_are_compared() -> None:
    assert alike("[ 0.5012 -1.  ] True\n", "[0.5013 -1.] True")
    assert not alike("[0.5012] True", "[0.5012] False")
    assert not alike("[0.5012]", "[0.5412]")
    assert not alike("[0.5 0.6]", "[0.5]")
    assert alike("3 steps, 15.5 s", "3 steps, 2.1 s")
    assert not alike("3 steps, 15.5 s", "4 steps, 15.5 s")
