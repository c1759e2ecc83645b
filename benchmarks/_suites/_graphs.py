"""A step of message passing: along edges, and by dense matrices."""

import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import eqx_qdeq as qdeq

from .._settings import Settings
from .._tables import rounded, Table
from .._timing import build, check_agreement, time_in_turn

_FEATURES, _SIZE = 38, 32
_LARGE = 2000


def _largest_of_nci1() -> tuple[int, int, str]:
    """Nodes and edges of its largest graph, and how they were found. Each edge is sent along both
    ways."""
    path = Path(os.environ.get("EQX_QDEQ_DATA", "")) / "TU" / "NCI1.txt"
    if not path.is_file():
        return 111, 119, "as read before: EQX_QDEQ_DATA names no folder with TU/NCI1.txt"
    lines = iter(path.read_text(encoding="utf-8").splitlines()[1:])
    sizes = []
    for line in lines:
        n = int(line.split()[0])
        # Each of n lines: a tag, the number of neighbors, the neighbors.
        ends = sum(int(next(lines).split()[1]) for _ in range(n))
        sizes.append((n, ends // 2))
    return *max(sizes), f"read from {path.name}"


def graphs(settings: Settings, rates: dict[str, Any]) -> list[Table]:
    """A batch as large as NCI1's largest could be, then one large graph."""
    small = settings.smoke
    batch, large = (4, 200) if small else (128, _LARGE)
    circuit = qdeq.circuits.hardware_efficient(4, 3)
    layer = qdeq.QuantumLayer(circuit, qdeq.AngleEncoding(), qdeq.PauliZ(), key=jax.random.key(0))
    cell = qdeq.GraphCell(layer, _FEATURES, 4, 1, key=jax.random.key(1))
    implicit = qdeq.ImplicitGraphCell(_FEATURES, _SIZE, key=jax.random.key(2))
    nodes, edges, how = _largest_of_nci1()
    tables = []
    for n, count in ((nodes, batch), (large, 1)):
        # A tree has an edge less than nodes; the others close rings, as many of them as there.
        rings = (edges - nodes + 1) * n // nodes
        made = [_molecule(seed, n, rings) for seed in range(count)]
        stacked = qdeq.stack_graphs(made)
        dense = stacked.features, jnp.stack([_matrix(graph) for graph in made])
        wide = jnp.asarray(np.random.default_rng(0).normal(size=(count, n, _SIZE)), jnp.float32)
        # What a step costs within a solve: the arrays are arguments, nothing is a constant.
        programs = {
            "edges": build(_step(cell), stacked, wide[..., :4]),
            "dense matrices": build(_step(cell), dense, wide[..., :4]),
            f"edges, classical, {_SIZE} a node": build(_step(implicit), stacked, wide),
        }
        gap = check_agreement(
            {name: programs[name]() for name in ("edges", "dense matrices")},
            reference="edges",
            atol=1e-4,
        )
        times = time_in_turn(programs, seconds=settings.seconds / 2)
        base = times["edges"].median
        rows = [
            {
                "name": name,
                "median_ms": rounded(timing.median),
                "ratio": rounded(timing.median / base),
                "best_ms": rounded(timing.best),
            }
            for name, timing in times.items()
        ]
        size = f"{count} × {n:,} nodes, {len(made[0].senders):,} edges"
        tables.append(
            {
                "id": str(n),
                "title": f"One step of message passing: {size}",
                "first": "cell",
                "notes": [
                    "ratio: to the graph cell of 4 wires along edges",
                    f"NCI1's largest graph has {nodes} nodes and {edges} edges, {how}",
                ],
                "facts": [],
                "agreement": gap,
                "rows": rows,
            }
        )
    return tables


def _step(cell: qdeq.AbstractCell) -> Any:
    return lambda x, z: jax.vmap(lambda x, z: cell.bind(x)(z))(x, z)


def _molecule(seed: int, n: int, n_rings: int) -> qdeq.Graph:
    """A tree of low degree, and some edges that close rings."""
    rng = np.random.default_rng(seed)
    child = np.arange(1, n)
    parent = np.maximum(child - rng.integers(1, 4, n - 1), 0)
    rings = rng.integers(0, n, (2, n_rings))
    one, other = np.append(child, rings[0]), np.append(parent, rings[1])
    features = np.eye(_FEATURES, dtype=np.float32)[rng.integers(0, _FEATURES, n)]
    return qdeq.Graph(features, np.append(one, other), np.append(other, one))


def _matrix(graph: qdeq.Graph) -> jax.Array:
    return graph.neighbor_sums(jnp.eye(len(graph.mask)))
