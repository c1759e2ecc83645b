"""Shots for any model, against layers and equilibria that were made for shots, and exact values."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
import pytest

import eqx_qdeq as qdeq
from eqx_qdeq.shots import ParameterShift, SampledLayer

N = 4000
CIRCUIT = qdeq.circuits.hardware_efficient(2, 1)
X = jnp.array([[0.3, -1.1], [0.8, 0.2], [-2.0, 0.5]])


def make_layer(measurement=None) -> qdeq.QuantumLayer:
    measurement = qdeq.PauliStrings(["Z0", "X0 X1"]) if measurement is None else measurement
    return qdeq.QuantumLayer(CIRCUIT, qdeq.AngleEncoding(), measurement, key=jax.random.key(0))


def paths(tree) -> set[str]:
    return {jtu.keystr(path) for path, _ in jtu.tree_leaves_with_path(tree)}


def test_a_layer_is_unbiased_with_the_variance_of_its_shots(x64):
    layer = make_layer()
    sampled = qdeq.with_shots(layer, N)
    keys = jax.random.split(jax.random.key(1), 400)
    values = jax.vmap(lambda key: sampled(X[0], key=key))(keys)
    exact = layer(X[0])
    error = jnp.sqrt((1 - exact**2) / N)
    np.testing.assert_allclose(values.mean(axis=0), exact, atol=5 * error.max() / 20)
    np.testing.assert_allclose(values.std(axis=0), error, rtol=0.2)


def test_inputs_have_shots_of_their_own_and_the_same_ones_twice():
    sampled = qdeq.with_shots(make_layer(), N)
    one, two = jax.vmap(sampled)(jnp.stack([X[0], X[0] + 1e-4])), sampled(X[0])
    np.testing.assert_allclose(one[0], two, rtol=1e-6)
    assert np.all(one[0] != one[1])
    other = qdeq.with_shots(make_layer(), N, key=jax.random.key(1))
    assert np.any(other(X[0]) != two)


@pytest.mark.parametrize("feedback", ["angle", "linear"])
def test_an_equilibrium_is_a_sampled_deq(feedback, tol):
    """With exact shots, shift rules and all, and with finite ones to their accuracy."""
    layer = make_layer(qdeq.PauliZ())
    injections = {
        "angle": qdeq.AngleFeedback(gain=0.5),
        "linear": qdeq.LinearInjection(2, 2, 2, key=jax.random.key(2)),
    }
    deq = qdeq.DEQ(qdeq.QuantumCell(layer, injections[feedback]), qdeq.Newton(1e-6, 1e-6))
    sampled = qdeq.with_shots(deq, N)
    assert paths(deq) <= paths(sampled) and isinstance(sampled, qdeq.DEQ)
    assert eqx.tree_equal(qdeq.exact(sampled), deq)
    key = jax.random.key(3)
    made = qdeq.SampledDEQ(deq.cell, N).solve(X[0], key=key)
    found = sampled.solve(X[0], key=key)
    assert found.stats.keys() == made.stats.keys()
    np.testing.assert_allclose(found.value, made.value, atol=10 * made.stats["floor"])
    infinite = qdeq.with_shots(
        deq,
        None,
        ParameterShift(),
        solver=qdeq.AveragedPicard(atol=1e-6),
        backward=qdeq.JacobianBackward(),
    )
    of = lambda m: jnp.sum(jax.vmap(m)(X) ** 2)
    value, gradient = eqx.filter_value_and_grad(of)(infinite)
    truth, theirs = eqx.filter_value_and_grad(of)(deq)
    np.testing.assert_allclose(value, truth, atol=1e-4)
    angles = lambda m: m.cell.layer.angles
    np.testing.assert_allclose(angles(gradient), angles(theirs), atol=2e-3)


@pytest.mark.parametrize("injection", ["add", "angle"])
def test_a_classifier_with_another_readout(injection):
    """Its head reads other observables than the equilibrium's, from shots too; and it unrolls."""
    make = lambda: qdeq.QDEQClassifier(
        2, 4, 3, depth=1, readout="zz", injection=injection, gain=0.5, key=jax.random.key(0)
    )
    model, x = make(), jax.random.normal(jax.random.key(1), (3, 4))
    sampled = qdeq.with_shots(model, N)
    for one, other in ((model, sampled), (model.unrolled(3), sampled.unrolled(3))):
        exact, found = eqx.filter_jit(lambda a, b: (jax.vmap(a)(x), jax.vmap(b)(x)))(one, other)
        error = np.abs(exact - found).max()
        assert 0 < error < 20 / N**0.5
    gradient = eqx.filter_grad(lambda m: jnp.sum(jax.vmap(m)(x) ** 2))
    of = lambda m: m.deq.cell.layer.angles
    ours, truth = of(gradient(sampled)), of(gradient(model))
    np.testing.assert_allclose(ours, truth, atol=100 / N**0.5)
    assert eqx.tree_equal(qdeq.exact(sampled), model)


class Step(eqx.Module):
    layer: qdeq.QuantumLayer
    linear: eqx.nn.Linear

    def __call__(self, z, x):
        return 0.4 * self.layer(self.linear(z) + x)


def test_a_hybrid_cell(tol):
    step = Step(make_layer(), eqx.nn.Linear(2, 2, key=jax.random.key(4)))
    deq = qdeq.DEQ(qdeq.FunctionCell(step, jnp.zeros_like))
    sampled = qdeq.with_shots(deq, 100_000)
    solution = jax.vmap(sampled.solve)(X)
    assert np.all(solution.success)
    np.testing.assert_allclose(solution.value, jax.vmap(deq)(X), atol=0.02)
    exactly = qdeq.with_shots(deq, None, ParameterShift(), tolerance=10 * tol)
    of = lambda m: eqx.filter_grad(lambda m: jnp.sum(jax.vmap(m)(X) ** 2))(m).cell.fn
    ours, truth = of(exactly), of(deq)
    np.testing.assert_allclose(ours.layer.angles, truth.layer.angles, atol=1e-4)
    np.testing.assert_allclose(ours.linear.weight, truth.linear.weight, atol=1e-4)


def test_noise_then_shots_then_mitigation():
    layer = make_layer(qdeq.PauliZ())
    noisy = qdeq.with_noise(layer, qdeq.noise.NoiseModel.depolarizing(0.01))
    mitigated = qdeq.mitigation.ZeroNoise(qdeq.with_shots(noisy, N))
    found = mitigated(X[0], key=jax.random.key(7))
    np.testing.assert_allclose(found, layer(X[0]), atol=30 / N**0.5)
    # Noise under shots that are there already, too.
    other = qdeq.with_noise(qdeq.with_shots(layer, N), noisy.noise)
    assert eqx.tree_equal(other, qdeq.with_shots(noisy, N))


def test_what_is_sampled_already_is_refused():
    layer = make_layer()
    sampled = SampledLayer(layer, N)
    with pytest.raises(TypeError, match="holds a SampledLayer, which has shots of its own"):
        qdeq.with_shots([sampled], N)
    with pytest.raises(TypeError, match="holds a SampledLayer, which was made to be measured"):
        qdeq.exact([sampled])
    on_device = qdeq.with_shots(layer, N)
    with pytest.raises(ValueError, match="run by a SamplingDevice already"):
        SampledLayer(on_device, N)
    with pytest.raises(ValueError, match="has no state to look at"):
        on_device.compile(2).state(X[0])
    deq = qdeq.with_shots(qdeq.QDEQ(2, 4, key=jax.random.key(0)), 100).deq
    strict = eqx.tree_at(lambda d: d.cell.layer.device.solver.atol, deq, 1e-9, is_leaf=_is_none)
    x = jnp.arange(4.0)
    assert not strict.solve(x).success
    with pytest.raises(eqx.EquinoxRuntimeError, match="not found from shots"):
        qdeq.DEQ(strict.cell, max_steps=8, throw=True)(x)


def _is_none(node) -> bool:
    return node is None
