"""Layers and equilibria whose states lie on several devices, against those on one."""

import functools as ft

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh, PartitionSpec as P

import eqx_qdeq as qdeq
from benchmarks._collectives import collectives
from eqx_qdeq import training
from eqx_qdeq.simulate import make_sharded_plan

pytestmark = pytest.mark.float32
KEY, N = jax.random.key(0), 7
CIRCUIT = qdeq.circuits.hardware_efficient(N, 1)
LAYER = qdeq.QuantumLayer(CIRCUIT, qdeq.AmplitudeEncoding(), qdeq.PauliZ(), key=KEY)
TURNED = LAYER.replace(encoding=qdeq.AngleEncoding("YZ", scale=0.5))
UPLOADED = LAYER.replace(encoding=qdeq.DataReuploading(qdeq.AngleEncoding("YX"), n_uploads=3))
# With Xs, Ys and Zs on wires of devices, alone and together, and a flip that several share.
STRINGS = ["X0 Y1 Z6", "Z0 Z1", "Y0 Y2", "I", "X5 Y6", "Y1 Z2 X5", "Y0 X1 Z3", "Y0 Y2 Z6"]
SUM = qdeq.PauliSum(STRINGS, jnp.linspace(-1.0, 1.0, 16).reshape(2, 8))
MATRICES = np.array([[[1, 2 - 1j], [2 + 1j, 3]], [[0, 1], [1, 0]]])


def equilibrium(layer, injection, **options):
    return qdeq.DEQ(qdeq.QuantumCell(layer, injection), **options)


# (In 80 dimensions, features reach some of the devices only.)
MODELS = {
    "layer": (LAYER, 128),
    "few features": (LAYER, 80),
    "angles": (TURNED, N),
    "re-uploading": (UPLOADED, N),
    "strings": (LAYER.replace(measurement=qdeq.PauliStrings(STRINGS)), 128),
    "sums": (LAYER.replace(measurement=SUM), 128),
    "probabilities": (LAYER.replace(measurement=qdeq.Probabilities([6, 0, 4])), 128),
    "Hermitian": (LAYER.replace(measurement=qdeq.Hermitian(MATRICES, [1])), 128),
    "QDEQ": (qdeq.QDEQ(N, 80, circuit=CIRCUIT, gain=jnp.array(0.7), key=KEY), 80),
    "complex": (
        equilibrium(
            LAYER.replace(encoding=qdeq.ComplexAmplitudeEncoding(), measurement=qdeq.PauliZ([1])),
            qdeq.ConcatInjection(),
        ),
        200,
    ),
    "learned": (equilibrium(LAYER, qdeq.LinearInjection(20, N, 128, key=KEY)), 20),
    "angle cell": (equilibrium(TURNED, qdeq.AddInjection(N, gain=0.5)), N),
    "re-uploading cell": (
        equilibrium(UPLOADED, qdeq.AddInjection(N, gain=0.3), adjoint=qdeq.ImplicitVJPAdjoint()),
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


def test_a_solve_says_what_it_says_on_one_device(grid, tol):
    deq, zz = MODELS["QDEQ"][0].deq, qdeq.z_and_zz(N)

    def read(x):
        fn, last, solution = deq.bind_and_solve(x)
        return fn.measure(zz, last), fn(last), fn.measure(zz, jnp.zeros(N)), solution

    # The zero sample has no direction but that of its equilibrium.
    x = jax.random.normal(KEY, (3, 80)).at[0].set(0)
    found, wanted = qdeq.map_batch(read, x, mesh=grid), jax.vmap(read)(x)
    assert_close(found[:3], wanted[:3], tol)
    np.testing.assert_array_equal(found[3].success, wanted[3].success)
    np.testing.assert_array_equal(found[3].stats["num_steps"], wanted[3].stats["num_steps"])


def test_no_exchange_within_a_solve(grid):
    """Of the rational form. As many exchanges whatever the batch: those of the circuit, on the
    columns and on the samples, there and back; and the sums."""

    def kinds(model, n, of=eqx.filter_grad):
        function = of(lambda model, x: jnp.sum(qdeq.map_batch(model, x, mesh=grid)))
        compiled = eqx.filter_jit(function).lower(model, jnp.zeros((n, N))).compile().compiled
        assert " while(" in compiled.as_text()
        return [(found.kind, found.loops) for found in collectives(compiled.as_text())]

    model = qdeq.QDEQ(N, N, circuit=CIRCUIT, key=KEY)
    few, many = kinds(model, 4), kinds(model, 16)
    plan = make_sharded_plan(CIRCUIT, 4, restore=False)
    assert sorted(few) == sorted(many) and {loops for _, loops in few} == {0}
    assert few.count(("all-to-all", 0)) == 4 * plan.n_exchanges
    # Angles are encoded anew in each step.
    assert ("all-to-all", 1) in kinds(MODELS["angle cell"][0], 4, of=lambda function: function)


def test_training_is_that_of_one_device(grid, tol):
    x = np.random.default_rng(0).normal(size=(12, 20))
    split = training.Split(x, np.arange(12) % 3)
    data = training.Dataset(split, split, split, class_names=["a", "b", "c"])
    model = eqx.nn.Sequential(
        [qdeq.QDEQ(N, 20, circuit=CIRCUIT, key=KEY), eqx.nn.Linear(N, 3, key=KEY)]
    )
    fit = ft.partial(
        training.fit, model, data, optimizer=optax.sgd(0.1), epochs=2, batch_size=4, progress=False
    )
    found, wanted = fit(mesh=grid), fit()
    assert_close(found.last_model, wanted.last_model, 10 * tol)
    score = lambda mesh: training.evaluate(wanted.last_model, data.test, mesh=mesh).loss
    assert score(grid) == pytest.approx(score(None), abs=10 * tol)


class Own(qdeq.AbstractMeasurement):
    def size(self, n_qubits):
        return 1

    def values(self, state):
        return jnp.abs(state[:1]) ** 2

    def apply(self, states):
        return states[None]

    def norms(self, n_qubits):
        return np.ones(1)


NOISY = LAYER.with_noise(qdeq.noise.NoiseModel.depolarizing(0.01))


@pytest.mark.parametrize(
    ("model", "error", "words"),
    [
        (NOISY, ValueError, "a layer with `noise` NoiseModel has no state vectors"),
        (qdeq.with_shots(LAYER, 100, key=KEY), ValueError, "a layer with `device` SamplingDevice"),
        (LAYER.replace(engine="operator"), ValueError, "engine 'operator' has no state vectors"),
        (LAYER.replace(measurement=Own()), TypeError, "by PauliZ, .* and Probabilities; got Own"),
        (LAYER.replace(measurement=qdeq.Probabilities()), ValueError, "7 wires at once; .* 5"),
        (lambda x: LAYER.compile().state(x), ValueError, "`state` would be all of a state"),
        (lambda x: LAYER.compile().probabilities(x), ValueError, "`probabilities` would be all"),
        (qdeq.QDEQ(4, 16, key=KEY), ValueError, "has 4 wires; for 4 devices it needs at least 6"),
    ],
    ids=["noise", "shots", "engine", "own", "probabilities", "state", "outcomes", "small"],
)
def test_what_cannot_lie_on_several_devices(model, error, words, grid):
    with pytest.raises(error, match=words):
        qdeq.map_batch(model, jnp.ones((2, 16)), mesh=grid)


def test_meshes_that_do_not_fit(grid):
    x = jnp.ones((2, 80))
    with pytest.raises(ValueError, match="`n_devices` must be a power of two; got 6"):
        qdeq.map_batch(LAYER, x, mesh=Mesh(jax.devices()[:6], ("amplitudes",)))
    with pytest.raises(ValueError, match="samples lie along an axis named 'batch'"):
        qdeq.map_batch(LAYER, x, mesh=Mesh(grid.devices, ("data", "amplitudes")))


@pytest.mark.parametrize("model", [LAYER, MODELS["QDEQ"][0]], ids=["layer", "QDEQ"])
def test_ones_own_shard_map(model, grid, tol):
    x, plain = jnp.ones((2, 80)), Mesh(grid.devices, grid.axis_names)
    of = lambda x: jax.vmap(model)(x)
    run = ft.partial(jax.shard_map, of, mesh=plain, in_specs=P("batch"), out_specs=P("batch"))
    np.testing.assert_allclose(jax.jit(run(check_vma=False))(x), of(x), rtol=0, atol=10 * tol)
    with pytest.raises(ValueError, match="`check_vma` must be False"):
        run(check_vma=True)(x)


def test_a_model_with_state(grid):
    split = training.Split(np.ones((4, 80)), np.arange(4))
    data = training.Dataset(split, split, split, class_names=list("abcdefg"))
    norm = ft.partial(eqx.nn.BatchNorm, N, "batch", mode="batch")
    model, state = eqx.nn.make_with_state(lambda: eqx.nn.Sequential([LAYER, norm()]))()
    with pytest.raises(ValueError, match="along which a model with state"):
        training.fit(
            model, data, state=state, optimizer=optax.sgd(0.1), epochs=1, batch_size=4, mesh=grid
        )
