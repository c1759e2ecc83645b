"""`python -m experiments.compose`: every side on every task, and the table of the docs' page."""

import importlib
import inspect
import json
import time
import tokenize
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import Annotated

import numpy as np
import tyro

from .. import DOCS, fill_page, load_records, markdown, Off, save_record
from .tasks import Task, TASKS

RESULTS = Path(__file__).parent / "results.jsonl"
SIDES = {
    "eqx_qdeq": "eqx-qdeq: a quantum equilibrium",
    "pennylane": "PennyLane: the circuit, applied once",
    "torchdeq": "TorchDEQ: a classical equilibrium",
    "pennylane_torchdeq": "PennyLane in TorchDEQ: a quantum equilibrium",
}
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
    """The lines that a user writes for one task: its function, imports, and what it calls."""
    others = [getattr(side, other) for other in TASKS if other != task and hasattr(side, other)]
    source = inspect.getsource(side)
    for function in others:
        source = source.replace(inspect.getsource(function), "")
    # What stands in another side's file has to be written as well.
    helpers = [
        thing
        for thing in vars(side).values()
        if inspect.isfunction(thing)
        and thing.__module__.startswith(__package__)
        and thing.__module__ != side.__name__
    ]
    return count_lines(source) + sum(count_lines(inspect.getsource(thing)) for thing in helpers)


def run(function, make, seed: int, epochs: int | None) -> dict[str, float]:
    """One training: what came out, and how long it took, compilation included."""
    task: Task = make(seed)
    task = task if epochs is None else task._replace(epochs=epochs)
    wall, cpu = time.perf_counter(), time.process_time()
    score = function(task, seed)
    return {
        "score": float(score),
        "seconds": time.perf_counter() - wall,
        "cpu_seconds": time.process_time() - cpu,
    }


def table(records: dict) -> str:
    """What a user brings, the lines, what comes out."""
    rows = []
    for task in TASKS:
        for side, what in SIDES.items():
            found = records.get(f"{task} {side}")
            if found is None:
                continue
            scores = 100 * np.array([run["score"] for run in found["runs"]])
            seconds = [run["cpu_seconds"] for run in found["runs"]]
            score = (
                f"{scores.mean():.1f} ± {scores.std(ddof=1):.1f}"
                if len(scores) > 1
                else f"{scores[0]:.1f}"
            )
            rows.append(
                (
                    BRINGS[task],
                    what,
                    str(found["lines"]),
                    f"{found['measure']} {score} %",
                    f"{np.median(seconds):.1f} s",
                )
            )
    header = ("what a user brings", "with", "lines", "what comes out", "processor time")
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
        seeds: how many splits and initial parameters; one after the other for all sides.
        tasks: of "table", "regression" and "images".
        out: the file of the results.
        page: the page that gets the table.
        smoke: one epoch and one seed, into a file here; the page stays.
    """
    out = Path("compose.jsonl") if smoke else out
    for task in tasks:
        found: dict[str, list] = {}
        for seed in range(1 if smoke else seeds):
            for name in SIDES:
                try:
                    side = importlib.import_module(f".{name}_side", __package__)
                except ImportError as error:
                    if seed == 0:
                        print(f"{task}: {SIDES[name]} is left out: {error}")
                    continue
                if hasattr(side, task):
                    result = run(getattr(side, task), TASKS[task], seed, 1 if smoke else None)
                    found.setdefault(name, []).append(result)
                    lines = lines_for(side, task)
                    print(
                        f"{task}, {SIDES[name]}, seed {seed}: {lines} lines,",
                        json.dumps(result),
                        flush=True,
                    )
                    measure = TASKS[task](seed).measure
                    record = {"lines": lines, "measure": measure, "runs": found[name]}
                    save_record(out, f"{task} {name}", record)
    text = table(load_records(out))
    print(text)
    if not smoke:
        fill_page(page, {"compose": text})


if __name__ == "__main__":
    tyro.cli(main)
