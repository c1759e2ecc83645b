"""Shots of noisy layers and cells: the same values and shift rules as without shots."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eqx_qdeq as qdeq
from eqx_qdeq.noise import AmplitudeDamping, Depolarizing, NoiseModel, ReadoutError
from eqx_qdeq.shots import ExactGradient, ParameterShift, SampledLayer

NOISE = NoiseModel(
    one_wire=(Depolarizing(0.01),),
    two_wire=(Depolarizing(0.05, n_wires=2), AmplitudeDamping(0.03)),
    readout=ReadoutError(0.02, 0.05),
)


def make_layer(encoding, measurement, key):
    circuit = qdeq.circuits.hardware_efficient(n_qubits=2, depth=2)
    return qdeq.QuantumLayer(circuit, encoding, measurement, key=key, noise=NOISE)


@pytest.mark.parametrize("encoding", [qdeq.AmplitudeEncoding(), qdeq.AngleEncoding("YX")])
def test_layers(encoding, getkey, tol):
    layer = make_layer(encoding, qdeq.PauliStrings(["Z0", "X0 X1", "Y1"]), getkey())
    x = jax.random.normal(getkey(), (4,))

    @eqx.filter_jit
    def gradient(layer, way):
        value = lambda layer: jnp.sum(SampledLayer(layer, None, way)(x, key=jax.random.key(0)))
        return eqx.filter_grad(value)(layer).angles

    exact = gradient(layer, ExactGradient())
    assert jnp.allclose(gradient(layer, ParameterShift()), exact, atol=20 * tol)
    estimates = eqx.filter_jit(jax.vmap(lambda k: SampledLayer(layer, 50).estimate(x, key=k)))
    values = np.asarray(estimates(jax.random.split(getkey(), 2000)).values, float)
    error = values.std(axis=0) / np.sqrt(2000)
    assert np.all(np.abs(values.mean(axis=0) - np.asarray(layer(x))) <= 3 * error)


def test_equilibria(getkey, tol):
    layer = make_layer(qdeq.AmplitudeEncoding(), qdeq.PauliZ(), getkey())
    cell = qdeq.QuantumCell(layer, qdeq.AngleFeedback(gain=0.5))
    x, key = jax.random.normal(getkey(), (4,)), getkey()
    solver = qdeq.Newton(rtol=1e-7, atol=1e-7)

    @eqx.filter_jit
    @eqx.filter_grad(has_aux=True)
    def gradient(deq):
        value = deq(x, key=key)
        return jnp.sum(value * jnp.array([1.0, -2.0])), value

    exact, value = gradient(qdeq.DEQ(cell, solver))
    sampled = qdeq.SampledDEQ(cell, None, solver, ParameterShift(), qdeq.JacobianBackward())
    found = gradient(sampled)[0].cell.layer.angles
    assert jnp.allclose(found, exact.cell.layer.angles, atol=50 * tol)
    many = qdeq.SampledDEQ(cell, 10**6)
    assert jnp.allclose(eqx.filter_jit(many)(x, key=key), value, atol=6e-3)
