"""Who may import whom, read from the code. The list is the house: a room imports what stands above
it in this list, through its front door, and nothing else."""

import ast
from pathlib import Path

import pytest

from benchmarks.house import files, imports, PACKAGE, private_imports, room_of, rooms_imported

ROOT = Path(__file__).parents[1]
OUTSIDE = ("tests", "examples", "experiments", "benchmarks")

ROOMS = (
    "_deprecated",
    "_checks",
    "_trees",
    "_precise",
    "_memory",
    "_peak",
    "_inputs",
    "_local",
    "_mesh",
    "_amplitudes",
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
    "_exact",
    "models",
    "training",
    "sklearn",
    "__init__",
    "__main__",
)


def test_every_room_is_in_the_list() -> None:
    assert {room_of(path) for path in files()} == set(ROOMS)


def test_imports_go_one_way() -> None:
    wrong = []
    for path in files():
        own = room_of(path)
        above = {*ROOMS[: ROOMS.index(own)], own}
        wrong += [f"{path.relative_to(ROOT)}: {r}" for r in rooms_imported(path) - above]
    assert not wrong, "\n".join(wrong)


def test_nobody_imports_another_folders_private_module() -> None:
    outside = (path for name in OUTSIDE for path in sorted((ROOT / name).rglob("*.py")))
    wrong = [
        f"{path.relative_to(ROOT)}: {found}"
        for path in (*files(), *outside)
        for found in private_imports(path)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("folder", sorted({path.parent for path in files()}), ids=lambda p: p.name)
def test_no_circles_within_a_folder(folder: Path) -> None:
    here = ["eqx_qdeq", *folder.relative_to(PACKAGE).parts]
    graph = {
        path.stem: {parts[-1] for parts, _ in imports(path) if parts[:-1] == here}
        for path in folder.glob("*.py")
        if path.stem != "__init__"
    }
    done: set[str] = set()

    def visit(name: str, below: tuple[str, ...]) -> None:
        assert name not in below, f"circle: {' -> '.join((*below, name))}"
        if name not in done:
            for other in graph.get(name, ()):
                visit(other, (*below, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_qujax_is_imported_where_it_is_used() -> None:
    """It computes when it is imported, in the precision then set. Only what runs circuits, and what
    qujax itself calls back, needs it."""
    for path in files():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        named = [
            node
            for node in ast.walk(tree)
            if (isinstance(node, ast.ImportFrom) and (node.module or "").startswith("qujax"))
            or (isinstance(node, ast.Import) and any("qujax" in a.name for a in node.names))
        ]
        assert not named or path.parent.name in ("simulate", "circuits"), path
        assert not any(node in tree.body for node in named), path
