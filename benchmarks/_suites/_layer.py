"""One evaluation of the paper's circuit for a batch, value and gradient."""

from typing import Any

import jax

from .._contest import contest
from .._problems import batched_loss, layers, paper
from .._settings import Settings
from .._tables import Table


def layer(settings: Settings, rates: dict[str, Any]) -> list[Table]:
    """A table for each number of qubits."""
    tables = []
    for n in settings.qubits:
        p = paper(n, settings.batch)
        functions = {
            name: jax.value_and_grad(batched_loss(run))
            for name, run in layers(p.circuit, settings.peers).items()
        }
        table, _ = contest(
            functions,
            (p.angles, p.x),
            seconds=settings.seconds,
            atol=1e-5,
            sgemm=rates["sgemm_gflops"],
        )
        title = f"One layer, value and gradient: {n} qubits, batch {settings.batch}"
        tables.append({"id": str(n), "title": title, **table})
    return tables
