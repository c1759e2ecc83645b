"""Zero-noise extrapolation against closed forms and NumPy."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eqx_qdeq as qdeq
from eqx_qdeq import noise
from eqx_qdeq.mitigation import (
    channel_power,
    Exponential,
    fold,
    Polynomial,
    scale_noise,
    ZeroNoise,
    ZeroNoiseCell,
)

CHANNELS = [
    noise.Depolarizing(0.1),
    noise.Depolarizing(0.1, n_wires=2),
    noise.PauliChannel(0.02, 0.03, 0.05),
    noise.BitFlip(0.1),
    noise.PhaseFlip(0.2),
    noise.AmplitudeDamping(0.3),
    noise.PhaseDamping(0.3),
    noise.Reset(0.1),
    noise.ThermalRelaxation(50.0, 30.0, 2.0),
    noise.CoherentRotation("ZX", 0.2),
    noise.KrausChannel(np.array([[[1, 0], [0, 0.8]], [[0, 0.6], [0, 0]]])),
]


@pytest.mark.parametrize("channel", CHANNELS, ids=lambda c: type(c).__name__)
def test_powers_of_transfer_matrices(channel, tol):
    once = np.asarray(channel.transfer(), float)
    cubed = np.asarray(channel_power(channel, 3).transfer())
    np.testing.assert_allclose(cubed, np.linalg.matrix_power(once, 3), atol=tol)
    half = np.asarray(channel_power(channel, 0.5).transfer(), float)
    np.testing.assert_allclose(half @ half, once, atol=tol)


def test_powers_that_are_none():
    with pytest.raises(ValueError, match="no continuous power"):
        channel_power(noise.BitFlip(0.7), 2)
    with pytest.raises(ValueError, match="at least 0"):
        channel_power(noise.BitFlip(0.1), -1)
    rates = channel_power(noise.BitFlip(jnp.asarray(0.1)), 2).probability
    assert isinstance(rates, jax.Array)  # still trained
    assert isinstance(channel_power(noise.BitFlip(0.1), 2).probability, float)


def make_layer(model, key, encoding=None):
    circuit = qdeq.circuits.hardware_efficient(n_qubits=2, depth=2)
    encoding = qdeq.AmplitudeEncoding() if encoding is None else encoding
    return qdeq.QuantumLayer(circuit, encoding, qdeq.PauliZ(), key=key, noise=model)


def test_folding(getkey, tol):
    circuit = qdeq.circuits.hardware_efficient(n_qubits=2, depth=2)
    for scale in (1, 1.5, 3, 4):
        folded = fold(circuit, scale)
        assert abs(len(folded) - scale * len(circuit)) <= 1
        assert folded.n_params == circuit.n_params
    plain = make_layer(None, getkey())
    folded = qdeq.QuantumLayer(
        fold(circuit, 1.5), qdeq.AmplitudeEncoding(), qdeq.PauliZ(), key=getkey()
    )
    folded = eqx.tree_at(lambda l: l.angles, folded, plain.angles)
    x = jax.random.normal(getkey(), (4,))
    np.testing.assert_allclose(folded(x), plain(x), atol=tol)
    with pytest.raises(ValueError, match="at least 1"):
        fold(circuit, 0.5)


@pytest.mark.parametrize("method", ["rates", "folding"])
def test_depolarizing_noise_is_extrapolated_exactly(method, getkey, tol):
    # One Z that a depolarizing channel follows shrinks by one factor for each gate.
    model = noise.NoiseModel(one_wire=(noise.Depolarizing(0.05),))
    circuit = qdeq.Circuit(["Rx", "Ry"], [[0], [0]], [[0], [1]])
    layer = qdeq.QuantumLayer(
        circuit, qdeq.AmplitudeEncoding(), qdeq.PauliZ(), key=getkey(), noise=model
    )
    x = jax.random.normal(getkey(), (2,))
    mitigated = ZeroNoise(layer, (1.0, 3.0), Exponential(), method)
    ideal = layer.with_noise(None)
    np.testing.assert_allclose(mitigated(x), ideal(x), atol=10 * tol)
    assert jnp.max(jnp.abs(layer(x) - ideal(x))) > 1e-3
    slope = jax.grad(lambda x: mitigated(x)[0])(x)
    np.testing.assert_allclose(slope, jax.grad(lambda x: ideal(x)[0])(x), atol=100 * tol)


def test_inside_and_after_the_solve(getkey):
    model = noise.NoiseModel.depolarizing(0.01, preparation=True)
    layer, x = make_layer(model, getkey()), jax.random.normal(getkey(), (4,))
    cell = qdeq.QuantumCell(layer, qdeq.AddInjection(4))
    make = qdeq.DEQ
    clean = qdeq.QuantumCell(layer.with_noise(None), qdeq.AddInjection(4))
    truth = make(clean)(x)
    noisy = make(cell)(x)
    inside = eqx.filter_jit(make(ZeroNoiseCell(cell)))(x)
    after = eqx.filter_jit(ZeroNoise(make(cell)))(x)
    error = lambda w: float(jnp.max(jnp.abs(w - truth)))
    assert error(inside) < 0.05 * error(noisy)
    assert error(after) < 0.2 * error(noisy)


def test_polynomials_by_numpy(tol):
    values = np.random.default_rng(0).normal(size=(4, 3))
    scales = (1.0, 1.5, 2.0, 3.0)
    for degree in (1, 2, 3):
        expected = np.polyfit(scales, values, degree)[-1]
        found = Polynomial(degree)(scales, jnp.asarray(values))
        np.testing.assert_allclose(found, expected, atol=100 * tol)
    np.testing.assert_allclose(Polynomial().weights((1.0, 2.0, 3.0)), [3, -3, 1], atol=1e-10)
    # No exponential through values of both signs: the line, and finite gradients.
    mixed = jnp.asarray([[1.0], [-1.0]])
    slopes = jax.jacobian(lambda v: Exponential()((1.0, 2.0), v))(mixed)
    np.testing.assert_allclose(slopes.reshape(-1), [2, -1], atol=10 * tol)


def test_refusals(getkey):
    with pytest.raises(ValueError, match="no QuantumLayer with noise"):
        scale_noise(make_layer(None, getkey()), 2.0)
    layer = make_layer(noise.NoiseModel.depolarizing(0.01), getkey())
    with pytest.raises(ValueError, match="must be 'rates' or 'folding'"):
        ZeroNoise(layer, method="gates")
    with pytest.raises(ValueError, match="at least 2 different"):
        ZeroNoise(layer, (1.0, 1.0), Exponential())
    uploads = qdeq.DataReuploading(qdeq.AngleEncoding(), 2)
    moved = make_layer(noise.NoiseModel.depolarizing(0.01), getkey(), uploads)
    with pytest.raises(ValueError, match="method='rates'"):
        scale_noise(moved, 3.0, "folding")
