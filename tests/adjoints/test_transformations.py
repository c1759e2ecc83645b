"""JAX's transformations of an equilibrium, with every adjoint: right, or refused by name."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eqx_qdeq as qdeq

_W, _X, _T = 0.5, np.array([0.3, -0.2]), np.array([1.0, 2.0])
_BOTH_WAYS = {
    "implicit": qdeq.ImplicitAdjoint(),
    "Neumann": qdeq.NeumannAdjoint(60),
    "phantom": qdeq.PhantomAdjoint(60, damp=0.0),
}
_REVERSE = {
    "implicit, VJPs": qdeq.ImplicitVJPAdjoint(),
    "unrolled": qdeq.UnrolledAdjoint(),
}
_ONE_STEP = {"one step": qdeq.OneStepAdjoint(), "SHINE": qdeq.ShineAdjoint()}
_ALL = _BOTH_WAYS | _REVERSE | _ONE_STEP


class _Tanh(eqx.Module):
    weight: jax.Array

    def __call__(self, z, x):
        return jnp.tanh(self.weight * z + x)


def _deq(adjoint, x64):
    accuracy = 1e-12 if x64 else 1e-6
    cell = qdeq.FunctionCell(_Tanh(jnp.array(_W)), jnp.zeros_like)
    return qdeq.DEQ(cell, qdeq.Broyden(accuracy, accuracy), adjoint)


def _closed_form():
    """z = tanh(wz + x), dz/dx and d²z/dx², entry by entry."""
    z = np.zeros(2)
    for _ in range(200):
        z = np.tanh(_W * z + _X)
    slope = 1 - z**2
    first = slope / (1 - _W * slope)
    return z, first, -2 * z * first / (1 - _W * slope) ** 2


@pytest.mark.parametrize("name", _BOTH_WAYS)
def test_forward_mode_and_second_derivatives(name, x64, tol):
    deq, (_, first, second) = _deq(_BOTH_WAYS[name], x64), _closed_form()
    x, t = jnp.asarray(_X), jnp.asarray(_T)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=100 * tol, atol=10 * tol)
    close(jax.jvp(deq, (x,), (t,))[1], first * _T)
    close(jax.linearize(deq, x)[1](t), first * _T)
    close(jax.jacrev(deq)(x), np.diag(first))
    if name != "phantom":  # whose second derivatives are those of its steps
        close(jax.hessian(lambda x: jnp.sum(deq(x)))(x), np.diag(second))


@pytest.mark.parametrize("name", _ONE_STEP)
def test_one_application_both_ways(name, x64, tol):
    deq, x = _deq(_ONE_STEP[name], x64), jnp.asarray(_X)
    forward, reverse = jax.jacfwd(deq)(x), jax.jacrev(deq)(x)
    np.testing.assert_allclose(forward, reverse, atol=tol)
    if name == "one step":
        np.testing.assert_allclose(forward, np.diag(1 - _closed_form()[0] ** 2), atol=10 * tol)


@pytest.mark.parametrize("name", _ALL)
def test_checkpointed_and_in_a_branch(name, x64, tol):
    deq, x = _deq(_ALL[name], x64), jnp.asarray(_X)
    # Kept in a branch that is computed again, and in one that is not taken.
    loss = jax.checkpoint(lambda x: jnp.sum(jnp.sin(deq(x))))
    gradient = jax.jit(jax.grad(lambda x: jax.lax.cond(x[0] > 0, loss, jnp.sum, x)))
    z, first, _ = _closed_form()
    slope = 1 - z**2 if name in _ONE_STEP else first
    if name == "SHINE":  # an estimate, as the solver makes it
        slope = jax.grad(lambda x: jnp.sum(jnp.sin(deq(x))))(x) / np.cos(z)
    np.testing.assert_allclose(gradient(x), np.cos(z) * slope, atol=10 * tol)
    np.testing.assert_array_equal(gradient(-x), 1)


@pytest.mark.parametrize("name", _REVERSE)
def test_reverse_mode_alone_says_so(name, x64):
    deq, x = _deq(_REVERSE[name], x64), jnp.asarray(_X)
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(deq, (x,), (x,))
    with pytest.raises(TypeError, match="forward-mode"):
        jax.hessian(lambda x: jnp.sum(deq(x)))(x)


def test_no_second_derivative_with_a_term_missing(x64):
    deq, x = _deq(qdeq.ImplicitVJPAdjoint(), x64), jnp.asarray(_X)
    for loss in (jnp.sum, lambda z: jnp.sum(jnp.sin(z))):
        gradient = jax.grad(lambda x, loss=loss: loss(deq(x)))
        with pytest.raises(RuntimeError, match=r"first derivatives only.*ImplicitAdjoint\(\)"):
            jax.jacrev(gradient)(x)


def test_models_are_arguments_of_branches(tol):
    """As JAX's own functions take them, without `eqx.partition`."""
    layer = qdeq.QuantumLayer(
        qdeq.circuits.hardware_efficient(2, depth=1),
        qdeq.AmplitudeEncoding(),
        qdeq.PauliZ(),
        key=jax.random.key(0),
    )
    cell = qdeq.QuantumCell(layer, qdeq.AddInjection(4))
    deq, named = qdeq.DEQ(cell), qdeq.DEQ(cell, qdeq.Anderson(1e-5, 1e-5))
    classical = qdeq.ClassicalDEQClassifier(4, 3, 2, key=jax.random.key(0))
    x = jnp.array([0.1, 0.2, 0.3, 0.4])

    def loss(model, x):
        return jnp.sum(model(x) ** 2)

    def branch(model, x):
        return jax.lax.cond(x[0] > 0, jax.checkpoint(loss), lambda _, x: x[0], model, x)

    for model in (layer, deq, named, classical):
        found = jax.value_and_grad(branch, argnums=1)(model, x)
        expected = jax.value_and_grad(loss, argnums=1)(model, x)
        for mine, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(mine, other, atol=tol)
