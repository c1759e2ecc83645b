"""Equilibria on a sphere: what is the same on all of it has derivatives, what is not has none."""

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest

import eqx_qdeq as qdeq


class _Sphere(eqx.Module):
    """z ← z + c (r² - |z|²) z, which stands still where |z| = r."""

    c: jax.Array

    def __call__(self, z, r):
        return z * (1 + self.c * (r**2 - jnp.sum(z**2)))


def _deq(n, x64, **options):
    start = jnp.linspace(0.5, 1, n) / jnp.sqrt(n)
    cell = qdeq.FunctionCell(_Sphere(jnp.array(0.3)), lambda r: start)
    accuracy = 1e-12 if x64 else 1e-6
    adjoint = qdeq.ImplicitAdjoint(least_norm=True, **options)
    return qdeq.DEQ(cell, qdeq.Picard(accuracy, accuracy), adjoint)


@pytest.mark.parametrize("n", [3, 70], ids=["dense", "products"])
def test_what_is_measured_on_a_sphere(n, x64, tol):
    deq, radius = _deq(n, x64), jnp.array(1.1)

    def power(r):  # |z|⁴ = r⁴
        return jnp.sum(deq(r) ** 2) ** 2

    first, second = jax.jit(lambda r: (jax.grad(power)(r), jax.hessian(power)(r)))(radius)
    np.testing.assert_allclose(first, 4 * 1.1**3, rtol=100 * tol)
    np.testing.assert_allclose(second, 12 * 1.1**2, rtol=1e4 * tol)
    # The equilibrium that moves least moves outwards, whichever solver it came from.
    z, moved = jax.jvp(deq, (radius,), (jnp.ones_like(radius),))
    np.testing.assert_allclose(moved, z / radius, rtol=100 * tol)


@pytest.mark.parametrize("n", [3, 70], ids=["dense", "products"])
def test_what_differs_along_it_has_no_derivative(n, x64):
    deq = _deq(n, x64)
    assert np.isnan(jax.jit(jax.grad(lambda r: deq(r)[0]))(jnp.array(1.1)))


def test_a_sample_that_is_not_solved_leaves_the_others_alone(x64, tol):
    deq = _deq(3, x64)
    size = lambda r: jnp.sum(deq(r) ** 2)
    # At r = 10 the map expands: out of steps.
    gradients = jax.jit(jax.vmap(jax.grad(size)))(jnp.array([0.9, 10.0, 1.2]))
    np.testing.assert_allclose(gradients[::2], [1.8, 2.4], rtol=100 * tol)
    assert gradients[1] == 0


def test_a_linear_solver_of_ones_own(x64, tol):
    """For the small dense systems, too: the derivatives are those without it."""
    cell = qdeq.FunctionCell(lambda z, x: jnp.tanh(0.5 * jnp.roll(z, 1) + x), jnp.zeros_like)
    accuracy = 1e-12 if x64 else 1e-6
    x = jnp.linspace(0.1, 0.4, 3)

    def jacobians(adjoint):
        deq = qdeq.DEQ(cell, qdeq.Picard(accuracy, accuracy), adjoint)
        return jax.jit(lambda x: (jax.jacrev(deq)(x), jax.jacfwd(deq)(x)))(x)

    wanted = jacobians(qdeq.ImplicitAdjoint())
    for found in zip(jacobians(qdeq.ImplicitAdjoint(lx.QR())), wanted, strict=True):
        np.testing.assert_allclose(*found, rtol=100 * tol)
