"""The three engines over batch sizes: where they cross, and what the layer would have chosen."""

import itertools
from typing import Any

import equinox as eqx
import jax

from eqx_qdeq import PauliZ

from .._peers import our_layer
from .._problems import batched_loss, paper
from .._settings import Settings
from .._tables import rounded, Table
from .._timing import build, check_agreement, time_in_turn

_ENGINES = ("statevector", "operator", "heisenberg")
_CHOICE = "choice: the time of the engine that the cost model chooses, over that of the fastest one"


def engines(settings: Settings, rates: dict[str, Any]) -> list[Table]:
    """A table for each size, a row for each batch."""
    sizes = (1, 8) if settings.smoke else (1, 8, 32, 64, 128, 256, 1024, 4096)
    tables = []
    for n in settings.qubits:
        rows = [_row(n, batch, settings.seconds / 4) for batch in sizes]
        runs = [
            f"{engine} up to {list(group)[-1]['name']}"
            for engine, group in itertools.groupby(rows, key=lambda row: row["chosen"])
        ]
        tables.append(
            {
                "id": str(n),
                "title": f"Engines, value and gradient: {n} qubits",
                "first": "batch",
                "notes": [_CHOICE],
                "facts": [f"chosen: {', '.join(runs)}"],
                "agreement": max(row.pop("gap") for row in rows),
                "rows": rows,
            }
        )
    return tables


def _row(n: int, batch: int, seconds: float) -> dict[str, Any]:
    p = paper(n, batch)
    programs = {}
    for engine in _ENGINES:
        layer = our_layer(p.circuit, PauliZ(), engine=engine, batch=batch)
        run = lambda angles, x, layer=layer: eqx.tree_at(lambda l: l.angles, layer, angles)(x)
        programs[engine] = build(jax.value_and_grad(batched_loss(run)), p.angles, p.x)
    gap = check_agreement(
        {engine: program() for engine, program in programs.items()},
        reference="statevector",
        atol=1e-5,
    )
    times = {e: t.median for e, t in time_in_turn(programs, seconds=seconds).items()}
    layer = our_layer(p.circuit, PauliZ(), engine="auto", batch=batch)
    chosen = layer.plan(p.x.shape[1]).engine
    return {
        "name": str(batch),
        **{f"{engine}_ms": rounded(time) for engine, time in times.items()},
        "choice": rounded(times[chosen] / min(times.values())),
        "chosen": chosen,
        "gap": gap,
    }
