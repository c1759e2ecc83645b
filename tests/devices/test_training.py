"""Training on eight devices is training on one, to rounding."""

import dataclasses
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import eqx_qdeq as qdeq
from benchmarks._collectives import collectives
from eqx_qdeq.training import evaluate, fit, fit_together, Split, Stream, TrainingError
from tests.training._stand_in import make_data, make_model

DATA = make_data()
ADAM = optax.adam(0.05)
OPTIONS = {"optimizer": ADAM, "epochs": 2, "batch_size": 13, "progress": False}


def _assert_same(one, other, tol):
    arrays = [jax.tree.leaves(eqx.filter(tree, eqx.is_inexact_array)) for tree in (one, other)]
    for a, b in zip(*arrays, strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=0, atol=tol)


def _assert_same_run(one, other, tol):
    _assert_same(one.last_model, other.last_model, tol)
    assert one.steps == other.steps
    for a, b in zip(one.history, other.history, strict=True):
        assert a.keys() == b.keys()
        for name in set(a) - {"seconds"}:
            assert a[name] == pytest.approx(b[name], rel=tol, abs=tol), name


def _weighted(data):
    weight = np.linspace(0, 2, len(data.train))
    return dataclasses.replace(data, train=Split(data.train.x, data.train.y, weight))


@pytest.mark.parametrize(
    "options",
    [
        {"jacobian_penalty": 0.1, "clip": 0.5, "class_weight": "balanced"},
        {"accumulate_steps": 2, "shared_dropout": False, "drop_last": True},
        {"warmup_steps": 3, "optimizer": optax.lbfgs(linesearch=None)},
    ],
    ids=["penalty, clip, weights", "accumulation, dropout", "warm-up"],
)
def test_as_on_one(options, mesh, tol):
    model, data = make_model(jax.random.key(0)), _weighted(DATA)
    one, eight = (fit(model, data, **OPTIONS | options | more) for more in ({}, {"mesh": mesh}))
    _assert_same_run(one, eight, 1000 * tol)


@pytest.mark.parametrize(
    "options", [{"jacobian_penalty": 0.1, "class_weight": "balanced"}, {"batch_size": 16}]
)
def test_a_stream(options, mesh, tol):
    """Of which each device has its part of a batch alone, also where batches cannot be divided."""
    model, data = make_model(jax.random.key(0)), _weighted(DATA)
    streams = dataclasses.replace(data, train=_stream(data.train), validation=_stream(data.test))
    one = fit(model, dataclasses.replace(data, validation=data.test), **OPTIONS | options)
    eight = fit(model, streams, **OPTIONS | options, mesh=mesh)
    _assert_same_run(one, eight, 1000 * tol)
    found = evaluate(one.model, streams.validation, 8, mesh=mesh)
    expected = evaluate(one.model, data.test)
    assert found.to_dict() == pytest.approx(expected.to_dict(), rel=tol, abs=tol)


def _stream(split):
    weight = split.sample_weight
    weight = None if weight is None else np.asarray(weight)
    return Stream(np.asarray(split.x), np.asarray(split.y), weight, buffer=500)


def test_a_checkpoint_goes_on_with_other_devices(mesh, tmp_path, tol):
    model = make_model(jax.random.key(0))
    options = OPTIONS | {"checkpoint_dir": tmp_path}
    fit(model, DATA, **options | {"epochs": 1}, mesh=mesh)
    _assert_same_run(fit(model, DATA, **options), fit(model, DATA, **OPTIONS), 1000 * tol)


def test_batch_normalization_is_over_all_devices(mesh, tol):
    class Normalized(eqx.Module):
        deq: qdeq.DEQ
        norm: eqx.nn.BatchNorm
        head: eqx.nn.Linear

        def __call__(self, x, state):
            z, state = self.norm(self.deq(x), state)
            return self.head(z), state

    def make():
        fn = lambda z, x: 0.5 * jnp.tanh(z) + x[:2]
        deq = qdeq.DEQ(qdeq.FunctionCell(fn, lambda x: jnp.zeros_like(x[:2])))
        norm = eqx.nn.BatchNorm(2, "batch", mode="batch")
        return Normalized(deq, norm, eqx.nn.Linear(2, DATA.n_classes, key=jax.random.key(1)))

    model, state = eqx.nn.make_with_state(make)()
    options = OPTIONS | {"batch_size": 16, "state": state}
    with jax.numpy_dtype_promotion("standard"):  # Equinox's layer counts in integers
        one, eight = (fit(model, DATA, **options, **more) for more in ({}, {"mesh": mesh}))
        streams = dataclasses.replace(DATA, train=_stream(DATA.train))
        streamed = fit(model, streams, **options, mesh=mesh)
    for other in (eight, streamed):
        _assert_same_run(one, other, 1000 * tol)
        _assert_same(one.last_state, other.last_state, 1000 * tol)


@pytest.mark.parametrize(("shape", "names"), [((2, 4), ("runs", "batch")), ((8,), ("batch",))])
def test_several_at_once(shape, names, tol):
    mesh, models = jax.make_mesh(shape, names), [make_model(jax.random.key(i)) for i in (0, 1)]
    one, eight = (
        fit_together(models, DATA, seeds=(0, 3), **OPTIONS, **more) for more in ({}, {"mesh": mesh})
    )
    for a, b in zip(one, eight, strict=True):
        _assert_same_run(a, b, 1000 * tol)


def test_evaluation(mesh, tol):
    model = make_model(jax.random.key(0))
    own = {"mean": lambda y, guess: float(np.mean(guess * np.arange(len(guess))))}
    one, eight = (evaluate(model, DATA.test, metrics=own, **m) for m in ({}, {"mesh": mesh}))
    np.testing.assert_array_equal(one.confusion, eight.confusion)
    assert one.to_dict() == pytest.approx(eight.to_dict(), rel=tol, abs=tol)


def _program(mesh, batch_size, monkeypatch, data=DATA):
    """Of the training step that `fit` takes."""
    where, taken = sys.modules["eqx_qdeq.training._fit"], []
    plain = where.run_steps

    def seen(fixed_and_stop, state):
        taken.append(plain.lower(fixed_and_stop, state).compile().compiled)
        return plain(fixed_and_stop, state)

    monkeypatch.setattr(where, "run_steps", seen)
    deq = qdeq.QDEQ(2, DATA.in_size, key=jax.random.key(0)).deq
    model = eqx.nn.Sequential([deq, eqx.nn.Linear(2, DATA.n_classes, key=jax.random.key(1))])
    fit(model, data, **OPTIONS | {"batch_size": batch_size, "epochs": 1}, mesh=mesh)
    monkeypatch.undo()
    return taken[0]


def test_one_exchange_in_a_step(mesh, monkeypatch):
    streams = dataclasses.replace(DATA, train=_stream(DATA.train))
    for batch_size, data in ((8, DATA), (24, DATA), (24, streams)):
        text = _program(mesh, batch_size, monkeypatch, data).as_text()
        # In the loop over steps, and in no other.
        assert text.count(" while(") > 1 and [(c.kind, c.loops) for c in collectives(text)] == [
            ("all-reduce", 1)
        ]


def test_each_device_has_its_part_of_the_work(automatic, monkeypatch):
    """Work = own + samples / devices, where its own is the circuit, compiled for the angles."""

    class Seen(Exception):
        pass

    deq, many = qdeq.QDEQ(2, DATA.in_size, key=jax.random.key(0)).deq, 2**16
    work = {}
    where = sys.modules["eqx_qdeq.training._fit"]
    plain = where.run_steps
    for devices, batch in ((1, many), (8, many), (8, many // 16)):

        def seen(*args, at=(devices, batch)):
            work[at] = plain.lower(*args).compile().compiled.cost_analysis()["flops"]
            raise Seen

        monkeypatch.setattr(where, "run_steps", seen)
        data = np.zeros((batch, DATA.in_size)), np.full((batch, 2), 0.5)
        options = OPTIONS | {"batch_size": batch}
        with pytest.raises(Seen):
            mesh = jax.sharding.Mesh(automatic.devices[:devices], ("batch",))
            fit(deq, data, **options, mesh=mesh)

    @eqx.filter_jit
    @eqx.filter_grad
    def circuit(cell):
        compiled = eqx.filter(cell.compile(DATA.in_size), eqx.is_inexact_array)
        return sum(jnp.sum(jnp.sin(a)) for a in jax.tree.leaves(compiled))

    costs = circuit.lower(deq.cell).compile().compiled.cost_analysis()
    of_sample = (work[8, many] - work[8, many // 16]) / (many - many // 16)
    own = work[8, many] - many * of_sample
    assert costs["flops"] < own < 2 * costs["flops"]  # and the optimizer
    assert work[1, many] == pytest.approx(own + 8 * many * of_sample, rel=0.02)
    assert 8 * work[8, many] == pytest.approx(work[1, many], rel=0.05)


def test_what_is_not_finite_is_named(mesh):
    bad = DATA.train.x[7]

    def loss(model, x, y, key):
        return jnp.where(jnp.all(x == bad), jnp.nan, jnp.sum(model(x) ** 2))

    with pytest.raises(TrainingError, match="for 1 of its 13 samples: rows 7 of"):
        fit(make_model(jax.random.key(0)), DATA, **OPTIONS, loss=loss, mesh=mesh)


def test_fewer_samples_than_devices(mesh):
    """Training refuses them. Evaluation fills them up, as it does a last batch."""
    model = make_model(jax.random.key(0))
    with pytest.raises(ValueError, match="`batch_size`.* is 4, less than the 8 devices"):
        fit(model, DATA, **OPTIONS | {"batch_size": 4}, mesh=mesh)
    few, alone = (evaluate(model, DATA.test, 4, mesh=where) for where in (mesh, None))
    np.testing.assert_allclose(few.loss, alone.loss, rtol=1e-5)
    np.testing.assert_array_equal(few.confusion, alone.confusion)


def test_models_that_cannot_be_parted():
    mesh = jax.make_mesh((2, 4), ("runs", "batch"))
    with pytest.raises(ValueError, match="3 models cannot be parted evenly"):
        fit_together([make_model(jax.random.key(0))] * 3, DATA, **OPTIONS, mesh=mesh)
