"""Noise, shots and estimators for any model: every layer is found, every path stays, and all of it
can be undone."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
import pytest

import eqx_qdeq as qdeq
from eqx_qdeq.noise import GateNoise, NoiseModel, ReadoutError

NOISE = NoiseModel.depolarizing(0.05, preparation=True)


def make_layer(seed: int = 0, n: int = 2, **options) -> qdeq.QuantumLayer:
    circuit = qdeq.circuits.hardware_efficient(n, 1)
    key = jax.random.key(seed)
    return qdeq.QuantumLayer(circuit, qdeq.AngleEncoding(), qdeq.PauliZ(), key=key, **options)


class Hybrid(eqx.Module):
    """Somebody's own module: a layer in a dictionary, an equilibrium in a list, numbers."""

    parts: dict[str, qdeq.QuantumLayer]
    blocks: list
    name: str = eqx.field(static=True, default="mine")
    scale: float = 0.5

    def __call__(self, x, *, key=None):
        x = x + self.scale * self.parts["first"](x)
        for block in self.blocks:
            x = block(x)
        return x


class Step(eqx.Module):
    layer: qdeq.QuantumLayer

    def __call__(self, z, x):
        return 0.5 * self.layer(z + x)


def make_model() -> eqx.nn.Sequential:
    cell = qdeq.QuantumCell(make_layer(1), qdeq.AngleFeedback(gain=0.4))
    hybrid = qdeq.FunctionCell(Step(make_layer(2, engine="statevector")), jnp.zeros_like)
    blocks = [qdeq.DEQ(cell), qdeq.Unrolled(cell, 2), qdeq.DEQ(hybrid, qdeq.Picard(1e-5, 1e-5))]
    linear = eqx.nn.Linear(2, 3, key=jax.random.key(3))
    return eqx.nn.Sequential([Hybrid({"first": make_layer()}, blocks), linear])


def paths(tree) -> set[str]:
    return {jtu.keystr(path) for path, _ in jtu.tree_leaves_with_path(tree)}


X = jnp.array([[0.3, -1.1], [0.8, 0.2], [-2.0, 0.5]])


def changed_by_hand(model, **changes):
    """The same, layer by layer."""
    where = lambda m: [
        m.layers[0].parts["first"],
        m.layers[0].blocks[0].cell.layer,
        m.layers[0].blocks[1].cell.layer,
        m.layers[0].blocks[2].cell.fn.layer,
    ]
    return eqx.tree_at(where, model, [layer.replace(**changes) for layer in where(model)])


def test_noise_in_every_layer_and_back(tol):
    model = make_model()
    noisy = qdeq.with_noise(model, NOISE)
    by_hand = changed_by_hand(model, noise=NOISE, engine="auto")
    both = eqx.filter_jit(lambda a, b, x: (jax.vmap(a)(x), jax.vmap(b)(x)))
    found, truth = both(noisy, by_hand, X)
    np.testing.assert_allclose(found, truth, atol=tol)
    assert np.abs(found - jax.vmap(model)(X)).max() > 1e-3
    # Nothing has moved: what was written for the one fits the other.
    assert paths(model) <= paths(noisy)
    assert eqx.tree_equal(qdeq.exact(noisy), model)
    assert eqx.tree_equal(qdeq.with_noise(noisy, None), model)
    # Twice, and with another engine: the way back leads to the beginning.
    drawn = qdeq.with_noise(
        noisy, NOISE, engine="trajectories", n_trajectories=8, key=jax.random.key(5)
    )
    first, second = drawn.layers[0].parts["first"], drawn.layers[0].blocks[0].cell.layer
    assert not np.array_equal(first.trajectory_key, second.trajectory_key)
    assert eqx.tree_equal(qdeq.exact(drawn), model)


def test_what_was_trained_comes_back():
    """Gradients, updates and masks of the noisy model have its paths, and the exact model's."""
    model = make_model()
    noisy = qdeq.with_noise(model, NOISE)
    gradient = eqx.filter_grad(lambda m: jnp.sum(jax.vmap(m)(X) ** 2))(noisy)
    trained = qdeq.exact(eqx.apply_updates(noisy, jax.tree.map(lambda g: -0.1 * g, gradient)))
    assert jax.tree.structure(trained) == jax.tree.structure(model)
    of = lambda m: m.layers[0].blocks[2].cell.fn.layer.angles
    np.testing.assert_allclose(of(trained), of(model) - 0.1 * of(gradient), rtol=1e-5)
    mask = jax.tree.map(eqx.is_inexact_array, model)
    masked = qdeq.map_layers(lambda layer: layer.replace(expected_batch=7), mask)
    assert of(masked) is True and masked.layers[0].parts["first"].expected_batch == 7


def test_noise_for_each_layer_of_its_own():
    model = [make_layer(n=2), make_layer(n=3)]
    of_size = lambda layer: NOISE if layer.n_qubits == 3 else None
    noisy = qdeq.with_noise(model, of_size)
    assert noisy[0].noise is None and noisy[1].noise is NOISE


def test_what_does_not_fit_names_the_layer():
    readout = NoiseModel(readout=ReadoutError((0.1, 0.1), (0.1, 0.1)))
    with pytest.raises(ValueError, match=r"at `model\['b'\]\[0\]`: .* has 2 rates, but .* 3 wires"):
        qdeq.with_noise({"a": make_layer(n=2), "b": [make_layer(n=3)]}, readout)
    far = NoiseModel(overrides=(GateNoise((), wires=(2, 3)),))
    with pytest.raises(ValueError, match=r"at `model\[0\]`: .*wires \(2, 3\).* has 3 wires"):
        qdeq.with_noise([make_layer(n=3)], far)
    with pytest.raises(ValueError, match=r"holds no QuantumLayer; got Linear"):
        qdeq.with_noise(eqx.nn.Linear(2, 2, key=jax.random.key(0)), NOISE)


GLOBAL = make_layer()


def uses_a_global(z, x):
    return GLOBAL(z + x)


class Frozen(eqx.Module):
    layer: qdeq.QuantumLayer = eqx.field(static=True)


def test_hidden_layers_are_said_to_be():
    layer = make_layer()
    cell = lambda fn: qdeq.DEQ(qdeq.FunctionCell(fn, jnp.zeros_like))
    hidden = {
        "closure": cell(lambda z, x: layer(z + x)),
        "default": cell(lambda z, x, layer=layer: layer(z + x)),
        "inner": cell(lambda z, x: (lambda y: layer(y))(z + x)),
        "global": cell(uses_a_global),
        "jit": cell(eqx.filter_jit(lambda z, x: layer(z + x))),
        "jax.jit": cell(jax.jit(lambda z, x: layer(z + x))),
        "method": cell(Step(layer).__call__),
        "list": cell(lambda z, x, layers=[layer]: layers[0](z + x)),
    }
    for name, model in hidden.items():
        with pytest.raises(TypeError, match=r"out of reach .* at \[1\]\.cell\.fn"):
            print(name, qdeq.with_noise([layer, model], NOISE))
    with pytest.warns(UserWarning, match="set as static"):
        frozen = Frozen(layer)
    with pytest.raises(TypeError, match=r"out of reach .* at \.layer"):
        qdeq.exact(frozen)
    # What closes over something else hides nothing.
    fine = [layer, cell(lambda z, x: jnp.tanh(z + x)), jax.nn.relu, eqx.nn.PReLU(), uses_a_global]
    qdeq.with_noise(fine[:-1], NOISE)


def test_shared_layers(tol):
    layer = make_layer()
    twice = qdeq.with_noise([layer, {"again": layer}], NOISE)
    assert twice[0] is twice[1]["again"]
    # One that has the angles of another: `Shared` puts a stand-in where they were.
    where, get = (lambda pair: pair[1].angles), (lambda pair: pair[0].angles)
    shared = eqx.nn.Shared((layer, make_layer(4)), where, get)
    noisy = qdeq.with_noise(shared, NOISE)
    one, other = noisy()
    np.testing.assert_allclose(other(X[0]), one(X[0]), atol=tol)
    assert eqx.tree_equal(one.noise, NOISE) and eqx.tree_equal(other.noise, NOISE)
    assert eqx.tree_equal(qdeq.exact(noisy), shared)


def test_ensembles(tol):
    keys = jax.random.split(jax.random.key(0), 3)
    make = lambda key: qdeq.QDEQ(2, 4, key=key)
    x = jnp.arange(4.0)
    # Rates that are arrays are repeated for each member.
    noise = NoiseModel.depolarizing(jnp.asarray(0.05))
    noisy = qdeq.with_noise(eqx.filter_vmap(make)(keys), noise)
    found = eqx.filter_vmap(lambda m: m(x))(noisy)
    truth = [qdeq.with_noise(make(key), noise)(x) for key in keys]
    np.testing.assert_allclose(found, jnp.stack(truth), atol=10 * tol)


def test_mitigation_takes_it_on(tol):
    model = make_model()
    weak = NoiseModel.depolarizing(1e-3)
    noisy = qdeq.with_noise(model, weak)
    mitigated = qdeq.mitigation.ZeroNoise(noisy)
    value = eqx.filter_jit(lambda m, x: jax.vmap(m)(x))
    exact, plain, better = (value(m, X) for m in (model, noisy, mitigated))
    assert np.abs(better - exact).max() < 0.1 * np.abs(plain - exact).max() + 100 * tol
