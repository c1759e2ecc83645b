"""Several trainings as one computation: each is what it would be alone."""

import dataclasses

import equinox as eqx
import jax
import numpy as np
import optax
import pytest

import eqx_qdeq as qdeq
from eqx_qdeq.training import (
    evaluate,
    fit,
    fit_together,
    get_recipe,
    run_recipe,
    run_recipe_together,
    TrainingError,
)
from tests.training._compilations import compilations
from tests.training._stand_in import make_data, make_model

ADAM = optax.adam(0.05)
SEEDS = (0, 3)
DATA = make_data()
OPTIONS = {"optimizer": ADAM, "epochs": 3, "batch_size": 16, "progress": False}


def _models():
    return [make_model(jax.random.key(seed)) for seed in SEEDS]


def _assert_close(one, other, tol):
    arrays = [jax.tree.leaves(eqx.filter(tree, eqx.is_array)) for tree in (one, other)]
    for a, b in zip(*arrays, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tol)


@pytest.mark.parametrize(
    "options",
    [
        {"clip": 0.5, "jacobian_penalty": 0.3},
        {"warmup_steps": 6, "warmup_layers": 3},
    ],
    ids=["penalty", "warm-up"],
)
def test_each_is_what_it_is_alone(options, tol):
    found = fit_together(_models(), DATA, seeds=SEEDS, **OPTIONS, **options)
    for model, seed, result in zip(_models(), SEEDS, found, strict=True):
        alone = fit(model, DATA, seed=seed, **OPTIONS, **options)
        _assert_close(result.last_model, alone.last_model, 100 * tol)
        assert result.steps == alone.steps and result.best_epoch == alone.best_epoch
        for one, other in zip(result.history, alone.history, strict=True):
            assert one.keys() == other.keys()
            assert one["train_loss"] == pytest.approx(other["train_loss"], abs=100 * tol)
            assert one["validation_accuracy"] == other["validation_accuracy"]


def test_data_of_their_own(tol):
    datasets = [make_data(seed=1), make_data(seed=2)]
    found = fit_together(_models(), datasets, seeds=SEEDS, **OPTIONS)
    for model, data, seed, result in zip(_models(), datasets, SEEDS, found, strict=True):
        alone = fit(model, data, seed=seed, **OPTIONS)
        _assert_close(result.model, alone.model, 100 * tol)


def test_checkpoints_are_those_of_fit(tmp_path, tol):
    """Together for three epochs, then alone; and together again from where they stood."""
    folders = [tmp_path / str(seed) for seed in SEEDS]
    together = {"seeds": SEEDS, "checkpoint_dirs": folders, "configs": [{"n": 0}, {"n": 1}]}
    fit_together(_models(), DATA, **together, **OPTIONS)
    longer = OPTIONS | {"epochs": 5}
    found = fit_together(_models(), DATA, **together, **longer)
    for n, (model, seed, folder) in enumerate(zip(_models(), SEEDS, folders, strict=True)):
        alone = fit(model, DATA, seed=seed, **longer)
        resumed = fit(model, DATA, seed=seed, checkpoint_dir=folder, config={"n": n}, **longer)
        assert len(found[n].history) == 5 and resumed.seconds == found[n].seconds
        _assert_close(found[n].last_model, alone.last_model, 100 * tol)
        _assert_close(resumed.last_model, found[n].last_model, 0)


@pytest.mark.usefixtures("once")
def test_a_recipe(tmp_path):
    recipe = get_recipe("digits-demo")
    # Few layers compile sooner.
    recipe = dataclasses.replace(recipe, model={**recipe.model, "depth": 2}, epochs=2)
    outs = [tmp_path / str(seed) for seed in SEEDS]
    options = {"limit": 60, "progress": False}
    found = run_recipe_together(recipe, seeds=SEEDS, outs=outs, **options)
    for seed, out, result in zip(SEEDS, outs, found, strict=True):
        # It is finished: run_recipe only tests it again.
        again = run_recipe(recipe, seed=seed, out=out, **options)
        assert again.test.accuracy == result.test.accuracy
        assert evaluate(result.fit.model, result.dataset.test).loss == result.test.loss
        assert {"run.json", "model.eqx", "test.json"} <= {path.name for path in out.iterdir()}


def test_a_sweep(tol):
    """Gains, rates of noise, learning rates, penalties and seeds at once: each is what it is alone,
    and nothing is compiled for one that was not for all."""
    data = make_data(20, size=4, n_classes=2)
    make = lambda gain, rate: qdeq.with_noise(
        qdeq.QDEQClassifier(2, 4, 2, depth=1, gain=gain, key=jax.random.key(0)),
        qdeq.noise.NoiseModel.depolarizing(rate),
    )
    sweep = [(0.1, 0.0, 0.05, 0.2), (0.4, 0.01, 0.2, 0.1), (0.2, 0.2, 0.1, 0.3)]
    options = {"epochs": 2, "batch_size": 10, "progress": False, "clip": 5.0}
    models = [make(gain, rate) for gain, rate, _, _ in sweep]
    together = lambda models: fit_together(
        models,
        data,
        seeds=[0, 1, 2],
        optimizer=[optax.adam(rate) for *_, rate, _ in sweep],
        jacobian_penalty=[weight for *_, weight in sweep],
        **options,
    )
    found = together(models)
    with compilations() as anew:
        together(models[::-1])
    assert anew == []
    for seed, (model, result, (gain, rate, learning_rate, weight)) in enumerate(
        zip(models, found, sweep, strict=True)
    ):
        with compilations() as anew:
            alone = fit(
                model,
                data,
                seed=seed,
                optimizer=optax.adam(learning_rate),
                jacobian_penalty=weight,
                **options,
            )
        assert seed == 0 or anew == []  # all but the first reuse what it compiled
        _assert_close(result.last_model, alone.last_model, 100 * tol)
        assert result.model.config["gain"] == gain
        assert result.model.deq.cell.layer.noise.two_wire[0].probability == rate


def test_what_does_not_go_together():
    one, other = make_data(), make_data(n=40)
    with pytest.raises(ValueError, match=r"number of training samples must be the same"):
        fit_together(_models(), [one, other], seeds=SEEDS, **OPTIONS)
    with pytest.raises(ValueError, match=r"`seeds` must have one entry for each of 2 models"):
        fit_together(_models(), DATA, seeds=(0,), **OPTIONS)
    with pytest.raises(TypeError, match="no option `callbacks`; it takes optimizer"):
        fit_together(_models(), DATA, seeds=SEEDS, callbacks=[print], **OPTIONS)
    models = [make_model(jax.random.key(0)), make_model(jax.random.key(0), hidden=5)]
    with pytest.raises(ValueError, match=r"the structure must be the same"):
        fit_together(models, DATA, seeds=SEEDS, **OPTIONS)
    models = [make_model(jax.random.key(0), dropout=p) for p in (0.5, 0.1)]
    with pytest.raises(ValueError, match=r"`\.dropout\.p` model 0 has 0\.5 and model 1 has 0\.1"):
        fit_together(models, DATA, seeds=SEEDS, **OPTIONS)
    with pytest.raises(ValueError, match="the kind of the optimizer.* must be the same"):
        kinds = [optax.adam(0.1), optax.sgd(0.1)]
        fit_together(_models(), DATA, **(OPTIONS | {"optimizer": kinds}))
    with pytest.raises(ValueError, match="`clip` must have one entry for each of 2 models; has 3"):
        fit_together(_models(), DATA, clip=[1.0, 2.0, 3.0], **OPTIONS)
    with pytest.raises(TypeError, match="no option `seed`; it takes .*, and `seeds`, "):
        fit_together(_models(), DATA, seed=[0, 1], **OPTIONS)
    with pytest.raises(ValueError, match="`models` is empty"):
        fit_together([], DATA, **OPTIONS)


def test_one_that_diverges_is_named():
    options = OPTIONS | {"optimizer": [optax.sgd(0.1), optax.sgd(float("inf"))]}
    with pytest.raises(TrainingError, match=r"in step 1 of model 1 \(epoch 1"):
        fit_together(_models(), DATA, seeds=SEEDS, **options)
