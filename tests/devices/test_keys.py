"""What is random by samples' keys, in a `shard_map` of one's own: that of `vmap`."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec as P

import eqx_qdeq as qdeq

X = jax.random.normal(jax.random.key(1), (8, 4))
KEYS = jax.random.split(jax.random.key(2), 8)
LAYER = qdeq.QuantumLayer(
    qdeq.circuits.hardware_efficient(2, 1),
    qdeq.AmplitudeEncoding(),
    qdeq.PauliZ(),
    key=jax.random.key(0),
)
MODELS = {
    "shots": qdeq.SampledDEQ(
        qdeq.QuantumCell(LAYER, qdeq.AngleFeedback(gain=0.5)),
        100,
        gradient=qdeq.shots.ParameterShift(),
        max_steps=8,
    ),
    "trajectories": qdeq.QuantumLayer(
        LAYER.circuit,
        qdeq.AmplitudeEncoding(),
        qdeq.PauliZ(),
        angles=LAYER.angles,
        noise=qdeq.noise.NoiseModel.depolarizing(0.1),
        engine="trajectories",
        n_trajectories=4,
        key=jax.random.key(3),
    ),
}


def _value_and_grad(static, arrays, x, keys):
    def loss(arrays):
        z = jax.vmap(lambda x, key: eqx.combine(arrays, static)(x, key=key))(x, keys)
        return jnp.sum(z**2), z

    (_, z), gradient = jax.value_and_grad(loss, has_aux=True)(arrays)
    return z, gradient


@pytest.mark.parametrize("check_vma", [True, False])
@pytest.mark.parametrize("name", MODELS)
def test_keys_are_sharded(name, check_vma, automatic, tol):
    arrays, static = eqx.partition(MODELS[name], eqx.is_inexact_array)

    def of(arrays, x, keys):
        z, gradient = _value_and_grad(static, arrays, x, keys)
        return z, gradient if check_vma else jax.lax.psum(gradient, "batch")

    parts = P("batch")
    mapped = jax.shard_map(
        of,
        mesh=automatic,
        in_specs=(P(), parts, parts),
        out_specs=(parts, P()),
        check_vma=check_vma,
    )
    there = NamedSharding(automatic, parts)
    found = jax.jit(mapped)(arrays, *jax.device_put((X, KEYS), there))
    expected = jax.jit(lambda *args: _value_and_grad(static, *args))(arrays, X, KEYS)
    for one, other in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        np.testing.assert_allclose(np.asarray(one), np.asarray(other), rtol=0, atol=10 * tol)
