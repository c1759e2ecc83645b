"""The code that readers copy from pages runs and prints what is written: README and docs.

How a page is run stands in `docs/hooks/outputs.py`. Doctests (`>>>`) in docstrings are run as well;
their examples are in `tests/surface/test_docstrings.py`.
"""

import doctest
import textwrap
import types
from pathlib import Path

import matplotlib.pyplot as pyplot
import pytest

from docs.hooks.outputs import alike, blocks, main, pictures, run
from tests.docs._snippets import modules

pytestmark = pytest.mark.usefixtures("once")

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_page(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = page.read_text(encoding="utf-8")
    assert text.count("```") % 2 == 0, f"{page}: a block of code is not closed"
    monkeypatch.chdir(tmp_path)  # what a snippet writes goes here
    found = run(text, str(page))
    pyplot.close("all")
    for block, printed in found:
        assert block.prints(printed), f"{page}:{block.line} prints\n{printed}"
    if page.parent.name == "tutorials":
        for picture in pictures(text):
            assert (tmp_path / picture.name).exists(), f"{page} shows {picture}, but draws it not"
            assert (page.parent / picture).exists(), f"python -m docs.hooks.outputs {page}"


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


def test_outputs_and_figures_are_written(tmp_path: Path) -> None:
    code = """
        # A page

        ```python
        import matplotlib.pyplot as plt

        figure, axes = plt.subplots()
        figure.savefig("drawn.svg")
        print(6 * 7)
        ```

        ```text
        old
        ```

        ![A frame.](figures/drawn.svg)
        ![Not drawn here.](figures/other.svg)
        """
    page = tmp_path / "page.md"
    (tmp_path / "figures").mkdir()
    page.write_text(textwrap.dedent(code), encoding="utf-8")
    main((page,))
    first = (tmp_path / "figures" / "drawn.svg").read_bytes()
    main((page,))
    pyplot.close("all")
    assert page.read_text(encoding="utf-8") == textwrap.dedent(code).replace("old", "42")
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["drawn.svg"]
    assert (tmp_path / "figures" / "drawn.svg").read_bytes() == first
