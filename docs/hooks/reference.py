"""The pages of the API: a table of its names on top, tables of data, and types that are links.

A page lists its names as `::: eqx_qdeq.Name`; what is said of each in the table is the first
sentence of its documentation. `<!-- table: gates -->` is a table made from the running package.
"""

import functools as ft
import html
import inspect
import logging
import pkgutil
import re
from pathlib import Path, PurePosixPath

# MkDocs puts this folder on the path while it loads a hook.
from pages import markdown
from signatures import documentation

# A warning of a logger below "mkdocs" makes `mkdocs build --strict` fail.
_log = logging.getLogger("mkdocs.hooks.reference")

API = Path(__file__).parents[1] / "api"

_ENTRY = re.compile(r"^::: (\S+)$", re.MULTILINE)
_TABLE = re.compile(r"^<!-- table: (\w+) -->$", re.MULTILINE)
_SIGNATURE = re.compile(r'(<div class="[^"]*\bdoc-signature\b[^"]*">)(.*?)(</div>)', re.DOTALL)
_TYPE = re.compile(r'(?<!def )<span class="(?:n|nc|nn)">([A-Z]\w+)</span>')


# --- Tables -----------------------------------------------------------------------------------


def said_of(name: str) -> str:
    """The first sentence of the documentation of a name."""
    found = pkgutil.resolve_name(name)
    is_code = isinstance(found, type) or hasattr(found, "__wrapped__") or inspect.isroutine(found)
    doc = inspect.cleandoc(found.__doc__ or "") if is_code else documentation(name)
    # Short names are found from within a docstring alone.
    first = re.sub(r"\[(`\w+`)\]\[\]", r"\1", " ".join(doc.split("\n\n")[0].split()))
    sentence = re.split(r"(?<=[^.A-Z])(?<!e\.g)(?<!i\.e)[.:](?=\s|$)", first)[0]
    if not sentence:
        _log.warning("nothing is said of %s", name)
    return sentence.rstrip(",;").replace("|", "&#124;")


def summary(text: str) -> str:
    """The names of a page with what they are."""
    rows = [
        [f"[`{name.rpartition('.')[2]}`][{name}]", said_of(name)] for name in _ENTRY.findall(text)
    ]
    return markdown(["name", "what it is"], rows, words=2)


def gates() -> str:
    """All gates by the wires on which they act and the angles that they take."""
    from eqx_qdeq.circuits import GATES

    sizes = sorted({(info.n_wires, info.n_params) for info in GATES.values()})
    rows = []
    for size in sizes:
        names = [name for name, info in GATES.items() if (info.n_wires, info.n_params) == size]
        rows.append([*map(str, size), ", ".join(f"`{name}`" for name in names)])
    return markdown(["wires", "angles", "gates"], rows, words=3)


def devices() -> str:
    """The calibrations of the devices."""
    from eqx_qdeq.noise import DEVICES

    show = lambda value: "–" if value is None else f"{value:.4g}"
    numbers = "one_wire", "two_wire", "p01", "p10", "t1", "t2", "one_wire_time", "two_wire_time"
    rows = [["`date`", *(device.date for device in DEVICES.values())]]
    for name in numbers:
        rows.append([f"`{name}`", *(show(getattr(device, name)) for device in DEVICES.values())])
    sources = [f"- `{name}`: {device.source}." for name, device in DEVICES.items()]
    header = ["", *(f"`{name}`" for name in DEVICES)]
    return "\n".join([markdown(header, rows), "", *sources])


def recipes() -> str:
    """The recipes by name, and what is trained on what."""
    from eqx_qdeq.training import recipes

    rows = [
        [f"`{recipe.name}`", f"{recipe.summary}. {recipe.epochs} epochs on `{recipe.dataset}`"]
        for recipe in recipes.values()
    ]
    return markdown(["recipe", "what it is"], rows, words=2)


_TABLES = {"gates": gates, "devices": devices, "recipes": recipes}


def on_page_markdown(text: str, page, **_) -> str:
    text = _TABLE.sub(lambda match: _TABLES[match[1]](), text)
    if not _is_reference(page.file.src_uri):
        return text
    # Below what the page says of itself, above its first heading or entry.
    place = re.search(r"^(?:## |::: )", text, re.MULTILINE)
    assert place is not None, f"{page.file.src_uri} has no entry"
    return f"{text[: place.start()]}{summary(text)}\n\n{text[place.start() :]}"


def _is_reference(page: str) -> bool:
    return page.startswith("api/") and page != "api/index.md"


# --- Links ------------------------------------------------------------------------------------


@ft.cache
def places() -> dict[str, tuple[str, str]]:
    """The page and the dotted name of every entry, by its last part."""
    return {
        name.rpartition(".")[2]: (path.stem, name)
        for path in sorted(API.glob("*.md"))
        for name in _ENTRY.findall(path.read_text("utf-8"))
        if path.stem != "index"
    }


def on_page_content(content: str, page, **_) -> str:
    if not _is_reference(page.file.src_uri):
        return content
    here = PurePosixPath(page.file.src_uri).stem

    def link(match: re.Match[str]) -> str:
        if match[1] not in places() or match[1].isupper():  # data: the entry's own name
            return match[0]
        there, name = places()[match[1]]
        url = f"#{name}" if there == here else f"../{there}/#{name}"
        return f'<a class="qdeq-type" href="{html.escape(url)}">{match[0]}</a>'

    linked = _SIGNATURE.sub(lambda m: m[1] + _TYPE.sub(link, m[2]) + m[3], content)
    if linked == content:
        _log.warning("%s: no type in a signature is a link", page.file.src_uri)
    return linked
