"""Lipschitz bounds as training penalties: their derivatives, and where they say nothing."""

import functools as ft

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eqx_qdeq as qdeq
from eqx_qdeq.guarantees import lipschitz_bound, lipschitz_bound_for_norm
from tests.guarantees._lipschitz_cells import CASES, make_cell


@pytest.mark.parametrize("name", ["paper", "narrow", "angles", "feedback, X"])
def test_a_bound_is_a_penalty(name, x64):
    """Its derivative by all that can be trained, and by the sample, in a random direction."""
    cell, in_size = make_cell(name, jax.random.key(0)), CASES[name][1]
    arrays, static = eqx.partition((cell, 4 * jnp.sin(jnp.arange(1.0, in_size + 1))), eqx.is_array)
    if isinstance(cell.injection, qdeq.AddInjection):
        arrays = eqx.tree_at(
            lambda a: a[0].injection.gain, arrays, jnp.array(0.4), is_leaf=lambda a: a is None
        )
        static = eqx.tree_at(lambda a: a[0].injection.gain, static, None)
    leaves, tree = jax.tree.flatten(arrays)
    rng = np.random.default_rng(0)
    step = [jnp.asarray(rng.standard_normal(np.shape(leaf)), float) for leaf in leaves]
    bound = lambda leaves: lipschitz_bound(*eqx.combine(jax.tree.unflatten(tree, leaves), static))
    evaluate = jax.jit(jax.value_and_grad(bound))
    value, gradient = evaluate(leaves)
    assert np.isfinite(value)
    slope = sum(np.sum(np.asarray(g) * np.asarray(s)) for g, s in zip(gradient, step, strict=True))
    assert abs(slope) > 1e-4
    if x64:
        line = lambda t: evaluate([a + t * b for a, b in zip(leaves, step, strict=True)])[0]
        h = 1e-6
        assert slope == pytest.approx(float(line(h) - line(-h)) / (2 * h), rel=1e-4, abs=1e-7)


def test_where_nothing_can_be_said():
    """Inputs that the feedback can cancel: infinite bounds, but no NaN in a batch's gradient."""
    cell = make_cell("paper", jax.random.key(0))
    injection = qdeq.AddInjection(16, jnp.array(1.0))
    cell = qdeq.QuantumCell(cell.layer, injection)
    xs = jnp.stack([jnp.zeros(16), jnp.full(16, 0.5), jnp.full(16, 3.0), jnp.full(16, jnp.nan)])

    @jax.jit
    def bounds(gain, x):
        moved = eqx.tree_at(lambda c: c.injection.gain, cell, gain)
        return jax.vmap(ft.partial(lipschitz_bound, moved, rounds=0))(x)

    found = bounds(jnp.array(1.0), xs)
    np.testing.assert_array_equal(np.isinf(found), [True, True, False, True])
    total = lambda gain: jnp.sum(jnp.where(jnp.isfinite(b := bounds(gain, xs)), b, 0))
    assert np.isfinite(jax.jit(jax.grad(total))(jnp.array(1.0)))
    # No feedback at all: constant, if it is not the input without a direction.
    np.testing.assert_array_equal(bounds(jnp.array(0.0), xs), [jnp.inf, 0, 0, jnp.inf])


def test_mistakes_are_named():
    cell = make_cell("paper", jax.random.key(0))
    with pytest.raises(ValueError, match="`rounds` must be at least 0; got -1"):
        lipschitz_bound(cell, jnp.ones(16), rounds=-1)
    other = qdeq.FunctionCell(lambda z, x: 0.5 * z + x, jnp.zeros_like)
    with pytest.raises(TypeError, match="needs to know the circuit.*got FunctionCell"):
        lipschitz_bound(other, jnp.ones(3))
    with pytest.raises(TypeError, match="`lipschitz_bound_for_norm"):
        lipschitz_bound_for_norm(other, 3)
