"""Equilibria that were not found are said so to who does not ask."""

import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import optimistix as optx
import pytest
from jaxtyping import Array

import eqx_qdeq as qdeq
from eqx_qdeq.training import ConvergenceWarning, evaluate, fit, fit_together
from tests.training._stand_in import make_data

DATA = make_data(32, n_classes=2)
OPTIONS = {"optimizer": optax.sgd(1e-3), "epochs": 3, "batch_size": 16, "progress": False}


def _model(max_steps: int = 1, size: int = 3) -> qdeq.ClassicalDEQClassifier:
    return qdeq.ClassicalDEQClassifier(size, 4, 2, max_steps=max_steps, key=jax.random.key(0))


def _warnings(run) -> list[warnings.WarningMessage]:
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        run()
    return found


def test_evaluate_says_how_many_and_how_far():
    model, split = _model(), DATA.test
    (found,) = _warnings(lambda: evaluate(model, split))
    solutions = jax.vmap(model.solve)(split.x)[1]
    failed, worst = 1 - np.mean(solutions.success), np.max(solutions.stats["residual"])
    assert failed > 0.5
    assert found.category is ConvergenceWarning
    text = str(found.message)
    assert f"{100 * failed:.3g}% of the samples" in text and f"is {worst:.1e}" in text
    for advice in ("unit_norm_preprocess", "`gain`", "`jacobian_penalty`", "solver", "diagnose"):
        assert advice in text


def test_fit_says_it_once():
    (found,) = _warnings(lambda: fit(_model(), DATA, **OPTIONS))
    assert found.category is ConvergenceWarning
    assert "of the training samples of epoch 1 no equilibrium was found" in str(found.message)


def test_training_together_says_it_for_each():
    together = lambda: fit_together([_model(), _model()], DATA, seeds=[0, 1], **OPTIONS)
    assert [w.category for w in _warnings(together)] == [ConvergenceWarning] * 2


def test_it_can_be_turned_off_and_into_an_error():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        evaluate(_model(), DATA.test)
        warnings.simplefilter("error", ConvergenceWarning)
        with pytest.raises(ConvergenceWarning):
            evaluate(_model(), DATA.test)


def test_what_converges_or_solves_nothing_says_nothing():
    for model in (_model(256), _model().unrolled(2), eqx.nn.MLP(3, 2, 3, 1, key=jax.random.key(0))):
        assert not _warnings(lambda model=model: evaluate(model, DATA.test))
    # During a warm-up the unrolled model is trained; nothing is solved in it.
    assert not _warnings(lambda: fit(_model(256), DATA, **OPTIONS, warmup_steps=3))


class _FailsWhenLarge(eqx.Module):
    """Fails for all samples where the weight is large, and for one in any case."""

    w: Array
    always: tuple[float, ...] = eqx.field(static=True)

    def solve(self, x, *, key=None):
        how = optx.RESULTS.where(
            (jnp.abs(self.w) < 1) & jnp.any(x != jnp.asarray(self.always, x.dtype)),
            optx.RESULTS.successful,
            optx.RESULTS.nonlinear_divergence,
        )
        stats = {"num_steps": jnp.asarray(1), "residual": jax.lax.stop_gradient(jnp.abs(self.w))}
        return jnp.stack([self.w * x[0], x[1]]), qdeq.Solution(x, how, stats)


def test_the_first_epoch_with_failures_is_named():
    # Two steps an epoch; the weight is moved, and far, by the third alone.
    leap = optax.scale_by_schedule(lambda step: jnp.where(step == 2, 1e3, 0.0))
    model = _FailsWhenLarge(jnp.asarray(0.5), (0.0, 0.0, 0.0))
    (found,) = _warnings(lambda: fit(model, DATA, **(OPTIONS | {"optimizer": leap})))
    assert "for 50% of the training samples of epoch 2 no" in str(found.message)


def test_a_failure_now_and_then_is_said_only_of_the_result():
    data = make_data(330, n_classes=2)
    options = OPTIONS | {"batch_size": 110}
    fails_at = lambda x: _FailsWhenLarge(jnp.asarray(0.5), tuple(x.tolist()))
    assert not _warnings(lambda: fit(fails_at(data.train.x[0]), data, **options))
    (found,) = _warnings(lambda: fit(fails_at(data.validation.x[0]), data, **options))
    assert "for 0.909% of the validation samples of epoch" in str(found.message)
