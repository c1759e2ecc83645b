"""Tables of results: how they are stored, printed and written as Markdown.

A table is a dictionary that goes to JSON as it is: "id" (unique in its suite), "title", "first"
(what its rows are), "rows" (dictionaries with "name" and the columns below), "notes" (how to read
the columns), "facts" (of this table), and "agreement", the largest difference between contestants.
"""

import json
from pathlib import Path
from typing import Any

from docs.hooks.pages import markdown

Table = dict[str, Any]

# Key, heading and unit of every column, in the order in which they are shown.
COLUMNS = {
    "median_ms": ("median", "ms"),
    "statevector_ms": ("statevector", "ms"),
    "operator_ms": ("operator", "ms"),
    "heisenberg_ms": ("heisenberg", "ms"),
    "choice": ("choice", "×"),
    "first_call_s": ("first call", "s"),
    "epoch_s": ("one epoch", "s"),
    "temporary_mib": ("temporary memory", "MiB"),
    "before_mib": ("before", "MiB"),
    "compiled_mib": ("compiled", "MiB"),
    "peak_mib": ("peak of the process", "MiB"),
    "ratio": ("ratio", "×"),
    "best_ms": ("best", "ms"),
    "evaluations": ("evaluations", ""),
    "at_most": ("at most", ""),
    "solver_steps": ("solver steps", ""),
    "solved": ("solved", "%"),
    "trace_s": ("trace and lower", "s"),
    "compile_s": ("XLA compile", "s"),
    "of_sgemm": ("of sgemm rate", "%"),
    "of_copy": ("of copy bandwidth", "%"),
    "gflop": ("work of each", "GFLOP"),
    "share": ("work of all", "×"),
    "moved_mib": ("moved by each", "MiB"),
    "exchanges": ("exchanges", ""),
    "exchanges_in_solves": ("inside a solve", ""),
    "exchanged_kib": ("exchanged", "KiB"),
}
_FORMAT = 1
_ORDER = (
    *("layer", "solve", "solvers", "train", "compile", "memory", "engines", "scaling", "wires"),
    *("wide", "noise", "graphs", "devices"),
)

RATIO = "ratio: how many times slower than eqx-qdeq"
SGEMM = (
    "of sgemm rate: the FLOPs that XLA counts (the body of a while loop once) by median time and "
    "measured rate"
)


def rounded(value: float | None, digits: int = 4) -> float | None:
    """To four significant digits, which is more than timings have."""
    return None if value is None else float(f"{value:.{digits}g}")


def show(value: float | None) -> str:
    """A number with about three significant digits, never with an exponent."""
    if value is None:
        return "–"
    for limit, form in ((99.95, ",.0f"), (9.995, ".1f"), (0.9995, ".2f")):
        if abs(value) >= limit:
            return format(value, form)
    return format(value, ".3f")


def columns(table: Table) -> list[str]:
    """The keys of the columns that a table has."""
    return [key for key in COLUMNS if any(key in row for row in table["rows"])]


def _cells(table: Table) -> list[list[str]]:
    keys = columns(table)
    headings = [", ".join(filter(None, COLUMNS[key])) for key in keys]
    rows = [[row["name"], *(show(row.get(key)) for key in keys)] for row in table["rows"]]
    return [[table["first"], *headings], *rows]


def as_text(table: Table) -> str:
    """For the terminal."""
    cells = _cells(table)
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    lines = [table["title"]]
    lines += [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in cells
    ]
    lines += [f"({remark})" for remark in [*table["notes"], *_facts(table)]]
    return "\n".join(lines)


def as_markdown(table: Table) -> str:
    """For the docs; without the notes, which say the same of all tables of a suite."""
    head, *rows = _cells(table)
    parts = [f"**{table['title']}**", markdown(head, rows, spaced=True)]
    if facts := _facts(table):
        parts.append(sentence("; ".join(facts)))
    return "\n\n".join(parts)


def sentence(text: str) -> str:
    """With a capital letter and a full stop."""
    return f"{text[0].upper()}{text[1:]}."


def _facts(table: Table) -> list[str]:
    gap = table.get("agreement")
    agree = [] if gap is None else [f"all agree within {gap:.0e}"]
    return [*table.get("facts", []), *agree]


def load(path: Path) -> dict[str, Any]:
    """The suites in a results file, by name; none if there is no file."""
    if not path.exists():
        return {}
    data = json.loads(path.read_text(encoding="utf-8"))
    if data.get("format") != _FORMAT:
        raise SystemExit(
            f"{path} is not a results file of this version of the benchmarks; move it away or "
            "name another with --out."
        )
    return data["suites"]


def save(path: Path, suites: dict[str, Any]) -> None:
    """Replaces these suites in a results file and keeps the others."""
    merged = load(path) | suites
    ordered = {name: merged[name] for name in _ORDER if name in merged}
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"format": _FORMAT, "suites": ordered}, indent=1, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
