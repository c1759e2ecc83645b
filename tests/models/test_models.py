import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

import eqx_qdeq as qdeq

_MAKERS = {
    "paper": lambda key: qdeq.QDEQClassifier(
        4, 16, 4, circuit="paper", head="paper", dropout=0.05, key=key
    ),
    "ours": lambda key: qdeq.QDEQClassifier(
        4, 16, 4, depth=2, gain=0.3, train_gain=True, readout="zz", key=key
    ),
    "angles": lambda key: qdeq.QDEQClassifier(
        4, 16, 3, circuit="basic_entangler", depth=2, encoding="angle", key=key
    ),
    "linear": lambda key: qdeq.QDEQClassifier(
        4, 16, 3, circuit="strongly_entangling", depth=1, injection="linear", key=key
    ),
    "concat": lambda key: qdeq.QDEQClassifier(5, 16, 3, depth=1, injection="concat", key=key),
    "feedback": lambda key: qdeq.QDEQClassifier(4, 16, 3, depth=2, injection="angle", key=key),
    "own circuit": lambda key: qdeq.QDEQClassifier(
        3, 8, 2, circuit=qdeq.circuits.random_layer(3, 20, 1), readout="zz", key=key
    ),
    "table": lambda key: qdeq.QDEQClassifier(2, 5, 3, depth=1, features="table", key=key),
    "classical": lambda key: qdeq.ClassicalDEQClassifier(16, 5, 4, key=key),
    "regressor": lambda key: qdeq.QDEQRegressor(2, 5, 2, depth=1, readout="zz", key=key),
}


def _sample(model, seed=1):
    return jax.random.normal(jax.random.key(seed), (model.config["in_size"],))


@pytest.mark.parametrize("name", sorted(_MAKERS))
def test_every_classifier_solves_trains_and_is_rebuilt(name, tol):
    model = _MAKERS[name](jax.random.key(0))
    x = _sample(model)

    def loss(model):
        logits, solution = model.solve(x)
        return jax.nn.logsumexp(logits), (logits, solution)

    @eqx.filter_jit
    def run(model):
        return *eqx.filter_grad(loss, has_aux=True)(model), model(x)

    gradient, (logits, solution), called = run(model)
    np.testing.assert_allclose(called, logits, atol=tol)
    sizes = [model.config[name] for name in ("n_classes", "n_targets") if name in model.config]
    assert [*logits.shape] == sizes and solution.success
    assert all(np.all(np.isfinite(g)) for g in jax.tree.leaves(gradient))
    # Through JSON, as in a file: the same structure, and other weights for another key.
    config = json.loads(json.dumps(model.config))
    twin = qdeq.classifier_from_config(config, key=jax.random.key(0))
    assert eqx.tree_equal(twin, model)
    other = qdeq.classifier_from_config(config, key=jax.random.key(1))
    assert jax.tree.structure(other) == jax.tree.structure(model)


@pytest.mark.parametrize("name", ["paper", "ours", "classical"])
def test_many_layers_reach_the_equilibrium(name, tol):
    model = _MAKERS[name](jax.random.key(0))
    x = 3 * _sample(model)
    both = eqx.filter_jit(lambda model: (model.unrolled(200).solve(x), model(x)))
    (logits, solution), solved = both(model)
    np.testing.assert_allclose(logits, solved, atol=2e-4)
    assert solution.stats["residual"] < 1e-4 and solution.stats["num_evals"] == 200


def test_one_layer_is_the_circuit_applied_once(tol):
    model = _MAKERS["ours"](jax.random.key(0))
    x = _sample(model)

    @eqx.filter_jit
    def run(model):
        cell = model.deq.cell
        once = qdeq.z_and_zz(4).values(cell.bind(x).state(cell.init(x)))
        return model.unrolled(1)(x), model.head(once)

    np.testing.assert_allclose(*run(model), atol=10 * tol)


def test_the_warm_up_model_shares_its_parameters():
    model = _MAKERS["paper"](jax.random.key(0))
    x = _sample(model)
    gradient = eqx.filter_jit(eqx.filter_grad(lambda m: jnp.sum(m.unrolled(2)(x))))(model)
    assert jax.tree.structure(gradient) == jax.tree.structure(eqx.filter(model, eqx.is_array))
    config = model.unrolled(2).config
    rebuilt = qdeq.classifier_from_config(config, key=jax.random.key(0))
    assert eqx.tree_equal(rebuilt, model.unrolled(2))
    assert model.unrolled(2).unrolled(3).n_layers == 3


def test_the_papers_head():
    model = _MAKERS["paper"](jax.random.key(0))
    head = model.head
    w = jnp.array([0.5, -0.5, 0.1, -0.2])
    repeated = jax.nn.relu(jnp.repeat(w, 4))
    np.testing.assert_allclose(head(w), head.linear(repeated), atol=1e-6)
    # One key, one mask; without a key no dropout.
    a, b = head(w, key=jax.random.key(3)), head(w, key=jax.random.key(3))
    np.testing.assert_array_equal(a, b)
    values = {float(head(jnp.ones(4), key=jax.random.key(i))[0]) for i in range(20)}
    assert len(values) > 1


def test_the_papers_parameters():
    model = _MAKERS["paper"](jax.random.key(0))
    count = sum(p.size for p in jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array)))
    assert count == 39 + 16 * 4 + 4


def test_solve_with_penalty_is_both(tol):
    model = _MAKERS["paper"](jax.random.key(0))
    x = _sample(model)

    @eqx.filter_jit
    def run(model):
        logits, solution, penalty = model.solve_with_penalty(x)
        alone = model.jacobian_penalty(x, solution.value)
        unrolled = model.unrolled(2)
        none = unrolled.solve_with_penalty(x)[2], unrolled.jacobian_penalty(x, solution.value)
        return logits, model(x), penalty, alone, none

    logits, called, penalty, alone, none = run(model)
    np.testing.assert_allclose(logits, called, atol=tol)
    np.testing.assert_allclose(penalty, alone, rtol=100 * tol)
    assert penalty > 0
    assert none == (0, 0)


def test_a_sample_with_nan_is_contained():
    model = _MAKERS["ours"](jax.random.key(0))
    xs = jax.random.normal(jax.random.key(1), (4, 16)).at[2, 3].set(jnp.nan)

    def loss(model):
        logits, solutions = jax.vmap(model.solve)(xs)
        return jnp.sum(logits**2), solutions.success

    step = eqx.filter_jit(eqx.filter_value_and_grad(loss, has_aux=True))
    (value, success), gradient = step(model)
    np.testing.assert_array_equal(success, [True, True, False, True])
    assert np.isfinite(value) and all(np.all(np.isfinite(g)) for g in jax.tree.leaves(gradient))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda k: qdeq.QDEQClassifier(4, 16, 1, key=k), "`n_classes` must be at least 2"),
        (lambda k: qdeq.QDEQClassifier(4, 17, 4, key=k), "takes 1 to 16 features; got 17"),
        (lambda k: qdeq.QDEQClassifier(4, 16, 4, circuit="x", key=k), "`circuit` must be one of"),
        (lambda k: qdeq.QDEQClassifier(5, 16, 4, circuit="paper", key=k), "4 or 10 wires"),
        (
            lambda k: qdeq.QDEQClassifier(5, 16, 4, circuit=qdeq.circuits.paper(4), key=k),
            "`circuit` has 4 wires, but n_qubits=5",
        ),
        (
            lambda k: qdeq.QDEQClassifier(4, 16, 4, head="paper", readout="zz", key=k),
            "the paper's head reads",
        ),
        (lambda k: qdeq.ClassicalDEQClassifier(4, 0, 2, key=k), "`hidden_size` must be"),
        (lambda k: _MAKERS["paper"](k).unrolled(0), "`n_layers` must be at least 1"),
        (lambda k: qdeq.classifier_from_config({"model": "X"}, key=k), "names the model 'X'"),
        (
            lambda k: qdeq.classifier_from_config(
                {"model": "ClassicalDEQClassifier", "size": 3}, key=k
            ),
            "entries that are not known: 'size'",
        ),
    ],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make(jax.random.key(0))


def test_the_kind_of_features_chooses_what_is_left_out():
    key = jax.random.key(0)
    table = qdeq.QDEQClassifier(2, 4, 3, depth=1, features="table", key=key)
    named = qdeq.QDEQClassifier(2, 4, 3, depth=1, encoding="angle", injection="linear", key=key)
    assert eqx.tree_equal(table, named) and table.config == named.config
    image = qdeq.QDEQClassifier(2, 4, 3, depth=1, key=key)
    named = qdeq.QDEQClassifier(
        2, 4, 3, depth=1, features="table", encoding="amplitude", injection="add", key=key
    )
    assert eqx.tree_equal(image, named) and image.config == named.config
    with pytest.raises(ValueError, match="`features` must be one of image, table; got 'text'"):
        qdeq.QDEQClassifier(2, 4, 3, features="text", key=key)


def test_predictions(tol):
    model = _MAKERS["table"](jax.random.key(0))
    xs = jax.random.normal(jax.random.key(1), (20, 5)).at[3, 0].set(jnp.nan)
    both = eqx.filter_jit(
        lambda m: [jax.vmap(f)(xs) for f in (m, m.predict, m.predict_proba, m.unrolled(3).predict)]
    )
    logits, classes, shares, unrolled = both(model)
    good = np.arange(20) != 3
    np.testing.assert_array_equal(classes[good], np.argmax(logits, axis=1)[good])
    np.testing.assert_allclose(shares[good], scipy.special.softmax(logits, axis=1)[good], atol=tol)
    # What is not known is no class.
    assert classes[3] == -1 and unrolled.shape == (20,)


def test_a_regressor_has_what_a_classifier_has():
    model = _MAKERS["regressor"](jax.random.key(0))
    x = _sample(model)
    deep = model.unrolled(150)
    assert isinstance(deep, qdeq.UnrolledRegressor) and isinstance(deep, qdeq.AbstractRegressor)
    many, found, predicted = eqx.filter_jit(lambda m, d: (d(x), m(x), m.predict(x)))(model, deep)
    np.testing.assert_allclose(many, found, atol=1e-5)
    np.testing.assert_array_equal(predicted, found)
    rebuilt = qdeq.classifier_from_config(deep.config, key=jax.random.key(0))
    assert eqx.tree_equal(rebuilt, deep)
    noisy = model.with_noise(qdeq.noise.NoiseModel((qdeq.noise.Depolarizing(0.05),)))
    assert isinstance(noisy, qdeq.QDEQRegressor) and not eqx.tree_equal(noisy(x), found)
    with pytest.raises(ValueError, match="`n_targets` must be at least 1; got 0"):
        qdeq.QDEQRegressor(2, 5, 0, key=jax.random.key(0))
