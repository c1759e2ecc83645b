"""ImplicitGraphCell against a dense iteration in NumPy, its symmetries, its gradient."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import eqx_qdeq as qdeq

N, D, H = 5, 2, 4
INJECTIONS = (None, "independent", "state", "backbone")


def make_cell(injection, alpha=0.1):
    k1, k2 = jax.random.split(jax.random.key(0))
    if injection is None:
        return qdeq.ImplicitGraphCell(D, H, key=k2)
    circuit = qdeq.circuits.hardware_efficient(2, 1, final_rotations=True)
    layer = qdeq.QuantumLayer(circuit, qdeq.AngleEncoding("Y"), qdeq.PauliZ(), key=k1)
    return qdeq.ImplicitGraphCell(
        D, H, layer=layer, layer_in_size=2, injection=injection, alpha=alpha, key=k2
    )


def matrix(seed, n=N):
    rng = np.random.default_rng(seed)
    upper = np.triu(rng.random((n, n)) < 0.5, 1) * 1.0
    return rng.normal(size=(n, D)), upper + upper.T + np.eye(n)


def dense_equilibrium(cell, features, adjacency):
    """Z = tanh(W Z Ã + U X + b + α Q), iterated in NumPy; the layer is asked node by node."""
    at_most = lambda m, bound: m * min(1, bound / np.linalg.norm(m, 2))
    degrees = adjacency.sum(0)
    normalized = adjacency / np.sqrt(np.outer(degrees, degrees))
    weight = at_most(np.asarray(cell.weight), cell.kappa)
    offset = features @ np.asarray(cell.input_weight).T + np.asarray(cell.bias)
    one = eqx.filter_jit(cell.layer) if cell.layer is not None else None

    def signal(s):
        write, read = np.asarray(cell.write_weight), np.asarray(cell.read_weight)
        if cell.injection != "independent":
            write, read = at_most(write, 1), at_most(read, 1 / np.sqrt(2))
        inputs = s @ write.T + np.asarray(cell.write_bias)
        return cell.alpha * np.stack([np.asarray(one(jnp.asarray(v))) for v in inputs]) @ read.T

    z = np.zeros((len(features), H))
    for _ in range(90):
        inner = normalized @ z @ weight.T + offset
        if one is not None:
            source = {"independent": features, "state": z, "backbone": np.tanh(inner)}
            inner = inner + signal(source[cell.injection])
        new = np.tanh(inner)
        if np.abs(new - z).max() < 1e-12:
            break
        z = new
    return new


@pytest.mark.parametrize("injection", INJECTIONS)
def test_against_a_dense_iteration_and_its_symmetries(injection, tol):
    cell = make_cell(injection)
    deq = qdeq.DEQ(cell, qdeq.Picard(tol / 10, tol / 10))
    features, adjacency = matrix(0)
    other = matrix(1, 3)
    order = np.array([3, 0, 4, 1, 2])
    graph = qdeq.Graph.from_dense(features, adjacency)
    permuted = qdeq.Graph.from_dense(features[order], adjacency[np.ix_(order, order)])
    union = qdeq.Graph(
        np.concatenate([features, other[0]]),
        *(
            np.concatenate([getattr(graph, name), N + np.asarray(getattr(second, name))])
            for second in [qdeq.Graph.from_dense(*other)]
            for name in ("senders", "receivers")
        ),
    )
    batch = qdeq.stack_graphs([graph, qdeq.Graph.from_dense(*other), permuted, union])
    solutions = eqx.filter_jit(lambda deq: jax.vmap(deq.solve)(batch))(deq)
    assert solutions.success.all()
    z, second, moved, both = solutions.value
    np.testing.assert_allclose(z[:N], dense_equilibrium(cell, features, adjacency), atol=20 * tol)
    assert not z[N:].any()  # and padding says nothing
    np.testing.assert_allclose(moved[:N], z[order], atol=20 * tol)
    np.testing.assert_allclose(both[:N], z[:N], atol=20 * tol)
    np.testing.assert_allclose(both[N:], second[:3], atol=20 * tol)
    # Padding changes no digit that counts, nor the number of steps.
    alone = deq.solve(graph)
    np.testing.assert_allclose(alone.value, z[:N], atol=tol)
    assert alone.stats["num_steps"] == solutions.stats["num_steps"][0]


@pytest.mark.parametrize("injection", INJECTIONS)
def test_gradient_against_finite_differences(injection, x64):
    if not x64:
        pytest.skip("finite differences need double precision")
    cell = make_cell(injection)
    arrays, static = eqx.partition(cell, eqx.is_inexact_array)
    flat, unravel = ravel_pytree(arrays)
    batch = qdeq.stack_graphs(
        [qdeq.Graph.from_dense(*matrix(0)), qdeq.Graph.from_dense(*matrix(1, 3))]
    )

    @jax.jit
    def loss(flat):
        deq = qdeq.DEQ(
            eqx.combine(unravel(flat), static),
            qdeq.Picard(1e-13, 1e-13),
            qdeq.NeumannAdjoint(150),
        )
        return jnp.sum(jnp.sin(3 * jax.vmap(deq)(batch)))

    got = jax.jit(jax.grad(loss))(flat)
    h = 1e-5
    expected = jax.vmap(lambda step: (loss(flat + step) - loss(flat - step)) / (2 * h))(
        h * jnp.eye(flat.size)
    )
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_one_bad_graph_costs_no_other(tol):
    deq = qdeq.DEQ(make_cell("state"), qdeq.Picard(tol, tol), qdeq.NeumannAdjoint(20))
    good = qdeq.stack_graphs([qdeq.Graph.from_dense(*matrix(seed)) for seed in range(4)])
    edges = len(good.senders[0])
    bad = eqx.tree_at(
        lambda g: (g.senders, g.weights, g.features),
        good,
        (
            good.senders.at[0, edges // 2].set(N),
            good.weights.at[1, 0].set(-1),
            good.features.at[2, 0, 0].set(jnp.nan),
        ),
    )

    @eqx.filter_jit
    @eqx.filter_value_and_grad(has_aux=True)
    def value(deq, batch):
        solution = jax.vmap(deq.solve)(batch)
        return jnp.sum(solution.value[3] ** 2) + jnp.sum(solution.value[:3]), solution

    (_, solution), grads = value(deq, bad)
    np.testing.assert_array_equal(solution.success, [False, False, False, True])
    only = qdeq.stack_graphs([qdeq.Graph.from_dense(*matrix(3))] * 4)
    (_, expected), _ = value(deq, only)
    np.testing.assert_allclose(solution.value[3], expected.value[3], atol=tol)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))


def test_errors():
    key = jax.random.key(0)
    cell = make_cell(None)
    with pytest.raises(TypeError, match="`x` must be a Graph, e.g."):
        qdeq.DEQ(cell)(matrix(0))
    with pytest.raises(ValueError, match="`stack_graphs` pads them"):
        qdeq.DEQ(cell)(qdeq.stack_graphs([qdeq.Graph.from_dense(*matrix(0))]))
    with pytest.raises(ValueError, match="in_size=2 features a node"):
        cell.bind(qdeq.Graph(np.ones((2, 3)), [0], [1]))
    with pytest.raises(
        ValueError, match=r"`relations\[0\]` must be from 0 to 0, as the cell has 1"
    ):
        cell.bind(qdeq.Graph(np.ones((2, D)), [0], [1], relations=[1]))
    with pytest.raises(ValueError, match="must not be negative"):
        cell.bind(qdeq.Graph(np.ones((2, D)), [0], [1], weights=[-1]))
    with pytest.raises(ValueError, match="`injection` must be one of independent, state, backbone"):
        qdeq.ImplicitGraphCell(1, 1, injection="dependent", key=key)
    with pytest.raises(ValueError, match="`kappa` must be above 0 and below 1"):
        qdeq.ImplicitGraphCell(1, 1, kappa=1.0, key=key)
    with pytest.raises(ValueError, match="`alpha` must be positive"):
        qdeq.ImplicitGraphCell(1, 1, alpha=0.0, key=key)
    with pytest.raises(TypeError, match="are given both or neither"):
        qdeq.ImplicitGraphCell(1, 1, layer=jnp.tanh, key=key)
