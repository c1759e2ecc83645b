"""Graphs as index arrays: what may be an edge, what is sent along them."""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int

from .._checks import check_at_least, describe
from .._inputs import numbers

Found = tuple[Any, Callable[[int], str]]
_G = TypeVar("_G", bound=eqx.Module)  # Graphs, on one device or several.


class Graph(eqx.Module):
    r"""One graph: the features of its nodes, and its edges as index arrays.

    Edge number e carries `weights[e]` times the state of node `senders[e]` to node `receivers[e]`.
    A message-passing step costs O(edges). An edge has one direction: list both for a graph without.

    A batch is a `Graph` whose arrays have a leading axis, made by [`eqx_qdeq.stack_graphs`][] or
    [`eqx_qdeq.bucket_graphs`][]. With `jax.vmap` over it, each graph has a solve, a residual and a
    failure of its own. (Several graphs joined to a disjoint one are one sample: the slowest decides
    for all, and one that is not finite spoils the others.)

    !!! example

        ```python
        import jax
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        triangle = qdeq.Graph(
            jnp.eye(3), senders=[0, 1, 1, 2, 2, 0], receivers=[1, 0, 2, 1, 0, 2]
        )
        pair = qdeq.Graph(jnp.ones((2, 3)), senders=[0, 1], receivers=[1, 0])
        batch = qdeq.stack_graphs([triangle, pair])
        cell = qdeq.ImplicitGraphCell(in_size=3, size=4, key=jax.random.key(0))
        z = jax.vmap(qdeq.DEQ(cell))(batch)  # (2, 3, 4); zeros for nodes of padding
        ```
    """

    features: Float[Array, "n d_in"]
    senders: Int[Array, " e"]
    receivers: Int[Array, " e"]
    weights: Float[Array, " e"]
    relations: Int[Array, " e"]
    mask: Bool[Array, " n"]

    def __init__(
        self,
        features: Any,
        senders: Any,
        receivers: Any,
        weights: Any = None,
        relations: Any = None,
        mask: Any = None,
    ):
        self.features = numbers(features, name="features")
        if self.features.ndim != 2 or len(self.features) == 0:
            raise ValueError(
                "`features` must have the shape (n, d_in), one row for each of at least one node; "
                f"got {self.features.shape}. A batch is made of graphs: `stack_graphs(graphs)`."
            )
        self.senders = _indices("senders", senders)
        self.receivers = _indices("receivers", receivers)
        n_edges = len(self.senders)
        zeros = np.zeros(n_edges, np.int32)
        self.relations = _indices("relations", zeros if relations is None else relations)
        weights = np.ones(n_edges, np.float32) if weights is None else weights
        self.weights = numbers(weights, self.features.dtype, name="weights")
        for name in ("receivers", "relations", "weights"):
            shape = getattr(self, name).shape
            if shape != (n_edges,):
                raise ValueError(
                    f"`{name}` must have one entry for each edge, as `senders` has: the shape "
                    f"({n_edges},); got {shape}."
                )
        self.mask = _mask(len(self.features), mask)
        refuse(self, _faults)

    @classmethod
    def from_dense(cls, features: Any, adjacency: Any) -> "Graph":
        """A graph from its matrix, or from one matrix for each relation.

        **Arguments:**

        - `features`: of shape `(n, d_in)`.
        - `adjacency`: of shape `(n, n)` or `(k, n, n)`. Node i hears node j with the weight
            `A[k, i, j]`; where that is zero there is no edge.

        **Returns:** the graph, with as many edges as the matrices have entries that are not zero.

        **Raises:** `ValueError` for another shape; `TypeError` under a transformation, where the
        number of edges is not known.
        """
        if isinstance(adjacency, Tracer):
            raise TypeError(
                "`adjacency` is traced, so the number of its edges is not known; make the graph "
                "outside of `jit` and `vmap`, or give `GraphCell` the pair (features, adjacency)."
            )
        matrices = np.asarray(numbers(adjacency, name="adjacency"))
        matrices = matrices[None] if matrices.ndim == 2 else matrices
        n = np.shape(features)[0] if np.ndim(features) else 0
        if matrices.ndim != 3 or matrices.shape[1:] != (n, n):
            raise ValueError(
                f"`adjacency` must have the shape ({n}, {n}) or (k, {n}, {n}), as there are {n} "
                f"rows of features; got {np.shape(adjacency)}."
            )
        relations, receivers, senders = np.nonzero(matrices)
        weights = matrices[relations, receivers, senders]
        return cls(features, senders, receivers, weights, relations)

    def with_self_loops(self) -> "Graph":
        """The graph with an edge of weight 1 from each node to itself, so that it hears itself."""
        xp, graph = _where(self)
        nodes = xp.arange(len(graph.mask), dtype=graph.senders.dtype)
        return replaced(
            self,
            senders=xp.concatenate([graph.senders, nodes]),
            receivers=xp.concatenate([graph.receivers, nodes]),
            weights=xp.concatenate([graph.weights, graph.mask.astype(graph.weights.dtype)]),
            relations=xp.concatenate([graph.relations, xp.zeros_like(nodes)]),
        )

    def normalized(self) -> "Graph":
        r"""The graph with the weights $\tilde A_{ij} = A_{ij} / \sqrt{r_i c_j}$, where r are the
        sums of rows and c those of columns: for an undirected graph $D^{-1/2} A D^{-1/2}$.

        Its matrix has $\|\tilde A\|_2 \leq 1$. This is Schur's test with the vectors
        $\sqrt r$ and $\sqrt c$: $\tilde A \sqrt c = \sqrt r$ and $\tilde A^\top \sqrt r = \sqrt c$.

        **Raises:** `ValueError` for negative weights, whose sums may vanish; under a transformation
        they make the features NaN, as of a sample that is not finite.
        """
        graph = refuse(self, negative)
        n, weights = len(graph.mask), graph.weights
        # Nodes without edges have the sum 0 and nothing to normalize.
        rows, columns = (
            jax.ops.segment_sum(weights, at, n)[at] for at in (graph.receivers, graph.senders)
        )
        product = rows * columns
        some = product > 0
        scale = jnp.where(some, jax.lax.rsqrt(jnp.where(some, product, 1)), 0)
        return replaced(graph, weights=weights * scale)

    def padded(self, n_nodes: int, n_edges: int) -> "Graph":
        """The graph with nodes and edges that change nothing, up to these numbers.

        An edge of padding has weight 0. A node of padding has `mask` false: its state is 0.

        **Raises:** `ValueError` if the graph has more.
        """
        more = []
        for name, have, want in (
            ("n_nodes", len(self.mask), n_nodes),
            ("n_edges", len(self.senders), n_edges),
        ):
            check_at_least(name, want, have)
            more.append(want - have)
        nodes, edges = (0, more[0]), (0, more[1])
        last = n_nodes - 1
        xp, graph = _where(self)
        return replaced(
            self,
            features=xp.pad(graph.features, (nodes, (0, 0))),
            senders=xp.pad(graph.senders, edges, constant_values=last),
            receivers=xp.pad(graph.receivers, edges, constant_values=last),
            weights=xp.pad(graph.weights, edges),
            relations=xp.pad(graph.relations, edges),
            mask=xp.pad(graph.mask, nodes),
        )

    def neighbor_sums(self, z: Float[Array, "n m"], n_relations: int = 1) -> Float[Array, "k n m"]:
        r"""What every node hears, $\sum_j A_{kij}\,z_j$ for each relation k, in O(edges).

        **Arguments:**

        - `z`: a row for each node.
        - `n_relations`: the number k of relations.
        """
        edges = self.senders, self.receivers, self.weights, self.relations
        return sums_at(z, *edges, len(self.mask), n_relations)

    def accepted(
        self, in_size: int, n_relations: int, dtype: Any, *, normalizable: bool = False
    ) -> "Graph":
        """The graph as a cell computes with it. Indices that are out of range under a
        transformation, where nothing can be raised and JAX would take the nearest node, make the
        features NaN: the sample is then marked as failed, and costs no other.

        **Raises:** `ValueError` for another number of features or relations, or a batch.
        """
        check_features(self.features, in_size)
        graph = replaced(
            self,
            features=numbers(self.features, dtype, name="features"),
            weights=numbers(self.weights, dtype, name="weights"),
        )
        graph = refuse(graph, lambda graph, xp: _faults(graph, xp, n_relations))
        return refuse(graph, negative) if normalizable else graph


Graph.__init__.__doc__ = """**Arguments:**

- `features`: one row for each of n nodes, of shape `(n, d_in)`.
- `senders`, `receivers`: integers from 0 to n - 1, one of each for every edge.
- `weights`: a number for every edge; ones if left out.
- `relations`: the kind of every edge, integers from 0; all of one kind if left out.
- `mask`: true for nodes of the graph, false for padding; all true if left out.

**Raises:** `TypeError` for indices that are no integers or a mask that is not Boolean;
`ValueError` for lengths that differ, an index out of range, or an edge with a weight at a node of
padding.
"""


def check_features(features: Array, in_size: int) -> None:
    if features.ndim != 2 or features.shape[1] != in_size:
        raise ValueError(
            f"the cell was made for in_size={in_size} features a node; got features of shape "
            f"{features.shape}, where it takes (n, {in_size}). Batch graphs with `jax.vmap`; "
            "`stack_graphs` pads them to one size."
        )


def sums_at(
    z: Float[Array, "n m"],
    senders: Int[Array, " e"],
    receivers: Int[Array, " e"],
    weights: Float[Array, " e"],
    relations: Int[Array, " e"],
    n_receivers: int,
    n_relations: int,
) -> Float[Array, "k n_receivers m"]:
    """What the edges carry, added up where they end, for each relation."""
    sent = weights[:, None] * z[senders]
    heard = jax.ops.segment_sum(
        sent, relations * n_receivers + receivers, n_relations * n_receivers
    )
    return heard.reshape(n_relations, n_receivers, z.shape[1])


def replaced(graph: _G, **new: Any) -> _G:
    """Other arrays in place of some, which have been looked at."""
    names, values = list(new), [jnp.asarray(value) for value in new.values()]
    return eqx.tree_at(lambda g: [getattr(g, n) for n in names], graph, values)


def _where(graph: Graph) -> tuple[Any, Graph]:
    """The library that puts arrays together, and the graph for it: NumPy unless they are traced,
    as XLA would compile a program for each size."""
    if any(isinstance(leaf, Tracer) for leaf in jtu.tree_leaves(graph)):
        return jnp, graph
    return np, jtu.tree_map(np.asarray, graph)


def _indices(name: str, value: Any) -> Int[Array, " e"]:
    array = value if isinstance(value, jax.Array) else np.asarray(value)
    if array.size == 0 and not isinstance(value, jax.Array):
        array = np.zeros(array.shape, np.int32)
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise TypeError(
            f"`{name}` must be a row of integers, of shape (e,); got {describe(value)}."
        )
    # Before they are made shorter: an index of 64 bits may become one of 32 that is in range.
    limits = np.iinfo(np.int32)
    if isinstance(array, np.ndarray) and array.size:
        if array.min() < limits.min or array.max() > limits.max:
            raise ValueError(
                f"`{name}` has an index beyond 32 bits, {array[np.abs(array).argmax()]}."
            )
    return jnp.asarray(array, jnp.int32)


def _mask(n: int, mask: Any) -> Bool[Array, " n"]:
    if mask is None:
        return jnp.ones(n, bool)
    array = mask if isinstance(mask, jax.Array) else np.asarray(mask)
    if array.dtype != np.bool_:
        raise TypeError(f"`mask` must be Booleans; got {describe(mask)}.")
    if array.shape != (n,):
        raise ValueError(f"`mask` must have one entry for each node: ({n},); got {array.shape}.")
    return jnp.asarray(array)


def _faults(graph: Graph, xp: Any, n_relations: int | None = None) -> Iterator[Found]:
    n = graph.features.shape[0]
    for name in ("senders", "receivers"):
        at = xp.asarray(getattr(graph, name))
        yield (
            (at < 0) | (at >= n),
            lambda e, at=at, name=name: (
                f"`{name}[{e}]` must be from 0 to {n - 1}, as there are {n} nodes; got {at[e]}."
            ),
        )
    kinds = xp.asarray(graph.relations)
    most = np.iinfo(np.int32).max if n_relations is None else n_relations
    yield (
        (kinds < 0) | (kinds >= most),
        lambda e: (
            f"`relations[{e}]` must be from 0"
            + ("" if n_relations is None else f" to {most - 1}, as the cell has {most}")
            + f"; got {kinds[e]}."
        ),
    )
    mask, weights = xp.asarray(graph.mask), xp.asarray(graph.weights)
    ends = [xp.clip(xp.asarray(at), 0, n - 1) for at in (graph.senders, graph.receivers)]
    yield (
        (weights != 0) & ~(mask[ends[0]] & mask[ends[1]]),
        lambda e: (
            f"edge {e} has the weight {weights[e]} and ends at a node of padding, where `mask` is "
            "false; edges of padding have the weight 0."
        ),
    )


def negative(graph: Any, xp: Any) -> Iterator[Found]:
    weights = xp.asarray(graph.weights)
    yield (
        weights < 0,
        lambda e: (
            f"`weights[{e}]` must not be negative where the graph is normalized; got {weights[e]}. "
            "Give their signs to two relations of a GraphCell."
        ),
    )


def refuse(graph: _G, faults: Callable[[Any, Any], Iterator[Found]]) -> _G:
    """Raises for the first fault; where arrays are traced, it makes the features NaN."""
    if not any(isinstance(leaf, Tracer) for leaf in jtu.tree_leaves(graph)):
        for bad, message in faults(graph, np):
            if bad.any():
                raise ValueError(message(int(np.argmax(bad))))
        return graph
    wrong = jnp.asarray(False)
    for bad, _ in faults(graph, jnp):
        wrong = wrong | jnp.any(bad)
    spoilt = lambda features: jnp.where(wrong, jnp.nan, features)
    return eqx.tree_at(lambda g: g.features, graph, replace_fn=spoilt)
