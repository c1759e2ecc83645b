"""The first call of the training step: tracing, lowering and compiling, in a fresh state."""

import statistics
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax

from eqx_qdeq import circuits

from .._problems import (
    equilibria,
    our_equilibrium,
    OURS,
    paper,
    Problem,
    problem,
    training_step,
    value_of,
)
from .._settings import Settings
from .._tables import rounded, Table
from .._timing import build, Program

# Of a hardware-efficient circuit: shallow, and deep enough to show growth.
DEPTHS = (4, 64)


def compile_times(settings: Settings, rates: dict[str, Any]) -> list[Table]:
    """Against the peers on the paper's circuit, then ours for two depths."""
    tables = []
    for n in settings.qubits:
        p = paper(n, settings.batch)
        starts = {name: _start(p, name, settings.peers) for name in (OURS, *settings.peers)}
        title = f"First call of the training step: {n} qubits, batch {settings.batch}"
        table = _table(starts, OURS, settings.seconds, title)
        table["facts"].insert(0, "ratio: how many times longer than eqx-qdeq")
        tables.append({"id": str(n), **table})
    for n in settings.qubits:
        starts = {str(depth): _start_depth(n, depth, settings.batch) for depth in DEPTHS}
        title = f"First call by depth of the circuit, eqx-qdeq: {n} qubits, batch {settings.batch}"
        table = _table(starts, str(DEPTHS[0]), settings.seconds, title)
        table["facts"].insert(0, f"ratio: how many times longer than at depth {DEPTHS[0]}")
        tables.append({"id": f"depth-{n}", **table, "first": "depth"})
    return tables


def _start(p: Problem, name: str, peers: tuple[str, ...]) -> Callable[[], Program | None]:
    """Everything from the circuit on is made anew. `None` for a peer that is not installed."""

    def start() -> Program | None:
        found = equilibria(p, [peer for peer in peers if peer == name])
        if name not in found:
            return None
        step, init = training_step(value_of(found[name]))
        return build(step, p.angles, init(p.angles), p.x)

    return start


def _start_depth(n: int, depth: int, batch: int) -> Callable[[], Program]:
    def start() -> Program:
        p = problem(circuits.hardware_efficient(n, depth), batch)
        step, init = training_step(value_of(our_equilibrium(p)))
        return build(step, p.angles, init(p.angles), p.x)

    return start


def _forget() -> None:
    """Clears JAX's caches, and eqx-qdeq's plans of circuits."""
    jax.clear_caches()
    modules = [m for name, m in sys.modules.items() if name.partition(".")[0] == "eqx_qdeq"]
    for member in [member for module in modules for member in vars(module).values()]:
        if hasattr(member, "cache_clear"):
            member.cache_clear()


def _table(
    starts: Mapping[str, Callable[[], Program | None]], base: str, seconds: float, title: str
) -> Table:
    """Rounds of first calls for about `seconds`, at least one; medians."""
    jax.block_until_ready(jax.jit(lambda x: x + 1)(1.0))  # the compiler itself is loaded by now
    programs: dict[str, list[Program]] = {name: [] for name in starts}
    end = time.perf_counter() + seconds
    while True:
        for name, start in starts.items():
            _forget()
            program = start()
            if program is not None:
                programs[name].append(program)
        if time.perf_counter() > end:
            break
    rows = []
    for name, done in programs.items():
        if done:
            trace = statistics.median(p.trace_s for p in done)
            compiling = statistics.median(p.compile_s for p in done)
            rows.append({"name": name, "trace_s": trace, "compile_s": compiling})
    whole = {row["name"]: row["trace_s"] + row["compile_s"] for row in rows}
    rows = [
        {
            "name": row["name"],
            "trace_s": rounded(row["trace_s"]),
            "compile_s": rounded(row["compile_s"]),
            "first_call_s": rounded(whole[row["name"]]),
            "ratio": rounded(whole[row["name"]] / whole[base]),
        }
        for row in rows
    ]
    rounds = len(programs[base])
    return {
        "title": title,
        "first": "library",
        "notes": [],
        "facts": [f"medians of {rounds} rounds" if rounds > 1 else "one round"],
        "rows": rows,
    }
