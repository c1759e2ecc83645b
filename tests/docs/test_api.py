"""Every public name has an entry in the API reference, and the navigation shows every page."""

import re
import types
from pathlib import Path
from pkgutil import resolve_name

from tests.docs._names import public_names

ROOT = Path(__file__).parents[2]
API = sorted((ROOT / "docs" / "api").glob("*.md"))


def _exists(name: str) -> bool:
    try:
        resolve_name(name)
    except (AttributeError, ModuleNotFoundError):
        return False
    return True


def test_every_public_name_is_documented() -> None:
    entries = [
        entry
        for page in API
        for entry in re.findall(r"^::: (\S+)", page.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    stale = [entry for entry in entries if not _exists(entry)]
    assert not stale, f"docs/api names what does not exist: {', '.join(stale)}"
    # A name that is re-exported twice needs one entry.
    documented = {id(resolve_name(entry)) for entry in entries}
    missing = [name for name in public_names() if id(resolve_name(name)) not in documented]
    assert not missing, f"add `::: NAME` to a page in docs/api for: {', '.join(missing)}"


def test_public_names_are_found() -> None:
    names = public_names()
    assert "eqx_qdeq.DEQ" in names
    assert "eqx_qdeq.circuits.hardware_efficient" in names
    assert "eqx_qdeq.plotting.plot_training" in names
    assert "eqx_qdeq.layers.make_propagator" not in names  # of use inside only


def test_every_public_name_has_a_docstring() -> None:
    bare = [
        name
        for name in public_names()
        if isinstance(resolve_name(name), type | types.FunctionType)
        and not (resolve_name(name).__doc__ or "").strip()
    ]
    assert not bare, f"no docstring: {', '.join(bare)}"


def test_navigation_shows_every_page() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").split("\nnav:")[1]
    pages = [str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")]
    assert sorted(pages) == sorted(re.findall(r": (\S+\.md)$", navigation, re.MULTILINE))
