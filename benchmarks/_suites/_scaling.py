"""How the time of a layer, value and gradient, grows: with wires, depth, batch, observables."""

from typing import Any

import equinox as eqx
import jax

from eqx_qdeq import circuits, PauliZ
from eqx_qdeq.measurements import AbstractMeasurement
from eqx_qdeq.models import z_and_zz

from .._peers import our_layer
from .._problems import batched_loss, paper, Problem, problem
from .._settings import Settings
from .._tables import rounded, Table
from .._timing import build, time_in_turn

# Up to here a batch by the engine that the layer chooses; above, one sample's state vector.
_BATCHED_WIRES = 11
_DEPTH = 4


def scaling(settings: Settings, rates: dict[str, Any]) -> list[Table]:
    """A table for each quantity that grows; depth, batch and observables at the largest size."""
    n, batch, seconds = max(settings.qubits), settings.batch, settings.seconds / 10
    smoke = settings.smoke

    wires = []
    for w in range(2, 7 if smoke else 21, 2):
        small = w <= _BATCHED_WIRES
        q = problem(circuits.hardware_efficient(w, _DEPTH), batch if small else 1)
        name = f"{w}" if small else f"{w}, one sample"
        wires.append(_row(name, w, q, seconds, engine="auto" if small else "statevector"))
    depths = [
        _row(str(depth), depth, problem(circuits.hardware_efficient(n, depth), batch), seconds)
        for depth in ((1, 2) if smoke else (1, 2, 4, 8, 16, 32, 64))
    ]
    batches = [
        _row(str(size), size, paper(n, size), seconds)
        for size in ((1, 4) if smoke else (1, 4, 16, 64, 256, 1024, 4096))
    ]
    p = paper(n, batch)
    kinds = (("Z of wire 0", PauliZ((0,))), ("every Z", PauliZ()), ("Z and ZZ", z_and_zz(n)))
    observables = []
    for name, measurement in kinds:
        m = measurement.size(n)
        observables.append(_row(f"{m} ({name})", m, p, seconds, measurement=measurement))
    the_paper = f"{n} qubits, the paper's circuit"
    return [
        _table("wires", f"By wires: depth {_DEPTH}, batch {batch} up to 10 wires", wires),
        _table("depth", f"By depth: {n} qubits, batch {batch}", depths),
        _table("batch", f"By batch: {the_paper}", batches),
        _table("observables", f"By observables: {the_paper}, batch {batch}", observables),
    ]


def _row(
    name: str,
    x: int,
    p: Problem,
    seconds: float,
    *,
    measurement: AbstractMeasurement | None = None,
    engine: str = "auto",
) -> dict[str, Any]:
    """A row of a table; `x` is where it stands in a figure."""
    layer = our_layer(p.circuit, measurement or PauliZ(), engine=engine, batch=p.x.shape[0])
    run = lambda angles, x: eqx.tree_at(lambda l: l.angles, layer, angles)(x)
    program = build(jax.value_and_grad(batched_loss(run)), p.angles, p.x)
    # Each alone: in turn, large states would drive small ones out of the caches.
    timing = time_in_turn({"": program}, seconds=seconds)[""]
    return {
        "name": name,
        "x": x,
        "batch": p.x.shape[0],
        "median_ms": rounded(timing.median),
        "best_ms": rounded(timing.best),
    }


def _table(first: str, title: str, rows: list[dict[str, Any]]) -> Table:
    return {"id": first, "title": title, "first": first, "notes": [], "rows": rows}
