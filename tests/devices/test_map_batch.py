"""`map_batch`: `vmap` over devices, none of which waits for another."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eqx_qdeq as qdeq
from benchmarks._collectives import collectives

DEQ = qdeq.QDEQ(2, 4, key=jax.random.key(0)).deq
X = 4 * jax.random.normal(jax.random.key(1), (19, 4))


def _loss(deq, x, over):
    return jnp.sum(jnp.sin(over(deq, x)))


_gradient = eqx.filter_grad(_loss)


def test_values_and_gradients_are_those_of_vmap(mesh, automatic, tol):
    by_vmap = eqx.filter_jit(lambda deq, x: jax.vmap(deq)(x))
    expected = eqx.filter_jit(_gradient)(DEQ, X, by_vmap)
    for one in (mesh, automatic):
        over = lambda deq, x, one=one: qdeq.map_batch(deq, x, mesh=one)
        np.testing.assert_allclose(over(DEQ, X), by_vmap(DEQ, X), rtol=0, atol=tol)
        found = eqx.filter_jit(_gradient)(DEQ, X, over)
        for a, b in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=10 * tol)


class _Tanh(eqx.Module):
    weight: jax.Array

    def __call__(self, z, x):
        return jnp.tanh(self.weight * z + x)


@pytest.mark.parametrize(
    ("solver", "adjoint"),
    [
        (qdeq.Picard, qdeq.UnrolledAdjoint()),
        (qdeq.Newton, qdeq.ImplicitAdjoint()),
        (qdeq.Anderson, qdeq.ImplicitVJPAdjoint()),
        (qdeq.Picard, qdeq.NeumannAdjoint(60)),
        (qdeq.Picard, qdeq.PhantomAdjoint(60, damp=0.0)),
        (qdeq.Reversible, qdeq.ReversibleAdjoint()),
    ],
)
def test_gradients_with_every_adjoint(solver, adjoint, automatic, x64, tol):
    """Taken outside of the devices' program: z = tanh(wz + x), so dz/dw = z s / (1 - ws) with
    s = 1 - z²."""
    accuracy = 1e-12 if x64 else 1e-6
    if solver is qdeq.Reversible:
        if not x64:
            pytest.skip("in single precision so many steps cannot be undone, which it says by NaN")
        accuracy = 1e-5
    cell = qdeq.FunctionCell(_Tanh(jnp.array(0.5)), jnp.zeros_like)
    deq = qdeq.DEQ(cell, solver(accuracy, accuracy), adjoint)
    x = jnp.linspace(0.1, 0.8, 18).reshape(9, 2)
    over = lambda deq, x: qdeq.map_batch(deq, x, mesh=automatic)
    total = lambda deq: jnp.sum(over(deq, x))
    found = eqx.filter_jit(eqx.filter_grad(total))(deq).cell.fn.weight
    z = np.zeros((9, 2))
    for _ in range(100):
        z = np.tanh(0.5 * z + np.asarray(x, float))
    slope = 1 - z**2
    expected = np.sum(z * slope / (1 - 0.5 * slope))
    np.testing.assert_allclose(found, expected, rtol=max(300 * tol, 30 * accuracy))


def test_whatever_the_model_returns_and_takes(mesh):
    solution = qdeq.map_batch(DEQ.solve, X, mesh=mesh)
    assert isinstance(solution, qdeq.Solution) and solution.success.shape == (19,)
    assert solution.success.all()
    x, key = {"a": jnp.arange(9.0), "b": (jnp.ones((9, 2)),)}, jax.random.key(2)
    noisy = lambda x, key: x["a"] + x["b"][0].sum() + jax.random.normal(key)
    expected = jax.vmap(noisy)(x, jax.random.split(key, 9))
    np.testing.assert_array_equal(qdeq.map_batch(noisy, x, mesh=mesh, key=key), expected)


def test_one_sum_and_none_inside_a_solve(automatic):
    """Backwards there is one sum over the devices, of all gradients; forwards nothing at all."""

    def program(function, n):
        over = lambda deq, x: qdeq.map_batch(deq, x, mesh=automatic)
        there = jax.sharding.NamedSharding(automatic, jax.sharding.PartitionSpec("batch"))
        x = jax.device_put(jnp.zeros((n, 4)), there)
        return eqx.filter_jit(function).lower(DEQ, x, over).compile().compiled.as_text()

    forward = program(lambda deq, x, over: over(deq, x), 16)
    assert " while(" in forward and collectives(forward) == []
    for n in (16, 64):
        found = program(_gradient, n)
        assert " while(" in found and [(c.kind, c.loops) for c in collectives(found)] == [
            ("all-reduce", 0)
        ]


def test_each_device_does_its_part(automatic):
    # Of many samples: the circuit itself is compiled on each device.
    def flops(n_devices):
        mesh = jax.sharding.Mesh(automatic.devices[:n_devices], ("batch",))
        over = lambda deq, x: qdeq.map_batch(deq, x, mesh=mesh)
        lowered = eqx.filter_jit(_gradient).lower(DEQ, jnp.zeros((16384, 4)), over)
        return lowered.compile().compiled.cost_analysis()["flops"]

    whole = flops(1)
    for n in (2, 4, 8):
        assert flops(n) * n == pytest.approx(whole, rel=0.05)


def test_fewer_samples_than_devices(mesh):
    with pytest.raises(ValueError, match="is 7, less than the 8 devices"):
        qdeq.map_batch(DEQ, X[:7], mesh=mesh)
