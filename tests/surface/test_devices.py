"""What a mesh may be, and what samples."""

import jax
import numpy as np
import optax
import pytest

import eqx_qdeq as qdeq
from eqx_qdeq import training

DEQ = qdeq.QDEQ(2, 4, key=jax.random.key(0)).deq
X = np.ones((3, 4))
DATA = X, np.array([0, 1, 1])
GRAPH = qdeq.Graph(X, [0, 1], [1, 2])
ONE = jax.make_mesh((1,), ("any name",))
OTHER = jax.make_mesh((1, 1), ("rows", "columns"))


def _uses(mesh):
    return (
        lambda: qdeq.map_batch(DEQ, X, mesh=mesh),
        lambda: training.fit(DEQ, DATA, optimizer=optax.sgd(0.1), epochs=1, mesh=mesh),
        lambda: training.evaluate(DEQ, training.Split(*DATA), mesh=mesh),
        lambda: qdeq.shard_graph(GRAPH, mesh),
    )


@pytest.mark.parametrize("mesh", ["all", jax.devices(), 8], ids=["text", "devices", "number"])
def test_no_mesh(mesh):
    for use in _uses(mesh):
        with pytest.raises(TypeError, match="`mesh` must be a jax.sharding.Mesh.*make_mesh"):
            use()


def test_no_axis_for_samples():
    for use in _uses(OTHER):
        with pytest.raises(
            ValueError, match="has the axes .*'rows', 'columns'.*named '(batch|nodes)'"
        ):
            use()


@pytest.mark.parametrize(
    "x", [np.float64(1), {"a": X, "b": X[:2]}, [X, np.ones(())]], ids=["none", "unequal", "number"]
)
def test_no_samples(x):
    with pytest.raises(ValueError, match="`x` must be samples, arrays with one leading axis"):
        qdeq.map_batch(lambda x: x, x, mesh=ONE)


def test_integers_are_samples():
    x = np.array([[1, 0, 2, 0], [0, 3, 0, 1]])
    found = qdeq.map_batch(DEQ, x, mesh=ONE)
    np.testing.assert_allclose(found, jax.vmap(DEQ)(x), rtol=0, atol=1e-6)


def test_a_sharded_graph_is_no_graph():
    graph = qdeq.shard_graph(GRAPH, ONE)
    for use in (lambda: qdeq.shard_graph(graph, ONE), lambda: qdeq.stack_graphs([graph])):
        with pytest.raises(TypeError, match="must be a Graph.*got ShardedGraph"):
            use()
    with pytest.raises(ValueError, match="`x` must be samples"):
        qdeq.map_batch(DEQ, graph, mesh=ONE)
    with pytest.raises(TypeError, match="GraphCell"):
        qdeq.lipschitz_bound(DEQ.cell, graph)
