"""Training is compiled once for all that is alike: other numbers, and objects made anew, are not
another program. What differs does."""

import gc
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.extend.core import Jaxpr, JaxprEqn

import eqx_qdeq as qdeq
from eqx_qdeq.training import evaluate, fit
from tests.training._compilations import compilations
from tests.training._stand_in import make_data, make_model

DATA = make_data()


def _fit(model, optimizer, data=DATA, **options):
    defaults = {"epochs": 2, "batch_size": 16, "progress": False}
    return fit(model, data, optimizer=optimizer, **(defaults | options))


def _flat(model) -> np.ndarray:
    leaves = jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array))
    return np.concatenate([np.ravel(leaf) for leaf in leaves])


def _weights(result) -> np.ndarray:
    return _flat(result.last_model)


# Each a maker of optimizers of one kind, and numbers for it: two that differ, the first again.
KINDS: dict[str, Callable[[float], optax.GradientTransformation]] = {
    "adam": optax.adam,
    "schedule": lambda rate: optax.adamw(
        optax.warmup_cosine_decay_schedule(0.0, rate, 2, 9), weight_decay=rate
    ),
    "momentum": lambda rate: optax.sgd(0.1, momentum=rate, nesterov=True),
    "plateau": lambda rate: optax.chain(optax.sgd(rate), optax.contrib.reduce_on_plateau()),
    "masked": lambda rate: optax.masked(optax.lion(rate), lambda p: jax.tree.map(jnp.ndim, p)),
}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_other_numbers_and_new_objects_compile_nothing(kind):
    make = KINDS[kind]
    model = make_model(jax.random.key(0), dropout=0.0)
    first = _fit(model, make(0.05))
    with compilations() as found:
        other, again = _fit(model, make(0.2)), _fit(model, make(0.05))
        _fit(make_model(jax.random.key(1), dropout=0.0), make(0.05), seed=1)
    assert found == []
    # And the numbers count: they are not those of the first.
    np.testing.assert_array_equal(_weights(first), _weights(again))
    assert np.abs(_weights(first) - _weights(other)).max() > 1e-3


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_numbers_are_those_of_optax(kind, tol):
    """The same steps with Optax itself, by hand."""
    optimizer = KINDS[kind](0.05)
    model = make_model(jax.random.key(0), dropout=0.0)
    ours = _fit(model, optimizer, batch_size=60, epochs=4)

    def loss(model):
        logits = jax.vmap(model)(DATA.train.x)
        return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(60), DATA.train.y])

    params, rest = eqx.partition(model, eqx.is_inexact_array)
    state = optimizer.init(params)
    step = jax.jit(jax.value_and_grad(lambda params: loss(eqx.combine(params, rest))))
    for _ in range(4):
        value, gradient = step(params)
        with jax.numpy_dtype_promotion("standard"):  # Optax mixes counts and rates
            full = optax.with_extra_args_support(optimizer)
            updates, state = full.update(gradient, state, params, value=value)
        params = eqx.apply_updates(params, updates)
    np.testing.assert_allclose(_weights(ours), _flat(params), rtol=0, atol=100 * tol)


def _times(array: np.ndarray, jitted: bool) -> optax.GradientTransformation:
    """Plain gradient descent by an array that the update closes over."""
    scale = lambda g: -g * jnp.asarray(array, g.dtype)[0]
    scale = jax.jit(scale) if jitted else scale
    return optax.stateless(lambda updates, params: jax.tree.map(scale, updates))


@pytest.mark.parametrize("jitted", [False, True])
def test_arrays_that_an_optimizer_closes_over_count(jitted):
    model = make_model(jax.random.key(0), dropout=0.0)
    still = _fit(model, _times(np.zeros(2), jitted))
    moved = _fit(model, _times(np.ones(2), jitted))
    again = _fit(model, _times(np.zeros(2), jitted))
    start = _flat(model)
    np.testing.assert_array_equal(_weights(still), start)
    np.testing.assert_array_equal(_weights(again), start)
    assert np.abs(_weights(moved) - start).max() > 1e-3


def test_other_programs_are_told_apart():
    model = make_model(jax.random.key(0), dropout=0.0)
    plain = _weights(_fit(model, optax.sgd(0.1, momentum=0.9)))
    nesterov = _weights(_fit(model, optax.sgd(0.1, momentum=0.9, nesterov=True)))
    assert np.abs(plain - nesterov).max() > 1e-3


def test_numbers_of_the_training_compile_nothing():
    model = make_model(jax.random.key(0))
    _fit(model, optax.adam(0.05), clip=0.5, jacobian_penalty=0.1)
    with compilations() as found:
        strong = _fit(model, optax.adam(0.05), clip=0.5, jacobian_penalty=3.0)
        short = _fit(model, optax.adam(0.05), clip=1e-6, jacobian_penalty=0.1)
    assert found == []
    assert np.abs(_weights(strong) - _weights(short)).max() > 1e-3


def test_another_trained_gain_compiles_nothing():
    data = make_data(20, size=4, n_classes=2)
    make = lambda gain: qdeq.QDEQClassifier(
        2, 4, 2, depth=1, gain=gain, train_gain=True, key=jax.random.key(0)
    )
    assert [make(gain).config["gain"] for gain in (0.1, 0.4)] == [0.1, 0.4]
    one = _fit(make(0.1), optax.adam(0.05), data)
    with compilations() as found:
        other = _fit(make(0.4), optax.adam(0.05), data)
    assert found == []
    assert np.abs(_weights(one) - _weights(other)).max() > 1e-4
    # The config tells the gain that was found, and makes a model that has it.
    config = other.model.config
    gain = lambda model: model.deq.cell.injection.gain
    assert gain(other.model) != 0.4
    assert gain(qdeq.classifier_from_config(config, key=jax.random.key(0))) == gain(other.model)


def test_another_fixed_gain_compiles_nothing():
    data = make_data(20, size=4, n_classes=2)
    make = lambda gain: qdeq.QDEQClassifier(2, 4, 2, depth=1, gain=gain, key=jax.random.key(0))
    one = _fit(make(0.1), optax.adam(0.05), data)
    with compilations() as found:
        other = _fit(make(0.4), optax.adam(0.05), data)
        assert evaluate(other.model, data.test).loss != evaluate(one.model, data.test).loss
    assert found == []
    assert (one.model.config["gain"], other.model.config["gain"]) == (0.1, 0.4)
    x = data.test.x[0]
    truth = eqx.filter_jit(eqx.tree_at(lambda m: m.deq.cell.injection.gain, other.model, 0.4))(x)
    np.testing.assert_array_equal(other.model(x), truth)
    assert np.abs(_weights(one) - _weights(other)).max() > 1e-4


def test_calls_leave_nothing_in_the_memory():
    """What is traced stays in JAX's caches, so that numbers may not make a program of their own."""
    data = make_data(20, size=4, n_classes=2)

    def programs(numbers: tuple[float, ...]) -> int:
        for gain in numbers:
            model = qdeq.QDEQClassifier(2, 4, 2, depth=1, gain=gain, key=jax.random.key(0))
            _fit(model, optax.adam(gain / 10), data)
        gc.collect()
        return sum(type(thing) in (Jaxpr, JaxprEqn) for thing in gc.get_objects())

    assert programs((0.1, 0.2, 0.3)) == programs((0.4, 0.5, 0.6))


def test_other_rates_of_noise_compile_nothing():
    data = make_data(20, size=4, n_classes=2)
    exact = qdeq.QDEQClassifier(2, 4, 2, depth=1, key=jax.random.key(0))
    channels = lambda p: (qdeq.noise.AmplitudeDamping(p), qdeq.noise.ThermalRelaxation(9, 7, p))
    readout = qdeq.noise.ReadoutError
    make = lambda p: qdeq.with_noise(
        exact, qdeq.noise.NoiseModel(channels(p), channels(p), readout=readout((p, 0.0), p))
    )
    one = _fit(make(0.01), optax.adam(0.05), data)
    with compilations() as found:
        other = _fit(make(0.2), optax.adam(0.05), data)
    assert found == []
    assert other.model.deq.cell.layer.noise.readout.p10 == 0.2
    assert np.abs(_weights(one) - _weights(other)).max() > 1e-4


def test_classifiers_are_compiled_once_without_jit(tol):
    model = qdeq.QDEQClassifier(2, 4, 2, depth=1, readout="zz", key=jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (4, 4))
    for one in (model, model.unrolled(3)):
        truth = jax.vmap(one)(x)
        jax.block_until_ready((one(x[0]), one.solve_with_penalty(x[0])[0]))
        with compilations() as found:
            called = [one(sample) for sample in (x[0], x[1], x[2], x[3])]
            jax.block_until_ready((called, one.solve_with_penalty(x[1])[0]))
        np.testing.assert_allclose(called, truth, atol=tol)
        assert found == []
