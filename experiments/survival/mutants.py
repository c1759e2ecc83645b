"""Mutation testing: are the tests sharp enough to notice a wrong sign?

    python -m experiments.survival.mutants                     every room; hours
    python -m experiments.survival.mutants --rooms solvers --samples 20
    python -m experiments.survival.mutants --again             what survived, against all tests
    python -m experiments.survival.report                      the page

It needs `pip install --group mutation`. A mutant is the package with one operator, number, branch,
loop, decorator or exception replaced, by Cosmic Ray's operators. From each room of the code a
sample of places is drawn with a fixed seed, and one mutant at each. It is killed if a test that
executes the place fails, or if the tests take far longer than they should. The tests that are
quickest by themselves come first. A sample says how many would be killed, within its interval.

Left out, as nothing can tell them apart: annotations, caches, `==` as `is`. Left out as well, as
anything can: arithmetic as logic or shifts.

Each mutant is a fork of this process, which has imported the libraries but not the package, and
works on a copy of the clone: nothing here is changed.
"""

import ast
import fnmatch
import importlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from .. import load_records, Off, progress, Record, save_record, to_do
from . import RESULTS

ROOT = Path(__file__).parents[2]
FILE = RESULTS / "mutants.jsonl"
COVERED = RESULTS / "coverage.jsonl"


@dataclass(frozen=True)
class Room:
    """Files of the package, and the tests whose business they are."""

    files: tuple[str, ...]
    tests: tuple[str, ...]


ROOMS = {
    "simulate": Room(
        ("simulate/*.py",),
        ("tests/simulate", "tests/layers", "tests/circuits/test_qujax.py"),
    ),
    "solvers": Room(("solvers/*.py",), ("tests/solvers", "tests/equilibrium/test_any_solver.py")),
    "adjoints": Room(("adjoints/*.py",), ("tests/adjoints",)),
    "shift-rules": Room(
        ("shots/_gradients.py", "shots/_experiment.py", "shots/_solves.py"), ("tests/shots",)
    ),
    "circuits": Room(("circuits/[!_]*.py", "circuits/_[!oq]*.py"), ("tests/circuits",)),
    "checkpoints": Room(
        ("training/_checkpoint.py", "training/_files.py", "training/_by_content.py"),
        tuple(
            f"tests/training/test_{name}.py"
            for name in ("checkpoint", "save", "forged_checkpoints", "writing", "compiled_once")
        ),
    ),
    "openqasm": Room(("circuits/_openqasm*.py",), ("tests/circuits",)),
}


@dataclass(frozen=True)
class Mutant:
    file: str
    line: int
    operator: str
    before: str
    after: str
    code: str


_ARITHMETIC = {"Add", "Sub", "Mul", "Div", "FloorDiv", "Mod", "Pow"}
_LOGIC = {"BitOr", "BitAnd", "BitXor"}


# --- Mutants ----------------------------------------------------------------------------------


def _left_out(tree: ast.AST, lines: list[str]) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Where annotations and cached functions' decorators begin and end."""
    found: list[ast.expr] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.arg | ast.AnnAssign) and node.annotation:
            found.append(node.annotation)
        elif isinstance(node, ast.FunctionDef):
            found += [node.returns] if node.returns else []
            found += [each for each in node.decorator_list if "cache" in ast.unparse(each)]

    def place(line: int, byte: int) -> tuple[int, int]:
        return line, len(lines[line - 1].encode()[:byte].decode())

    return [
        (place(e.lineno, e.col_offset), place(e.end_lineno or 0, e.end_col_offset or 0))
        for e in found
    ]


def _fair(operator: str) -> bool:
    """Whether the replacement is worth a try: arithmetic for arithmetic, logic for logic, and
    identity for identity. What raises at its first use, any test would kill."""
    old, new = operator.rpartition("_")[0].rpartition("_")[2], operator.rpartition("_")[2]
    if "ReplaceBinaryOperator" in operator:
        return any({old, new} <= kind for kind in (_ARITHMETIC, _LOGIC))
    if "ReplaceComparisonOperator" in operator:
        return (old in ("Is", "IsNot")) == (new in ("Is", "IsNot"))
    return True


def _places(path: Path) -> list[tuple[Path, int, list[tuple[str, int]]]]:
    """Where a file can be mutated: its line, and the operators with the number of their use."""
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.plugins import get_operator, operator_names

    source = path.read_text(encoding="utf-8")
    left_out = _left_out(ast.parse(source), source.splitlines())
    nodes = [*ast_nodes(get_ast(source))]
    places: dict[Any, list[tuple[str, int]]] = {}
    for name in sorted(operator_names()):
        kind = get_operator(name)
        if kind.arguments() or not _fair(name):
            continue
        positions = (at for node in nodes for at in kind().mutation_positions(node))
        for occurrence, ((line, column), end) in enumerate(positions):
            at = (line, column + (name.endswith("RemoveDecorator")))  # without its sign
            if not any(first <= at <= last for first, last in left_out):
                places.setdefault(((line, column), end), []).append((name, occurrence))
    return [(path, line, options) for ((line, _), _), options in sorted(places.items())]


def _mutant(root: Path, path: Path, line: int, operator: str, occurrence: int) -> Mutant | None:
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator

    source = path.read_text(encoding="utf-8")
    code = mutate_code(source, get_operator(operator)(), occurrence)
    try:
        if code is None or ast.dump(ast.parse(code)) == ast.dump(ast.parse(source)):
            return None
    except SyntaxError:
        return None
    old, new = source.splitlines(), code.splitlines()
    n = next(i for i in range(line - 1, len(old)) if old[i] != new[i])
    name = operator.removeprefix("core/")
    return Mutant(str(path.relative_to(root)), line, name, old[n].strip(), new[n].strip(), code)


def sample(name: str, size: int, seed: int, root: Path = ROOT) -> dict[str, Mutant]:
    """Mutants of a room, by their names."""
    package = root / "eqx_qdeq"
    files = sorted({path for pattern in ROOMS[name].files for path in package.glob(pattern)})
    places = [place for path in files if path.name != "__init__.py" for place in _places(path)]
    print(f"{name}: {len(places)} places in {len(files)} files", flush=True)
    choice = random.Random(f"{name} {seed}")
    choice.shuffle(places)
    found: dict[str, Mutant] = {}
    for path, line, options in places:
        if len(found) == size:
            break
        mutant = _mutant(root, path, line, *choice.choice(options))
        if mutant is not None:
            found[f"{name} {f'{seed}.' if seed else ''}{len(found):03d}"] = mutant
    return found


def found_again(record: Record, root: Path = ROOT) -> Mutant | None:
    """The mutant of a record, on whichever line it is now; none if its code is no more."""
    path = root / record["file"]
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    for _, line, options in _places(path):
        if record["before"] in lines[line - 1 : line + 2]:
            for operator, occurrence in options:
                if operator == f"core/{record['operator']}":
                    mutant = _mutant(root, path, line, operator, occurrence)
                    if mutant and mutant.after == record["after"]:
                        return mutant
    return None


# --- Tests ------------------------------------------------------------------------------------


class _Log:
    """What pytest says about each test, one a line, in a file that outlives the process."""

    def __init__(self, path: Path):
        self.path = path

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "call" or report.failed:
            with self.path.open("a") as file:
                line = {"test": report.nodeid, "failed": report.failed, "took": report.duration}
                file.write(json.dumps(line) + "\n")


_LIBRARIES = ("equinox", "hypothesis.extra.numpy", "lineax", "optax", "optimistix", "pennylane")
_LIBRARIES += ("pytest", "scipy.optimize", "sklearn.datasets")


def _run(root: Path, arguments: list[str], limit: float) -> tuple[int | None, list[Any], str]:
    """pytest in a fork: its exit code, or None if it took too long; its tests; its output."""
    with tempfile.TemporaryDirectory() as folder:
        log, output = Path(folder) / "log", Path(folder) / "output"
        child = os.fork()
        if child == 0:
            code = 70
            try:
                os.setsid()
                os.chdir(root)
                sys.dont_write_bytecode = True
                descriptor = os.open(output, os.O_WRONLY | os.O_CREAT)
                os.dup2(descriptor, 1)
                os.dup2(descriptor, 2)
                sys.path[:] = [str(root), *(p for p in sys.path if p not in ("", str(ROOT)))]
                for module in [
                    m for m in sys.modules if m.startswith(("docs.hooks", "experiments"))
                ]:
                    del sys.modules[module]
                import pytest

                quiet = ["-q", "--every", "-p", "no:cacheprovider", "-p", "no:xdist"]
                quiet += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
                code = int(pytest.main([*quiet, *arguments], plugins=[_Log(log)]))
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        end = time.monotonic() + limit
        status = None
        while time.monotonic() < end:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                break
            time.sleep(0.05)
        else:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            status = None
        tests = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        text = output.read_text(errors="replace")
    return (None if status is None else os.waitstatus_to_exitcode(status)), tests, text


class _Tests:
    """The tests of a room: how long each takes, and which execute a line."""

    def __init__(self, root: Path, files: tuple[str, ...]):
        import coverage

        data = root / f".coverage-{files[0].replace('/', '-')}"
        os.environ["COVERAGE_FILE"] = str(data)
        options = ["--cov=eqx_qdeq", "--cov-branch", "--cov-context=test", "--cov-report="]
        code, tests, output = _run(root, [*options, *files], 3600)
        fail = {each["test"] for each in tests if each["failed"]}
        if code and not fail:
            raise SystemExit(f"the tests cannot be run without any mutant:\n{output[-3000:]}")
        print(*(f"left out, as it fails without any mutant: {test}\n" for test in fail))
        self.took = {each["test"]: each["took"] for each in tests if each["test"] not in fail}
        self.lines = coverage.CoverageData(str(data))
        self.lines.read()
        self.root = root

    def coverage(self, room: Room) -> Record:
        """Lines and branches of the room's files: how many there are, how many are reached."""
        import coverage

        found = coverage.Coverage(data_file=self.lines.data_filename(), branch=True)
        found.load()
        report = self.root / "coverage.json"
        include = [str(self.root / "eqx_qdeq" / pattern) for pattern in room.files]
        found.json_report(outfile=str(report), include=include)
        read = json.loads(report.read_text())
        names = {"lines": "num_statements", "lines reached": "covered_lines"}
        names |= {"branches": "num_branches", "branches reached": "covered_branches"}
        missed = {name: file["missing_lines"] for name, file in read["files"].items()}
        print(*(f"{name}: {lines} not reached\n" for name, lines in missed.items() if lines))
        return {name: read["totals"][key] for name, key in names.items()}

    def of(self, mutant: Mutant, budget: float) -> tuple[list[str], int]:
        """Tests that execute the mutant, quick ones first, and how many there are in all."""
        by_line = self.lines.contexts_by_lineno(str((self.root / mutant.file).resolve()))
        names = {each.partition("|")[0] for each in by_line.get(mutant.line, ())} - {""}
        names &= self.took.keys()
        # What is executed at import only concerns all.
        quick = sorted(names or self.took, key=lambda name: self.took[name])
        chosen, total = [], 0.0
        for name in quick:
            total += self.took[name]
            if chosen and total > budget:
                break
            chosen.append(name)
        # File by file, as what one compiles is forgotten after it.
        files = {name.partition("::")[0]: None for name in chosen}
        return [n for f in files for n in chosen if n.partition("::")[0] == f], len(quick)


def _try(root: Path, mutant: Mutant, tests: list[str], limit: float) -> dict[str, Any]:
    path = root / mutant.file
    original = path.read_bytes()
    kept = path.stat()
    start = time.monotonic()
    try:
        path.write_text(mutant.code, encoding="utf-8")
        code, ran, output = _run(root, ["-x", *tests], limit)
    finally:
        path.write_bytes(original)
        os.utime(path, ns=(kept.st_atime_ns, kept.st_mtime_ns))
    outcome = {0: "survived", None: "too long"}.get(code, "killed")
    failed = [each["test"] for each in ran if each["failed"]]
    if outcome == "killed" and not failed:  # the package does not even import
        failed = [output.strip().splitlines()[-1][:100]]
    return {
        "outcome": outcome,
        "by": failed[0] if failed else None,
        "tests": len(tests),
        "seconds": round(time.monotonic() - start, 1),
    }


# --- The command ------------------------------------------------------------------------------


def _copy(to: Path) -> Path:
    """A copy of what git knows or would take, as it is now."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.check_output(command, cwd=ROOT, text=True).split("\0"):
        if name and (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name)
    return to.resolve()


def main(
    rooms: tuple[str, ...] = tuple(ROOMS),
    samples: tuple[int, ...] = (40,),
    budget: float = 40.0,
    only: str = "*",
    again: Annotated[bool, Off] = False,
    list: Annotated[bool, Off] = False,
    results: Path = FILE,
) -> None:
    """Tries the mutants that are not in the results.

    Args:
        rooms: which parts of the code.
        samples: how many mutants of each; a second number is for a second sample, drawn afresh.
        budget: the seconds of tests for each mutant, as they take without it.
        only: which of these, a pattern for their names.
        again: try what survived once more, against all tests of the room.
        list: only print the names, and which are done.
        results: the file of the records.
    """
    os.environ["JAX_ENABLE_X64"] = "1"  # laws are tested in double precision
    os.environ["PYTHONWARNINGS"] = "ignore:os.fork:RuntimeWarning"
    if unknown := set(rooms) - ROOMS.keys():
        raise SystemExit(f"there is no room {', '.join(unknown)}; there are {', '.join(ROOMS)}.")
    with tempfile.TemporaryDirectory() as folder:
        root = _copy(Path(folder))
        sys.path.insert(0, str(root))
        from tests._xla_flags import quick_compilation

        os.environ["XLA_FLAGS"] = quick_compilation()
        for library in _LIBRARIES:
            importlib.import_module(library)
        if again:
            return _again(root, rooms, only, results)
        known: dict[tuple[str, ...], _Tests] = {}
        for name in rooms:
            mutants: dict[str, Mutant] = {}
            for seed, size in enumerate(samples):
                mutants |= sample(name, size, seed, root)
            mutants = {n: m for n, m in mutants.items() if fnmatch.fnmatch(n, only)}
            mutants = to_do(results, mutants, show=list) if mutants else {}
            if not mutants:
                continue
            room = ROOMS[name]
            tests = known[room.tests] = known.get(room.tests) or _Tests(root, room.tests)
            save_record(COVERED, name, tests.coverage(room))
            for each, mutant in progress(mutants):
                chosen, covering = tests.of(mutant, budget)
                outcome = _try(root, mutant, chosen, 60 + 5 * budget)
                _save(results, each, name, mutant, outcome | {"covering": covering})


def _again(root: Path, rooms: tuple[str, ...], only: str, results: Path) -> None:
    """All tests of the room, those that were changed last first."""
    for name, record in load_records(results).items():
        chosen = record["room"] in rooms and fnmatch.fnmatch(name, only)
        if not chosen or record["outcome"] != "survived":
            continue
        mutant = found_again(record, root)
        if mutant is None:
            print(f"{name}: its code is no more", flush=True)
            continue
        found = [root / test for test in ROOMS[record["room"]].tests]
        files = [
            f for test in found for f in ([test] if test.is_file() else test.rglob("test_*.py"))
        ]
        tests = [str(f) for f in sorted(files, key=lambda f: f.stat().st_mtime, reverse=True)]
        outcome = _try(root, mutant, tests, 1800)
        print(name, outcome, flush=True)
        again = {"line": mutant.line, "tests": "all", "again": True}
        save_record(results, name, record | outcome | again)


def _save(path: Path, name: str, room: str, mutant: Mutant, outcome: dict[str, Any]) -> None:
    what = {key: getattr(mutant, key) for key in ("file", "line", "operator", "before", "after")}
    save_record(path, name, {"room": room} | what | outcome)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
