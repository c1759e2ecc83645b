"""Draws the page's tables and figures from the JSONs of the study alone.

    python examples/noise_resilience/report.py

Each table replaces what stands between its two marks in the page; what is written around them
stays.
"""

import json
import re
from collections import defaultdict
from pathlib import Path

import matplotlib
import tables
import tyro
from figures import all_figures
from tables import Groups

HERE = Path(__file__).parent
DOCS = HERE.parents[1] / "docs" / "experiments"

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


def main(
    results: Path = HERE / "results",
    page: Path = DOCS / "noise.md",
    figures: Path = DOCS.parent / "figures" / "experiments",
) -> None:
    """Writes the page's tables and the figures.

    Args:
        results: the folder of the JSONs.
        page: the Markdown file; made if it is not there.
        figures: the folder of the figures.
    """
    groups = load(results)
    if not groups:
        raise SystemExit(
            f"there are no results in {results}; run examples/noise_resilience/main.py first."
        )
    figures.mkdir(parents=True, exist_ok=True)
    # The same figure is the same file.
    with matplotlib.rc_context({"svg.hashsalt": "eqx-qdeq"}):
        for name, figure in all_figures(groups).items():
            figure.savefig(figures / f"{name}.svg", metadata={"Date": None})
    write(page, all_tables(results))
    print(f"written: {page} and the figures in {figures}")


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
    """The JSONs by part, model and training; of the task "mnist4" or "digits" if not told."""
    groups = defaultdict(list)
    for path in sorted(results.glob("*.json")):
        found = json.loads(path.read_text(encoding="utf-8"))
        run = found["run"]
        if run["task"] == task or (task is None and run["task"] != "mnist10"):
            groups[path.name.split("-")[0], run["model"], run["training"]].append(found)
    return dict(groups)


def write(page: Path, texts: dict[str, str]) -> None:
    """Puts every text between its marks; a new page gets all marks."""
    begin, end = "<!-- begin: {} -->", "<!-- end -->"
    new = not page.exists()
    old = "" if new else page.read_text(encoding="utf-8")
    for name, text in texts.items():
        mark = begin.format(name)
        if mark not in old:
            if not new:
                continue  # the page does without this table
            old += f"{mark}\n{end}\n\n"
        pattern = re.escape(mark) + r".*?" + re.escape(end)
        whole = f"{mark}\n\n{text}\n\n{end}"
        old = re.sub(pattern, lambda _, whole=whole: whole, old, count=1, flags=re.DOTALL)
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(old, encoding="utf-8")


if __name__ == "__main__":
    tyro.cli(main)
