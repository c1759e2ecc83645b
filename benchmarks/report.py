"""`python -m benchmarks.report`: the tables and figures of the docs page, from a file of results.

The words around them are written by hand, in the page.
"""

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tyro

from docs.hooks.pages import fill_page, markdown, save_figure

from ._figures import FIGURES
from ._tables import as_markdown, load, sentence


def main(
    results: Path = Path("benchmarks/results.json"),
    docs: Path = Path("docs"),
) -> None:
    """Fills in benchmarks.md, between its marks, and draws its figures.

    Args:
        results: what `python -m benchmarks` wrote.
        docs: the folder of the docs; a page that is not there is made of tables alone.
    """
    suites = load(results)
    if not suites:
        raise SystemExit(f"no results in {results}; run `python -m benchmarks --out {results}`.")
    folder = docs / "figures" / "benchmarks"
    folder.mkdir(parents=True, exist_ok=True)
    drawn = set()
    for name, suite in suites.items():
        figure = FIGURES[name](suite["tables"])
        if figure is not None:
            save_figure(figure, folder / f"{name}.svg")
            drawn.add(name)
    for stale in {path for path in folder.glob("*.svg") if path.stem not in drawn}:
        stale.unlink()
    fill_page(docs / "benchmarks.md", texts(suites))
    print(f"written: {docs / 'benchmarks.md'} and {len(drawn)} figures in {folder}")


def texts(suites: Mapping[str, Any]) -> dict[str, str]:
    """What stands in the page, by the names of its marks: the machines, and each suite."""
    environments: list[dict[str, Any]] = []
    for suite in suites.values():
        if suite["environment"] not in environments:
            environments.append(suite["environment"])
    minutes = sum(suite["seconds"] for suite in suites.values()) / 60
    found = {"machine": f"{_machines(environments)}\n\nAll of it took {minutes:.0f} minutes."}
    for name in FIGURES:
        found[name] = "*(not run)*"
        if name in suites:
            run = 1 + environments.index(suites[name]["environment"])
            where = f"Run {run}." if len(environments) > 1 else ""
            found[name] = _suite(suites[name], where)
    return found


def _machines(environments: list[dict[str, Any]]) -> str:
    """A column for each run: the machine, its measured rates, the versions."""
    rows = {
        "date": lambda e: e["date"],
        "processor": lambda e: f"{e['machine']}, {e['cpus']} CPUs, {e['system']}",
        "JAX device": lambda e: f"{e['device']}, {e['precision']}",
        "matrix product (sgemm)": lambda e: f"{e['sgemm_gflops']} GFLOP/s",
        "copy": lambda e: f"{e['copy_gbytes']} GB/s",
        "Python": lambda e: e["python"],
    }
    packages = list(dict.fromkeys(p for e in environments for p in e["versions"]))
    rows |= {p: lambda e, p=p: e["versions"].get(p) or "not installed" for p in packages}
    names = [f"run {i + 1}" for i in range(len(environments))] if len(environments) > 1 else [""]
    cells = [[label, *map(value, environments)] for label, value in rows.items()]
    return markdown(["", *names], cells, words=1 + len(names), spaced=True)


def _suite(suite: Mapping[str, Any], where: str) -> str:
    """The command, the tables, and how to read them."""
    tables = suite["tables"]
    notes = dict.fromkeys(note for table in tables for note in table["notes"])
    lines = textwrap.wrap(suite["command"], 76, break_long_words=False, break_on_hyphens=False)
    command = " \\\n    ".join(lines)
    parts = [f"```bash\n{command}\n```", where, *map(as_markdown, tables)]
    return "\n\n".join(filter(None, [*parts, " ".join(map(sentence, notes))]))


if __name__ == "__main__":
    tyro.cli(main)
