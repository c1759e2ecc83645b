"""The runs of a study and their results: one JSON record a line, in one file.

The name of a record tells the run that made it, and a run whose name is in the file is done. So a
study that was interrupted goes on where it was when it is started again.
"""

import contextlib
import fcntl
import fnmatch
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import tyro
from matplotlib.figure import Figure

from docs.hooks.pages import DOCS, fill_page, save_figure

Off = tyro.conf.FlagCreatePairsOff
"""A switch of a command that is off, and has no `--no-` beside it: `Annotated[bool, Off]`."""

Record = dict[str, Any]
Run = TypeVar("Run")


def load_records(path: Path) -> dict[str, Record]:
    """Every record by its name, in alphabetical order; none if there is no file."""
    if not path.exists():
        return {}
    records = {}
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                record = json.loads(line)
                records[record.pop("name")] = record
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                where = f"{path}, line {number}"
                raise ValueError(f"{where}, is not a record: {line[:60]!r}") from error
    return records


def require_records(path: Path) -> dict[str, Record]:
    """The same, for a report: without any there is nothing to say."""
    records = load_records(path)
    if not records:
        command = f"python -m experiments.{path.parent.name}"
        raise SystemExit(f"there are no results in {path}; run `{command}` first.")
    return records


def save_record(path: Path, name: str, record: Record) -> None:
    """Adds a record, or replaces the one of this name.

    All or nothing, as what is there counts as done: the file is written anew beside the old one,
    whose place it takes. Several processes may save into one file: each waits for its turn.
    """
    if "name" in record:
        raise ValueError(f"a record's name is given apart; got one inside, {record['name']!r}.")
    path.parent.mkdir(parents=True, exist_ok=True)
    with _alone_in(path.parent):
        records = load_records(path) | {name: record}
        lines = [json.dumps({"name": n, **records[n]}, ensure_ascii=False) for n in sorted(records)]
        part = path.with_suffix(".tmp")
        with part.open("w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Locks a folder, until the end of the block or of the process."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def to_do(
    path: Path, runs: Mapping[str, Run], only: str = "*", *, show: bool = False
) -> dict[str, Run]:
    """The runs whose names match the pattern `only` and that are not in the file.

    With `show` there are none to do, but each run is printed with its state.
    """
    names = fnmatch.filter(runs, only)
    if not names:
        raise SystemExit(f"no run matches --only {only!r}; --list shows their names.")
    done = load_records(path)
    if show:
        for name in names:
            print(f"{'done' if name in done else 'to do':<6} {name}")
        return {}
    missing = {name: runs[name] for name in names if name not in done}
    print(f"{len(names) - len(missing)} of {len(names)} runs are done", flush=True)
    return missing


def progress(runs: Mapping[str, Run]) -> Iterator[tuple[str, Run]]:
    """The runs one after the other. When the next one is asked for, says how long one took."""
    for i, (name, run) in enumerate(runs.items(), 1):
        start = time.perf_counter()
        yield name, run
        print(f"{i}/{len(runs)} {name}: {time.perf_counter() - start:.0f} s", flush=True)


def rounded(numbers: Mapping[str, Any], digits: int = 6) -> dict[str, float]:
    """To so many significant digits, which is more than they have."""
    return {name: float(f"{value:.{digits}g}") for name, value in numbers.items()}


def report_command(
    results: Path,
    page: str,
    tables: Callable[[Path], Mapping[str, str]],
    figures: Callable[[Path], Mapping[str, Figure]],
) -> Callable[..., None]:
    """The command that draws a study's page from the records of its runs alone: its tables by the
    names of their marks, and its figures by the names of their files."""
    own_results, own_page = results, DOCS / "experiments" / page

    def main(
        results: Path = own_results,
        page: Path = own_page,
        folder: Path = DOCS / "figures" / "experiments",
    ) -> None:
        """Writes the page's tables and its figures.

        Args:
            results: the file of the records.
            page: the Markdown file; made if it is not there.
            folder: where the figures go.
        """
        for name, figure in figures(results).items():
            save_figure(figure, folder / f"{name}.svg")
        fill_page(page, tables(results))
        print(f"written: {page} and the figures in {folder}")

    return main
