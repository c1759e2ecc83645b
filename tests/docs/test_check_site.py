"""What `check_site` finds, on a small site with one fault of each kind."""

from pathlib import Path

import pytest

from tests.docs.check_site import _Page, check_names, check_numbers, check_pages, check_search

pytestmark = pytest.mark.usefixtures("once")

HEAD = '<meta name="description" content="{}">'
GOOD = HEAD.format("Of the good page.") + (
    '<article><h1 id="top">A</h1><a href="../b/#top">b</a><a href="https://a.b">out</a>'
    '<figure><img src="../i.svg" alt="What is seen here"></figure></article>'
)
BAD = HEAD.format("Of the bad page.") + (
    '<article><h1 id="top">B</h1><a href="../c/">c</a><a href="../a/#nowhere">a</a>'
    '<script src="https://cdn.example.org/x.js"></script><img src="../i.svg" alt="plot"></article>'
)


def faults(tmp_path: Path, **pages: str) -> list[str]:
    (tmp_path / "i.svg").write_text("<svg/>", encoding="utf-8")
    for name, text in pages.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "index.html").write_text(text, encoding="utf-8")
    found = {str(p.relative_to(tmp_path)): _Page(p) for p in sorted(tmp_path.rglob("*.html"))}
    return list(check_pages(found, tmp_path))


def test_pages(tmp_path: Path) -> None:
    found = faults(tmp_path, a=GOOD, b=BAD, d=GOOD)
    assert sorted(found) == sorted(
        [
            "b/index.html: no page at ../c/",
            "b/index.html: no place ../a/#nowhere",
            "b/index.html: loads https://cdn.example.org/x.js from elsewhere",
            "b/index.html: an image whose text is 'plot': say what is seen",
            "b/index.html: the image 'plot' has no caption",
            "d/index.html: has the description of a/index.html",
        ]
    )


def test_names_and_words(tmp_path: Path) -> None:
    page = tmp_path / "index.html"
    page.write_text('<article><h2 id="eqx_qdeq.DEQ">DEQ</h2></article>', encoding="utf-8")
    missing = list(check_names({"api/index.html": _Page(page)}))
    assert "eqx_qdeq.QDEQ: not in the API reference" in missing
    assert "eqx_qdeq.DEQ: not in the API reference" not in missing
    (tmp_path / "search").mkdir()
    (tmp_path / "search" / "search_index.json").write_text("JFB sklearn optimizer transformer")
    assert list(check_search(tmp_path)) == [
        "the search does not find 'ZNE'",
        "the search does not find 'OpenQASM'",
    ]


def test_numbers_name_a_command(tmp_path: Path) -> None:
    table = "| model | accuracy |\n|---|---|\n| a | 93.1 |\n| b | 94.2 ± 0.1 |\n"
    (tmp_path / "a.md").write_text(
        f"# A\n\n## One\n\n{table}\n## Two\n\n`python -m two`\n\n{table}"
    )
    assert list(check_numbers(tmp_path)) == ["a.md, 'One': a table of numbers, and no command"]
    (tmp_path / "a.md").write_text(f"# A\n\nBy `python -m all`.\n\n## One\n\n{table}")
    assert not list(check_numbers(tmp_path))
