"""`python -m benchmarks.report`: the docs page and its figures, from a file of results alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tyro

from ._figures import FIGURES, save
from ._prose import AFTERWORD, INTRODUCTION, SECTIONS
from ._tables import as_markdown, load, sentence

_FIGURES = "figures/benchmarks"


def main(
    results: Path = Path("benchmarks/results.json"),
    docs: Path = Path("docs"),
) -> None:
    """Writes benchmarks.md and its figures into the folder of the docs.

    Args:
        results: what `python -m benchmarks` wrote.
        docs: the folder of the docs.
    """
    suites = load(results)
    if not suites:
        raise SystemExit(f"no results in {results}; run `python -m benchmarks --out {results}`.")
    folder = docs / _FIGURES
    folder.mkdir(parents=True, exist_ok=True)
    drawn = set()
    for name, suite in suites.items():
        figure = FIGURES[name](suite["tables"])
        if figure is not None:
            save(figure, folder / f"{name}.svg")
            drawn.add(name)
    for stale in {path for path in folder.glob("*.svg") if path.stem not in drawn}:
        stale.unlink()
    text = page(suites, drawn)
    (docs / "benchmarks.md").write_text(text, encoding="utf-8")
    print(f"written: {docs / 'benchmarks.md'} and {len(drawn)} figures in {folder}")


def page(suites: Mapping[str, Any], drawn: set[str]) -> str:
    """The whole page; suites that were not run are left out."""
    environments: list[dict[str, Any]] = []
    for suite in suites.values():
        if suite["environment"] not in environments:
            environments.append(suite["environment"])
    several = len(environments) > 1
    minutes = sum(suite["seconds"] for suite in suites.values()) / 60
    parts = ["# Benchmarks", INTRODUCTION.strip(), *_machines(environments)]
    parts.append(f"Everything on this page took {minutes:.0f} minutes.")
    for name, suite in suites.items():
        where = f"Run {1 + environments.index(suite['environment'])}." if several else ""
        parts += _section(name, suite, where, name in drawn)
    parts.append(AFTERWORD.strip())
    return "\n\n".join(parts) + "\n"


def _machines(environments: list[dict[str, Any]]) -> list[str]:
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
    lines = [["", *names], ["---"] * (len(names) + 1)]
    lines += [[label, *map(value, environments)] for label, value in rows.items()]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    words = (
        "The rates of a float32 matrix product and of a copy in memory were measured in the same "
        "run; fractions of them are in the tables."
    )
    return ["## The machine", table, words]


def _section(name: str, suite: Mapping[str, Any], where: str, has_figure: bool) -> list[str]:
    section, tables = SECTIONS[name], suite["tables"]
    parts = [f"## {section.heading}", section.before.strip()]
    parts.append(f"```bash\n{suite['command']}\n```")
    parts.append(where)
    parts += [as_markdown(table) for table in tables]
    notes = dict.fromkeys(note for table in tables for note in table["notes"])
    if notes:
        parts.append(" ".join(map(sentence, notes)))
    if has_figure:
        parts.append(f"![{section.alt}]({_FIGURES}/{name}.svg)")
    parts.append(section.after(tables))
    return [part for part in parts if part]


if __name__ == "__main__":
    tyro.cli(main)
