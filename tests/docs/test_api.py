"""Every public name has an entry in the API reference, and the navigation shows every page.

Public is what a package's `__init__.py` re-exports, and the functions and classes of a module of
which nothing is re-exported, since it can only be meant to be imported by itself.
"""

import ast
import importlib
import inspect
import pkgutil
import re
import types
from pathlib import Path
from typing import Any

import eqx_qdeq

ROOT = Path(__file__).parents[2]
API = sorted((ROOT / "docs" / "api").glob("*.md"))


def _is_public(name: str) -> bool:
    return not any(part.startswith("_") for part in name.split("."))


def _reexports(package: types.ModuleType) -> list[str]:
    """The names that an `__init__.py` imports as themselves."""
    return [
        alias.name
        for node in ast.walk(ast.parse(inspect.getsource(package)))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname == alias.name
    ]


def _own_names(module: types.ModuleType) -> list[str]:
    return [
        name
        for name, member in vars(module).items()
        if _is_public(name)
        and isinstance(member, type | types.FunctionType)
        and member.__module__ == module.__name__
    ]


def public_names() -> list[str]:
    """The dotted names of everything public."""
    modules = [
        (importlib.import_module(info.name), info.ispkg)
        for info in pkgutil.walk_packages(eqx_qdeq.__path__, "eqx_qdeq.")
        if _is_public(info.name)
    ]
    names = [
        f"{package.__name__}.{name}"
        for package, is_package in [(eqx_qdeq, True), *modules]
        if is_package
        for name in _reexports(package)
        if _is_public(name) and not isinstance(getattr(package, name), types.ModuleType)
    ]
    reexported = {id(_resolve(name)) for name in names}
    for module, is_package in modules:
        own = [] if is_package else _own_names(module)
        if not any(id(getattr(module, name)) in reexported for name in own):
            names += [f"{module.__name__}.{name}" for name in own]
    return names


def _resolve(name: str) -> Any:
    parts = name.split(".")
    for i in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:i]))
        except ModuleNotFoundError:
            continue
        for part in parts[i:]:
            found = getattr(found, part)
        return found
    raise ModuleNotFoundError(name)


def _exists(name: str) -> bool:
    try:
        _resolve(name)
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
    documented = {id(_resolve(entry)) for entry in entries}
    missing = [name for name in public_names() if id(_resolve(name)) not in documented]
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
        if isinstance(_resolve(name), type | types.FunctionType)
        and not (_resolve(name).__doc__ or "").strip()
    ]
    assert not bare, f"no docstring: {', '.join(bare)}"


def test_navigation_shows_every_page() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").split("\nnav:")[1]
    pages = [str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")]
    assert sorted(pages) == sorted(re.findall(r": (\S+\.md)$", navigation, re.MULTILINE))
