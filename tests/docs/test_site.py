"""What the site's own code does: spaces in formulas, figures, heads of pages; and that the files
which name the project say the same.
"""

import re
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("latex2mathml")
pytestmark = pytest.mark.usefixtures("once")

from docs.hooks import figures, head, mathml, spaces  # noqa: E402

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def page(source: str = "a.md", **meta: str) -> SimpleNamespace:
    file = SimpleNamespace(src_uri=source)
    return SimpleNamespace(file=file, title="A", meta=dict(meta), canonical_url="https://a.b/a/")


def formula(latex: str) -> str:
    return mathml.on_page_content(f'<span class="arithmatex">\\({latex}\\)</span>', page())


@pytest.mark.parametrize(
    ("latex", "signs"),
    [
        ("[-1, 1]", 1),
        ("a, -b", 1),
        (r"\|-v\|_2", 1),
        ("x - y", 0),
        (r"\|v\| - 1", 0),
        ("f(x) - 1", 0),
    ],
)
def test_a_sign_is_told_from_a_difference(latex: str, signs: int) -> None:
    assert len(re.findall('<mo form="prefix" lspace="0" rspace="0">−', formula(latex))) == signs


def test_bars_and_slashes_stand_close() -> None:
    kets = formula(r"|0\rangle/\|v\|")
    assert kets.count('lspace="0"') == 4  # a bar, a slash, two bars of the norm


def test_a_figure_has_a_caption_and_is_enlarged() -> None:
    image = '<p><img alt="What is seen." src="a.svg" title="A caption." /></p>'
    shown = figures.on_page_content(image, page())
    assert "<figcaption>A caption.</figcaption>" in shown and 'href="a.svg"' in shown
    assert "title=" not in shown.partition("<img")[2]
    inline = "<p>text <img alt='b' src='b.svg'> text</p>"
    assert figures.on_page_content(inline, page()) == inline


def test_no_line_breaks_between_a_number_and_its_error_or_percent_sign() -> None:
    shown = spaces.on_page_content("<td>9.5 ± 0.2 %</td><code>5 % 2</code> and 3 dogs")
    assert shown == "<td>9.5\xa0±\xa00.2\xa0%</td><code>5 % 2</code> and 3 dogs"


def test_a_page_has_a_description() -> None:
    this = page("api/a.md")
    head.on_page_content("<p>First &amp; <b>last</b>.</p><p>Second.</p>", this)
    assert this.meta == {"title": "A, API", "description": "First &amp; last."}
    own = page(description="Mine.")
    head.on_page_content("<p>First.</p>", own)
    assert own.meta["description"] == "Mine."
    long = page()
    head.on_page_content(f"<p>{'word ' * 60}</p>", long)
    assert len(long.meta["description"]) <= 162


def test_files_that_name_the_project_agree() -> None:
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    said = dict(re.findall(r'^([\w-]+): "?([^"\n]+)"?$', citation, re.MULTILINE))
    assert said["version"] == PROJECT["version"]
    assert said["url"] == PROJECT["urls"]["Homepage"]
    assert said["repository-code"] == PROJECT["urls"]["Source"]
    assert said["license"] == PROJECT["license"]
