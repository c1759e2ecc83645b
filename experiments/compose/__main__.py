"""`python -m experiments.compose`: every side on every task, and the table of the docs' page."""

import ast
import importlib
import inspect
import sys
import time
import tokenize
from collections.abc import Callable, Mapping
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import Annotated

import numpy as np
import tyro

from .. import DOCS, fill_page, load_records, markdown, Off, Record, save_record
from .tasks import Task, TASKS

RESULTS = Path(__file__).parent / "results.jsonl"
SIDES = {
    "eqx_qdeq": "eqx-qdeq: a quantum equilibrium",
    "sklearn": "eqx-qdeq as a scikit-learn estimator",
    "pennylane": "PennyLane: the circuit, applied once",
    "torchdeq": "TorchDEQ: a classical equilibrium",
    "pennylane_torchdeq": "PennyLane in TorchDEQ: a quantum equilibrium",
}
# What would take hours: trained for so many epochs and one seed, and the table says so.
SHORT = {"pennylane_torchdeq": 1}
BRINGS = {"table": "a table, labels", "regression": "a table, numbers", "images": "images, labels"}


def count_lines(source: str) -> int:
    """Lines that have code in them: neither blank, nor of comments and docstrings alone."""
    skip = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    lines, before = set(), tokenize.NEWLINE
    for token in tokenize.generate_tokens(StringIO(source).readline):
        # A string where a statement begins is a docstring.
        begins = before in (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.NL)
        is_text = token.type == tokenize.STRING and begins
        if token.type not in skip | {tokenize.ENDMARKER} and not is_text:
            lines |= set(range(token.start[0], token.end[0] + 1))
        before = token.type
    return len(lines)


def lines_for(side: ModuleType, task: str) -> int:
    """The lines that a user writes for one task: its function, and all that this one needs."""
    lines, wanted, seen = 0, [(side, task)], set()
    while wanted:
        module, name = wanted.pop()
        text = inspect.getsource(module)
        for statement in ast.parse(text).body:
            key = (module.__name__, statement.lineno)
            if key in seen or name not in _names_bound_by(statement):
                continue
            seen.add(key)
            # What comes from another side's file has to be written as well; imports count.
            theirs = getattr(vars(module).get(name), "__module__", module.__name__)
            if isinstance(statement, ast.ImportFrom) and theirs.endswith("_side"):
                wanted.append((sys.modules[theirs], name))
            else:
                lines += count_lines(ast.get_source_segment(text, statement) or "")
            used = {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}
            wanted += [(module, other) for other in used]
            if isinstance(statement, ast.FunctionDef | ast.ClassDef):
                lines += sum(count_lines(ast.unparse(d)) for d in statement.decorator_list)
    return lines


def _names_bound_by(statement: ast.stmt) -> set[str]:
    """The names that a statement of a module makes."""
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return {statement.name}
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return {(alias.asname or alias.name).split(".")[0] for alias in statement.names}
    return {n.id for n in ast.walk(statement) if isinstance(n, ast.Name) and _is_made(n)}


def _is_made(name: ast.Name) -> bool:
    return isinstance(name.ctx, ast.Store)


def run(function: Callable[[Task, int], float], task: Task, seed: int) -> dict[str, float]:
    """One training: what came out, and how long it took, compilation included."""
    wall, cpu = time.perf_counter(), time.process_time()
    score = function(task, seed)
    return {
        "score": round(float(score), 4),
        "seconds": round(time.perf_counter() - wall, 2),
        "cpu_seconds": round(time.process_time() - cpu, 2),
    }


def table(records: Mapping[str, Record]) -> str:
    """What a user brings, the lines, what comes out."""
    rows = []
    for task, brings in BRINGS.items():
        for side, what in SIDES.items():
            if f"{task} {side}" not in records:
                continue
            found = records[f"{task} {side}"]
            scores = 100 * np.array([run["score"] for run in found["runs"]])
            spread = f" ± {scores.std(ddof=1):.1f}" if len(scores) > 1 else ""
            # The first run imports what is left and compiles; the later ones need not.
            first, *later = (run["cpu_seconds"] for run in found["runs"])
            again = f"{np.mean(later):.1f} s" if later else ""
            epochs = "" if found["epochs"] == found["of"] else f", {found['epochs']} epoch"
            out = f"{found['measure']} {scores.mean():.1f}{spread} %{epochs}"
            rows.append((brings, what, str(found["lines"]), out, f"{first:.1f} s", again))
    header = ("what a user brings", "with", "lines", "what comes out")
    header += ("processor time, first run", "later runs")
    return markdown(header, rows, words=2, spaced=True)


def main(
    seeds: int = 3,
    tasks: tuple[str, ...] = tuple(TASKS),
    out: Path = RESULTS,
    page: Path = DOCS / "examples.md",
    smoke: Annotated[bool, Off] = False,
) -> None:
    """Trains every side on every task, on the same splits and for as many epochs.

    Args:
        seeds: how many splits and initial parameters.
        tasks: of "table", "regression" and "images".
        out: the file of the results; a task that is run again replaces its own.
        page: the page that gets the table.
        smoke: one epoch, one seed and the table alone, into a file here; the page stays.
    """
    out, seeds = (Path("compose.jsonl"), 1) if smoke else (out, seeds)
    sides = {}
    for name, what in SIDES.items():
        try:
            sides[name] = importlib.import_module(f".{name}_side", __package__)
        except ImportError as error:
            print(f"left out, as it is not installed: {what} ({error})")
    for task in tasks[:1] if smoke else tasks:
        found: dict[str, list[dict[str, float]]] = {}
        # One side after the other for each seed: what else the machine does hits all alike.
        for seed in range(seeds):
            for name, side in sides.items():
                if not hasattr(side, task) or (name in SHORT and seed > 0):
                    continue
                given = TASKS[task](seed)
                epochs = 1 if smoke else SHORT.get(name, given.epochs)
                done = run(getattr(side, task), given._replace(epochs=epochs), seed)
                found.setdefault(name, []).append(done)
                record = {"lines": lines_for(side, task), "measure": given.measure}
                record |= {"epochs": epochs, "of": given.epochs, "runs": found[name]}
                save_record(out, f"{task} {name}", record)
                print(f"{task}, {SIDES[name]}, seed {seed}: {done}", flush=True)
    text = table(load_records(out))
    print(text)
    if not smoke:
        fill_page(page, {"compose": text})


if __name__ == "__main__":
    tyro.cli(main)
