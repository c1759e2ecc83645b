"""Graphs as index arrays: against dense matrices, and batches of different size."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eqx_qdeq as qdeq

N = 6


def random_graph(seed, n=N, n_relations=1, density=0.4, d=3):
    """Features and matrices with signs, and a node that hears nobody."""
    rng = np.random.default_rng(seed)
    matrices = rng.normal(size=(n_relations, n, n)) * (rng.random((n_relations, n, n)) < density)
    matrices[:, 0] = 0
    return rng.normal(size=(n, d)), matrices


def test_what_nodes_hear_against_the_matrices(tol):
    features, matrices = random_graph(0, n_relations=3)
    graph = qdeq.Graph.from_dense(features, matrices)
    assert len(graph.senders) == np.count_nonzero(matrices)
    z = np.random.default_rng(1).normal(size=(N, 4))
    heard = graph.padded(N + 3, 60).neighbor_sums(
        jnp.pad(jnp.asarray(z, float), ((0, 3), (0, 0))), 3
    )
    np.testing.assert_allclose(heard[:, :N], matrices @ z, atol=20 * tol)
    assert not heard[:, N:].any()


def test_normalization_against_numpy_and_its_norm(tol):
    features, (matrix,) = random_graph(2)
    matrix = np.abs(matrix)
    rows, columns = matrix.sum(1), matrix.sum(0)
    scale = np.sqrt(np.outer(rows, columns))
    expected = np.divide(matrix, scale, out=np.zeros_like(matrix), where=scale > 0)
    # As padded, within a batch.
    graph = qdeq.Graph.from_dense(features, matrix).padded(N + 1, 40)
    batch = qdeq.stack_graphs([graph, graph])
    got = jax.vmap(lambda g: g.normalized().neighbor_sums(jnp.eye(N + 1))[0])(batch)[1]
    np.testing.assert_allclose(got[:N, :N], expected, atol=20 * tol)
    assert np.linalg.norm(got, 2) <= 1 + tol
    ring = qdeq.Graph(np.ones((N, 1)), np.arange(N), (np.arange(N) + 1) % N).with_self_loops()
    ring = ring.normalized().neighbor_sums(jnp.eye(N))[0]
    np.testing.assert_allclose(np.linalg.norm(ring, 2), 1, atol=20 * tol)


def test_the_graph_cell_is_the_same_on_edges_and_on_matrices(tol):
    layer = qdeq.QuantumLayer(
        qdeq.circuits.hardware_efficient(2, 1),
        qdeq.AngleEncoding("Y"),
        qdeq.PauliZ(),
        key=jax.random.key(0),
    )
    cell = qdeq.GraphCell(layer, 3, layer_in_size=2, n_relations=2, key=jax.random.key(1))
    cell = eqx.tree_at(lambda c: c.relation_weight, cell, 0.2 * cell.relation_weight)
    samples = [random_graph(seed, n, 2) for seed, n in enumerate((3, 5, 4))]
    deq = qdeq.DEQ(cell, qdeq.Picard(tol, tol), qdeq.NeumannAdjoint(30))
    batch = qdeq.stack_graphs([qdeq.Graph.from_dense(*sample) for sample in samples])

    def loss(deq, solve):
        return sum(jnp.sum(jnp.sin(z)) for z in solve(deq))

    on_edges = lambda deq: [jax.vmap(deq)(batch)]
    on_matrices = lambda deq: [deq(sample) for sample in samples]
    together = eqx.filter_jit(lambda deq: jax.vmap(deq)(batch))(deq)
    for z, sample in zip(together, samples, strict=True):
        n = len(sample[0])
        np.testing.assert_allclose(z[:n], deq(sample), atol=50 * tol)
        assert not z[n:].any()
    first, second = (
        jax.tree.leaves(eqx.filter_jit(eqx.filter_grad(loss))(deq, solve))
        for solve in (on_edges, on_matrices)
    )
    for a, b in zip(first, second, strict=True):
        np.testing.assert_allclose(a, b, atol=500 * tol)


def test_buckets_hold_every_graph_once_and_waste_at_most_half():
    sizes = [4, 9, 5, 30, 8, 17, 1]
    rings = [qdeq.Graph(np.full((n, 1), n), np.arange(n), np.roll(np.arange(n), 1)) for n in sizes]
    buckets = qdeq.bucket_graphs(rings)
    assert sorted(np.concatenate([at for at, _ in buckets])) == list(range(len(sizes)))
    for positions, batch in buckets:
        for graph, i in zip(range(len(positions)), positions, strict=True):
            assert batch.mask[graph].sum() == sizes[i] and batch.features[graph, 0, 0] == sizes[i]
            assert sizes[i] > batch.mask.shape[1] / 2
    own = [list(at) for at, _ in qdeq.bucket_graphs(rings, (5, 17))]
    assert own == [[0, 2, 6], [1, 4, 5], [3]]


def test_a_graph_without_edges_and_lists_of_integers():
    alone = qdeq.Graph([[1.0]], [], [])
    assert not alone.with_self_loops().normalized().neighbor_sums(jnp.ones((1, 1)))[0, 0, 0] != 1
    pair = qdeq.Graph([[1.0], [2.0]], (0, 1), np.array([1, 0], np.int64))
    assert pair.senders.dtype == jnp.int32 and pair.weights.sum() == 2


PAIR = dict(features=np.ones((3, 1)), senders=[0, 1], receivers=[1, 2])


@pytest.mark.parametrize(
    "change, error, message",
    [
        (dict(senders=[0, 3]), ValueError, r"`senders\[1\]` must be from 0 to 2.*got 3"),
        (dict(receivers=[-1, 0]), ValueError, r"`receivers\[0\]` must be from 0 to 2.*got -1"),
        (dict(senders=[0, 2**32]), ValueError, "`senders` has an index beyond 32 bits"),
        (dict(senders=[0.0, 1.0]), TypeError, "`senders` must be a row of integers"),
        (dict(senders=[True, False]), TypeError, "`senders` must be a row of integers"),
        (dict(senders=[[0, 1]]), TypeError, "`senders` must be a row of integers"),
        (dict(receivers=[1]), ValueError, r"`receivers` must have one entry for each edge.*\(1,\)"),
        (dict(weights=[1.0]), ValueError, "`weights` must have one entry for each edge"),
        (dict(weights=["a", "b"]), TypeError, "`weights` must be real numbers"),
        (dict(relations=[0, -1]), ValueError, r"`relations\[1\]` must be from 0; got -1"),
        (dict(mask=[1, 1, 1]), TypeError, "`mask` must be Booleans"),
        (dict(mask=[True, True]), ValueError, "`mask` must have one entry for each node"),
        (dict(mask=[True, True, False]), ValueError, "edge 1 has the weight 1.0 and ends at a"),
        (dict(features=np.ones(3)), ValueError, "`features` must have the shape"),
        (dict(features=np.ones((0, 1)), senders=[], receivers=[]), ValueError, "at least one node"),
    ],
)
def test_what_is_no_graph_is_named(change, error, message):
    with pytest.raises(error, match=message):
        qdeq.Graph(**(PAIR | change))


def test_other_errors():
    graph = qdeq.Graph(**PAIR)
    with pytest.raises(ValueError, match=r"`weights\[1\]` must not be negative.*got -1"):
        qdeq.Graph(**PAIR, weights=[1, -1]).normalized()
    with pytest.raises(ValueError, match="`n_nodes` must be at least 3; got 2"):
        graph.padded(2, 2)
    with pytest.raises(ValueError, match="all with equally many features"):
        qdeq.stack_graphs([graph, qdeq.Graph(np.ones((2, 2)), [], [])])
    with pytest.raises(ValueError, match="at least one graph"):
        qdeq.stack_graphs([])
    with pytest.raises(ValueError, match="`sizes` must be above 0 and rise"):
        qdeq.bucket_graphs([graph], (4, 4))
    with pytest.raises(ValueError, match="above 0"):
        qdeq.bucket_graphs([graph], (0, 4))
    with pytest.raises(ValueError, match=r"must have the shape \(3, 3\) or \(k, 3, 3\)"):
        qdeq.Graph.from_dense(np.ones((3, 1)), np.ones((2, 2)))
    with pytest.raises(TypeError, match="`adjacency` is traced"):
        jax.jit(lambda a: qdeq.Graph.from_dense(jnp.ones((3, 1)), a).weights)(jnp.ones((3, 3)))
