"""Who may import whom, read from the code. The list is the house: a room imports what stands above
it in this list, through its front door, and nothing else."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "eqx_qdeq"
OUTSIDE = ("tests", "examples", "experiments", "benchmarks")

ROOMS = (
    "_deprecated",
    "_checks",
    "_trees",
    "_precise",
    "circuits",
    "simulate",
    "encodings",
    "measurements",
    "noise",
    "layers",
    "cells",
    "solvers",
    "adjoints",
    "jacobians",
    "plotting",
    "equilibrium",
    "guarantees",
    "shots",
    "mitigation",
    "hardware",
    "models",
    "training",
    "__init__",
)


def _imports(path: Path) -> Iterator[tuple[list[str], list[str]]]:
    """The modules that a file imports, wherever in it: the parts of the dotted path, and the names
    taken from it. Relative ones are resolved; others than the package's are left out."""
    here = ["eqx_qdeq", *path.relative_to(PACKAGE).parts[:-1]] if PACKAGE in path.parents else []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else []
            parts = base + (node.module.split(".") if node.module else [])
            names = [alias.name for alias in node.names]
            if parts[:1] == ["eqx_qdeq"]:
                yield parts, names
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "eqx_qdeq":
                    yield alias.name.split("."), []


def _room(parts: list[str], names: list[str]) -> list[str]:
    """The rooms that an import reaches; `from . import circuits` names them one by one."""
    return names if len(parts) == 1 else [parts[1]]


def _files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def test_every_room_is_in_the_list() -> None:
    rooms = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in _files()}
    assert rooms == set(ROOMS)


def test_imports_go_one_way() -> None:
    wrong = []
    for path in _files():
        own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        allowed = set(ROOMS[: ROOMS.index(own)]) | {own}
        for parts, names in _imports(path):
            wrong += [
                f"{path.relative_to(ROOT)} imports {room}"
                for room in _room(parts, names)
                if room not in allowed
            ]
    assert not wrong, "\n".join(wrong)


def test_nobody_imports_another_folders_private_module() -> None:
    wrong = []
    for path in [*_files(), *(p for name in OUTSIDE for p in sorted((ROOT / name).rglob("*.py")))]:
        inside = PACKAGE in path.parents
        folder = ["eqx_qdeq", *path.relative_to(PACKAGE).parts[:-1]] if inside else None
        for parts, names in _imports(path):
            # A module of the own folder, and one of the root's small ones, are no strangers.
            own = inside and (parts[:-1] == folder or parts == folder or len(parts) == 2)
            private = [p for p in parts[1:] if p.startswith("_")]
            private += [n for n in names if n.startswith("_") and not n.endswith("__")]
            if private and not own:
                wrong.append(f"{path.relative_to(ROOT)} imports {'.'.join(parts)} ({private})")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("folder", sorted({path.parent for path in _files()}), ids=lambda p: p.name)
def test_no_circles_within_a_folder(folder: Path) -> None:
    graph = {
        path.stem: {
            parts[-1]
            for parts, _ in _imports(path)
            if parts[:-1] == ["eqx_qdeq", *path.relative_to(PACKAGE).parts[:-1]]
        }
        for path in folder.glob("*.py")
        if path.stem != "__init__"
    }
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, f"circle: {' -> '.join((*above, name))}"
        if name not in done:
            for other in graph.get(name, ()):
                visit(other, (*above, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_qujax_is_imported_where_it_is_used() -> None:
    """It computes when it is imported, in the precision then set. Only what runs circuits, and what
    qujax itself calls back, needs it."""
    for path in _files():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        named = [
            node
            for node in ast.walk(tree)
            if (isinstance(node, ast.ImportFrom) and (node.module or "").startswith("qujax"))
            or (isinstance(node, ast.Import) and any("qujax" in a.name for a in node.names))
        ]
        assert not named or path.parent.name in ("simulate", "circuits"), path
        assert not any(node in tree.body for node in named), path
