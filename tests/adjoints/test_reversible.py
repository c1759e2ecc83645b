"""The reversible adjoint: the derivative of the steps, without storing them."""

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
import pytest

import eqx_qdeq as qdeq

CELL = qdeq.FunctionCell(
    lambda z, x: {"a": jnp.tanh(0.4 * z["b"] + x), "b": 0.5 * jnp.sin(z["a"])},
    lambda x: {"a": 0.1 * x, "b": jnp.zeros_like(x)},
)
X = np.array([0.3, -0.7])


def gradient(solver, adjoint, max_steps=100):
    deq = qdeq.DEQ(CELL, solver=solver, adjoint=adjoint, max_steps=max_steps)

    def loss(x):
        z = deq(x)
        return jnp.sum(z["a"] ** 2) + jnp.sum(z["b"])

    return jax.jit(jax.grad(loss))


def test_it_is_the_derivative_of_the_steps():
    # Of four steps, far from the equilibrium, and of a solve that ends.
    few = qdeq.Reversible(0.0, 0.0, damp=0.3)
    short = gradient(few, qdeq.ReversibleAdjoint(), 4)(X)
    np.testing.assert_allclose(short, gradient(few, qdeq.UnrolledAdjoint(), 4)(X), rtol=1e-6)
    solver = qdeq.Reversible(1e-3, 1e-3, damp=0.5)
    whole = gradient(solver, qdeq.ReversibleAdjoint())(X)
    np.testing.assert_allclose(whole, gradient(solver, qdeq.UnrolledAdjoint())(X), rtol=1e-6)
    np.testing.assert_allclose(whole, gradient(None, qdeq.ImplicitAdjoint())(X), rtol=1e-2)
    # Each sample of a batch has as many steps of its own.
    batch = jnp.stack([jnp.asarray(X), 5 * jnp.asarray(X)])
    both = jax.vmap(gradient(solver, qdeq.ReversibleAdjoint()))(batch)
    np.testing.assert_allclose(both[0], whole, rtol=1e-6)


def test_memory_does_not_grow_with_the_steps():
    def kept(adjoint, max_steps):
        solver = qdeq.Reversible(1e-9, 1e-9)
        deq = qdeq.DEQ(CELL, solver=solver, adjoint=adjoint, max_steps=max_steps)
        pull = jax.eval_shape(lambda x: jax.vjp(lambda x: deq(x), x)[1], jnp.asarray(X))
        return sum(leaf.size for leaf in jtu.tree_leaves(pull))

    adjoint = qdeq.ReversibleAdjoint()
    assert kept(adjoint, 10) == kept(adjoint, 1000)


def test_where_rounding_has_grown_too_far_it_says_so():
    # Undoing a step divides by 0.01: after some sixteen of them no digit is left.
    solver = qdeq.Reversible(0.0, 0.0, damp=0.01, limits=qdeq.SolverLimits(stagnation=100))
    assert np.all(np.isnan(gradient(solver, qdeq.ReversibleAdjoint(), 60)(X)))


def test_it_needs_its_solver_and_is_of_first_order():
    with pytest.raises(TypeError, match="solver Reversible"):
        gradient(qdeq.Picard(1e-6, 1e-6), qdeq.ReversibleAdjoint())(X)
    with pytest.raises(ValueError, match="`Reversible"):
        qdeq.Reversible(1e-6, 1e-6, damp=0.0)
    solver = qdeq.Reversible(1e-6, 1e-6)
    with pytest.raises(Exception, match="first derivatives only"):
        jax.jacfwd(gradient(solver, qdeq.ReversibleAdjoint()))(jnp.asarray(X))
