"""The code that readers copy from pages runs: README and docs. (That of docstrings is in
`tests/surface/test_docstrings.py`.)

The Python blocks of a page share one namespace, in order, as a reader would type them.
`<!-- skip: why -->` before a block leaves it out; for blocks that need data that are not here.
Doctests (`>>>`) in docstrings are run as well.
"""

import doctest
import textwrap
import types
from pathlib import Path

import pytest

from tests.docs._snippets import blocks, modules, run

pytestmark = pytest.mark.usefixtures("once")

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_page(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = page.read_text(encoding="utf-8")
    assert text.count("```") % 2 == 0, f"{page}: a block of code is not closed"
    monkeypatch.chdir(tmp_path)  # what a snippet writes goes here
    run(text, str(page))


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
