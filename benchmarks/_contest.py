"""One table: contestants compiled, checked against each other, and timed in turn."""

from collections.abc import Callable, Mapping
from typing import Any

from ._problems import OURS
from ._tables import RATIO, rounded, SGEMM, Table
from ._timing import build, check_agreement, Program, time_in_turn


def contest(
    functions: Mapping[str, Callable[..., Any]],
    args: tuple[Any, ...],
    *,
    seconds: float,
    atol: float,
    sgemm: float,
    compare: Callable[[Any], Any] = lambda output: output,
) -> tuple[Table, dict[str, Program]]:
    """A table of medians, ratios and fractions of the sgemm rate.

    **Arguments:**

    - `functions`: by name of the contestant; one is ours.
    - `args`: what all of them are called with.
    - `seconds`: how long to measure.
    - `atol`: how far apart results may be.
    - `sgemm`: the measured rate in GFLOP/s.
    - `compare`: picks from an output what must agree.

    **Returns:**

    The table, without "id" and "title", and the programs that were timed.
    """
    programs = {name: build(function, *args) for name, function in functions.items()}
    outputs = {name: compare(program()) for name, program in programs.items()}
    agreement = check_agreement(outputs, reference=OURS, atol=atol)
    timings = time_in_turn(programs, seconds=seconds)
    rows = []
    for name, program in programs.items():
        t = timings[name]
        rows.append(
            {
                "name": name,
                "median_ms": rounded(t.median),
                "ratio": rounded(t.median / timings[OURS].median),
                "best_ms": rounded(t.best),
                "of_sgemm": of_sgemm(program, t.median, sgemm),
            }
        )
    table = {
        "first": "library",
        "notes": [RATIO, SGEMM],
        "agreement": agreement,
        "rows": rows,
    }
    return table, programs


def of_sgemm(program: Program, median_ms: float, sgemm: float) -> float | None:
    """The percentage of the sgemm rate at which a program ran."""
    flops = program.flops
    return None if flops is None else rounded(100 * flops / (1e6 * median_ms * sgemm))
