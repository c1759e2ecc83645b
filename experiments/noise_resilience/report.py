"""Draws the page's tables and figures from the records of the study alone.

    python -m experiments.noise_resilience.report

What is written by hand around them stays.
"""

from collections import defaultdict
from pathlib import Path

import tyro

from .. import report_command, require_records
from . import tables
from .figures import all_figures
from .tables import Groups

RESULTS = Path(__file__).parent / "results.jsonl"

TABLES = {
    "two-qubit": tables.two_qubit,
    "differences": tables.differences,
    "details": tables.details,
    "others": tables.others,
    "devices": tables.devices,
    "law": tables.law,
    "amplification": tables.binned,
    "contraction": tables.contraction,
    "floors": tables.floors,
    "shots": tables.shots,
    "mitigation 1 %": lambda groups: tables.mitigation(groups, "two-qubit 1 %"),
    "mitigation 3 %": lambda groups: tables.mitigation(groups, "two-qubit 3 %"),
    "mitigation 1 %, trained at 1 %": lambda groups: tables.mitigation(
        groups, "two-qubit 1 %", "p0.01"
    ),
    "mitigation of readout": lambda groups: tables.mitigation(groups, "readout 5 %"),
}

MAIN = "two-qubit"  # the table that the page is about: never folded


def all_tables(results: Path) -> dict[str, str]:
    """The tables by the names of their marks."""
    groups = load(results)
    found = {name: table(groups) for name, table in TABLES.items()}
    found |= {"ten qubits": tables.ten_qubits(load(results, "mnist10"))}
    return {name: text if name == MAIN else folded(text) for name, text in found.items()}


def folded(table: str) -> str:
    """A long table behind a line that opens it."""
    lines = table.splitlines()
    n_rows = sum(line.startswith("|") for line in lines) - 2
    if n_rows <= 15:
        return table
    inside = "\n".join(f"    {line}" if line else "" for line in lines)
    return f'??? abstract "The table: {n_rows} rows"\n\n{inside}'


def load(results: Path, task: str | None = None) -> Groups:
    """The records by part, model and training; of the task "mnist4" or "digits" if not told."""
    groups = defaultdict(list)
    for name, found in require_records(results).items():
        run = found["run"]
        if run["task"] == task or (task is None and run["task"] != "mnist10"):
            groups[name.split("-")[0], run["model"], run["training"]].append(found)
    return dict(groups)


main = report_command(RESULTS, "noise.md", all_tables, lambda results: all_figures(load(results)))

if __name__ == "__main__":
    tyro.cli(main)
