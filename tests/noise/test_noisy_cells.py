"""Cells and equilibria under noise."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eqx_qdeq as qdeq
from eqx_qdeq import Circuit, noise
from tests.noise._layers import (
    all_of,
    CIRCUIT,
    ENCODINGS,
    ENGINES,
    engines_for,
    make_layer,
    model,
    OTHER,
)


@eqx.filter_jit
def of_cell(cell, x, w):
    bound = cell.bind(x)
    slopes = jax.jacobian(bound)(w)
    return bound(w), bound.measure(OTHER, w), bound.probabilities(w), slopes


@pytest.mark.parametrize("name", ENCODINGS)
def test_cells_are_the_layer_after_the_injection(name: str, tol: float):
    encoding, d = ENCODINGS[name]
    x, w = jax.random.normal(jax.random.key(1), (d,)), jnp.array([0.4, -0.1, 0.2])
    injection = qdeq.AddInjection(d, 0.7)
    for engine in (engines_for(name, True)[0], "trajectories"):
        layer = make_layer(encoding, model(0.05, random=engine != "trajectories"), engine)
        values, other, probabilities, slopes = of_cell(qdeq.QuantumCell(layer, injection), x, w)
        literal = lambda w, layer=layer: layer(injection(w, x))
        expected = all_of(layer, injection(w, x))
        for got, want in zip((values, other, probabilities), expected, strict=True):
            np.testing.assert_allclose(got, want, atol=10 * tol)
        np.testing.assert_allclose(slopes, jax.jit(jax.jacobian(literal))(w), atol=20 * tol)


@pytest.mark.parametrize("random", [True, False])
def test_angle_feedback_is_gates_in_the_middle(random: bool, tol: float):
    encoding, x, w = qdeq.AmplitudeEncoding(), jnp.arange(1.0, 6), jnp.array([0.4, -0.1, 0.2])
    noise_model = model(0.05, random=random)
    # Idle wires are scheduled half by half.
    noise_model = eqx.tree_at(lambda m: m.idle, noise_model, ())
    noise_model = eqx.tree_at(lambda m: m.over_rotation, noise_model, None)
    injection = qdeq.AngleFeedback("Y", 0.9)
    (head, _), (tail, _) = CIRCUIT.split(len(CIRCUIT) // 2)
    turns = Circuit(["Ry"] * 3, [[0], [1], [2]], [[0], [1], [2]], 3)
    whole = make_layer(encoding, noise_model, "density", circuit=head + turns + tail)
    for engine in ENGINES[:2] if random else ENGINES:
        layer = make_layer(encoding, noise_model, engine)
        first, second = jnp.split(layer.angles, [head.n_params])
        angles = jnp.concatenate([first, 0.9 * w, second])
        expected = all_of(eqx.tree_at(lambda l: l.angles, whole, angles), x)
        got = of_cell(qdeq.QuantumCell(layer, injection), x, w)[:3]
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=10 * tol), got, expected)


def test_an_equilibrium_under_noise_is_differentiated_in_the_rates(x64: bool):
    x = jax.random.normal(jax.random.key(2), (3, 5)).at[2, 0].set(jnp.nan)

    @jax.jit
    @jax.value_and_grad
    def loss(rate):
        noise_model = noise.NoiseModel(two_wire=(noise.Depolarizing(rate, 2),))
        cell = qdeq.QuantumCell(
            make_layer(qdeq.AmplitudeEncoding(), noise_model), qdeq.AddInjection(5)
        )
        solver = qdeq.Newton(1e-9, 1e-9) if x64 else None
        return jnp.sum(jax.vmap(qdeq.DEQ(cell, solver))(x)[:2] ** 2)

    _, slope = loss(jnp.array(0.1))
    h = 1e-4 if x64 else 1e-2
    above, below = (float(loss(jnp.array(0.1 + sign * h))[0]) for sign in (1, -1))
    assert slope < -0.1
    assert float(slope) == pytest.approx((above - below) / (2 * h), rel=1e-5 if x64 else 1e-2)
