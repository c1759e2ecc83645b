"""What `fit` and `evaluate` say of arguments of the wrong kind."""

import equinox as eqx
import jax
import numpy as np
import optax
import pytest

from eqx_qdeq import training

MODEL = eqx.nn.MLP(3, 2, 4, 1, key=jax.random.key(0))
SPLIT = training.Split(np.eye(6, 3), np.arange(6) % 2)
DATA = training.Dataset(SPLIT, SPLIT, SPLIT, class_names="ab")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"metrics": [max]}, TypeError, r"`metrics` must be functions \(y_true, y_pred\) by name"),
        ({"metrics": {"f1": "f1"}}, TypeError, "`metrics` must be functions"),
        ({"loss": 3}, ValueError, "`loss` must be one of cross_entropy, .* got 3"),
        (
            {"loss": lambda model, x, y, key: model(x)},
            ValueError,
            r"`loss` must give one real number for one sample; it gives .* of shape \(2,\)",
        ),
        ({"class_weight": 2.0}, ValueError, "`class_weight` must be .* for each of 2 .* got 2.0"),
        ({"accumulate_steps": 1.5}, TypeError, "`accumulate_steps` must be an integer; got 1.5"),
        ({"state": 3}, TypeError, r"`state` is of models .* and MLP is not; leave it out. Got 3"),
        ({"trainable": lambda leaf: False}, ValueError, "`trainable` selects none of the 26"),
        ({"trainable": 3}, ValueError, "`trainable` must be a function of leaves.* got 3"),
        ({"trainable": {"a": True}}, ValueError, "or a tree like the model.* got dict"),
        ({"metrics": {"all": lambda y, p: p}}, TypeError, "the metric 'all' must give one number"),
    ],
)
def test_options_are_named(options, error, message):
    with pytest.raises(error, match=message):
        training.fit(MODEL, DATA, optimizer=optax.sgd(0.1), epochs=1, progress=False, **options)


def test_models_and_data_are_named():
    options = {"optimizer": optax.sgd(0.1), "epochs": 1, "progress": False}
    with pytest.raises(TypeError, match="`model` must be an Equinox module of one sample"):
        training.fit(3, DATA, **options)
    with pytest.raises(ValueError, match="no floating-point arrays, so that there is nothing to"):
        training.fit(eqx.nn.Lambda(lambda x: x[:2]), DATA, **options)
    with pytest.raises(TypeError, match="`dataset` must be a Dataset"):
        training.fit(MODEL, np.eye(3), **options)
    with pytest.raises(TypeError, match="`models` must be a list of models; got MLP"):
        training.fit_together(MODEL, DATA, **options)
    with pytest.raises(TypeError, match="`split` must be a Split"):
        training.evaluate(MODEL, DATA)


def test_an_error_in_a_metric_names_it():
    with pytest.raises(KeyError) as caught:
        training.evaluate(MODEL, SPLIT, metrics={"mine": lambda y, p: {}["x"]})
    assert caught.value.__notes__ == ["in the metric 'mine', called as metric(y_true, y_pred)"]
