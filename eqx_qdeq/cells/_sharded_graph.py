"""One graph over several devices: each has some of the nodes, and the edges that end there.

A device computes its own nodes. Of the others it needs the states of those that its edges start
from, its *halo*, and who must send what to whom follows from the graph alone. So it is found once,
by NumPy, and a step of message passing sends these rows and nothing else. The devices that are k
places apart exchange at once, by one `ppermute` for each k that occurs. Nodes are put in an order
in which edges are short (reverse Cuthill and McKee's), so that few do.

Whatever else a solve does is the same for every row (circuits, injections), or a sum over all of
them (norms, inner products, gradients of what the nodes share). The arrays lie along the mesh, so
XLA parts the former and adds up the latter; all devices take the same steps.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from .._checks import check_instance
from .._inputs import numbers
from .._mesh import Devices, devices, NODES
from ._graph import check_features, Graph, negative, refuse, replaced, sums_at
from ._graph_parts import part_nodes, short_edges


class ShardedGraph(eqx.Module):
    """A graph whose nodes lie on several devices, made by [`eqx_qdeq.shard_graph`][].

    A cell takes it in place of the [`eqx_qdeq.Graph`][]. States have a row for each node, in the
    order of `nodes`, and rows of padding at the end, which are zero.

    !!! example

        ```python
        import equinox as eqx
        import jax
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        mesh = jax.make_mesh((jax.device_count(),), ("nodes",))
        ring = qdeq.Graph(jnp.ones((9, 2)), range(9), [*range(1, 9), 0])
        graph = qdeq.shard_graph(ring, mesh)
        cell = qdeq.ImplicitGraphCell(in_size=2, size=4, key=jax.random.key(0))
        z = eqx.filter_jit(qdeq.DEQ(cell))(graph)
        graph.collect(z).shape  # (9, 4)
        mean = jnp.sum(z, axis=0) / jnp.sum(graph.mask)
        ```

    **Attributes:**

    - `features`, `mask`, `nodes`: of every row; `nodes` is its number in the graph, -1 for padding.
    - `senders`, `receivers`, `weights`, `relations`: of the edges, by devices; the indices are of
        rows of a device, those of its halo last.
    - `sent`, `routes`: the rows that each device sends, and from which device to which, for each
        distance between devices.
    - `n_relations`: the number of kinds of edges that occur.
    - `mesh`, `axis`: the devices, and the axis along which the rows lie.
    """

    features: Float[Array, "rows d_in"]
    mask: Bool[Array, " rows"]
    nodes: Int[Array, " rows"]
    senders: Int[Array, " edges"]
    receivers: Int[Array, " edges"]
    weights: Float[Array, " edges"]
    relations: Int[Array, " edges"]
    sent: tuple[Int[Array, " _"], ...]
    routes: tuple[tuple[tuple[int, int], ...], ...] = eqx.field(static=True)
    n_relations: int = eqx.field(static=True)
    mesh: Mesh = eqx.field(static=True)
    axis: str = eqx.field(static=True)

    @property
    def _over(self) -> Devices:
        return Devices(self.mesh, self.axis)

    def bytes_moved(self, size: int) -> int:
        """How many bytes a device sends at most in one step of message passing.

        **Arguments:**

        - `size`: how many numbers the state of a node has.
        """
        rows = sum(len(sent) for sent in self.sent) // self.mesh.shape[self.axis]
        return rows * size * self.features.dtype.itemsize

    def place(self, values: Any) -> Array:
        """Values of the nodes, such as labels, in the order of the rows and on their devices.

        **Arguments:**

        - `values`: of shape `(n, ...)`, for the nodes as the graph has them.

        **Returns:** an array of shape `(rows, ...)`, with zeros for rows of padding.

        **Raises:** `ValueError` for another number of nodes.
        """
        values, nodes = np.asarray(values), np.asarray(self.nodes)
        n = np.count_nonzero(nodes >= 0)
        if values.shape[:1] != (n,):
            raise ValueError(
                f"`values` must have one row for each of the {n} nodes; got the shape "
                f"{values.shape}."
            )
        return self._over.put(jnp.asarray(_taken(values, nodes)), self.axis)

    def collect(self, rows: Any) -> np.ndarray:
        """Rows of a state in the order of the graph's nodes, as one NumPy array.

        **Arguments:**

        - `rows`: of shape `(rows, ...)`, e.g. an equilibrium.

        **Returns:** an array of shape `(n, ...)`.
        """
        nodes = np.asarray(self.nodes)
        return np.asarray(rows)[np.argsort(nodes)[np.count_nonzero(nodes < 0) :]]

    def neighbor_sums(self, z: Float[Array, "rows m"], n_relations: int = 1) -> Array:
        """What every node hears, as [`eqx_qdeq.Graph`][] has it."""

        def of(z: Array, sent: tuple, s: Array, r: Array, w: Array, k: Array) -> Array:
            return sums_at(self._with_halo(z, sent), s, r, w, k, len(z), n_relations)

        edges = self.senders, self.receivers, self.weights, self.relations
        out = PartitionSpec(None, self.axis)
        return self._over.map(of, (z, self.sent, *edges), PartitionSpec(self.axis), out)

    def _with_halo(self, z: Array, sent: tuple[Array, ...]) -> Array:
        """On a device, its rows and those that it needs from others."""
        halo = [
            jax.lax.ppermute(z[rows], self.axis, route)
            for rows, route in zip(sent, self.routes, strict=True)
        ]
        return jnp.concatenate([z, *halo])

    def normalized(self) -> "ShardedGraph":
        """The graph with the weights that [`eqx_qdeq.Graph`][] gives them."""
        graph = refuse(self, negative)
        ones = jnp.ones((len(self.mask), 1), self.weights.dtype)
        # Sums of rows are what ones send, sums of columns its transpose.
        heard = lambda z: jnp.sum(graph.neighbor_sums(z, self.n_relations), axis=0)
        rows, back = jax.vjp(heard, ones)
        scales = [
            jnp.where(total > 0, jax.lax.rsqrt(jnp.where(total > 0, total, 1)), 0)
            for total in (rows, *back(ones))
        ]

        def of(at: Array, to: Array, sent: tuple, s: Array, r: Array, w: Array) -> Array:
            return w * at[r, 0] * self._with_halo(to, sent)[s, 0]

        args = *scales, self.sent, self.senders, self.receivers, graph.weights
        along = PartitionSpec(self.axis)
        return replaced(graph, weights=self._over.map(of, args, along, along))

    def accepted(
        self, in_size: int, n_relations: int, dtype: Any, *, normalizable: bool = False
    ) -> "ShardedGraph":
        """The graph as a cell computes with it.

        **Raises:** `ValueError` for another number of features or relations.
        """
        check_features(self.features, in_size)
        if self.n_relations > n_relations:
            raise ValueError(
                f"`relations` must be from 0 to {n_relations - 1}, as the cell has {n_relations}; "
                f"the largest of the graph is {self.n_relations - 1}."
            )
        graph = replaced(
            self,
            features=numbers(self.features, dtype, name="features"),
            weights=numbers(self.weights, dtype, name="weights"),
        )
        return refuse(graph, negative) if normalizable else graph


AnyGraph = Graph | ShardedGraph
"""What cells on graphs take."""


def shard_graph(graph: Graph, mesh: Mesh, *, reorder: bool = True) -> ShardedGraph:
    """A graph over the devices of a mesh, for one that is too large for one of them.

    Each device has equally many nodes, but for rounding, and the edges that end there. A step of
    message passing sends the states of those nodes that have edges to other devices. Values and
    gradients are those of the graph on one device, but for rounding.

    !!! example

        ```python
        import equinox as eqx
        import jax
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        mesh = jax.make_mesh((jax.device_count(),), ("nodes",))
        ring = qdeq.Graph(jnp.ones((9, 2)), range(9), [*range(1, 9), 0])
        graph = qdeq.shard_graph(ring, mesh)
        labels = graph.place(jnp.arange(9.0))


        @eqx.filter_jit
        @eqx.filter_value_and_grad
        def loss(deq, graph, labels):
            z = deq(graph)  # (rows, 4)
            errors = jnp.where(graph.mask, z[:, 0] - labels, 0)
            return jnp.sum(errors**2) / jnp.sum(graph.mask)


        cell = qdeq.ImplicitGraphCell(in_size=2, size=4, key=jax.random.key(0))
        value, gradient = loss(qdeq.DEQ(cell), graph, labels)
        ```

    Call what takes it under `jax.jit`. A graph whose features do not fit on the first device is
    made in the host's memory, `with jax.default_device(jax.devices("cpu")[0])`.

    **Arguments:**

    - `graph`: an [`eqx_qdeq.Graph`][], as it is outside of `jit` and `vmap`.
    - `mesh`: a mesh with one axis, or with one named `"nodes"`, along which the nodes lie.
    - `reorder`: whether nodes are put in an order in which edges are short, by SciPy's
        `reverse_cuthill_mckee`. If not, each device has nodes that follow each other in the graph.

    **Returns:** an [`eqx_qdeq.ShardedGraph`][].

    **Raises:** `TypeError` for what is no graph or no mesh; `ValueError` for a batch of graphs,
    fewer nodes than devices, a mesh of several axes without `"nodes"`, or one over several
    processes.
    """
    check_instance("graph", graph, Graph, "a Graph; `shard_graph` parts one of them")
    over = devices(mesh, samples=NODES)
    if graph.features.ndim != 2:
        raise ValueError(
            "`graph` is a batch, whose features have the shape "
            f"{graph.features.shape}. Graphs that fit on a device are samples: `map_batch`."
        )
    if over.mesh.is_multi_process:
        raise ValueError(
            "`mesh` is of several processes, over which a graph cannot be parted; use the devices "
            "of one, e.g. jax.make_mesh((n,), ('nodes',), devices=jax.local_devices())."
        )
    if len(graph.mask) < len(over):
        raise ValueError(
            f"`graph` has {len(graph.mask)} nodes, less than the {len(over)} devices along the "
            f"axis {over.samples!r} of `mesh`; use a smaller mesh."
        )
    host = jax.tree.map(np.asarray, graph)
    n = len(host.mask)
    order = short_edges(host.senders, host.receivers, n) if reorder else np.arange(n)
    parts = part_nodes(host.senders, host.receivers, order, len(over))
    along = lambda a: over.put(jnp.asarray(a), over.samples)
    index = lambda a: along(np.asarray(a, np.int32))
    return ShardedGraph(
        features=along(_taken(host.features, parts.nodes)),
        mask=along(_taken(host.mask, parts.nodes)),
        nodes=index(parts.nodes),
        senders=index(parts.senders),
        receivers=index(parts.receivers),
        weights=along(_taken(host.weights, parts.edges)),
        relations=index(_taken(host.relations, parts.edges)),
        sent=tuple(map(index, parts.sent)),
        routes=parts.routes,
        n_relations=int(host.relations.max(initial=0)) + 1,
        mesh=over.mesh,
        axis=over.samples,
    )


def _taken(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """These rows, and zeros where the index is -1."""
    zero = np.zeros((1, *values.shape[1:]), values.dtype)
    return np.concatenate([values, zero])[rows]
