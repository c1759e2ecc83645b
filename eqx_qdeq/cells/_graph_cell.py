"""GraphCell: one shared layer on every node of a graph, fed with what its neighbors measure."""

import math
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from .._checks import check_at_least, check_instance, describe
from .._inputs import check_key, numbers, precision
from .._precise import dot, einsum
from ..layers import QuantumLayer
from ._cell import AbstractCell
from ._graph import Graph
from ._sharded_graph import AnyGraph, ShardedGraph

Dense = tuple[Float[Array, "n d_in"], Float[Array, "k n n"]]


class GraphCell(AbstractCell):
    r"""A quantum layer shared by the nodes of a graph; the state is the `(n, m)` array of all
    nodes' measured values,

    $$f(z, (x, A))_i = \mathrm{layer}\Big(W x_i + b + \sum_k V_k \sum_j A_{kij}\, z_j\Big)$$

    A sample is a [`eqx_qdeq.Graph`][], whose edges are of k relations (left neighbor, right
    neighbor, …); a step costs O(edges). Or it is a pair: the nodes' features `x` of shape
    `(n, d_in)`, and `A` of shape `(k, n, n)`, one matrix for each relation, for small graphs with
    many edges. Node i listens to node j where `A[k, i, j]` is not zero. Give the identity as a
    relation for a node to hear itself. Nothing depends on n: a cell that was trained on small
    graphs runs on large ones.

    One application carries information over one edge, an equilibrium over any number of them.
    The Jacobian is `(n m, n m)`: for large graphs take `Picard` or `Anderson` and an adjoint that
    needs products only. While information travels the residual need not fall: give `Picard` the
    patience for it, `limits=SolverLimits(stagnation=...)`, with more steps than the graph is long.

    !!! example

        ```python
        import jax
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        key1, key2 = jax.random.split(jax.random.key(0))
        layer = qdeq.QuantumLayer(
            qdeq.circuits.hardware_efficient(2, depth=2),
            qdeq.AngleEncoding("Y"),
            qdeq.PauliZ(),
            key=key1,
        )
        cell = qdeq.GraphCell(
            layer, in_size=3, layer_in_size=2, n_relations=1, key=key2
        )
        features = jnp.ones((5, 3))
        from_the_left = jnp.eye(5, k=-1)[None]
        deq = qdeq.DEQ(cell, qdeq.Picard(1e-4, 1e-4), qdeq.NeumannAdjoint(5))
        z = deq((features, from_the_left))  # (5, 2)
        ```

    ??? cite "Reference"

        F. Gu, H. Chang, W. Zhu, S. Sojoudi and L. El Ghaoui, "Implicit graph neural networks",
        NeurIPS 2020, arXiv:2009.06211.
    """

    layer: QuantumLayer
    input_weight: Float[Array, "d d_in"]
    relation_weight: Float[Array, "k d m"]
    bias: Float[Array, " d"]

    always_finite: ClassVar[bool] = True

    def __init__(
        self,
        layer: QuantumLayer,
        in_size: int,
        layer_in_size: int,
        n_relations: int,
        *,
        key: PRNGKeyArray,
    ):
        check_instance("layer", layer, QuantumLayer, "a QuantumLayer")
        check_key("key", key)
        for name, size in (
            ("in_size", in_size),
            ("layer_in_size", layer_in_size),
            ("n_relations", n_relations),
        ):
            check_at_least(name, size, 1)
        kx, kz, kb = jax.random.split(key, 3)
        dtype = layer.angles.dtype

        def uniform(key: PRNGKeyArray, shape: tuple[int, ...], fan_in: int) -> Array:
            limit = 1 / math.sqrt(fan_in)
            return jax.random.uniform(key, shape, dtype, minval=-limit, maxval=limit)

        m = layer.out_size
        self.layer = layer
        self.input_weight = uniform(kx, (layer_in_size, in_size), in_size)
        self.relation_weight = uniform(kz, (n_relations, layer_in_size, m), n_relations * m)
        self.bias = uniform(kb, (layer_in_size,), in_size)

    def accept(self, x: Any) -> Graph | ShardedGraph | Dense:
        """The graph, or the pair of its features and adjacency, in the precision of the weights.

        **Raises:** `TypeError` or `ValueError` for what is neither.
        """
        dtype, in_size = precision(self.input_weight), self.input_weight.shape[1]
        n_relations = self.relation_weight.shape[0]
        if isinstance(x, AnyGraph):
            return x.accepted(in_size, n_relations, dtype)
        if not isinstance(x, tuple | list) or len(x) != 2:
            raise TypeError(
                "a graph is given as `Graph(features, senders, receivers)`, or as one pair, "
                "`(features, adjacency)`: the nodes' features of shape (n, d_in), and one matrix "
                f"for each relation, of shape (k, n, n); got {describe(x)}."
            )
        features = numbers(x[0], dtype, name="features")
        adjacency = numbers(x[1], dtype, name="adjacency")
        if features.ndim != 2 or features.shape[1] != in_size:
            raise ValueError(
                f"the cell was made for in_size={in_size} features a node; got features of shape "
                f"{features.shape}, where it takes (n, {in_size}). Batch graphs of one size with "
                "`jax.vmap`."
            )
        n = features.shape[0]
        if adjacency.shape != (n_relations, n, n):
            raise ValueError(
                f"the adjacency must have shape {(n_relations, n, n)}, one matrix for each "
                f"relation; got {adjacency.shape}."
            )
        return features, adjacency

    def init(self, x: Graph | ShardedGraph | Dense) -> Float[Array, "n m"]:
        """Zeros: no node has heard anything yet."""
        graph = self.accept(x)
        features = graph.features if isinstance(graph, AnyGraph) else graph[0]
        return jnp.zeros((len(features), self.layer.out_size), precision(self.input_weight))

    def bind(
        self, x: Graph | ShardedGraph | Dense
    ) -> Callable[[Float[Array, "n m"]], Float[Array, "n m"]]:
        graph = self.accept(x)
        features = graph.features if isinstance(graph, AnyGraph) else graph[0]
        # All nodes share the angles, so what depends on these alone is done once for the graph; and
        # W x + b does not depend on z.
        layer = self.layer.compile(self.bias.shape[0])
        offset = dot(features, self.input_weight.T) + self.bias[None]

        def apply(z: Float[Array, "n m"]) -> Float[Array, "n m"]:
            # Over the edges first: n·m numbers for each relation, then the small matrices.
            if isinstance(graph, AnyGraph):
                heard = graph.neighbor_sums(z, len(self.relation_weight))
            else:
                heard = einsum("kij,jm->kim", graph[1], z)
            mixed = einsum("kdm,kim->id", self.relation_weight, heard)
            values = jax.vmap(layer)(offset + mixed)
            # Nodes of padding say nothing, and their residual is 0.
            return (
                jnp.where(graph.mask[:, None], values, 0) if isinstance(graph, AnyGraph) else values
            )

        return apply


GraphCell.__init__.__doc__ = """**Arguments:**

- `layer`: the layer of every node, from `layer_in_size` features to m measured values.
- `in_size`: the number of features of a node.
- `layer_in_size`: the number d of features that the layer is given.
- `n_relations`: the number k of relations: kinds of edges, or adjacency matrices.
- `key`: for the initial weights, uniform in ±1/√(fan-in).

**Raises:** `ValueError` if a size is not positive.
"""
