"""GraphCell against a plain loop, its symmetries, and its gradient against finite differences."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import eqx_qdeq as qdeq

N, D_IN = 5, 3


def make_cell(gain=0.4):
    k1, k2 = jax.random.split(jax.random.key(0))
    circuit = qdeq.circuits.hardware_efficient(2, 1, final_rotations=True)
    layer = qdeq.QuantumLayer(circuit, qdeq.AngleEncoding("Y"), qdeq.PauliZ(), key=k1)
    cell = qdeq.GraphCell(layer, D_IN, layer_in_size=3, n_relations=2, key=k2)
    return eqx.tree_at(lambda c: c.relation_weight, cell, replace_fn=lambda w: gain * w)


@pytest.fixture
def graph():
    rng = np.random.default_rng(0)
    features = jnp.asarray(rng.normal(size=(N, D_IN)), float)
    return features, jnp.asarray(rng.integers(0, 2, (2, N, N)), float)


def test_against_a_plain_loop(graph, tol):
    cell = make_cell()
    z = jax.random.normal(jax.random.key(1), (N, 2))
    got = cell.bind(graph)(z)
    features, adjacency = map(np.asarray, graph)
    inputs = []
    for i in range(N):
        v = np.asarray(cell.bias) + np.asarray(cell.input_weight) @ features[i]
        for k in range(2):
            for j in range(N):
                v = v + adjacency[k, i, j] * np.asarray(cell.relation_weight)[k] @ np.asarray(z)[j]
        inputs.append(v)
    one = eqx.filter_jit(cell.layer)
    expected = np.stack([np.asarray(one(jnp.asarray(v))) for v in inputs])
    np.testing.assert_allclose(got, expected, atol=20 * tol)


def test_permuting_the_nodes_permutes_the_equilibrium(graph, tol):
    deq = qdeq.DEQ(make_cell(), qdeq.Picard(tol / 10, tol / 10))
    order = jnp.asarray([3, 0, 4, 1, 2])
    features, adjacency = graph
    permuted = features[order], adjacency[:, order][:, :, order]
    solve = eqx.filter_jit(lambda graph: deq.solve(graph))
    first, second = solve(graph), solve(permuted)
    assert first.success and second.success
    np.testing.assert_allclose(second.value, first.value[order], atol=20 * tol)
    assert np.ptp(np.asarray(first.value), axis=0).min() > 0.05  # the nodes do differ


def test_information_reaches_the_end_of_a_chain_only_at_the_equilibrium():
    """One application moves information by one edge; the equilibrium moves it by all."""
    cell = make_cell()
    # Wire 0 answers -sin(x - 1.5 z) to the node on the left, which carries a sign on for ever.
    cell = eqx.tree_at(
        lambda c: (c.layer.angles, c.input_weight, c.relation_weight, c.bias),
        cell,
        (
            jnp.zeros_like(cell.layer.angles),
            jnp.zeros_like(cell.input_weight).at[0, 0].set(1),
            jnp.zeros_like(cell.relation_weight).at[0, 0, 0].set(-1.5),
            jnp.asarray([jnp.pi / 2, jnp.pi / 2, 0]),
        ),
    )
    chain = jnp.stack([jnp.eye(N, k=-1), jnp.zeros((N, N))])
    features = jnp.zeros((N, D_IN))

    def last(value, n_steps):
        graph = features.at[0, 0].set(value), chain
        fn, z = cell.bind(graph), cell.init(graph)
        for _ in range(n_steps):
            z = fn(z)
        return z[-1]

    def solved(value):
        return qdeq.DEQ(cell, qdeq.Picard(1e-6, 1e-6))((features.at[0, 0].set(value), chain))[-1]

    assert jnp.array_equal(last(0.0, N - 1), last(2.0, N - 1))
    np.testing.assert_allclose(solved(2.0), last(2.0, N), atol=1e-5)
    assert solved(2.0)[0] < -0.9 and abs(solved(0.0)[0]) < 1e-4


def test_gradient_against_finite_differences(graph, x64):
    if not x64:
        pytest.skip("finite differences need double precision")
    cell = make_cell()
    arrays, static = eqx.partition(cell, eqx.is_inexact_array)
    flat, unravel = ravel_pytree(arrays)

    @jax.jit
    def loss(flat):
        deq = qdeq.DEQ(eqx.combine(unravel(flat), static), qdeq.Picard(1e-12, 1e-12))
        return jnp.sum(jnp.sin(3 * deq(graph)))

    got = jax.jit(jax.grad(loss))(flat)
    h = 1e-5
    steps = h * np.eye(flat.size)
    expected = [(loss(flat + step) - loss(flat - step)) / (2 * h) for step in steps]
    np.testing.assert_allclose(got, np.array(expected), atol=1e-7)


def test_errors(graph):
    cell = make_cell()
    features, adjacency = graph
    with pytest.raises(ValueError, match="in_size=3 features a node; got"):
        cell.bind((features[:, :2], adjacency))
    with pytest.raises(ValueError, match="one matrix for each relation; got"):
        cell.bind((features, adjacency[:1]))
    with pytest.raises(ValueError, match="`n_relations` must be at least 1; got 0"):
        qdeq.GraphCell(cell.layer, 3, 3, 0, key=jax.random.key(0))
