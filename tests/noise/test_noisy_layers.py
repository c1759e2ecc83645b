"""Layers under noise: every engine the same function, and what cannot be says so."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eqx_qdeq as qdeq
from eqx_qdeq import Circuit, noise
from tests.noise._layers import all_of, CIRCUIT, ENCODINGS, engines_for, make_layer, model

pytestmark = pytest.mark.float32


@pytest.mark.parametrize("random", [True, False])
@pytest.mark.parametrize("name", ENCODINGS)
def test_engines_agree(name: str, random: bool, tol: float):
    encoding, d = ENCODINGS[name]
    x = jax.random.normal(jax.random.key(1), (d,))
    found = [
        all_of(make_layer(encoding, model(0.05, random=random), engine), x)
        for engine in engines_for(name, random)
    ]
    if name == "reuploading" and random:
        found.append(all_of(make_layer(encoding, model(0.05), "auto"), x))
    for other in found[1:]:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=tol), found[0], other)
    values, _, probabilities = found[0]
    signs = 1 - 2 * (np.arange(8)[None] >> np.array([2, 1, 0])[:, None] & 1)
    np.testing.assert_allclose(signs @ np.asarray(probabilities), values, atol=tol)
    assert jnp.sum(probabilities) == pytest.approx(1, abs=tol)


@pytest.mark.parametrize("name", ENCODINGS)
def test_no_noise_is_the_noiseless_layer(name: str, tol: float):
    encoding, d = ENCODINGS[name]
    x = jax.random.normal(jax.random.key(1), (d,))
    expected = all_of(make_layer(encoding, None), x)
    for noisy in (make_layer(encoding, noise.NoiseModel()), make_layer(encoding, model(0.0))):
        got = all_of(noisy, x)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=tol), got, expected)


def test_rotations_of_an_angle_encoding_are_gates_of_the_circuit(tol: float):
    """The noise after features is that after gates of the same angles."""
    encoding, x = qdeq.AngleEncoding("XY"), jnp.array([0.3, -0.2, 1.1, 0.4, 0.7])
    names, wires = ["Rx"] * 3 + ["Ry"] * 2, [[0], [1], [2], [0], [1]]
    first = Circuit(names, wires, [[i] for i in range(5)], 3)
    damping = (noise.AmplitudeDamping(0.1),)
    layer = make_layer(
        encoding, noise.NoiseModel(damping, preparation=noise.PreparationNoise(damping))
    )
    angles = jnp.concatenate([x, layer.angles])
    start = jnp.zeros(8, complex).at[0].set(1)
    expected = noise.density_values(
        first + CIRCUIT, angles, qdeq.PauliZ(), noise.NoiseModel(damping), start
    )
    np.testing.assert_allclose(layer(x), expected, atol=tol)


def test_a_classifier_with_noise():
    classifier = qdeq.QDEQClassifier(3, 8, 2, depth=1, readout="zz", key=jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (4, 8))
    nothing = classifier.with_noise(noise.NoiseModel())
    run = eqx.filter_jit(lambda model: jax.vmap(model)(x))
    np.testing.assert_allclose(run(nothing), run(classifier), atol=1e-3)
    assert nothing.with_noise(None).deq.cell.layer.noise is None
    noisy = classifier.with_noise(
        noise.NoiseModel((noise.Depolarizing(0.1),), (noise.Depolarizing(jnp.array(0.1), 2),))
    )
    gradient = eqx.filter_jit(eqx.filter_grad(lambda model: jnp.sum(jax.vmap(model)(x) ** 2)))(
        noisy
    )
    rates = gradient.deq.cell.layer.noise
    assert rates.one_wire[0].probability is None  # a number: fixed
    assert jnp.abs(rates.two_wire[0].probability) > 0


def test_a_batch_in_chunks(tol: float):
    encoding, d = ENCODINGS["amplitude"]
    layer, x = make_layer(encoding, model(0.05), "density"), jnp.arange(3.0 * d).reshape(3, d)
    chunked, at_once = eqx.filter_jit(lambda l: (l.map(x, memory=1), jax.vmap(l)(x)))(layer)
    np.testing.assert_allclose(chunked, at_once, atol=tol)


def test_keys_of_trajectories():
    encoding, d = ENCODINGS["amplitude"]
    layer = make_layer(encoding, model(0.2), "trajectories")
    run = eqx.filter_jit(lambda layer, key: layer(jnp.ones(d), key=key))
    np.testing.assert_array_equal(run(layer, None), run(layer, None))
    again = run(layer, jax.random.key(7)), run(layer, jax.random.key(8))
    assert jnp.max(jnp.abs(again[0] - again[1])) > 1e-3


def test_what_cannot_be_says_so():
    encoding, d = ENCODINGS["amplitude"]
    noisy = make_layer(encoding, model(0.05))
    x = jnp.ones(d)
    cell = qdeq.QuantumCell(noisy, qdeq.AddInjection(d))
    for state in (lambda: noisy.compile(d).state(x), lambda: cell.bind(x).state(jnp.zeros(3))):
        with pytest.raises(ValueError, match="density matrix"):
            state()
    with pytest.raises(ValueError, match="with_noise"):
        noisy.plan(d)
    with pytest.raises(ValueError, match="give `noise`"):
        make_layer(encoding, None, "density")
    with pytest.raises(ValueError, match="pure states"):
        make_layer(encoding, model(0.1), "operator")
    with pytest.raises(ValueError, match="between the gates"):
        make_layer(ENCODINGS["reuploading"][0], model(0.1), "heisenberg")
    with pytest.raises(ValueError, match="trajectories"):
        make_layer(encoding, noise.NoiseModel(), circuit=Circuit([], [], [], 20))(x)
    with pytest.raises(ValueError, match="noiseless"):
        qdeq.lipschitz_bound(cell, x)
    with pytest.raises(ValueError, match="contractive"):
        qdeq.contractive(qdeq.QuantumCell(noisy, qdeq.AngleFeedback())).bind(x)
