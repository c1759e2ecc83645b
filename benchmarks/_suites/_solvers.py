"""Anderson's and Broyden's methods, against those of other libraries."""

from collections.abc import Callable
from typing import Any

import numpy as np

from .._maps import linear, Map, quantum, tanh
from .._settings import Settings
from .._solver_peers import Contestant, ours, SOLVER_PEERS
from .._tables import rounded, Table
from .._timing import time_in_turn

_TOLERANCE = 1e-4
_SLACK = 1.2  # single precision rounds the residual that a solver sees

_NOTES = [
    "evaluations: until a sample met the tolerance, the mean over the samples; at most: of the "
    "slowest sample, for which the whole batch is evaluated",
    "ratio: how many times slower than eqx-qdeq with the same method",
    "solved: samples whose true residual, computed in double precision from what was returned, "
    "meets the tolerance (times 1.2, for rounding)",
]


def solvers(settings: Settings, _rates: dict[str, Any]) -> list[Table]:
    """A table for each problem, with both methods."""
    batch = settings.batch
    maps: list[Map] = [quantum(min(settings.qubits), batch)]
    if settings.smoke:
        maps.append(linear(0.9, 8, batch))
    else:
        maps += [linear(radius, 32, batch) for radius in (0.5, 0.9, 0.97)]
        maps += [linear(0.97, 256, batch), tanh(128, batch)]
    peers = _available(settings.peers)
    return [_table(f, peers, settings) for f in maps]


def _available(names: tuple[str, ...]) -> list[Callable[..., dict[str, Contestant]]]:
    peers = []
    for name in names:
        if name in SOLVER_PEERS:
            try:
                SOLVER_PEERS[name]("Anderson", linear(0.5, 2, 1), _TOLERANCE)
            except ImportError:
                print(f"(not installed, left out: {name})")
            else:
                peers.append(SOLVER_PEERS[name])
    return peers


def _table(f: Map, peers: list[Callable[..., dict[str, Contestant]]], settings: Settings) -> Table:
    found = {
        f"{name}: {method}": contestant
        for method in ("Anderson", "Broyden")
        for library in (ours, *peers)
        for name, contestant in library(method, f, _TOLERANCE).items()
    }
    costs = {name: _costs(f, contestant) for name, contestant in found.items()}
    for name, row in costs.items():
        if name.startswith("eqx-qdeq") and row["solved"] != 100:
            raise AssertionError(f"{name} solved {row['solved']} % of {f.name}")
    calls = {name: contestant.call for name, contestant in found.items()}
    timings = time_in_turn(calls, seconds=settings.seconds)
    rows = []
    for name, t in timings.items():
        reference = timings[f"eqx-qdeq: {name.rpartition(': ')[2]}"].median
        rows.append(
            {
                "name": name,
                "median_ms": rounded(t.median),
                "ratio": rounded(t.median / reference),
                "best_ms": rounded(t.best),
                **costs[name],
            }
        )
    title = f"Solvers to a residual of 1e-4, batch {len(f.x)}: {f.name}"
    return {"id": f.name, "title": title, "first": "solver", "notes": _NOTES, "rows": rows}


def _costs(f: Map, contestant: Contestant) -> dict[str, float | None]:
    output = contestant.call()
    evaluations = contestant.evaluations(output)
    # A peer that diverges returns what is not finite, which did not meet the tolerance.
    with np.errstate(all="ignore"):
        solved = f.residual(np.asarray(output[0])) <= _SLACK * _TOLERANCE
    return {
        "evaluations": rounded(float(np.mean(evaluations))),
        "at_most": rounded(float(np.max(evaluations))),
        "solved": rounded(100 * float(np.mean(solved))),
    }
