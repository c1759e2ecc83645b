"""Readout inversion: the values without readout error, inside layers, solves and shots."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eqx_qdeq as qdeq
from eqx_qdeq.mitigation import InvertedReadout
from eqx_qdeq.noise import CoherentRotation, Depolarizing, NoiseModel, ReadoutError

ERROR = ReadoutError((0.02, 0.1), (0.07, 0.03))
GATES = (Depolarizing(0.02),)


def make_layer(measurement, readout, key):
    circuit = qdeq.circuits.hardware_efficient(n_qubits=2, depth=2)
    noise = NoiseModel(one_wire=GATES, readout=readout)
    return qdeq.QuantumLayer(circuit, qdeq.AmplitudeEncoding(), measurement, key=key, noise=noise)


@pytest.mark.parametrize(
    "measurement", [qdeq.PauliStrings(["Z0", "X0 Y1", "Z0 Z1", "X1"]), qdeq.Probabilities()]
)
def test_layer_reads_as_without_error(measurement, getkey, tol):
    key = getkey()
    inverted = make_layer(InvertedReadout(measurement, ERROR), ERROR, key)
    clean, raw = make_layer(measurement, None, key), make_layer(measurement, ERROR, key)
    x = jax.random.normal(getkey(), (4,))
    np.testing.assert_allclose(inverted(x), clean(x), atol=tol)
    assert jnp.max(jnp.abs(raw(x) - clean(x))) > 0.01


def test_inside_a_solve_and_its_gradient(getkey, tol):
    key, x = getkey(), jax.random.normal(getkey(), (4,))
    both = []
    for measurement, readout in [
        (InvertedReadout(qdeq.PauliZ(), ERROR), ERROR),
        (qdeq.PauliZ(), None),
    ]:
        layer = make_layer(measurement, readout, key)
        deq = qdeq.DEQ(qdeq.QuantumCell(layer, qdeq.AddInjection(4)))
        grad = eqx.filter_jit(eqx.filter_value_and_grad(lambda d: jnp.sum(d(x) ** 2)))
        value, gradient = grad(deq)
        both.append((value, gradient.cell.layer.angles))
    for mitigated, clean in zip(*both, strict=True):
        np.testing.assert_allclose(mitigated, clean, atol=100 * tol)


def test_shots(getkey):
    measurement = qdeq.PauliStrings(["Z0", "X0 X1"])
    inverted = InvertedReadout(measurement, ERROR)
    layer = make_layer(inverted, ERROR, getkey())
    x = jax.random.normal(getkey(), (4,))
    sampled = qdeq.shots.SampledLayer(layer, 1000)
    keys = jax.random.split(getkey(), 400)
    found = jax.jit(jax.vmap(lambda k: sampled.estimate(x, key=k)))(keys)
    spread = np.std(found.values, axis=0)
    np.testing.assert_allclose(np.mean(found.values, axis=0), layer(x), atol=5 * spread.max() / 20)
    np.testing.assert_allclose(spread, np.mean(found.standard_errors, axis=0), rtol=0.15)
    # Z0 spreads over (1 - 0.02 - 0.07)⁻² times the range squared.
    assert inverted.shot_overhead(2)[0] == pytest.approx(1 / 0.91**2)


def test_trajectories_read_the_same(getkey, tol):
    """Without randomness one trajectory is exact, with readout error and its inverse on top."""
    turned = NoiseModel(one_wire=(CoherentRotation("Y", 0.1),), readout=ERROR)
    strings = qdeq.PauliStrings(["Z0", "X0 Y1", "Z0 Z1"])
    layer = make_layer(InvertedReadout(strings, ERROR), ERROR, getkey()).with_noise(turned)
    x = jax.random.normal(getkey(), (4,))
    drawn = layer.replace(engine="trajectories", n_trajectories=2)
    np.testing.assert_allclose(drawn(x), layer(x), atol=tol)


def test_eigenvalues_by_numpy():
    matrices = [
        np.array([[1 - a, b], [a, 1 - b]]) for a, b in zip(ERROR.p01, ERROR.p10, strict=True)
    ]
    inverse = np.linalg.inv(np.kron(*matrices))
    plain = np.random.default_rng(0).normal(size=(3, 4))
    found = InvertedReadout(qdeq.PauliZ(), ERROR).on_eigenvalues(plain)
    np.testing.assert_allclose(found, plain @ inverse, atol=1e-12)


def test_refusals(getkey):
    with pytest.raises(ValueError, match="cannot be inverted"):
        InvertedReadout(qdeq.PauliZ(), ReadoutError(0.5, 0.5))
    hermitian = qdeq.Hermitian(np.array([[[0, 1], [1, 0]]]), wires=[0])
    with pytest.raises(ValueError, match="Write it as PauliStrings"):
        make_layer(InvertedReadout(hermitian, ERROR), ERROR, getkey())
    three = InvertedReadout(qdeq.PauliZ(), ReadoutError((0.1, 0.1, 0.1), 0.1))
    with pytest.raises(ValueError, match="has 3 rates"):
        make_layer(three, None, getkey())
