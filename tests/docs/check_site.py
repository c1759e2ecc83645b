"""Looks at the built site as a reader would: `python -m tests.docs.check_site site`.

- Links lead somewhere, and nothing is loaded from elsewhere.
- Pages have a title and a description of their own, images a text and a caption.
- Public names have a place in the API reference; the search knows the words that people look for.
- Where a page has a table of numbers, it names the command that makes them.
- In a browser of 1280 and of 390 pixels nothing is cut or broken: no page moves sideways, code and
  tables fit on the wide screen, figures are shown, the font of formulas is there.

The last needs Chromium or Chrome (`--browser PATH` if it is not found); without one it says so.
"""

import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote, urlsplit

import tyro

from tests.docs._browser import look
from tests.docs._names import public_names

ROOT = Path(__file__).parents[2]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
WORDS = ("JFB", "ZNE", "optimizer", "sklearn", "transformer", "OpenQASM")
# Where a number comes from: a command, or a file of the repository.
_COMMAND = re.compile(
    r"`[^`\n]*(python |make |pip |pytest|\.py\b|\.jsonl?\b)[^`\n]*`|^(python|make) ", re.M
)
_NUMBER = re.compile(r"\d")


class _Page(HTMLParser):
    """Ids, links and images of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.images: list[tuple[str, bool]] = []
        self.description = ""
        self._inside: Counter[str] = Counter()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.ids.update(given[name] for name in ("id", "name") if name in given)
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif tag == "link" and given.get("rel") in ("stylesheet", "icon", "preload"):
            self.loads.append(given["href"])
        elif tag in ("script", "img", "iframe", "source") and "src" in given:
            self.loads.append(given["src"])
        elif tag == "meta" and given.get("name") == "description":
            self.description = given["content"]
        if tag == "img" and self._inside["article"]:
            self.images.append((given.get("alt", ""), self._inside["figure"] > 0))
        self._inside[tag] += 1

    def handle_endtag(self, tag: str) -> None:
        self._inside[tag] -= 1


def check_pages(pages: dict[str, _Page], site: Path) -> Iterator[str]:
    """Links, what is loaded, images and descriptions."""
    descriptions: dict[str, str] = {}
    for name, page in pages.items():
        for link in (*page.links, *page.loads):
            to = urlsplit(link)
            if to.scheme or to.netloc:
                if link in page.loads and to.scheme != "data":
                    yield f"{name}: loads {link} from elsewhere"
                continue
            target = (site / name).parent / unquote(to.path) if to.path else site / name
            if to.path.startswith("/"):
                if name == "404.html":  # it is shown at any depth, so its links begin at the root
                    continue
                yield f"{name}: {link} begins at the server's root"
                continue
            target = target.resolve()
            target = target / "index.html" if target.is_dir() else target
            if not target.exists():
                yield f"{name}: no page at {link}"
            elif to.fragment and target.suffix == ".html":
                other = pages[str(target.relative_to(site))]
                if unquote(to.fragment) not in other.ids:
                    yield f"{name}: no place {link}"
        for alt, framed in page.images:
            if len(alt.split()) < 3:
                yield f"{name}: an image whose text is {alt!r}: say what is seen"
            if not framed:
                yield f"{name}: the image {alt!r} has no caption"
        if name != "404.html" and not page.description:
            yield f"{name}: no description; write one at the head of the page"
        elif page.description in descriptions and not name.startswith("404"):
            yield f"{name}: has the description of {descriptions[page.description]}"
        descriptions.setdefault(page.description, name)


def check_names(pages: dict[str, _Page]) -> Iterator[str]:
    """Public names without a place in the reference."""
    ids = set().union(*(page.ids for name, page in pages.items() if name.startswith("api/")))
    for name in public_names():
        if name not in ids and not any(i.endswith("." + name.rsplit(".", 1)[1]) for i in ids):
            yield f"{name}: not in the API reference"


def check_search(site: Path) -> Iterator[str]:
    index = (site / "search" / "search_index.json").read_text(encoding="utf-8").lower()
    for word in WORDS:
        if word.lower() not in index:
            yield f"the search does not find {word!r}"


def check_numbers(docs: Path) -> Iterator[str]:
    """Tables of numbers in parts of a page that name no command; nor does the head of the page."""
    for path in sorted(docs.rglob("*.md")):
        if "api" in path.relative_to(docs).parts:
            continue
        head, *parts = re.split(r"^## ", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
        for part in (head, *parts):
            rows = [line for line in part.splitlines() if line.startswith("|")]
            numbers = [
                row for row in rows if re.search(r"\|\s*[-+−]?[\d.,]+( ?[±%].*?)?\s*\|", row)
            ]
            if len(numbers) > 1 and not (_COMMAND.search(part) or _COMMAND.search(head)):
                where = part.splitlines()[0]
                yield f"{path.relative_to(docs)}, {where!r}: a table of numbers, and no command"


def main(
    site: tyro.conf.Positional[Path],
    browser: Path | None = None,
    no_browser: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
) -> None:
    """Checks the built site, prints what is wrong, and fails if something is.

    Args:
        site: the folder that `mkdocs build` wrote.
        browser: Chromium's or Chrome's command; looked for if left out.
        no_browser: without what needs one.
    """
    site = site.resolve()
    pages = {str(path.relative_to(site)): _Page(path) for path in sorted(site.rglob("*.html"))}
    if not pages:
        raise SystemExit(f"there are no pages in {site}; run `make docs` first.")
    faults = [*check_pages(pages, site), *check_names(pages), *check_search(site)]
    faults += check_numbers(ROOT / "docs")
    links = sum(len(page.links) for page in pages.values())
    images = sum(len(page.images) for page in pages.values())
    print(f"{len(pages)} pages, {links} links, {images} images, {len(public_names())} public names")
    command = browser or next((found for b in BROWSERS if (found := shutil.which(b))), None)
    if no_browser or command is None:
        print("skipped, what needs a browser:", "--no-browser" if no_browser else "none was found")
    else:
        faults += look(site, sorted(set(pages) - {"404.html"}), str(command))
    print(*faults, sep="\n")
    if faults:
        sys.exit(f"{len(faults)} faults")
    print("no fault")


if __name__ == "__main__":
    tyro.cli(main)
