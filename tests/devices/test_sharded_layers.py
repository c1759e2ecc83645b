"""Layers and equilibria whose states lie on several devices, against those on one."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, PartitionSpec as P

import eqx_qdeq as qdeq
from benchmarks._collectives import collectives

pytestmark = pytest.mark.float32
KEY, N = jax.random.key(0), 9
CIRCUIT = qdeq.circuits.hardware_efficient(N, 2)
LAYER = qdeq.QuantumLayer(CIRCUIT, qdeq.AmplitudeEncoding(), qdeq.PauliZ(), key=KEY)
TURNED = LAYER.replace(encoding=qdeq.AngleEncoding("YZ", scale=0.5))
UPLOADED = LAYER.replace(encoding=qdeq.DataReuploading(qdeq.AngleEncoding("YX"), n_uploads=2))
# With Xs, Ys and Zs on wires of devices, alone and together, and a flip that several share.
STRINGS = ["X0 Y1 Z8", "Z0 Z1", "Y0 Y2", "I", "X7 Y8", "Y1 Z2 X5", "Y0 X2 Z3", "Y0 Y2 Z8"]
SUM = qdeq.PauliSum(STRINGS, jnp.linspace(-1.0, 1.0, 16).reshape(2, 8))
MATRICES = np.array([[[1, 2 - 1j], [2 + 1j, 3]], [[0, 1], [1, 0]]])


def equilibrium(layer, injection, **options):
    return qdeq.DEQ(qdeq.QuantumCell(layer, injection), **options)


# (In 300 dimensions, features reach some of the devices only.)
MODELS = {
    "layer": (LAYER, 512),
    "few features": (LAYER, 300),
    "angles": (TURNED, N),
    "re-uploading": (UPLOADED, N),
    "strings": (LAYER.replace(measurement=qdeq.PauliStrings(STRINGS)), 512),
    "sums": (LAYER.replace(measurement=SUM), 512),
    "probabilities": (LAYER.replace(measurement=qdeq.Probabilities([8, 0, 4])), 512),
    "Hermitian": (LAYER.replace(measurement=qdeq.Hermitian(MATRICES, [1])), 512),
    "QDEQ": (qdeq.QDEQ(N, 300, circuit=CIRCUIT, gain=jnp.array(0.7), key=KEY), 300),
    "complex": (
        equilibrium(
            LAYER.replace(encoding=qdeq.ComplexAmplitudeEncoding(), measurement=qdeq.PauliZ([1])),
            qdeq.ConcatInjection(),
        ),
        700,
    ),
    "learned": (equilibrium(LAYER, qdeq.LinearInjection(20, N, 512, key=KEY)), 20),
    "angle cell": (equilibrium(TURNED, qdeq.AddInjection(N, gain=0.5)), N),
    "re-uploading cell": (
        equilibrium(
            UPLOADED, qdeq.AddInjection(N, gain=0.3), adjoint=qdeq.ImplicitVJPAdjoint()
        ),
        N,
    ),
    "feedback": (equilibrium(TURNED, qdeq.AngleFeedback(gain=jnp.array(0.5))), N),
}


@pytest.fixture(scope="session")
def grid() -> Mesh:
    return jax.make_mesh((2, 4), ("batch", "amplitudes"))


def value_and_grad(over):
    def loss(both):
        values = over(*both)
        return jnp.sum(jnp.sin(values * jnp.arange(1.0, 1 + values.shape[1])[None])), values

    return eqx.filter_jit(eqx.filter_value_and_grad(loss, has_aux=True))


def assert_close(found, wanted, tol):
    for one, other in zip(*map(jax.tree.leaves, (found, wanted)), strict=True):
        if eqx.is_array(other):
            np.testing.assert_allclose(one, other, rtol=0, atol=10 * tol)


@pytest.mark.parametrize("name", MODELS)
def test_as_on_one(name, grid, tol):
    model, d = MODELS[name]
    both = model, jax.random.normal(jax.random.key(1), (4, d))
    wanted = value_and_grad(lambda model, x: jax.vmap(model)(x))(both)
    found = value_and_grad(lambda model, x: qdeq.map_batch(model, x, mesh=grid))(both)
    assert_close(found, wanted, tol)
