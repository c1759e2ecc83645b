"""Fills the page *What survives what* from the results of the commands.

    python -m experiments.survival report

What is written by hand around the tables stays.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import DOCS, fill_page, load_records, markdown, Record
from . import RESULTS

# Why nothing can tell these mutants from the code, or why nothing should.
_EQUAL = "equivalent: "
EXPLAINED: dict[str, str] = {
    "adjoints 011": _EQUAL + "only the derivative of this value is used",
    "adjoints 020": _EQUAL + "where the repetition of a failed solve rests, which is dropped",
    "adjoints 018": "the length of a cycle; results are the same, the memory is one vector less",
    "checkpoints 002": "how much of a long name is shown",
    "checkpoints 008": "on a CPU, JAX does not overwrite what NumPy looks at",
    "circuits 1.001": "how high a line of a drawing is",
    "circuits 019": _EQUAL + "a list repeated -1 times is empty, too",
    "shift-rules 000": _EQUAL + "both are as many",
    "shift-rules 007": _EQUAL + "both are as many",
    "shift-rules 1.000": "how many are computed at once; results are the same",
    "shift-rules 1.004": _EQUAL + "nothing is half a period (and the correction has gone)",
    "simulate 000": _EQUAL + "the matrices are square",
    "simulate 008": _EQUAL + "the same operations, as one section",
    "solvers 1.000": _EQUAL + "no iterate has both converged and diverged",
    "solvers 1.003": "a step that was shortened to exactly 2 %",
    "solvers 017": "a step of exactly the size of rounding",
    "solvers 022": _EQUAL + "Diffrax evaluates the map once more",
}

_COMMANDS = ("crash", "memory", "forge", "fuzz")
# What the counts of `crash` are of.
_IN_WORDS = {
    "calls": "calls that write, in a run undisturbed",
    "by_name": "which are",
    "stopped": "runs stopped, in front of a call or in the middle of it",
    "stopped_again": "recoveries stopped again",
    "recovered": "ended with the same bits",
    "writes_past_the_counter": "writes that were not counted",
    "killed": "processes killed by SIGKILL, and recovered",
    "epochs": "epochs in a run",
    "every": "one recovery is stopped again of so many",
}


def main(page: Path = DOCS / "survival.md", results: Path = RESULTS) -> None:
    """Writes the tables.

    Args:
        page: the Markdown file; made if it is not there.
        results: the folder of the results.
    """
    fill_page(page, all_tables(results))
    print(f"written: {page}")


def all_tables(results: Path = RESULTS) -> dict[str, str]:
    """The text of the page by the names of its marks."""
    texts = {name: counted(name, results / f"{name}.json") for name in _COMMANDS}
    mutants = load_records(results / "mutants.jsonl")
    texts["mutants"] = killed(mutants)
    texts["survivors"] = survivors(mutants)
    texts["coverage"] = coverage(load_records(results / "coverage.jsonl"))
    texts["versions"] = versions(load_records(results / "versions.jsonl"))
    return texts


def counted(name: str, path: Path) -> str:
    """What a command counted: a line for each thing that it tried."""
    if not path.exists():
        return f"*(`python -m experiments.survival {name}` has not been run)*"
    found: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if not all(isinstance(row, Mapping) for row in found.values()):
        found = {name: {"counted": value} for name, value in found.items()}
    words = _IN_WORDS if name == "crash" else {}
    shown = {name: _shown(row) for name, row in found.items()}
    columns = list(dict.fromkeys(column for row in shown.values() for column in row))
    rows = [
        [words.get(name, name.replace("_", " ")), *(row.get(column, "") for column in columns)]
        for name, row in shown.items()
    ]
    return markdown(["", *columns], rows)


def _shown(row: Mapping[str, Any]) -> dict[str, str]:
    """What can be counted, by its name; not the inputs themselves."""
    texts = {name: _text(value) for name, value in row.items() if not isinstance(value, str)}
    return {name.replace("_", " "): text for name, text in texts.items()}


def _text(value: Any) -> str:
    """Numbers as they are, counts by their names; of a course its ends, of faults how many."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {text}" for name, text in _shown(value).items())
    if isinstance(value, list):
        numbers = value and all(isinstance(each, int | float) for each in value)
        return f"{value[0]:,} to {value[-1]:,}" if numbers else f"{len(value):,}"
    return f"{value:,}"


# --- Mutants ----------------------------------------------------------------------------------


def interval(k: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share k / n."""
    z = 1.96
    center, scale = (k + z**2 / 2) / (n + z**2), z / (n + z**2)
    half = scale * math.sqrt(k * (n - k) / n + z**2 / 4)
    return center - half, center + half


def killed(mutants: Mapping[str, Record]) -> str:
    rooms: dict[str, list[Record]] = {}
    for name, record in mutants.items():
        more = {"equivalent": name in EXPLAINED, "fresh": "." in name}
        rooms.setdefault(record["room"], []).append(record | more)
    rows = [_row(room, records) for room, records in rooms.items()]
    rows += [_row("**all**", [each for records in rooms.values() for each in records])]
    fresh = [each for room in rooms.values() for each in room if each["fresh"]]
    rows += [_row("of these drawn last", fresh)]
    columns = ["room", "mutants", "killed at first", "killed now", "of all like these"]
    return markdown([*columns, "explained below"], rows if mutants else [])


def _row(room: str, records: list[Record]) -> list[str]:
    if not records:
        return [room]
    now = sum(each["outcome"] != "survived" for each in records)
    first = sum(each["outcome"] != "survived" and "again" not in each for each in records)
    low, high = interval(now, len(records))
    explained = sum(each["outcome"] == "survived" and each["equivalent"] for each in records)
    share, of_all = f"{now} ({now / len(records):.0%})", f"{low:.0%} to {high:.0%}"
    return [room, str(len(records)), str(first), share, of_all, str(explained)]


def survivors(mutants: Mapping[str, Record]) -> str:
    code = lambda text: "`" + text.replace("|", "\\|").replace("`", "") + "`"
    rows = []
    for name, record in mutants.items():
        if record["outcome"] == "survived":
            place = f"{record['file'].removeprefix('eqx_qdeq/')}:{record['line']}"
            change = code(record["before"]), code(record["after"])
            rows.append([place, *change, EXPLAINED.get(name, "open")])
    return markdown(["place", "code", "mutant", "why it lives"], rows, words=4)


def coverage(records: Mapping[str, Record]) -> str:
    shown = lambda found, all: f"{found:,} of {all:,} ({found / all:.1%})"
    rows = [
        [
            room,
            shown(each["lines reached"], each["lines"]),
            shown(each["branches reached"], each["branches"]),
        ]
        for room, each in records.items()
    ]
    return markdown(["room", "lines", "branches"], rows)


# --- Versions ---------------------------------------------------------------------------------


def versions(records: Mapping[str, Record]) -> str:
    rows = []
    for record in records.values():
        found = record["versions"]
        failed = record["failures"] + record["errors"]
        passed = record["tests"] - failed - record["skipped"]
        libraries = ", ".join(f"{name} {found[name]}" for name in found if name != "jax")
        rows.append([record["python"], found["jax"], libraries, str(passed), str(failed)])
    return markdown(["Python", "jax", "with", "tests passed", "failed"], rows, words=3)


if __name__ == "__main__":
    main()
