"""Gradients of the equilibria of sampled cells, against the exact ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eqx_qdeq as qdeq
from eqx_qdeq.shots import ExactGradient, ParameterShift
from tests.shots._cells import exact_gradient, make_cell, sampled_gradients

pytestmark = pytest.mark.usefixtures("once")


@pytest.mark.parametrize(
    "kind, gradient, backward",
    [
        ("feedback", ExactGradient(), None),
        ("feedback", ParameterShift(), qdeq.NeumannBackward(60)),
        ("both angles", ParameterShift(), qdeq.JacobianBackward()),
        ("concat", ParameterShift(), qdeq.NeumannBackward(60)),
    ],
)
def test_gradients_without_shots_are_the_implicit_ones(kind, gradient, backward, getkey, tol):
    cell, in_size = make_cell(kind, getkey())
    x = jax.random.normal(getkey(), (in_size,))
    exact = exact_gradient(cell, x)
    found = sampled_gradients(cell, x, getkey()[None], None, gradient, backward)[0]
    assert found.shape == exact.shape and jnp.max(jnp.abs(exact)) > 0.1
    assert jnp.allclose(found, exact, atol=100 * tol)


@pytest.mark.parametrize("kind", ["feedback", "concat"])
def test_mean_of_a_thousand_implicit_shot_gradients(kind, getkey):
    cell, in_size = make_cell(kind, getkey())
    x = jax.random.normal(getkey(), (in_size,))
    exact = np.asarray(exact_gradient(cell, x), float)
    keys = jax.random.split(getkey(), 1000)
    backward = qdeq.NeumannBackward(12)
    found = sampled_gradients(cell, x, keys, jnp.array(20), ParameterShift(), backward)
    found = np.asarray(found, float)
    error = found.std(axis=0) / np.sqrt(1000)
    assert np.all(error < 0.05)
    assert np.all(np.abs(found.mean(axis=0) - exact) <= 3 * error)


@pytest.mark.parametrize("backward", [qdeq.NeumannBackward(4), qdeq.JacobianBackward()])
def test_a_cotangent_that_is_nan_stays_with_its_sample(backward, getkey):
    layer = qdeq.QuantumLayer(
        qdeq.circuits.hardware_efficient(2, depth=1),
        qdeq.AngleEncoding(),
        qdeq.PauliZ(),
        key=getkey(),
    )
    cell = qdeq.QuantumCell(layer, qdeq.AddInjection(2, 0.3))
    deq = qdeq.SampledDEQ(cell, None, backward=backward)
    xs, weights = jnp.array([[0.3, -0.2], [0.1, 0.4]]), jnp.ones((2, 2))
    keys = jax.random.split(getkey(), 2)

    @jax.jit
    def gradient(weights):
        loss = lambda xs: jnp.sum(weights * jax.vmap(lambda x, k: deq(x, key=k))(xs, keys))
        return jax.grad(loss)(xs)

    clean, spoilt = gradient(weights), gradient(weights.at[1, 0].set(jnp.nan))
    np.testing.assert_array_equal(spoilt[0], clean[0])
    assert np.all(np.isfinite(clean)) and np.all(np.isnan(spoilt[1]))
