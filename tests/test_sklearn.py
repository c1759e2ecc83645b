"""The estimators, by scikit-learn's own checks and beside its own estimators."""

import pickle

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_iris, load_wine
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator

import eqx_qdeq as qdeq
from eqx_qdeq.sklearn import QuantumEquilibriumClassifier, QuantumEquilibriumRegressor
from eqx_qdeq.training import TrainingError

pytestmark = pytest.mark.usefixtures("once")
SMALL = {"n_qubits": 2, "epochs": 25, "learning_rate": 0.05, "weight_decay": 0.3}


@pytest.fixture(scope="module")
def fitted():
    x, y = load_iris(return_X_y=True)
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    return QuantumEquilibriumClassifier(**SMALL, random_state=0).fit(x, names), x, names


@pytest.mark.parametrize("kind", [QuantumEquilibriumClassifier, QuantumEquilibriumRegressor])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
# Some checks fit without a seed, and what is learned then may have a sample that is not solved.
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_scikit_learns_checks(kind):
    results = check_estimator(kind(**SMALL, random_state=0), on_fail=None)
    failed = {r["check_name"]: r["exception"] for r in results if r["status"] == "failed"}
    assert not failed
    assert sum(r["status"] == "passed" for r in results) > 40


def test_a_fitted_classifier(fitted, tmp_path):
    model, x, names = fitted
    assert model.score(x, names) > 0.9
    assert model.classes_.tolist() == ["setosa", "versicolor", "virginica"]
    shares, logits = model.predict_proba(x), model.decision_function(x)
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    assert (model.classes_[logits.argmax(axis=1)] == model.predict(x)).all()
    # A row is the same, to the last bit, whichever others come with it.
    np.testing.assert_array_equal(model.predict_proba(x[7:9]), shares[7:9])
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict_proba(x), shares)
    assert isinstance(model.model_, qdeq.QDEQClassifier)
    # As a module, it is that of standardized features, filled up to a turn of rotations.
    assert model.model_.config["in_size"] == 8


def test_weights_are_repetitions_to_the_last_bit(fitted):
    _, x, names = fitted
    weight = np.arange(len(x)) % 3
    twice = np.repeat(np.arange(len(x)), weight)
    weighted = QuantumEquilibriumClassifier(**SMALL, random_state=0).fit(x, names, weight)
    repeated = QuantumEquilibriumClassifier(**SMALL, random_state=0).fit(x[twice], names[twice])
    np.testing.assert_array_equal(weighted.predict_proba(x), repeated.predict_proba(x))


def test_several_targets_in_their_units():
    x, y = load_diabetes(return_X_y=True)
    both = np.stack([y, 1000 * x[:, 2] + 5], axis=1)
    model = QuantumEquilibriumRegressor(**SMALL, random_state=0).fit(x, both)
    found = model.predict(x)
    assert found.shape == both.shape and model.score(x, both) > 0.5
    np.testing.assert_allclose(found.mean(axis=0), both.mean(axis=0), rtol=0.1)
    assert model.predict(x[:1]).shape == (1, 2)


@pytest.mark.parametrize("size", [1e-200, 1e200])
def test_tables_of_any_size(fitted, size):
    model, x, names = fitted
    # Of a power of two, no digit is another.
    size = 2.0 ** round(np.log2(size))
    again = QuantumEquilibriumClassifier(**SMALL, random_state=0).fit(
        size * x, names, np.full(150, size)
    )
    np.testing.assert_array_equal(again.predict_proba(size * x), model.predict_proba(x))
    regressor = QuantumEquilibriumRegressor(**SMALL | {"epochs": 2}, random_state=0)
    near, far = (regressor.fit(s * x, s * x[:, 0]).predict(s * x) / s for s in (1.0, size))
    np.testing.assert_allclose(far, near, rtol=1e-12)
    with pytest.raises(ValueError, match="`X` has a number of size .* beyond the range of float32"):
        model.predict(1e60 * x)


def test_one_class_is_none(fitted):
    with pytest.raises(ValueError, match="are of one class, 'a'; a classifier needs two"):
        QuantumEquilibriumClassifier().fit(fitted[1], ["a"] * 150)


def test_in_a_pipeline_and_a_grid():
    x, y = load_wine(return_X_y=True)
    pipeline = make_pipeline(PCA(4), QuantumEquilibriumClassifier(**SMALL, random_state=0))
    grid = {"quantumequilibriumclassifier__learning_rate": [1e-6, 0.05]}
    search = GridSearchCV(pipeline, grid, cv=2).fit(x, y)
    assert search.best_params_ == {"quantumequilibriumclassifier__learning_rate": 0.05}
    assert search.best_score_ > 0.8


@pytest.mark.parametrize(
    "options,error,message",
    [
        ({"epochs": 0}, ValueError, "`epochs` must be at least 1; got 0"),
        ({"learning_rate": -1.0}, ValueError, "`learning_rate` must be positive"),
        ({"circuit": "brickwall"}, ValueError, "`circuit` must be one of"),
        ({"features": "text"}, ValueError, "`features` must be one of image, table"),
        ({"learning_rate": 1e30}, TrainingError, "lower `learning_rate`"),
        ({"n_qubits": 0}, ValueError, "`n_qubits` must be at least 1; got 0"),
        ({"max_steps": 0}, ValueError, "`max_steps` must be at least 1; got 0"),
        ({"weight_decay": -1}, ValueError, "`weight_decay` must be from 0"),
        ({"standardize": "yes"}, TypeError, "`standardize` must be True or False; got 'yes'"),
    ],
)
def test_bad_arguments(options, error, message):
    x, y = load_iris(return_X_y=True)
    with pytest.raises(error, match=message):
        QuantumEquilibriumClassifier(**SMALL | options, random_state=0).fit(x, y)


def test_equilibria_that_are_not_found_are_said():
    x, y = load_iris(return_X_y=True)
    model = QuantumEquilibriumClassifier(**SMALL | {"max_steps": 1, "epochs": 1}, random_state=0)
    with pytest.warns(ConvergenceWarning, match="raise `max_steps`"):
        model.fit(x, y)
