"""Cells that are contractions by construction: for every circuit and input, and trainable."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import eqx_qdeq as qdeq
from eqx_qdeq.guarantees import (
    contractive,
    ContractiveCell,
    lipschitz_bound,
    lipschitz_bound_for_norm,
)

_AMPLITUDES, _Z = qdeq.AmplitudeEncoding(), qdeq.PauliZ()
_KEY = jax.random.key(9)

# name: (encoding, measurement, injection), all with 8 features on 3 wires
_CASES = {
    "add": (_AMPLITUDES, _Z, qdeq.AddInjection(8)),
    "linear": (_AMPLITUDES, qdeq.Probabilities(), qdeq.LinearInjection(8, 8, 8, key=_KEY)),
    "angles": (qdeq.AngleEncoding("YZ"), _Z, qdeq.AddInjection(8, 3.0)),
    "re-uploading": (
        qdeq.DataReuploading(qdeq.AngleEncoding("YZ"), 2),
        qdeq.PauliStrings(["Z0", "X1 Y2"]),
        qdeq.AddInjection(8, jnp.array([3.0, -1.0])),
    ),
    "feedback": (_AMPLITUDES, _Z, qdeq.AngleFeedback("Y")),
}


def _cell(name, key):
    encoding, measurement, injection = _CASES[name]
    circuit = qdeq.circuits.hardware_efficient(3, 2).repeat(2)
    return qdeq.QuantumCell(qdeq.QuantumLayer(circuit, encoding, measurement, key=key), injection)


@pytest.mark.parametrize("name", _CASES)
def test_plain_iteration_converges_by_the_factor(name, x64):
    """Random circuits; inputs of norms down to zero, which has no direction."""
    factor = 0.8

    @jax.jit
    @jax.vmap
    def solve(key, size):
        key_angles, key_x = jax.random.split(key)
        cell = contractive(_cell(name, key_angles), factor)
        x = size * jax.random.normal(key_x, (8,))
        f = cell.bind(x)

        def step(w, _):
            new = f(w)
            return new, jnp.linalg.norm(new - w)

        end, gaps = jax.lax.scan(step, f(cell.init(x)), length=60)
        bounds = [lipschitz_bound(cell, x, rounds=0), lipschitz_bound(cell, x)]
        everywhere = lipschitz_bound_for_norm(cell, 8)
        equilibrium = qdeq.DEQ(cell).solve(x)
        return end, gaps, jnp.stack([*bounds, everywhere]), equilibrium

    sizes = jnp.array([0.0, 1e-20, 1e-3, 0.1, 1.0, 10.0, 1e10])
    end, gaps, bounds, equilibrium = solve(jax.random.split(jax.random.key(0), len(sizes)), sizes)
    assert np.all(bounds <= factor * (1 + 1e-5))
    noise = 1e-13 if x64 else 1e-5
    assert np.all(gaps[:, 1:] <= factor * gaps[:, :-1] + noise)
    assert np.all(gaps[:, -1] <= noise)
    assert np.all(equilibrium.success)
    np.testing.assert_allclose(equilibrium.value, end, atol=1e-4)


@pytest.mark.parametrize("name", _CASES)
def test_what_is_a_contraction_already_stays_as_it_is(name):
    cell = _cell(name, jax.random.key(0))
    injection = cell.injection
    if isinstance(injection, qdeq.LinearInjection):
        injection = eqx.tree_at(lambda i: i.state_weight, injection, 0.01 * injection.state_weight)
    else:
        injection = eqx.tree_at(lambda i: i.gain, injection, 0.01)
    cell = qdeq.QuantumCell(cell.layer, injection)
    x, w = 3 * jnp.cos(jnp.arange(8.0)), jnp.full(cell.layer.out_size, 0.3)
    evaluate = jax.jit(lambda x, w: (contractive(cell).bind(x)(w), cell.bind(x)(w)))
    np.testing.assert_array_equal(*evaluate(x, w))


def test_the_feedback_is_bounded_only_as_far_as_needed():
    """An input that is just long enough is left alone, a shorter one is brought to that norm."""
    cell, x = _cell("add", jax.random.key(0)), jnp.cos(jnp.arange(8.0))

    @jax.jit
    def offsets(x):
        injection = contractive(cell, 0.5).quantum_cell(8).injection
        needed = jnp.linalg.norm(injection.offset(1e-3 * x, 3))
        long = 1.001 * needed * x / jnp.linalg.norm(x)
        return needed, long, injection.offset(long, 3)

    needed, long, kept = offsets(x)
    # ‖R‖ = √3 as values are repeated 3, 3 and 2 times; D = 2√3; max ‖R w‖ = √8.
    assert needed == pytest.approx(3**0.5 * 2 * 3**0.5 / 0.5 + 8**0.5, rel=1e-5)
    np.testing.assert_array_equal(kept, long)


def test_it_trains():
    """Angles, gain and the factor itself; the rational form is kept, compiled once for a batch."""
    cell = _cell("add", jax.random.key(0))
    cell = qdeq.QuantumCell(cell.layer, qdeq.AddInjection(8, jnp.array(1.0)))
    deq = qdeq.DEQ(contractive(cell, jnp.array(0.9)))
    forms = [type(eqx.filter_eval_shape(c.compile, 8)) for c in (deq.cell, cell)]
    assert forms[0] is forms[1]
    x = 0.1 * jax.random.normal(jax.random.key(1), (16, 8))
    target = 0.3 * jnp.tanh(5 * x[:, :3])
    optimizer = optax.adam(0.03)

    def loss(deq):
        return jnp.mean((jax.vmap(deq)(x) - target) ** 2)

    @eqx.filter_jit
    def step(deq, state):
        value, gradient = eqx.filter_value_and_grad(loss)(deq)
        with jax.numpy_dtype_promotion("standard"):  # Optax mixes counts and rates
            updates, state = optimizer.update(gradient, state)
        return eqx.apply_updates(deq, updates), state, value, gradient

    state = optimizer.init(eqx.filter(deq, eqx.is_inexact_array))
    values = []
    for _ in range(20):
        deq, state, value, gradient = step(deq, state)
        values.append(float(value))
    assert values[-1] < 0.8 * values[0]
    for leaf in jax.tree.leaves(gradient):
        assert np.all(np.isfinite(leaf)) and np.any(leaf != 0)


def test_it_takes_the_place_of_the_cell_in_a_qdeq(tol):
    qlayer = qdeq.QDEQ(4, 16, key=jax.random.key(0))
    bounded = eqx.tree_at(lambda q: q.deq.cell, qlayer, contractive(qlayer.deq.cell))
    x = 1e-3 * jax.random.normal(jax.random.key(1), (16,))
    w, again = jax.jit(lambda x: (w := bounded(x), bounded.deq.cell.bind(x)(w)))(x)
    np.testing.assert_allclose(again, w, atol=1e-4)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda cell: contractive(cell, 1.0),
            ValueError,
            r"`contractive\(factor=...\)` must be above 0 and below 1",
        ),
        (
            lambda cell: ContractiveCell(qdeq.FunctionCell(lambda z, x: z, jnp.zeros_like)),
            Exception,  # a type that the annotation already rejects, where those are checked
            "QuantumCell",
        ),
    ],
)
def test_mistakes_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make(_cell("add", jax.random.key(0)))
