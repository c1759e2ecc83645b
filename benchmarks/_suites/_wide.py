"""Equilibria of wide circuits: time and memory of a training step, by wires."""

from typing import Any

from .._apart import measured_apart
from .._settings import Settings
from .._tables import rounded, Table

MEMORY_NOTES = [
    "temporary memory: all temporary arrays, by XLA's account",
    "before, compiled, peak: the most memory of the process so far, before the step is compiled, "
    "after, and after it was run",
]


def rows_apart(module: str, settings: Settings) -> list[dict[str, Any]]:
    """What a module measures for each number of wires."""
    rows = []
    for n in settings.wires:
        # Memory that was used once is not given back, so each has a process.
        found = measured_apart(module, n)
        rows.append({"name": str(n)} | {name: rounded(value) for name, value in found.items()})
    return rows


def wide(settings: Settings, rates: dict[str, Any]) -> list[Table]:
    """A row for each number of wires."""
    rows = rows_apart("_wide", settings)
    title = "Training step of a QDEQ: amplitude encoding, two layers, one sample"
    return [{"id": "wide", "title": title, "first": "wires", "notes": MEMORY_NOTES, "rows": rows}]
