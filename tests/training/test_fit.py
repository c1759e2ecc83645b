"""The training loop: what it minimises, in which order, and what it reports."""

import inspect
import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import eqx_qdeq as qdeq
from eqx_qdeq.training import epoch_batches, evaluate, fit, fit_together, Options, TrainingError
from tests.training._stand_in import make_data, make_model

pytestmark = pytest.mark.float32

# One object, so that the compiled steps are shared by the tests.
ADAM = optax.adam(0.05)
DATA = make_data()


def _model(seed=0, **options):
    return make_model(jax.random.key(seed), **options)


def _fit(model, data=DATA, **options):
    defaults = {"optimizer": ADAM, "epochs": 3, "batch_size": 16, "progress": False}
    return fit(model, data, **(defaults | options))


def _leaves(tree):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(eqx.filter(tree, eqx.is_array))]


def _same(one, other):
    pairs = zip(_leaves(one), _leaves(other), strict=True)
    return all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in pairs)


def test_it_learns():
    model = _model(dropout=0.0)
    before = evaluate(model, DATA.test)
    result = _fit(model, epochs=40)
    after = evaluate(result.model, DATA.test)
    assert after.loss < 0.4 * before.loss and after.accuracy > 0.8
    assert result.steps == 40 * 4 and len(result.history) == 40


def test_the_model_that_was_passed_is_left_alone():
    model = _model()
    copies = [leaf.copy() for leaf in _leaves(model)]
    result = _fit(model)
    assert all(np.array_equal(a, b) for a, b in zip(_leaves(model), copies, strict=True))
    assert not _same(result.last_model, model)


def test_it_is_what_a_plain_loop_does(tol):
    """The same steps by hand: no scan, no donation, no weights."""
    model = _model(dropout=0.0)
    result = _fit(model, epochs=2, clip=0.5)

    optimizer = optax.chain(optax.clip_by_global_norm(0.5), ADAM)
    state = optimizer.init(eqx.filter(model, eqx.is_inexact_array))

    def loss(model, x, y):
        logits = jax.vmap(model)(x)
        return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(len(y)), y])

    losses = []
    for epoch in range(2):
        batches = epoch_batches(60, 16, 0, epoch, False)
        total = 0.0
        for batch in batches:
            rows = batch[batch >= 0]
            x, y = DATA.train.x[rows], DATA.train.y[rows]
            value, gradient = eqx.filter_value_and_grad(loss)(model, x, y)
            with jax.numpy_dtype_promotion("standard"):  # Optax mixes counts and rates
                updates, state = optimizer.update(gradient, state)
            model = eqx.apply_updates(model, updates)
            total += float(value) * len(rows)
        losses.append(total / 60)
    for ours, theirs in zip(_leaves(result.last_model), _leaves(model), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=100 * tol, atol=100 * tol)
    np.testing.assert_allclose(
        [record["train_loss"] for record in result.history], losses, rtol=100 * tol
    )


def test_every_sample_once_per_epoch_in_an_order_of_its_own():
    for n, size in ((60, 16), (64, 16), (5, 16)):
        batches = epoch_batches(n, min(size, n), 3, 0, False)
        seen = batches[batches >= 0]
        assert np.array_equal(np.sort(seen), np.arange(n))
        assert np.all(batches.reshape(-1)[n:] == -1)
    assert epoch_batches(60, 16, 3, 0, True).shape == (3, 16)
    assert np.all(epoch_batches(60, 16, 3, 0, True) >= 0)
    orders = [epoch_batches(60, 16, seed, epoch, False) for seed in (0, 1) for epoch in (0, 1)]
    for i, one in enumerate(orders):
        for other in orders[:i]:
            assert not np.array_equal(one, other)
    # Pinned: a run can be repeated with another release.
    assert epoch_batches(60, 16, 0, 0, False)[0, :6].tolist() == PINNED


PINNED = [49, 16, 32, 1, 19, 12]


def test_the_same_seed_gives_the_same_weights_and_another_one_others():
    first, again = _fit(_model()), _fit(_model())
    assert _same(first.last_model, again.last_model) and _same(first.model, again.model)
    strip = lambda history: [{k: v for k, v in r.items() if k != "seconds"} for r in history]
    assert strip(first.history) == strip(again.history)
    assert not _same(first.last_model, _fit(_model(), seed=1).last_model)


def test_the_best_model_is_that_of_the_lowest_validation_loss():
    seen = {}

    def keep(record, model):
        seen[record["epoch"]] = record["validation_loss"], _leaves(model)

    # From the fourth epoch on the learning rate is far too large.
    rate = optax.piecewise_constant_schedule(0.05, {12: 60})
    result = _fit(_model(), optimizer=optax.adam(rate), epochs=8, callbacks=[keep])
    losses = {epoch: loss for epoch, (loss, _) in seen.items()}
    best = min(losses, key=lambda epoch: (losses[epoch], epoch))
    assert result.best_epoch == best < 8
    for ours, theirs in zip(_leaves(result.model), seen[best][1], strict=True):
        assert np.array_equal(ours, theirs)
    assert evaluate(result.model, DATA.validation).loss == losses[best]


def test_a_callback_can_stop():
    result = _fit(_model(), epochs=9, callbacks=[lambda record, _: record["epoch"] == 2])
    assert len(result.history) == 2 and result.steps == 8


def test_frozen_parts_stay():
    model = _model()
    trainable = jax.tree.map(eqx.is_inexact_array, model)
    trainable = eqx.tree_at(lambda m: m.u, trainable, False)
    result = _fit(model, trainable=trainable)
    assert np.array_equal(result.last_model.u, model.u)
    assert not np.array_equal(result.last_model.w, model.w)


def test_warm_up_trains_the_unrolled_model():
    model = _model(dropout=0.0)
    warm = _fit(model, epochs=1, warmup_steps=4, warmup_layers=2)
    # An epoch of warm-up is an epoch of the unrolled model, parameter by parameter.
    unrolled = _fit(model.unrolled(2), epochs=1)
    assert _same(warm.last_model, unrolled.last_model)
    assert warm.history[0]["train_solver_steps"] == 2
    assert warm.history[0]["validation_solver_steps"] == 12
    # It ends in the middle of an epoch if need be.
    part = _fit(model, epochs=1, warmup_steps=1)
    weights = np.array([16, 44]) / 60
    np.testing.assert_allclose(part.history[0]["train_solver_steps"], weights @ [2, 12], rtol=1e-6)


def test_the_penalty_shrinks_the_jacobian():
    model = eqx.tree_at(lambda m: m.w, _model(), 2 * jnp.eye(4))
    size = {}
    for weight in (0.0, 2.0):
        result = _fit(model, epochs=10, jacobian_penalty=weight)
        size[weight] = float(
            jnp.mean(jax.vmap(result.last_model.solve_with_penalty)(DATA.test.x)[2])
        )
        assert ("jacobian_penalty" in result.history[0]) == (weight > 0)
    assert size[2.0] < 0.5 * size[0.0]


def test_dropout_by_batch_or_by_sample():
    by_batch, by_sample, again = (
        _fit(_model(dropout=0.5), shared_dropout=shared) for shared in (True, False, False)
    )
    assert not _same(by_batch.last_model, by_sample.last_model)
    assert _same(by_sample.last_model, again.last_model)


@pytest.mark.parametrize(
    "optimizer",
    [
        optax.sgd(optax.linear_schedule(0.1, 0.0, 8), momentum=0.9),
        optax.adamw(0.05, weight_decay=0.1),  # looks at the parameters
        optax.inject_hyperparams(optax.adam)(learning_rate=0.05),
        optax.chain(optax.adam(0.05), optax.contrib.reduce_on_plateau()),  # looks at the loss
        # looks at the loss as a function
        optax.lbfgs(linesearch=optax.scale_by_backtracking_linesearch(8)),
        optax.multi_transform({"a": optax.adam(0.05), "b": optax.set_to_zero()}, lambda p: "a"),
    ],
    ids=["schedule", "adamw", "inject", "plateau", "lbfgs", "masked"],
)
def test_any_optimizer(optimizer):
    result = _fit(_model(dropout=0.0), optimizer=optimizer, batch_size=60)
    losses = [record["train_loss"] for record in result.history]
    assert losses[-1] < losses[0]


def test_the_learning_rate_is_reported():
    schedule = optax.linear_schedule(0.1, 0.0, 12)
    result = _fit(_model(), optimizer=optax.adam(schedule), learning_rate=schedule)
    rates = [record["learning_rate"] for record in result.history]
    np.testing.assert_allclose(rates, [0.1 * 8 / 12, 0.1 * 4 / 12, 0], rtol=1e-6, atol=1e-9)
    injected = _fit(_model(), optimizer=optax.inject_hyperparams(optax.sgd)(learning_rate=0.25))
    assert injected.history[0]["learning_rate"] == 0.25
    assert "learning_rate" not in _fit(_model()).history[0]


def test_metrics_are_lines_of_json(tmp_path):
    path = tmp_path / "new" / "metrics.jsonl"
    result = _fit(_model(), metrics_path=path, jacobian_penalty=0.1)
    lines = path.read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert records == result.history
    assert [record["epoch"] for record in records] == [1, 2, 3]
    assert [record["step"] for record in records] == [4, 8, 12]
    names = {"loss", "accuracy", "solver_steps", "residual", "residual_max", "fraction_converged"}
    expected = {f"{part}_{name}" for part in ("train", "validation") for name in names}
    extra = {"epoch", "step", "gradient_norm", "jacobian_penalty", "seconds"}
    assert set(records[0]) == expected | extra
    assert all(isinstance(value, int | float) for value in records[0].values())
    assert records[0]["validation_solver_steps"] == 12


def test_any_module_can_be_trained():
    model = eqx.nn.MLP(3, 3, 8, 1, key=jax.random.key(0))
    result = _fit(model, epochs=30)
    assert evaluate(result.model, DATA.test).accuracy > 0.9
    assert not any("residual" in name for name in result.history[0])


def test_a_quantum_model(tol):
    data = make_data(40, size=4, n_classes=2)
    model = qdeq.QDEQClassifier(2, 4, 2, depth=2, gain=0.3, readout="zz", key=jax.random.key(1))
    result = _fit(model, data, epochs=15, batch_size=20, jacobian_penalty=0.01, warmup_steps=2)
    assert result.history[-1]["train_loss"] < 0.7 * result.history[0]["train_loss"]
    assert result.history[-1]["validation_fraction_converged"] == 1
    assert result.history[-1]["validation_residual_max"] < 1e-4


def test_small_data_and_last_batches():
    # 60 samples: one batch; in batches of 59 the last one has one sample.
    assert _fit(_model(), batch_size=1000, epochs=1).steps == 1
    assert _fit(_model(), batch_size=59, epochs=1).steps == 2
    assert _fit(_model(), batch_size=59, epochs=1, drop_last=True).steps == 1


def test_progress_bar(capfd):
    _fit(_model(), progress=True)
    shown = capfd.readouterr().err
    for text in ("epoch 3/3", "12/12", "loss", "accuracy", "steps 12.0", "residual", "converged"):
        assert text in shown
    _fit(_model())
    assert capfd.readouterr() == ("", "")


def test_a_loss_that_is_not_finite_ends_training(tmp_path):
    # The schedule blows up in step 7, the third of the second epoch.
    huge = jnp.finfo(DATA.train.x.dtype).max
    schedule = lambda step: jnp.where(step == 5, huge, 0.1)
    options = {"optimizer": optax.sgd(schedule), "checkpoint_dir": tmp_path, "checkpoint_every": 1}
    message = r"became NaN or infinite in step 7 \(epoch 2, learning rate 0\.1\)"
    with pytest.raises(TrainingError, match=message) as error:
        _fit(_model(), learning_rate=schedule, **options)
    assert "\n" not in str(error.value)


def test_options_by_name_and_as_one_object():
    named = {"clip": 0.5, "seed": 3, "drop_last": True}
    options = Options(optimizer=ADAM, epochs=3, batch_size=16, progress=False, **named)
    by_name, as_object = _fit(_model(), **named), fit(_model(), DATA, options=options)
    assert _same(by_name.last_model, as_object.last_model)
    changed = fit(_model(), DATA, options=options, epochs=1)
    assert (changed.steps, options.epochs) == (3, 3)
    # What `help` and editors show.
    names = list(inspect.signature(fit).parameters)
    assert names == ["model", "dataset", "options", *inspect.signature(Options).parameters]


def test_the_old_spelling_is_refused():
    for options in ({}, {"options": Options(optimizer=ADAM, epochs=1)}):
        with pytest.raises(TypeError, match="`optimiser` is spelled `optimizer`, as in Optax"):
            fit(_model(), DATA, optimiser=ADAM, **options)
    with pytest.raises(TypeError, match="`optimiser` is spelled `optimizer`, as in Optax"):
        fit_together([_model()], DATA, seeds=[0], optimiser=ADAM, epochs=1)


def test_bad_arguments():
    for options, message in (
        ({"epochs": 0}, "`epochs` must be at least 1; got 0"),
        ({"batch_size": 0}, "`batch_size` must be at least 1; got 0"),
        ({"seed": -1}, "`seed` must be at least 0; got -1"),
        ({"warmup_steps": -1}, "`warmup_steps` must be at least 0; got -1"),
        ({"warmup_layers": 0}, "`warmup_layers` must be at least 1; got 0"),
        ({"checkpoint_every": 0}, "`checkpoint_every` must be at least 1; got 0"),
        ({"clip": 0.0}, r"`clip` must be positive; got 0\.0"),
        ({"jacobian_penalty": -1.0}, r"`jacobian_penalty` must not be negative; got -1\.0"),
    ):
        with pytest.raises(ValueError, match=message):
            _fit(_model(), **options)
    mlp = eqx.nn.MLP(3, 3, 8, 1, key=jax.random.key(0))
    for options in ({"jacobian_penalty": 1.0}, {"warmup_steps": 1}):
        with pytest.raises(ValueError, match=r"need a classifier of eqx_qdeq, .* got MLP"):
            _fit(mlp, **options)
    with pytest.raises(ValueError, match=r"logits of shape \(5,\) .* blobs has 3 classes"):
        _fit(_model(n_classes=5))


def test_an_accumulation_longer_than_the_run_is_refused():
    with pytest.raises(ValueError, match="the whole run has 3 steps, so that nothing would"):
        fit(
            make_model(jax.random.key(0)),
            make_data(),
            optimizer=optax.sgd(0.1),
            epochs=3,
            batch_size=1000,
            accumulate_steps=4,
            progress=False,
        )
