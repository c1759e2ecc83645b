"""`python -m benchmarks.house`: how large the package's rooms are, and how they hang together.

A room is a file or folder right below `eqx_qdeq/`; an arrow from A to B is an import. A room's
floor is one above the highest room that it imports.
"""

import ast
import io
import tokenize
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "eqx_qdeq"


def files(package: Path = PACKAGE) -> list[Path]:
    return sorted(package.rglob("*.py"))


def imports(path: Path, package: Path = PACKAGE) -> Iterator[tuple[list[str], list[str]]]:
    """The modules of the package that a file imports, wherever in it: the parts of the dotted
    path, and the names taken from it."""
    inside = package in path.parents
    here = [package.name, *path.relative_to(package).parts[:-1]] if inside else []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else []
            parts = base + (node.module.split(".") if node.module else [])
            if parts[:1] == [package.name]:
                yield parts, [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == package.name:
                    yield alias.name.split("."), []


def room_of(path: Path, package: Path = PACKAGE) -> str:
    return path.relative_to(package).parts[0].removesuffix(".py")


def rooms_imported(path: Path, package: Path = PACKAGE) -> set[str]:
    """`from . import circuits` names rooms one by one."""
    return {
        room
        for parts, names in imports(path, package)
        for room in (names if len(parts) == 1 else [parts[1]])
    }


def private_imports(path: Path, package: Path = PACKAGE) -> list[str]:
    """Underscored modules, and names, of folders that are not the file's own."""
    inside = package in path.parents
    folder = [package.name, *path.relative_to(package).parts[:-1]] if inside else None
    found = []
    for parts, names in imports(path, package):
        # A module of the own folder, and one of the root's small ones, are no strangers.
        own = inside and (folder in (parts, parts[:-1]) or len(parts) == 2)
        private = [p for p in parts[1:] if p.startswith("_")]
        private += [n for n in names if n.startswith("_") and not n.endswith("__")]
        if private and not own:
            found.append(".".join(parts))
    return found


def count(path: Path) -> Counter[str]:
    """Lines by kind: blank, comment (alone on its line), docstring (also one that is assigned to a
    `__doc__`), code; and those with any comment."""
    source = path.read_text(encoding="utf-8")
    lines, docstring, comment = source.splitlines(), set(), set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            comment.add(token.start[0])
    for node in ast.walk(ast.parse(source)):
        body = getattr(node, "body", None)
        for statement in body if isinstance(body, list) else []:
            value = getattr(statement, "value", None)
            text = isinstance(value, ast.Constant) and isinstance(value.value, str)
            assigned = isinstance(statement, ast.Assign) and ast.unparse(
                statement.targets[0]
            ).endswith("__doc__")
            if text and (isinstance(statement, ast.Expr) or assigned):
                docstring |= set(range(statement.lineno, (statement.end_lineno or 0) + 1))
    found = Counter(files=1, lines=len(lines), commented=len(comment))
    for number, line in enumerate(lines, 1):
        if not line.strip():
            found["blank"] += 1
        elif number in docstring:
            found["docstring"] += 1
        elif line.lstrip().startswith("#"):
            found["comment"] += 1
        else:
            found["code"] += 1
    return found


def floors(graph: Mapping[str, set[str]]) -> dict[str, int]:
    """The floor of every room. A circle raises a `RecursionError`."""
    known: dict[str, int] = {}

    def floor(room: str) -> int:
        if room not in known:
            known[room] = 1 + max((floor(r) for r in graph[room] if r != room), default=0)
        return known[room]

    return {room: floor(room) for room in graph}


def main(package: Path = PACKAGE) -> None:
    """Prints a table of the rooms of a package, and of what holds for all of it.

    Args:
        package: the folder to look at.
    """
    rooms: dict[str, Counter[str]] = {}
    graph: dict[str, set[str]] = {}
    for path in files(package):
        room = room_of(path, package)
        rooms[room] = rooms.get(room, Counter()) + count(path)
        graph.setdefault(room, set()).update(rooms_imported(path, package))
    total = sum(rooms.values(), Counter())
    try:
        on_floor = floors(graph)
    except RecursionError:
        on_floor = dict.fromkeys(graph, 0)  # there are circles
    print(f"{'room':<14}{'floor':>6}{'files':>6}{'lines':>7}{'code':>7}{'comments':>9}{'share':>7}")
    for room, found in sorted(rooms.items(), key=lambda item: -item[1]["lines"]):
        print(
            f"{room:<14}{on_floor[room]:>6}{found['files']:>6}{found['lines']:>7}"
            f"{found['code']:>7}{found['commented'] / found['lines']:>9.1%}"
            f"{found['lines'] / total['lines']:>7.1%}"
        )
    print(
        f"{'all':<14}{max(on_floor.values()):>6}{total['files']:>6}{total['lines']:>7}"
        f"{total['code']:>7}{total['commented'] / total['lines']:>9.1%}"
    )
    print("private imports:", sum(len(private_imports(p, package)) for p in files(package)))


if __name__ == "__main__":
    import tyro

    tyro.cli(main)
