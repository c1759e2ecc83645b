"""State vectors of many wires: time against peers, and the fraction of the memory's bandwidth."""

from typing import Any

import jax

from eqx_qdeq import circuits, PauliZ

from .._contest import contest
from .._layer import DEPTH
from .._peers import our_layer
from .._problems import batched_loss, layers, OURS, problem
from .._settings import Settings
from .._tables import RATIO, rounded, Table
from ._wide import MEMORY_NOTES, rows_apart

PEERS = ("qujax", "tensorcircuit-ng")
_PEERS_UP_TO = 20  # wires; they compile larger circuits for many minutes
_DEPTH = 4
_COPY = (
    "of copy bandwidth: the bytes that the fused blocks must read and write at least, by median "
    "time and measured bandwidth"
)


def wires(settings: Settings, rates: dict[str, Any]) -> list[Table]:
    """For each number of wires a table of the value and one of value and gradient; and one of all,
    with the memory of value and gradient."""
    tables = []
    for n in settings.wires:
        peers = [peer for peer in PEERS if peer in settings.peers and n <= _PEERS_UP_TO]
        circuit = circuits.hardware_efficient(n, _DEPTH)
        # As many features as amplitudes: no zeros that could be left out.
        p = problem(circuit, 1, n_features=2**n)
        losses = {
            name: batched_loss(run)
            for name, run in layers(circuit, peers, engine="statevector", batch=1).items()
        }
        plan = our_layer(circuit, PauliZ(), engine="statevector", batch=1).plan(2**n).plan
        n_blocks = len(plan.blocks) * plan.n_sections
        state = 2 * p.x.nbytes
        for kind, passes in (("value", 2), ("gradient", 6)):
            functions = losses
            if kind == "gradient":
                functions = {name: jax.value_and_grad(loss) for name, loss in losses.items()}
            table, _ = contest(
                functions,
                (p.angles, p.x),
                seconds=settings.seconds / 2,
                atol=1e-5,
                sgemm=rates["sgemm_gflops"],
            )
            moved = n_blocks * passes * state
            for row in table["rows"]:
                del row["of_sgemm"]
                if row["name"] == OURS:
                    speed = moved / (1e6 * row["median_ms"])
                    row["of_copy"] = rounded(100 * speed / rates["copy_gbytes"])
            what = "value" if kind == "value" else "value and gradient"
            times = "once" if kind == "value" else "three times"
            table["notes"] = [RATIO, _COPY]
            table["facts"] = [
                f"{n_blocks} fused blocks, which read and write the state of "
                f"{state / 2**20:.3g} MiB {times}"
            ]
            title = f"State vector, {what}: {n} wires, one sample"
            tables.append({"id": f"{n}-{kind}", "title": title, "wires": n, "kind": kind, **table})
    title = (
        f"Layer, value and gradient: {DEPTH} layers of gates, one sample, in a process of its own"
    )
    rows = rows_apart("_layer", settings)
    last = {"id": "memory", "title": title, "first": "wires", "notes": MEMORY_NOTES, "rows": rows}
    return [*tables, last]
