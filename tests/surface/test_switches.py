"""What JAX's users switch on, and the transformations that they give a whole module to. (Strict
dtypes and ranks are raised in all tests, see conftest.)"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import eqx_qdeq as qdeq
from eqx_qdeq import training

X = (1.0, -0.5, 0.3, 0.8)


def _circuit() -> qdeq.Circuit:
    return qdeq.circuits.hardware_efficient(2, 1)


def _layer(encoding: Any = None, **options: Any) -> qdeq.QuantumLayer:
    encoding = qdeq.AmplitudeEncoding() if encoding is None else encoding
    return qdeq.QuantumLayer(_circuit(), encoding, qdeq.PauliZ(), key=jax.random.key(0), **options)


def _deq(**options: Any) -> qdeq.DEQ:
    return qdeq.DEQ(qdeq.QuantumCell(_layer(), qdeq.AddInjection(4, 0.3)), **options)


def _classifier(**options: Any) -> qdeq.QDEQClassifier:
    return qdeq.QDEQClassifier(2, 4, 2, depth=1, gain=0.3, key=jax.random.key(0), **options)


def _sampled() -> qdeq.SampledDEQ:
    cell = qdeq.QuantumCell(_layer(qdeq.AngleEncoding()), qdeq.AngleFeedback(gain=0.3))
    return qdeq.SampledDEQ(cell, 100, gradient=qdeq.shots.ParameterShift())


def _ladder() -> qdeq.DEQ:
    return _deq(solver=qdeq.Ladder(qdeq.Picard(1e-5, 1e-5), qdeq.Newton(1e-5, 1e-5)))


def _data() -> training.Dataset:
    x = np.random.default_rng(0).normal(size=(12, 4))
    split = training.Split(x, np.arange(12) % 2)
    return training.Dataset(split, split, split, class_names=["a", "b"], name="noise")


MODULES: dict[str, tuple[Callable[[], Any], Callable[[Any, Any], Any]]] = {
    "layer": (_layer, lambda m, x: m(x)),
    "angles": (lambda: _layer(qdeq.AngleEncoding()), lambda m, x: m(x[:2])),
    "reuploading": (
        lambda: _layer(qdeq.DataReuploading(qdeq.AngleEncoding(), 2, positions=(0, 3))),
        lambda m, x: m(x[:2]),
    ),
    "noisy layer": (
        lambda: _layer(noise=qdeq.noise.NoiseModel.depolarizing(0.01)),
        lambda m, x: m(x),
    ),
    "equilibrium": (_deq, lambda m, x: m(x)),
    "ladder": (_ladder, lambda m, x: m(x)),
    "unrolled": (lambda: qdeq.Unrolled(_deq().cell, 3), lambda m, x: m(x)),
    "classifier": (_classifier, lambda m, x: m(x)),
    "unrolled classifier": (lambda: _classifier().unrolled(2), lambda m, x: m(x)),
    "sampled": (_sampled, lambda m, x: m(x[:2], key=jax.random.key(1))),
}


@pytest.mark.parametrize("name", sorted(MODULES))
def test_modules(name, tol):
    """Under `jax_debug_nans`; and given to `jax.checkpoint` and `lax.cond` as they are."""
    make, call = MODULES[name]
    module, x = make(), jnp.array(X)

    def loss(module: Any, x: Any) -> Any:
        return jnp.sum(call(module, x) ** 2)

    with jax.debug_nans(True):
        value, gradient = eqx.filter_value_and_grad(loss)(module, x)
    assert jnp.isfinite(value)
    assert any(jnp.any(leaf != 0) for leaf in jax.tree.leaves(gradient))

    def chosen(module: Any, x: Any) -> Any:
        small = jax.lax.cond(x[0] > 5, lambda m: 0 * loss(m, x), lambda m: loss(m, x), module)
        return small + jax.checkpoint(loss)(module, x)

    twice, changes = eqx.filter_jit(eqx.filter_value_and_grad(chosen))(module, x)
    np.testing.assert_allclose(twice, 2 * value, rtol=10 * tol)
    for one, both in zip(jax.tree.leaves(gradient), jax.tree.leaves(changes), strict=True):
        np.testing.assert_allclose(both, 2 * one, atol=100 * tol)


def test_what_is_asked_of_an_equilibrium():
    deq, x = _deq(), jnp.array(X)
    with jax.debug_nans(True):
        solution = deq.solve(x)
        assert solution.success and deq.trajectory(x, n_steps=4).success
        certificate = qdeq.certify(deq.cell, x, solution.value)
        assert certificate.certified
        assert qdeq.find_equilibria(deq.cell, x, jax.random.key(0), n_starts=4).count == 1
        assert qdeq.lipschitz_bound(deq.cell, x) > 0
        # A history has NaN after its end, on purpose.
        assert deq.diagnose(x).success and jax.vmap(deq.diagnose)(x[None]).success.all()


def test_training():
    options = {"epochs": 2, "batch_size": 6, "progress": False, "clip": 1.0}
    with jax.debug_nans(True):
        result = training.fit(
            _classifier(dropout=0.1),
            _data(),
            optimizer=optax.adam(0.01),
            jacobian_penalty=0.1,
            **options,
        )
        found = training.evaluate(result.model, _data().test)
    assert result.steps == 4 and np.isfinite(found.loss)


def test_warnings_show_the_line_that_called():
    # Not somewhere in the package; and Python's own filter shows each such line once.
    model = qdeq.ClassicalDEQClassifier(4, 3, 2, max_steps=1, key=jax.random.key(0))
    options = {"epochs": 2, "batch_size": 6, "progress": False}
    with pytest.warns(training.ConvergenceWarning) as found:
        training.fit(model, _data(), optimizer=optax.sgd(1e-3), **options)
        training.evaluate(model, _data().test)
    assert [warning.filename for warning in found] == [__file__] * 2
