"""Graphs whose nodes lie on several devices, against those on one."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import eqx_qdeq as qdeq
from benchmarks._collectives import collectives

KEY = jax.random.key(0)
LAYER = qdeq.QuantumLayer(
    qdeq.circuits.hardware_efficient(2, 1), qdeq.AngleEncoding("Y"), qdeq.PauliZ(), key=KEY
)


def make_graph(n, n_relations=1, width=3, degree=4):
    """Nodes in no order, with edges to nodes that are near in a hidden one."""
    rng = np.random.default_rng(n)
    start = np.repeat(np.arange(n), degree)
    end = np.clip(start + rng.integers(-width, width + 1, len(start)), 0, n - 1)
    hidden = rng.permutation(n)
    relations = rng.integers(0, n_relations, len(start))
    weights = rng.random(len(start)) / degree
    return qdeq.Graph(rng.normal(size=(n, 3)), hidden[start], hidden[end], weights, relations)


def over(n):
    return jax.make_mesh((n,), ("nodes",), devices=jax.devices()[:n])


CELLS = {
    "graph": qdeq.GraphCell(LAYER, 3, layer_in_size=2, n_relations=2, key=KEY),
    "implicit": qdeq.ImplicitGraphCell(
        3, 4, layer=LAYER, layer_in_size=2, injection="state", key=KEY
    ),
}


@eqx.filter_jit
@eqx.filter_value_and_grad(has_aux=True)
def loss(deq, graph, labels):
    """Of the nodes, and of the mean over them."""
    solution = deq.solve(graph)
    errors = jnp.where(graph.mask, solution.value[:, 0] - labels, 0)
    mean = jnp.sum(solution.value, axis=0) / 107
    return jnp.sum(errors**2) + jnp.sum(jnp.sin(mean)), solution


@pytest.mark.parametrize(
    ("cell", "solver", "adjoint"),
    [
        ("graph", qdeq.Picard(1e-6, 1e-6), qdeq.NeumannAdjoint(10)),
        ("implicit", None, qdeq.ImplicitVJPAdjoint()),
    ],
)
def test_as_on_one(cell, solver, adjoint, tol):
    """With an uneven number of nodes, some of them of padding already."""
    deq = qdeq.DEQ(CELLS[cell], solver, adjoint)
    graph = make_graph(101, len(CELLS["graph"].relation_weight) if cell == "graph" else 1)
    graph = graph.with_self_loops().padded(107, 600)
    labels = np.cos(np.arange(107.0))
    (value, wanted), gradient = loss(deq, graph, jnp.asarray(labels))
    for n in (2, 8):
        sharded = qdeq.shard_graph(graph, over(n))
        (found, solution), gradients = loss(deq, sharded, sharded.place(labels))
        assert_allclose(found, value, rtol=10 * tol)
        assert solution.value.sharding.spec[0] == "nodes" and solution.success
        assert solution.stats["num_steps"] == wanted.stats["num_steps"]
        assert_allclose(sharded.collect(solution.value), wanted.value, atol=10 * tol)
        for a, b in zip(*map(jax.tree.leaves, (gradients, gradient)), strict=True):
            assert_allclose(a, b, atol=100 * tol * max(1, float(jnp.max(jnp.abs(b)))))


@pytest.mark.parametrize("reorder", [True, False])
@pytest.mark.parametrize(
    "graph",
    [make_graph(9, 2), make_graph(40, 2, width=40), make_graph(8).with_self_loops()],
    ids=["near", "far", "one each"],
)
def test_what_nodes_hear(graph, reorder, tol):
    """Whoever they hear, and wherever that is."""
    sharded, n = qdeq.shard_graph(graph, over(8), reorder=reorder), len(graph.mask)
    assert_array_equal(sharded.collect(sharded.features), graph.features)
    assert_array_equal(sharded.collect(sharded.place(np.arange(n))), np.arange(n))
    z = np.random.default_rng(1).normal(size=(n, 2)).astype(graph.features.dtype)

    @eqx.filter_jit
    def hear(graph, z):
        return [g.neighbor_sums(z, 2) for g in (graph, graph.normalized())]

    for found, wanted in zip(hear(sharded, sharded.place(z)), hear(graph, z), strict=True):
        found = np.stack([sharded.collect(one) for one in found])
        assert_allclose(found, wanted, atol=10 * tol)


def test_no_edges(mesh):
    graph = qdeq.shard_graph(qdeq.Graph(np.ones((9, 3)), [], []), mesh)
    assert graph.bytes_moved(4) == 0
    assert not eqx.filter_jit(lambda g: g.neighbor_sums(jnp.ones((16, 2))))(graph).any()


def test_what_is_exchanged_and_computed():
    """In a step of the solver the rows at the border, and norms; and each device has its part."""
    deq = qdeq.DEQ(CELLS["implicit"], qdeq.Picard(1e-5, 1e-5), qdeq.NeumannAdjoint(5))
    work, nodes = {}, 40000  # so many that the circuit, which each compiles for itself, is little
    for n in (2, 8):
        graph = qdeq.shard_graph(make_graph(nodes), over(n))
        run = loss.lower(deq, graph, graph.place(np.zeros(nodes))).compile().compiled
        found = collectives(run.as_text())
        # Forwards and backwards there is one loop each.
        sent = [c for c in found if c.kind == "collective-permute" and c.loops == 1]
        assert sum(c.size for c in sent) == 2 * graph.bytes_moved(4) > 0
        sums = [c for c in found if c not in sent and c.loops]
        assert {c.kind for c in sums} == {"all-reduce"} and sum(c.size for c in sums) < 100
        assert all(c.loops < 2 for c in found)
        work[n] = run.cost_analysis()["flops"]
    assert 4 * work[8] == pytest.approx(work[2], rel=0.05)


def test_what_cannot_be_parted(mesh):
    graph = make_graph(9)
    sharded = qdeq.shard_graph(graph, mesh)
    two = jax.make_mesh((2, 4), ("batch", "model"))
    with pytest.raises(ValueError, match="nodes lie along an axis named 'nodes'"):
        qdeq.shard_graph(graph, two)
    assert qdeq.shard_graph(graph, jax.make_mesh((2, 4), ("batch", "nodes"))).mask.shape == (12,)
    with pytest.raises(ValueError, match="`graph` has 7 nodes, less than the 8 devices"):
        qdeq.shard_graph(make_graph(7), mesh)
    with pytest.raises(ValueError, match="`graph` is a batch"):
        qdeq.shard_graph(qdeq.stack_graphs([graph, graph]), mesh)
    with pytest.raises(ValueError, match="one row for each of the 9 nodes"):
        sharded.place(np.zeros(16))
    with pytest.raises(ValueError, match="in_size=3 features"):
        CELLS["graph"].bind(qdeq.shard_graph(qdeq.Graph(np.ones((9, 2)), [], []), mesh))
    with pytest.raises(ValueError, match="`relations` must be from 0 to 0"):
        CELLS["implicit"].bind(qdeq.shard_graph(make_graph(9, 2), mesh))
    with pytest.raises(ValueError, match="must not be negative"):
        CELLS["implicit"].bind(qdeq.shard_graph(qdeq.Graph(np.ones((9, 3)), [0], [1], [-1]), mesh))
    with pytest.raises(TypeError, match="`x` is a ShardedGraph"):
        qdeq.lipschitz_bound(CELLS["graph"], sharded)
