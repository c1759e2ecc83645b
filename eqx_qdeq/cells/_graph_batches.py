"""Graphs of different size in one batch."""

import itertools
from collections.abc import Sequence

import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np

from .._checks import check_instance, integers
from ._graph import Graph


def stack_graphs(
    graphs: Sequence[Graph], n_nodes: int | None = None, n_edges: int | None = None
) -> Graph:
    """A batch for `jax.vmap`: graphs padded to one size, along a new first axis.

    !!! example

        ```python
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        pair = qdeq.Graph(jnp.ones((2, 3)), senders=[0, 1], receivers=[1, 0])
        single = qdeq.Graph(jnp.ones((1, 3)), senders=[], receivers=[])
        batch = qdeq.stack_graphs([pair, single])
        batch.features.shape  # (2, 2, 3)
        batch.mask
        # [[True True]
        #  [True False]]
        ```

    **Arguments:**

    - `graphs`: of any sizes, with equally many features.
    - `n_nodes`, `n_edges`: to what they are padded; the largest of them if left out. A fixed size
        saves compiling anew for each batch.

    **Returns:** an [`eqx_qdeq.Graph`][] whose arrays have a leading axis.

    **Raises:** `ValueError` if a graph is larger, or features differ in number.
    """
    graphs = _graphs(graphs)
    n_nodes = max(len(g.mask) for g in graphs) if n_nodes is None else n_nodes
    n_edges = max(len(g.senders) for g in graphs) if n_edges is None else n_edges
    padded = [graph.padded(n_nodes, n_edges) for graph in graphs]
    # By NumPy, as XLA would compile a program for each number of graphs.
    return jtu.tree_map(lambda *leaves: jnp.asarray(np.stack(leaves)), *padded)


def bucket_graphs(
    graphs: Sequence[Graph], sizes: Sequence[int] | None = None
) -> list[tuple[np.ndarray, Graph]]:
    """Batches of graphs of about one size, so that padding at most doubles the nodes.

    !!! example

        ```python
        import jax
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        rings = [
            qdeq.Graph(jnp.ones((n, 1)), range(n), [*range(1, n), 0])
            for n in (3, 4, 30, 5)
        ]
        deq = qdeq.DEQ(qdeq.ImplicitGraphCell(1, 2, key=jax.random.key(0)))
        for positions, batch in qdeq.bucket_graphs(rings):
            z = jax.vmap(deq)(batch)  # of the graphs rings[i] for i in positions
        ```

    **Arguments:**

    - `graphs`: of any sizes, with equally many features.
    - `sizes`: rising numbers of nodes; a bucket has the graphs above one and up to the next of
        them, the last one those above all. The powers of two if left out; fewer compile faster.

    **Returns:**

    From small to large, for each bucket that is not empty: the positions of its graphs in the list,
    and these graphs stacked.

    **Raises:** `ValueError` if `sizes` do not rise, or the graphs differ in features.
    """
    graphs = _graphs(graphs)
    if sizes is None:
        sizes = [2**power for power in range(31)]
    sizes = integers("sizes", sizes)
    if any(b <= a for a, b in itertools.pairwise((0, *sizes))):
        raise ValueError(f"`sizes` must be above 0 and rise, e.g. (32, 64, 128); got {sizes}.")
    own = np.searchsorted(sizes, [len(graph.mask) for graph in graphs])
    return [
        (positions, stack_graphs([graphs[i] for i in positions]))
        for positions in (np.flatnonzero(own == bucket) for bucket in np.unique(own))
    ]


def _graphs(graphs: Sequence[Graph]) -> list[Graph]:
    graphs = list(graphs)
    for i, graph in enumerate(graphs):
        check_instance(f"graphs[{i}]", graph, Graph, "a Graph")
    widths = {graph.features.shape[1:] for graph in graphs}
    if len(widths) != 1:
        raise ValueError(
            "`graphs` must be at least one graph, all with equally many features a node; got "
            f"features of shapes {sorted({graph.features.shape for graph in graphs})}."
        )
    return graphs
