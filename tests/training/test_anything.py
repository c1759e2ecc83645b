"""Any module, loss, kind of sample and weight: against Equinox, Optax and scikit-learn by hand."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
from sklearn.linear_model import LinearRegression
from sklearn.metrics import f1_score, mean_absolute_error, mean_squared_error, r2_score
from sklearn.utils.class_weight import compute_class_weight

import eqx_qdeq as qdeq
from eqx_qdeq.training import CheckpointError, ConvergenceWarning, Dataset, evaluate, fit, Split
from tests.training._stand_in import make_data

pytestmark = pytest.mark.float32

DATA = make_data()
SGD = optax.sgd(0.1)
KEY = jax.random.key(0)


def _fit(model, data=DATA, **options):
    defaults = {"optimizer": SGD, "epochs": 3, "batch_size": 60, "progress": False}
    return fit(model, data, **(defaults | options))


def _flat(tree) -> np.ndarray:
    leaves = jax.tree.leaves(eqx.filter(tree, eqx.is_inexact_array))
    return np.concatenate([np.ravel(leaf) for leaf in leaves])


def _mlp(out: int | str = 3) -> eqx.nn.MLP:
    return eqx.nn.MLP(3, out, 4, 1, key=KEY)


def _regression(n: int = 40, outputs: int | None = 2) -> Dataset:
    random = np.random.default_rng(0)
    shape = (3,) if outputs is None else (3, outputs)
    w = random.normal(size=shape)

    def split(n: int) -> Split:
        x = random.normal(size=(n, 3))
        y = x @ w + 0.5 + 0.1 * random.normal(size=(n, *shape[1:]))
        return Split(x, y)

    return Dataset(split(n), split(20), split(20), name="plane")


# --- Models. ---


def test_solves_inside_any_model_are_reported(tol):
    cell = qdeq.FunctionCell(lambda z, x: 0.5 * jnp.cos(z) * x, jnp.zeros_like)
    model = eqx.nn.Sequential([qdeq.DEQ(cell), eqx.nn.Linear(3, 3, key=KEY)])
    record = _fit(model).history[-1]
    solutions = jax.vmap(model[0].solve)(DATA.validation.x)
    steps, residual = (solutions.stats[name] for name in ("num_steps", "residual"))
    assert record["validation_solver_steps"] == pytest.approx(np.mean(steps))
    assert record["train_fraction_converged"] == 1 == record["validation_fraction_converged"]
    found = evaluate(model, DATA.validation)
    assert found.residual_max == pytest.approx(float(np.max(residual)), rel=100 * tol, abs=tol)
    assert "solver steps" in str(found)
    short = eqx.tree_at(lambda m: m.layers[0], model, qdeq.DEQ(cell, max_steps=1))
    with pytest.warns(ConvergenceWarning, match="of the training samples of epoch 1"):
        _fit(short)
    two = eqx.nn.Sequential([*model.layers, qdeq.DEQ(cell)])
    assert evaluate(two, DATA.validation).solver_steps > 1


class _Normalized(eqx.Module):
    first: eqx.nn.Linear
    norm: eqx.nn.BatchNorm
    last: eqx.nn.Linear

    def __init__(self, key):
        one, two = jax.random.split(key)
        self.first = eqx.nn.Linear(3, 4, key=one)
        self.norm = eqx.nn.BatchNorm(4, "batch", mode="batch")
        self.last = eqx.nn.Linear(4, 3, key=two)

    def __call__(self, x, state):
        x, state = self.norm(self.first(x), state)
        return self.last(jax.nn.relu(x)), state


@pytest.fixture
def promoting():
    """Equinox's batch normalization mixes counts and floats."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@pytest.mark.usefixtures("promoting")
def test_state_as_of_batch_normalization(tol, tmp_path):
    model, state = eqx.nn.make_with_state(_Normalized)(KEY)
    options = {"state": state, "epochs": 4, "batch_size": 60}
    ours = _fit(model, **options)

    def loss(model, state, x, y):
        call = jax.vmap(model, (0, None), (0, None), axis_name="batch")
        logits, state = call(x, state)
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean(), state

    # As Equinox's documentation trains it.
    theirs, kept = model, state
    for _ in range(4):
        gradient, kept = eqx.filter_grad(loss, has_aux=True)(theirs, kept, *_xy(DATA.train))
        theirs = eqx.apply_updates(theirs, jax.tree.map(lambda g: -0.1 * g, gradient))
    np.testing.assert_allclose(_flat(ours.last_model), _flat(theirs), atol=100 * tol)
    np.testing.assert_allclose(_flat(ours.last_state), _flat(kept), atol=100 * tol)
    used = eqx.nn.inference_mode(ours.model)
    logits = jax.vmap(used, (0, None), (0, None), axis_name="batch")(DATA.test.x, ours.state)[0]
    accuracy = np.mean(np.argmax(logits, 1) == DATA.test.y)
    assert evaluate(ours.model, DATA.test, state=ours.state).accuracy == pytest.approx(accuracy)
    # Bit by bit, with a last batch that is filled up.
    options |= {"batch_size": 16, "checkpoint_dir": tmp_path}
    _fit(model, **(options | {"epochs": 2}))
    resumed, alone = _fit(model, **options), _fit(model, **(options | {"checkpoint_dir": None}))
    assert np.array_equal(_flat(resumed.last_state), _flat(alone.last_state))
    assert np.array_equal(_flat(resumed.last_model), _flat(alone.last_model))


def _xy(split):
    return split.x, split.y


def test_dropout_is_on_in_training_and_off_in_evaluation(tol):
    layers = [eqx.nn.Linear(3, 16, key=KEY), eqx.nn.Dropout(0.5), eqx.nn.Linear(16, 3, key=KEY)]
    model = eqx.nn.Sequential(layers)
    with_dropout, without = _fit(model), _fit(eqx.nn.inference_mode(model))
    assert not np.allclose(_flat(with_dropout.last_model), _flat(without.last_model))
    logits = jax.vmap(eqx.nn.inference_mode(model))(DATA.test.x)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, DATA.test.y)
    assert evaluate(model, DATA.test).loss == pytest.approx(float(losses.mean()), rel=100 * tol)


class _Own(eqx.Module):
    """What is called with a mapping, and has no `key`; or needs one."""

    table: jax.Array
    needs_key: bool = eqx.field(static=True)

    def __call__(self, x, **named):
        if self.needs_key and named.get("key") is None:
            raise ValueError("a key, please")
        noise = 0.0 if not self.needs_key else 1e-3 * jax.random.normal(named["key"], (3,))
        return jnp.mean(self.table[x["tokens"]], axis=0) * x["scale"] + noise


@pytest.mark.parametrize("needs_key", [False, True])
def test_samples_of_any_structure_with_tokens(needs_key):
    random = np.random.default_rng(0)

    def split(n: int) -> Split:
        y = random.integers(0, 3, n)
        tokens = 3 * random.integers(0, 2, (n, 5)) + y[:, None]
        return Split({"tokens": tokens, "scale": np.ones(n)}, y)

    data = Dataset(split(60), split(20), split(20), class_names=["a", "b", "c"])
    result = _fit(_Own(jnp.zeros((6, 3)), needs_key), data, optimizer=optax.adam(0.1), epochs=20)
    assert evaluate(result.model, data.test).accuracy == 1
    assert evaluate(result.model, data.test, 7).loss == pytest.approx(
        evaluate(result.model, data.test).loss, rel=1e-4
    )


def test_labels_of_tokens():
    x = np.random.default_rng(0).integers(0, 4, (40, 6))
    data = Dataset(*[Split(x, (x + 1) % 4)] * 3, class_names="abcd")
    model = _PerToken(eqx.nn.Embedding(4, 4, key=KEY))
    result = _fit(model, data, optimizer=optax.adam(0.3), epochs=30)
    found = evaluate(result.model, data.test)
    assert found.accuracy == 1 and found.confusion.sum() == x.size


class _PerToken(eqx.Module):
    table: eqx.nn.Embedding

    def __call__(self, x):
        return jax.vmap(self.table)(x)


# --- Losses. ---


@pytest.mark.parametrize("outputs", [None, 1, 2])
def test_regression_is_scikit_learns(outputs, tol):
    data = _regression(outputs=outputs)
    model = eqx.nn.Linear(3, "scalar" if outputs is None else outputs, key=KEY)
    result = _fit(model, data, optimizer=optax.sgd(0.2), epochs=150)
    theirs = LinearRegression().fit(data.train.x, data.train.y)
    ours = result.last_model
    np.testing.assert_allclose(np.squeeze(ours.weight), np.squeeze(theirs.coef_), atol=1e-3)
    np.testing.assert_allclose(np.squeeze(ours.bias), np.squeeze(theirs.intercept_), atol=1e-3)
    found = evaluate(ours, data.test, metrics={"mae": mean_absolute_error})
    guesses = np.asarray(jax.vmap(ours)(data.test.x), np.float64)
    truth = np.asarray(data.test.y, np.float64)
    assert found.mean_square == pytest.approx(mean_squared_error(truth, guesses), rel=1e-4)
    assert found.loss == pytest.approx(found.mean_square, rel=1e-5)
    assert found.r2 == pytest.approx(r2_score(truth, guesses), rel=1e-4)
    assert found.own["mae"] == pytest.approx(mean_absolute_error(truth, guesses), rel=1e-4)
    assert found.accuracy is None is found.confusion and str(found).startswith("R² 0.9")
    record = result.history[-1]
    assert record["train_r2"] > 0.9 and "R² 0.9" in str(result)
    # A single output may be of shape (1,) where the target is a number.
    if outputs is None:
        column = eqx.nn.Linear(3, 1, key=KEY)
        other = _fit(column, data, optimizer=optax.sgd(0.2), epochs=150).last_model
        np.testing.assert_allclose(_flat(other), _flat(ours), atol=1e-4)
        square = lambda model, x, y, key: (model(x)[0] - y) ** 2
        assert evaluate(other, data.test, loss=square).r2 == pytest.approx(found.r2, abs=1e-4)


def test_huber_is_scipys():
    data, model = _regression(), eqx.nn.Linear(3, 2, key=KEY)
    gap = np.asarray(3 * jax.vmap(model)(data.test.x) - data.test.y, np.float64)
    tripled = eqx.tree_at(lambda m: (m.weight, m.bias), model, (3 * model.weight, 3 * model.bias))
    truth = np.mean(scipy.special.huber(1.0, gap))
    assert np.abs(gap).max() > 1
    assert evaluate(tripled, data.test, loss="huber").loss == pytest.approx(truth, rel=1e-5)
    result = _fit(model, data, loss="huber")
    assert result.history[-1]["train_loss"] < result.history[0]["train_loss"]


def test_a_loss_of_ones_own(tol):
    model = eqx.nn.Sequential([qdeq.ClassicalDEQClassifier(3, 3, 3, key=KEY).deq, _Scale()])

    def cross_entropy(model, x, y, key):
        return optax.softmax_cross_entropy_with_integer_labels(model(x, key=key), y)

    ours, named = _fit(model, loss=cross_entropy, epochs=2), _fit(model, epochs=2)
    np.testing.assert_allclose(_flat(ours.last_model), _flat(named.last_model), atol=100 * tol)
    for one, other in zip(ours.history, named.history, strict=True):
        # What was put out in training is not known; all else is.
        assert set(other) - set(one) == {"train_accuracy"}
        assert one["validation_loss"] == pytest.approx(other["validation_loss"], rel=100 * tol)
        assert one["train_solver_steps"] == pytest.approx(other["train_solver_steps"])
    parameters = lambda model: jnp.sum(jax.vmap(lambda w: w**2)(model[1].weight))
    penalized = lambda model, x, y, key: cross_entropy(model, x, y, key) + parameters(model)
    assert _fit(model, loss=penalized).history[0]["train_loss"] > ours.history[0]["train_loss"]


class _Scale(eqx.Module):
    weight: jax.Array

    def __init__(self):
        self.weight = jnp.ones(3)

    def __call__(self, x, *, key=None):
        return self.weight * x


@pytest.mark.usefixtures("promoting")
def test_a_loss_of_ones_own_with_state():
    model, state = eqx.nn.make_with_state(_Normalized)(KEY)

    def loss(model, state, x, y, key):
        logits, state = model(x, state)
        return optax.softmax_cross_entropy_with_integer_labels(logits, y), state

    ours, named = (_fit(model, state=state, loss=how) for how in (loss, None))
    np.testing.assert_allclose(_flat(ours.last_state), _flat(named.last_state), atol=1e-6)
    assert ours.history[-1]["validation_accuracy"] == named.history[-1]["validation_accuracy"]


def test_what_is_random_in_a_loss_differs_between_samples():
    seen = []

    def loss(model, x, y, key):
        number = jax.random.uniform(key)
        jax.debug.callback(lambda u: seen.append(float(u)), number)
        return jnp.sum(model(x) ** 2) * number

    _fit(_mlp(), loss=loss, epochs=1)
    jax.effects_barrier()
    assert len(set(seen[:60])) == 60


# --- Weights, accumulation, metrics. ---


def test_weights_are_repetitions(tol):
    times = np.arange(60) % 3
    weighted = Split(DATA.train.x, DATA.train.y, times)
    rows = np.repeat(np.arange(60), times)
    repeated = Split(DATA.train.x[rows], DATA.train.y[rows])
    one, other = (
        _fit(_mlp(), Dataset(s, s, s, class_names="abc"), batch_size=64, epochs=5)
        for s in (weighted, repeated)
    )
    np.testing.assert_allclose(_flat(one.last_model), _flat(other.last_model), atol=100 * tol)
    for name in ("train_loss", "validation_loss"):
        assert one.history[-1][name] == pytest.approx(other.history[-1][name], rel=1000 * tol)


def test_class_weights_are_scikit_learns(tol):
    rows = np.r_[0:60:3, 1:30:3, 2:15:3]
    x, y = np.asarray(DATA.train.x)[rows], np.asarray(DATA.train.y)[rows]
    theirs = compute_class_weight("balanced", classes=np.arange(3), y=y)
    data = lambda *weight: Dataset(*[Split(x, y, *weight)] * 3, class_names="abc")
    fits = [
        _fit(_mlp(), data(), class_weight=how)
        for how in ("balanced", theirs, dict(enumerate(theirs)))
    ]
    by_sample = _fit(_mlp(), data(theirs[y]))
    for one in fits:
        np.testing.assert_allclose(_flat(one.last_model), _flat(by_sample.last_model), atol=tol)
        assert one.history[-1]["train_loss"] == pytest.approx(by_sample.history[-1]["train_loss"])
    assert not np.allclose(_flat(_fit(_mlp(), data()).last_model), _flat(by_sample.last_model))


def test_accumulated_steps_are_larger_batches(tol):
    small = _fit(_mlp(), batch_size=15, accumulate_steps=4, clip=0.1, epochs=4)
    large = _fit(_mlp(), batch_size=60, clip=0.1, epochs=4)
    assert (small.steps, large.steps) == (16, 4)
    np.testing.assert_allclose(_flat(small.last_model), _flat(large.last_model), atol=100 * tol)


def test_metrics_of_ones_own():
    macro = lambda y, guesses: f1_score(y, guesses, average="macro")
    result = _fit(_mlp(), metrics={"f1": macro})
    truth = macro(DATA.validation.y, jax.vmap(result.last_model)(DATA.validation.x).argmax(1))
    assert result.history[-1]["validation_f1"] == pytest.approx(truth)
    assert "f1 " in str(evaluate(result.model, DATA.test, metrics={"f1": macro}))


def test_arrays_are_data():
    result = _fit(_mlp(), (DATA.train.x, DATA.train.y))
    assert "validation_accuracy" in result.history[-1]


def test_another_loss_or_weight_is_another_run(tmp_path):
    options = {"checkpoint_dir": tmp_path, "epochs": 1}
    _fit(_mlp(), **options)
    for name, other in (
        ("loss", {"loss": lambda model, x, y, key: jnp.sum(model(x) ** 2)}),
        ("class_weight", {"class_weight": "balanced"}),
        ("accumulate_steps", {"accumulate_steps": 2}),
    ):
        with pytest.raises(CheckpointError, match=f"of another run: {name} was None there"):
            _fit(_mlp(), **options, **other)


# --- What does not fit is said before anything is compiled. ---


def _no_number(model, x, y, key):
    return model(x)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "crossentropy"}, "`loss` must be one of cross_entropy, mean_square, huber"),
        ({"loss": _no_number}, r"one real number for one sample; it gives .* of shape \(3,\)"),
        ({"loss": "mean_square"}, r"outputs of shape \(3,\) .* targets of blobs have shape \(\)"),
        ({"class_weight": [1.0]}, r"one number for each of 3 classes, .* got \[1\.0\]"),
        ({"class_weight": {7: 1.0}}, "has the class 7; the classes are 0 to 2"),
        ({"class_weight": [1.0, -1.0, 1.0]}, "`class_weight` must be finite, at least 0"),
        ({"class_weight": "equal"}, "`class_weight` must be one of balanced; got 'equal'"),
        ({"accumulate_steps": 0}, "`accumulate_steps` must be at least 1; got 0"),
        ({"metrics": {"loss": f1_score}}, "`metrics` has the name 'loss', which is one of ours"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_is_refused(options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        _fit(_mlp(), **options)


def test_what_is_refused_of_data_and_models():
    data = _regression()
    with pytest.raises(ValueError, match=r'"cross_entropy" needs labels, integers from 0; y is'):
        _fit(_mlp(2), data, loss="cross_entropy")
    with pytest.raises(ValueError, match=r"outputs of shape \(3,\) .* plane have shape \(2,\)"):
        _fit(_mlp(), data)
    with pytest.raises(ValueError, match="`class_weight` needs one label per sample"):
        _fit(_mlp(2), data, class_weight="balanced")
    with pytest.raises(ValueError, match=r"compares one array of outputs with y; .* \(\(3,\), "):
        _fit(eqx.nn.Lambda(lambda x: (x, x)), DATA)
    with pytest.raises(Exception) as error:
        _fit(eqx.nn.MLP(5, 3, 4, 1, key=KEY), DATA)
    assert any("called for one sample, x = float" in note for note in error.value.__notes__)
    with pytest.raises(ValueError, match=r"wrong y.*"):
        evaluate(_mlp(), DATA.test, metrics={"bad": _raises})


def _raises(y, guesses):
    raise ValueError("wrong y")


def test_what_is_no_classification_counts_no_classes():
    """One logit for two classes, by a loss of one's own; and whole numbers that are fitted."""
    y = np.arange(40) % 2
    data = Dataset(*[Split(np.random.default_rng(0).normal(size=(40, 3)), y)] * 3, class_names="ab")
    sigmoid = optax.sigmoid_binary_cross_entropy
    binary = lambda model, x, y, key: sigmoid(model(x)[0], y.astype(x.dtype))
    for width, options in ((1, {"loss": binary}), ("scalar", {"loss": "mean_square"})):
        result = _fit(_mlp(width), data, **options)
        found = evaluate(result.model, data.test, **options)
        assert found.accuracy is None is found.confusion and "accuracy" not in str(result)
        assert found.loss == pytest.approx(result.history[result.best_epoch - 1]["validation_loss"])
    assert found.r2 == pytest.approx(1 - found.loss / y.var(), rel=1e-4)
