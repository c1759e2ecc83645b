"""Unrolled: a fixed number of applications, with the interface and the honesty of a DEQ."""

import functools as ft

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest

import eqx_qdeq as qdeq

pytestmark = pytest.mark.float32

_MATRIX = 0.4 * np.array([[0.6, -0.8], [0.8, 0.6]])  # a rotation, shrunk to 0.4


def _classical(z, x):
    """A pytree as the state, and a contraction."""
    matrix = jnp.asarray(_MATRIX, x.dtype)
    return {"a": jnp.tanh(matrix @ z["a"] + x), "b": 0.3 * z["b"] + jnp.sum(z["a"])}


def _start(x):
    return {"a": jnp.zeros_like(x), "b": jnp.zeros((), x.dtype)}


def _quantum_cell():
    return qdeq.QDEQ(2, 4, key=jax.random.key(0)).deq.cell


@pytest.mark.parametrize("n_layers", [1, 2, 5])
def test_is_the_map_applied_again_and_again(n_layers, tol):
    x = jax.random.normal(jax.random.key(1), (4,))

    def plain(cell):
        fn, z = cell.bind(x), cell.init(x)
        for _ in range(n_layers):
            z = fn(z)
        return jnp.sum(z**2), z

    def ours(cell):
        z = qdeq.Unrolled(cell, n_layers)(x)
        return jnp.sum(z**2), z

    take = lambda f, cell: eqx.filter_value_and_grad(f, has_aux=True)(cell)
    both = eqx.filter_jit(lambda cell: (take(plain, cell), take(ours, cell)))
    ((_, expected), expected_gradient), ((_, found), gradient) = both(_quantum_cell())
    np.testing.assert_allclose(found, expected, atol=tol)
    for a, b in zip(jax.tree.leaves(gradient), jax.tree.leaves(expected_gradient), strict=True):
        np.testing.assert_allclose(a, b, atol=10 * tol)


def test_the_state_may_be_a_pytree_and_the_residual_is_that_of_the_value(tol):
    cell, x = qdeq.FunctionCell(_classical, _start), jnp.array([0.3, -0.7])
    solution = qdeq.Unrolled(cell, 3).solve(x)
    z = _start(x)
    for _ in range(3):
        z = _classical(z, x)
    after = _classical(z, x)
    gap = np.concatenate([after["a"] - z["a"], (after["b"] - z["b"]).reshape(1)])
    np.testing.assert_allclose(solution.value["a"], z["a"], atol=tol)
    np.testing.assert_allclose(solution.value["b"], z["b"], atol=tol)
    np.testing.assert_allclose(solution.stats["residual"], np.linalg.norm(gap), rtol=1e-3)
    assert solution.stats["num_steps"] == solution.stats["num_evals"] == 3


def test_success_is_an_equilibrium():
    cell, x = qdeq.FunctionCell(_classical, _start), jnp.array([0.3, -0.7])
    short, long = qdeq.Unrolled(cell, 1).solve(x), qdeq.Unrolled(cell, 60).solve(x)
    assert not short.success and short.result == optx.RESULTS.nonlinear_max_steps_reached
    assert long.success
    np.testing.assert_allclose(long.value["a"], qdeq.DEQ(cell)(x)["a"], atol=1e-4)
    assert qdeq.Unrolled(cell, 1, rtol=1.0, atol=1.0).solve(x).success


@pytest.mark.parametrize("readout", ["z", "zz"])
def test_a_classifier_prepares_as_many_states_as_it_has_layers(readout, tol):
    """The values that are classified are those of the last of the n applications."""
    model = qdeq.QDEQClassifier(2, 4, 3, readout=readout, key=jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (4,))
    fn, z = model.deq.cell.bind(x), model.deq.cell.init(x)
    for _ in range(2):
        z = fn(z)
    values = fn(z) if readout == "z" else fn.measure(qdeq.z_and_zz(2), z)
    np.testing.assert_allclose(model.unrolled(3)(x), model.head(values), atol=10 * tol)


def test_a_sample_that_is_not_finite_leaves_the_others_alone(tol):
    x = jax.random.normal(jax.random.key(1), (3, 4))
    bad = x.at[1].set(jnp.nan)

    @eqx.filter_jit
    @ft.partial(eqx.filter_grad, has_aux=True)
    def gradient(cell, x, keep):
        solution = jax.vmap(qdeq.Unrolled(cell, 3).solve)(x)
        return jnp.sum(jnp.where(keep[:, None], solution.value, 0) ** 2), solution

    keep = jnp.array([True, False, True])
    found, solution = gradient(_quantum_cell(), bad, keep)
    expected, _ = gradient(_quantum_cell(), x, keep)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, atol=10 * tol)
    assert jnp.all(jnp.isfinite(solution.value))
    assert list(solution.result == optx.RESULTS.nonfinite) == [False, True, False]


def test_iterates_that_overflow_leave_the_others_alone(tol):
    """z ↦ w z² + x runs away from x = 3 within a few squarings."""

    def loss(w, x):
        cell = qdeq.FunctionCell(lambda z, x: w * z**2 + x, jnp.zeros_like)
        solution = jax.vmap(qdeq.Unrolled(cell, 12).solve)(x)
        return jnp.sum(solution.value), solution

    def plain(w):
        z = jnp.zeros(())
        for _ in range(12):
            z = w * z**2 + 0.1
        return z

    w = jnp.array(1.0)
    both = jax.jit(lambda w, x: (jax.grad(loss, has_aux=True)(w, x), jax.grad(plain)(w)))
    (gradient, solution), expected = both(w, jnp.array([0.1, 3.0]))
    np.testing.assert_allclose(gradient, expected, rtol=100 * tol)
    assert jnp.all(jnp.isfinite(solution.value))
    assert list(solution.result == optx.RESULTS.nonfinite) == [False, True]
    assert not solution.success[1]


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="`n_layers` must be at least 1; got 0"):
        qdeq.Unrolled(_quantum_cell(), 0)
    shrinks = qdeq.FunctionCell(lambda z, x: z[:1], jnp.zeros_like)
    with pytest.raises(ValueError, match="same structure, shapes and dtypes"):
        qdeq.Unrolled(shrinks, 2)(jnp.ones(4))
