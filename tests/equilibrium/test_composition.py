"""A QDEQ is an ordinary Equinox module: every transformation that a user may apply."""

import io

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eqx_qdeq as qdeq


@pytest.fixture
def layer():
    return qdeq.QDEQ(4, 16, key=jax.random.key(0))


@pytest.fixture
def xs():
    return jax.random.normal(jax.random.key(1), (6, 16))


def test_in_sequential(layer, xs, tol):
    linear = eqx.nn.Linear(4, 3, key=jax.random.key(2))
    model = eqx.nn.Sequential([layer, linear])
    one = eqx.filter_jit(model)
    np.testing.assert_allclose(model(xs[0]), linear(eqx.filter_jit(layer)(xs[0])), atol=50 * tol)
    batched = eqx.filter_jit(lambda xs: jax.vmap(model)(xs))(xs)
    np.testing.assert_allclose(batched, jnp.stack([one(x) for x in xs]), atol=50 * tol)
    assert one(xs[0], key=jax.random.key(3)).shape == (3,)


def test_outside_of_jit_a_call_is_one_program(layer, xs):
    """Compiling every operation by itself takes several times as long, and running them too."""
    deq = layer.deq
    calls = [
        deq,
        deq.solve,
        deq.diagnose,
        lambda x: deq.trajectory(x, n_steps=3),
        lambda x: qdeq.certify(deq.cell, x, jnp.zeros(4)),
        lambda x: qdeq.lipschitz_bound(deq.cell, x),
        lambda x: qdeq.find_equilibria(deq.cell, x, jax.random.key(0), n_starts=2),
    ]
    for call in calls:
        program = jax.make_jaxpr(lambda xs, call=call: jax.vmap(call)(xs))(xs)
        assert len(program.eqns) <= 4, program


class _Model(eqx.Module):
    before: eqx.nn.Linear
    quantum: qdeq.QDEQ
    after: eqx.nn.MLP

    def __call__(self, x):
        return self.after(self.quantum(jnp.tanh(self.before(x))))


@pytest.fixture
def model(layer):
    k1, k2 = jax.random.split(jax.random.key(2))
    return _Model(eqx.nn.Linear(16, 16, key=k1), layer, eqx.nn.MLP(4, 3, 8, 1, key=k2))


@eqx.filter_jit
def _loss(model, xs):
    return jnp.mean(jax.vmap(model)(xs) ** 2)


def test_in_a_users_module_under_filter_jit_and_filter_grad(model, xs, tol):
    value, gradient = eqx.filter_jit(eqx.filter_value_and_grad(_loss))(model, xs)
    np.testing.assert_allclose(value, _loss(model, xs), atol=tol)
    assert all(np.all(np.isfinite(g)) for g in jax.tree.leaves(gradient))
    assert jnp.linalg.norm(gradient.quantum.deq.cell.layer.angles) > 0
    assert jnp.linalg.norm(gradient.before.weight) > 0


def test_ensembles_by_filter_vmap(xs, tol):
    keys = jax.random.split(jax.random.key(5), 3)
    make = lambda key: qdeq.QDEQ(4, 16, key=key)
    ensemble = eqx.filter_vmap(make)(keys)
    run = eqx.filter_vmap(lambda m, x: m(x), in_axes=(eqx.if_array(0), None))
    together = eqx.filter_jit(run)(ensemble, xs[0])
    one_by_one = jnp.stack([eqx.filter_jit(make(key))(xs[0]) for key in keys])
    np.testing.assert_allclose(together, one_by_one, atol=100 * tol)


def test_tree_at(layer, xs):
    where = lambda m: m.deq.cell.layer.angles
    changed = eqx.tree_at(where, layer, jnp.zeros(39))
    run = eqx.filter_jit(lambda m: m(xs[0]))
    assert not np.allclose(run(changed), run(layer))
    np.testing.assert_array_equal(where(layer) == 0, np.zeros(39, bool))


def test_frozen_angles_by_partition(model, xs):
    spec = jax.tree.map(eqx.is_inexact_array, model)
    spec = eqx.tree_at(lambda m: m.quantum.deq.cell.layer.angles, spec, False)
    trained, frozen = eqx.partition(model, spec)

    @eqx.filter_jit
    @eqx.filter_grad
    def gradient(trained):
        return _loss(eqx.combine(trained, frozen), xs)

    g = gradient(trained)
    assert g.quantum.deq.cell.layer.angles is None
    assert jnp.linalg.norm(g.before.weight) > 0


def test_under_checkpoint(model, xs, tol):
    plain = jax.jit(jax.grad(lambda x: jnp.sum(model(x))))(xs[0])
    remat = jax.checkpoint(lambda x: model(x))
    rematerialised = jax.jit(jax.grad(lambda x: jnp.sum(remat(x))))(xs[0])
    np.testing.assert_allclose(rematerialised, plain, atol=10 * tol)


def test_in_scan(layer, xs, tol):
    """A recurrent use: the equilibrium is carried from sample to sample."""

    def step(carry, x):
        z = layer(x.at[:4].add(carry))
        return z, z

    def total(xs):
        return jnp.sum(jax.lax.scan(step, jnp.zeros(4), xs)[1] ** 2)

    carry, zs, once = jnp.zeros(4), [], jax.jit(step)
    for x in xs:
        carry, z = once(carry, x)
        zs.append(z)
    np.testing.assert_allclose(
        jax.lax.scan(step, jnp.zeros(4), xs)[1], jnp.stack(zs), atol=100 * tol
    )
    assert np.all(np.isfinite(jax.jit(jax.grad(total))(xs)))


def test_serialisation_round_trips(model, xs):
    buffer = io.BytesIO()
    eqx.tree_serialise_leaves(buffer, model)
    buffer.seek(0)
    other = jax.tree.map(lambda x: x + 1 if eqx.is_inexact_array(x) else x, model)
    loaded = eqx.tree_deserialise_leaves(buffer, other)
    assert eqx.tree_equal(loaded, model)
    run = eqx.filter_jit(lambda m: m(xs[0]))
    np.testing.assert_array_equal(run(loaded), run(model))


def test_on_a_mesh_by_filter_shard(model, xs, tol):
    mesh = jax.make_mesh((1,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("batch"))
    sharded = eqx.filter_shard(xs, spec)
    np.testing.assert_allclose(_loss(model, sharded), _loss(model, xs), atol=10 * tol)
