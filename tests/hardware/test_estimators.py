"""Estimators against our own engines: every gate, equilibria, their gradients, device noise."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eqx_qdeq as qdeq
from eqx_qdeq.hardware import EstimatorLayer, on_estimator

primitives = pytest.importorskip("qiskit_aer.primitives", reason='pip install ".[qiskit]"')

STRINGS = qdeq.PauliStrings(["Z0", "X0 Y1"])


@pytest.fixture
def estimator():
    return primitives.EstimatorV2(options={"default_precision": 0.0})


def every_gate():
    gates, wires, params, n = [], [], [], 0
    for i, (name, info) in enumerate(qdeq.circuits.GATES.items()):
        gates.append(name)
        wires.append([(i + w) % 3 for w in range(info.n_wires)])
        params.append(list(range(n, n + info.n_params)))
        n += info.n_params
    return qdeq.Circuit(gates, wires, params, 3)


def test_every_gate_and_its_shift_rule(estimator, getkey, tol):
    measurement = qdeq.PauliStrings(["Z0", "X0 Y1 Z2", "Y2", "X1"])
    encoding = qdeq.AngleEncoding("YXZ", scale=0.7)
    layer = qdeq.QuantumLayer(every_gate(), encoding, measurement, key=getkey())
    measured = EstimatorLayer(layer, estimator)
    x = jax.random.normal(getkey(), (5,))

    def gradients(layer):
        loss = lambda both: jnp.sum(jnp.sin(both[0](both[1])))
        return eqx.filter_value_and_grad(loss)((layer, x))

    value, (found, found_x) = gradients(measured)
    assert measured.program.n_jobs == 1  # values and all shifts in one
    expected_value, (expected, expected_x) = gradients(layer)
    np.testing.assert_allclose(value, expected_value, atol=10 * tol)
    np.testing.assert_allclose(found.layer.angles, expected.angles, atol=10 * tol)
    np.testing.assert_allclose(found_x, expected_x, atol=10 * tol)


def test_data_reuploading(estimator, getkey, tol):
    circuit = qdeq.circuits.hardware_efficient(n_qubits=2, depth=1).repeat(2)
    encoding = qdeq.DataReuploading(qdeq.AngleEncoding(), 2)
    layer = qdeq.QuantumLayer(circuit, encoding, STRINGS, key=getkey())
    x = jax.random.normal(getkey(), (2,))
    found = jax.grad(lambda x: EstimatorLayer(layer, estimator)(x)[1])(x)
    np.testing.assert_allclose(found, jax.grad(lambda x: layer(x)[1])(x), atol=10 * tol)


@pytest.mark.parametrize("encoding", ["amplitudes", "angles"])
def test_equilibria_and_their_gradients(encoding, estimator, getkey, x64):
    circuit = qdeq.circuits.hardware_efficient(n_qubits=2, depth=1)
    if encoding == "amplitudes":
        kind, injection = qdeq.AmplitudeEncoding(), qdeq.AddInjection(4, gain=0.3)
    else:
        kind, injection = qdeq.AngleEncoding("YX"), qdeq.LinearInjection(4, 2, 4, key=getkey())
    layer = qdeq.QuantumLayer(circuit, kind, STRINGS, key=getkey())
    accuracy = 1e-8 if x64 else 1e-6
    exact = qdeq.DEQ(qdeq.QuantumCell(layer, injection), qdeq.Newton(accuracy, accuracy))
    measured = on_estimator(exact, estimator, tolerance=accuracy)
    x = jax.random.normal(getkey(), (2, 4))

    @eqx.filter_jit
    def step(deq):
        return eqx.filter_value_and_grad(lambda d: jnp.sum(jax.vmap(d)(x) ** 3))(deq)

    value, found = step(measured)
    expected_value, expected = step(exact)
    atol = 1e-6 if x64 else 1e-4
    np.testing.assert_allclose(value, expected_value, atol=atol)
    np.testing.assert_allclose(found.cell.layer.angles, expected.cell.layer.angles, atol=atol)


def test_device_noise(getkey, tol):
    fake = pytest.importorskip("qiskit_ibm_runtime.fake_provider", reason='pip install ".[qiskit]"')
    from qiskit_aer.noise import NoiseModel

    device = NoiseModel.from_backend(fake.FakeManilaV2(), readout_error=False)
    noise = qdeq.noise.from_aer(device, qubits=[0, 1])
    gates = ["SX", "Rz", "CX", "SX", "X", "Rz", "CX", "SX"]
    wires = [[0], [1], [0, 1], [1], [0], [0], [0, 1], [0]]
    circuit = qdeq.Circuit(gates, wires, [[], [0], [], [], [], [1], [], []])
    layer = qdeq.QuantumLayer(circuit, qdeq.AngleEncoding(), STRINGS, key=getkey(), noise=noise)
    options = {"default_precision": 0.0, "backend_options": {"noise_model": device}}
    measured = EstimatorLayer(layer, primitives.EstimatorV2(options=options))
    x = jax.random.normal(getkey(), (2,))
    np.testing.assert_allclose(measured(x), layer(x), atol=10 * tol)
    assert jnp.max(jnp.abs(layer(x) - layer.with_noise(None)(x))) > 1e-3


def test_one_diverging_sample_and_zero(estimator, getkey, tol):
    circuit = qdeq.circuits.hardware_efficient(n_qubits=2, depth=1)
    layer = qdeq.QuantumLayer(circuit, qdeq.AmplitudeEncoding(), STRINGS, key=getkey())
    x = jnp.zeros((3, 4)).at[1].set(jnp.nan).at[2].set(jax.random.normal(getkey(), (4,)))
    found = jax.vmap(EstimatorLayer(layer, estimator))(x)
    assert jnp.all(jnp.isnan(found[1]))
    np.testing.assert_allclose(found[::2], jax.vmap(layer)(x[::2]), atol=tol)


def test_refusals(estimator, getkey):
    circuit = qdeq.circuits.hardware_efficient(n_qubits=2, depth=1)
    make = lambda *parts: qdeq.QuantumLayer(*parts, key=getkey())
    layer = make(circuit, qdeq.AmplitudeEncoding(), qdeq.PauliZ())
    with pytest.raises(ValueError, match="`precision` must be at least 0"):
        EstimatorLayer(layer, estimator, precision=-0.1)
    with pytest.raises(ValueError, match="linear injections only"):
        on_estimator(qdeq.QuantumCell(layer, qdeq.AngleFeedback()), estimator)
    with pytest.raises(ValueError, match="estimators measure"):
        EstimatorLayer(make(circuit, qdeq.AngleEncoding(), qdeq.Probabilities()), estimator)
    with pytest.raises(ValueError, match="are given AmplitudeEncoding"):
        on_estimator(make(circuit, qdeq.ComplexAmplitudeEncoding(), qdeq.PauliZ()), estimator)
    with pytest.raises(ValueError, match="holds no QuantumLayer"):
        on_estimator(eqx.nn.Identity(), estimator)


def test_a_whole_model_and_back(estimator, getkey, x64):
    """A classifier that reads other observables than it feeds back, in its own place."""
    model = qdeq.QDEQClassifier(2, 4, 3, depth=1, readout="zz", gain=0.3, key=getkey())
    accuracy = 1e-6 if x64 else 1e-4
    measured = on_estimator({"a": [model]}, estimator, tolerance=accuracy)["a"][0]
    x = jax.random.normal(getkey(), (2, 4))
    loss = lambda m: jnp.sum(jax.vmap(m)(x) ** 2)
    value, found = eqx.filter_value_and_grad(loss)(measured)
    expected_value, expected = eqx.filter_value_and_grad(loss)(model)
    np.testing.assert_allclose(value, expected_value, rtol=100 * accuracy)
    of = lambda m: m.deq.cell.layer.angles
    np.testing.assert_allclose(of(found), of(expected), atol=1000 * accuracy)
    assert of(measured) is of(model) and measured.deq.cell.layer.device.n_jobs > 2
    assert eqx.tree_equal(qdeq.exact(measured), model)
    with pytest.raises(ValueError, match="runs the circuit with noise of its own"):
        qdeq.with_noise(measured, qdeq.noise.NoiseModel.depolarizing(0.1))
