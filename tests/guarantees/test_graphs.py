"""Bounds on cells on graphs: above every slope that is found, and as derived."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eqx_qdeq as qdeq

N, H = 4, 3
GRAPH = qdeq.Graph(
    np.random.default_rng(0).normal(size=(N, 2)), [0, 1, 2, 3, 1, 2], [1, 0, 1, 2, 3, 0]
)


def make_layer(noise=None, key=0):
    circuit = qdeq.circuits.hardware_efficient(2, 1)
    encoding = qdeq.AngleEncoding("Y")
    key = jax.random.key(key)
    return qdeq.QuantumLayer(circuit, encoding, qdeq.PauliZ(), noise=noise, key=key)


def make_cell(injection, alpha=1.0, layer=None):
    layer = make_layer() if layer is None else layer
    return qdeq.ImplicitGraphCell(
        2, H, layer=layer, layer_in_size=2, injection=injection, alpha=alpha, key=jax.random.key(3)
    )


def steepest(cell, graph, size):
    """The largest slope at states of all sizes, and between pairs of them."""
    fn = cell.bind(graph)
    flat = jax.jit(lambda z: fn(z.reshape(-1, size)).ravel())
    z = jnp.asarray(np.random.default_rng(1).uniform(-1, 1, (100, N * size)), float)
    z = jnp.concatenate([0.1 * z, z])
    jacobians = jax.vmap(jax.jacobian(flat))(z)
    return float(jnp.max(jax.vmap(lambda j: jnp.linalg.norm(j, 2))(jacobians)))


@pytest.mark.parametrize("injection", ["independent", "state", "backbone"])
def test_the_bound_is_above_every_slope_and_close_to_some(injection):
    cell = make_cell(injection)
    bound = float(qdeq.lipschitz_bound(cell, GRAPH))
    # With α = 1 nothing contracts by construction: κ, κ + L, κ (1 + L) with L ≤ 1.
    most = {"independent": 0.8, "state": 1.8, "backbone": 1.6}[injection]
    assert steepest(cell, GRAPH, H) <= bound <= most + 1e-5
    assert bound > 0.3


def test_the_default_strength_contracts_whatever_the_parameters():
    rng = np.random.default_rng(0)
    for injection, most in (("state", 0.9), ("backbone", 0.88)):
        cell = make_cell(injection, alpha=0.1)
        for scale in (1.0, 30.0):
            large = jax.tree.map(
                lambda a, scale=scale: (
                    jnp.asarray(scale * rng.normal(size=a.shape), a.dtype)
                    if eqx.is_inexact_array(a)
                    else a
                ),
                cell,
            )
            assert float(qdeq.lipschitz_bound(large, GRAPH)) <= most + 1e-5


def test_graph_cells_on_edges_and_on_matrices():
    cell = qdeq.GraphCell(make_layer(), 2, 2, 2, key=jax.random.key(2))
    weights = [1.0, -0.5, 2.0, 0.3, 1.0, 1.0]
    graph = qdeq.Graph(GRAPH.features, GRAPH.senders, GRAPH.receivers, weights, [0, 1, 0, 1, 1, 0])
    matrices = np.zeros((2, N, N))
    matrices[graph.relations, graph.receivers, graph.senders] = graph.weights
    matrices = jnp.asarray(matrices)
    bound = float(qdeq.lipschitz_bound(cell, graph))
    exact = float(qdeq.lipschitz_bound(cell, (GRAPH.features, matrices)))
    assert steepest(cell, graph, 2) <= exact + 1e-5
    # The norm of |A| is at least that of A, and the power iteration is above it by little.
    moduli = float(qdeq.lipschitz_bound(cell, (GRAPH.features, jnp.abs(matrices))))
    np.testing.assert_allclose(bound, moduli, rtol=2e-2)
    assert bound >= moduli * (1 - 1e-5)
    # Padding and a batch change nothing.
    batch = qdeq.stack_graphs([graph.padded(7, 9), graph.padded(7, 9)])
    both = jax.vmap(lambda g: qdeq.lipschitz_bound(cell, g))(batch)
    np.testing.assert_allclose(both, bound, rtol=1e-3)


def test_errors():
    with pytest.raises(TypeError, match="`cell.layer` must be a QuantumLayer"):
        qdeq.lipschitz_bound(make_cell("state", layer=jnp.tanh), GRAPH)
    with pytest.raises(ValueError, match="bounds of noiseless circuits"):
        noise = qdeq.noise.NoiseModel.depolarizing(0.01)
        qdeq.lipschitz_bound(make_cell("state", layer=make_layer(noise)), GRAPH)
    with pytest.raises(TypeError, match="`x` is a graph"):
        qdeq.lipschitz_bound(qdeq.QDEQ(2, 4, key=jax.random.key(0)).deq.cell, GRAPH)
