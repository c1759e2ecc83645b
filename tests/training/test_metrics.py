"""What `evaluate` counts, and residuals step by step."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest
from sklearn.metrics import confusion_matrix, log_loss

import eqx_qdeq as qdeq
from eqx_qdeq.training import (
    ConvergenceWarning,
    count_parameters,
    DataError,
    evaluate,
    plain_iteration_history,
    residual_history,
    Split,
)
from tests.training._stand_in import make_model

N = 150


@pytest.fixture(scope="module")
def split():
    random = np.random.default_rng(0)
    return Split(random.normal(size=(N, 3)), random.integers(0, 3, N))


@pytest.fixture(scope="module")
def model():
    return make_model(jax.random.key(0), dropout=0.5)


def test_evaluate_is_sklearns(model, split, tol):
    metrics = evaluate(model, split)
    logits = np.asarray(jax.vmap(model)(split.x), np.float64)
    guesses = logits.argmax(axis=1)
    assert metrics.accuracy == pytest.approx(np.mean(guesses == np.asarray(split.y)))
    assert np.array_equal(metrics.confusion, confusion_matrix(split.y, guesses))
    truth = log_loss(split.y, jax.nn.softmax(jnp.asarray(logits)))
    assert metrics.loss == pytest.approx(truth, rel=10 * tol)
    residuals = np.asarray(jax.vmap(model.solve)(split.x)[1].stats["residual"])
    assert metrics.residual == pytest.approx(residuals.mean(), rel=1e-4, abs=tol)
    assert metrics.residual_max == pytest.approx(residuals.max(), rel=1e-4, abs=tol)
    assert metrics.solver_steps == pytest.approx(12) and metrics.fraction_converged == 1


@pytest.mark.parametrize("batch_size", [1, 64, 149, 150, 4096])
def test_the_batch_size_does_not_matter(model, split, batch_size, tol):
    some = Split(split.x[:70], split.y[:70]) if batch_size == 1 else split
    ours, truth = evaluate(model, some, batch_size), evaluate(model, some)
    assert np.array_equal(ours.confusion, truth.confusion)
    for name, value in truth.to_dict().items():
        assert ours.to_dict()[name] == pytest.approx(value, rel=100 * tol, abs=tol)


class _HalfFails(eqx.Module):
    """Solves fail for negative samples, whose logits are NaN."""

    def solve(self, x, *, key=None):
        fails = x[0] < 0
        result = optx.RESULTS.where(
            fails, optx.RESULTS.nonlinear_divergence, optx.RESULTS.successful
        )
        stats = {
            "num_steps": jnp.where(fails, 9, 3),
            "num_evals": jnp.asarray(1),
            "residual": jnp.where(fails, jnp.inf, x[1]),
        }
        return jnp.where(fails, jnp.nan, x), qdeq.Solution(x, result, stats)


def test_failed_samples_are_counted_as_what_they_are():
    x = np.array([[1.0, 0.5], [-1.0, 0.5], [-1.0, 0.5], [1.0, 0.25]])
    with pytest.warns(ConvergenceWarning):
        metrics = evaluate(_HalfFails(), Split(x, np.array([0, 0, 1, 0])))
    assert metrics.accuracy == 0.5 and metrics.fraction_converged == 0.5
    assert metrics.solver_steps == 6 and metrics.residual == np.inf == metrics.residual_max
    # NaN is no class, also not the first.
    assert metrics.confusion.tolist() == [[2, 0], [0, 0]]
    # The filling of a chunk repeats the last sample; without weight it does no harm.
    good = evaluate(_HalfFails(), Split(x[[0, 3]], np.array([0, 0])))
    assert good.residual == pytest.approx(0.375) and good.residual_max == 0.5
    with pytest.warns(ConvergenceWarning):
        last = evaluate(_HalfFails(), Split(x[:2], np.array([0, 0])))
    assert last.fraction_converged == 0.5


def test_a_module_without_solver(split):
    model = eqx.nn.MLP(3, 3, 4, 1, key=jax.random.key(0))
    metrics = evaluate(model, split)
    assert metrics.solver_steps is None and set(metrics.to_dict()) == {"loss", "accuracy"}
    assert "solver" not in str(metrics)


def test_printed_metrics(model, split):
    text = str(evaluate(model, split))
    assert text.startswith("accuracy ") and "solver steps 12.0" in text and "\n" not in text


def test_labels_that_the_model_does_not_have(model):
    with pytest.raises(DataError, match="label 3 is out of range: the model has 3 classes"):
        evaluate(model, Split(np.zeros((1, 3)), np.array([3])))
    with pytest.raises(ValueError, match="`batch_size` must be at least 1; got 0"):
        evaluate(model, Split(np.zeros((1, 3)), np.array([0])), 0)


def test_count_parameters():
    assert count_parameters(eqx.nn.Linear(3, 2, key=jax.random.key(0))) == 8
    fixed = qdeq.QDEQClassifier(2, 4, 2, depth=3, key=jax.random.key(0))
    trained = qdeq.QDEQClassifier(2, 4, 2, depth=3, train_gain=True, key=jax.random.key(0))
    assert count_parameters(fixed) == 12 + 6
    assert count_parameters(trained) == 12 + 6 + 1


def test_residuals_step_by_step(x64):
    classifier = qdeq.ClassicalDEQClassifier(4, 5, 2, key=jax.random.key(0))
    deq, x = classifier.deq, jax.random.normal(jax.random.key(1), (6, 4))
    plain = np.asarray(plain_iteration_history(deq, x, 5))
    assert plain.shape == (6, 6)
    z = jnp.zeros(5)
    for step in range(6):
        image = deq.cell.bind(x[0])(z)
        np.testing.assert_allclose(plain[0, step], jnp.linalg.norm(image - z), rtol=1e-4)
        z = image
    tight = 1e-12 if x64 else 1e-6
    for solver in (qdeq.Newton(tight, tight), optx.Newton(tight, tight)):
        newton = np.asarray(residual_history(qdeq.DEQ(deq.cell, solver), x, 6))
        assert newton.shape == (6, 7)
        np.testing.assert_allclose(newton[:, 0], plain[:, 0], rtol=1e-5)
        assert np.all(newton[:, 1:4] < newton[:, :3])
        assert np.all(np.diff(newton, axis=1) <= 0)
        assert np.all(newton[:, -1] < 10 * tight)
    # As many steps as the solver takes, and the residual that it returns.
    solution = jax.vmap(qdeq.DEQ(deq.cell, solver, max_steps=3).solve)(x)
    np.testing.assert_allclose(newton[:, 3], solution.stats["residual"], atol=10 * tight)
    with pytest.raises(TypeError, match="fixed-point solvers and root finders; got BFGS"):
        residual_history(qdeq.DEQ(deq.cell, optx.BFGS(tight, tight)), x, 3)
