"""One sample that fails must not touch the gradients of the others."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest

import eqx_qdeq as qdeq

pytestmark = pytest.mark.float32

_ADJOINTS = {
    "implicit": qdeq.ImplicitAdjoint(),
    "implicit, VJPs": qdeq.ImplicitVJPAdjoint(),
    "Neumann": qdeq.NeumannAdjoint(30),
    "phantom": qdeq.PhantomAdjoint(30),
    "one step": qdeq.OneStepAdjoint(),
    "SHINE": qdeq.ShineAdjoint(),
    "unrolled": qdeq.UnrolledAdjoint(),
}
_BAD = {"diverges": (3.0, 2.0), "overflows": (-1e30, 1.0), "nan": (np.nan, 1.0)}
_N = 256


class _Quadratic(eqx.Module):
    """z ← x₀ (z + z²) + θ + x₁, without a fixed point for large x₀ and x₁."""

    theta: jax.Array

    def __call__(self, z, x):
        return x[0] * (z + z**2) + self.theta * jnp.cos(self.theta) + x[1]


@pytest.mark.parametrize("adjoint", _ADJOINTS)
def test_in_a_batch_of_256(adjoint, x64):
    xs = np.zeros((_N, 2))
    xs[:, 0] = np.linspace(-0.3, 0.3, _N)
    xs[:, 1] = 0.1
    accuracy = 1e-10 if x64 else 1e-6
    solver = qdeq.Picard(accuracy, accuracy)
    if adjoint == "SHINE":
        solver = qdeq.Broyden(accuracy, accuracy)
    fn = _Quadratic(jnp.array([0.1, -0.2]))

    @eqx.filter_jit
    def run(fn, xs):
        cell = qdeq.FunctionCell(fn, lambda x: jnp.zeros(2, x.dtype))
        deq = qdeq.DEQ(cell, solver, _ADJOINTS[adjoint], max_steps=64)
        loss = lambda fn, x: jnp.sum(eqx.tree_at(lambda d: d.cell.fn, deq, fn)(x) ** 2)
        each = jax.vmap(jax.grad(loss), (None, 0))(fn, xs).theta
        whole = jax.grad(lambda fn: jnp.sum(jax.vmap(loss, (None, 0))(fn, xs)))(fn).theta
        return each, whole, jax.vmap(deq.solve)(xs)

    clean = np.asarray(run(fn, jnp.asarray(xs, float))[0])
    for bad, sample in _BAD.items():
        spoilt = xs.copy()
        spoilt[100] = sample
        each, whole, solution = run(fn, jnp.asarray(spoilt, float))
        good = np.delete(np.arange(_N), 100)
        assert not solution.success[100], bad
        assert np.all(np.isfinite(solution.value)), bad
        np.testing.assert_allclose(each[good], clean[good], atol=1e-6, err_msg=bad)
        # A failed sample counts for nothing, one that ran out of steps with where it was then.
        if not (solution.result == optx.RESULTS.nonlinear_max_steps_reached)[100]:
            np.testing.assert_array_equal(each[100], 0, err_msg=bad)
        expected = clean[good].sum(axis=0) + each[100]
        np.testing.assert_allclose(whole, expected, rtol=1e-6 if x64 else 1e-4, err_msg=bad)


def test_a_linear_solve_that_falls_short_raises_nothing(tol):
    """In a large state; Lineax by itself raises for the whole batch."""
    n = 80
    weight = jnp.asarray(np.random.default_rng(0).standard_normal((n, n)) / np.sqrt(n))

    def value(scale, budget):
        solver = qdeq.EarlyExitGMRES(0.0, 0.1 * tol, max_steps=budget)
        found = optx.fixed_point(
            lambda z, s: jnp.tanh(s * (weight @ z) + 1),
            qdeq.Picard(0.1 * tol, 0.1 * tol),
            jnp.zeros(n),
            scale,
            adjoint=qdeq.ImplicitAdjoint(solver),
            max_steps=1000,
            throw=False,
        )
        return jnp.sum(found.value)

    scales = jnp.array([0.01, 0.7])
    exact = jax.vmap(jax.grad(lambda s: value(s, None)))(scales)
    rough = jax.vmap(jax.grad(lambda s: value(s, 3)))(scales)
    assert jnp.all(jnp.isfinite(rough))
    # Three products are enough for the first, not for the second.
    np.testing.assert_allclose(rough[0], exact[0], rtol=1e-3)
    assert abs(rough[1] - exact[1]) > 1e-3 * abs(exact[1])


@pytest.mark.parametrize("adjoint", ["implicit", "unrolled", "one step", "Optimistix's"])
def test_unsolved_samples_are_differentiated_or_dropped(adjoint, tol):
    """One of two needs more steps than it is given."""
    cell = qdeq.FunctionCell(lambda z, x: x[0] * z + x[1:], lambda x: jnp.zeros(1, x.dtype))
    xs = jnp.array([[0.1, 1.0], [0.9, 1.0]])
    adjoint = optx.ImplicitAdjoint() if adjoint.startswith("Opt") else _ADJOINTS[adjoint]
    options = {"solver": qdeq.Picard(1e-4, 1e-4), "adjoint": adjoint, "max_steps": 8}

    def gradient(**more):
        deq = qdeq.DEQ(cell, **options, **more)
        assert jax.vmap(deq.solve)(xs).success.tolist() == [True, False]
        return jax.jit(jax.grad(lambda xs: jnp.sum(jax.vmap(deq)(xs))))(xs)

    kept, dropped = gradient(), gradient(drop_unsolved=True)
    np.testing.assert_array_equal(dropped[1], 0)
    np.testing.assert_allclose(dropped[0], kept[0], rtol=tol)
    assert np.all(kept[1] > 0.5)


def test_what_stopped_on_its_way_is_differentiated_where_it_stopped():
    """As near as was asked, or out of steps: z' = (1 - ∂f/∂z)⁻¹ ∂f/∂θ there."""
    cell = qdeq.FunctionCell(lambda z, x: x * jnp.cos(z), lambda x: jnp.zeros((), x.dtype))
    for solver, max_steps, result in (
        (qdeq.Picard(0.1, 0.1), 64, optx.RESULTS.successful),
        (qdeq.Picard(1e-4, 1e-4), 3, optx.RESULTS.nonlinear_max_steps_reached),
    ):
        deq = qdeq.DEQ(cell, solver, max_steps=max_steps)
        x = jnp.array(0.7)
        slope, solution = jax.grad(lambda x, d=deq: (d(x), d.solve(x)), has_aux=True)(x)
        z = np.asarray(solution.value)
        assert solution.result == result
        np.testing.assert_allclose(slope, np.cos(z) / (1 + x * np.sin(z)), rtol=1e-5)


def test_a_derivative_that_overflows_between_the_steps_counts_for_nothing(x64):
    """0 → 0.6 → 0.7, the equilibrium: it is found, over steps that are as steep as x says."""

    def fn(z, x):
        steep, shift = x
        far = jnp.where(z < 0.65, 0.7 + steep * (z - 0.6), 0.7 + 0.5 * (z - 0.7))
        return jnp.where(z < 0.5, 0.6 + steep * z, far) + shift

    cell = qdeq.FunctionCell(fn, lambda x: jnp.zeros((), x.dtype))
    deq = qdeq.DEQ(cell, qdeq.Picard(1e-6, 1e-6), qdeq.UnrolledAdjoint())
    xs = jnp.array([[0.0, 0.0], [1e200 if x64 else 1e30, 0.0], [0.0, 0.0]])
    values, slopes = jax.jit(
        lambda xs: (jax.vmap(deq)(xs), jax.grad(lambda x: jnp.sum(jax.vmap(deq)(x)))(xs))
    )(xs)
    np.testing.assert_allclose(values, 0.7, rtol=1e-6)
    np.testing.assert_array_equal(slopes[1], 0)
    assert np.all(slopes[::2, 1] >= 1)


@pytest.mark.parametrize("size", [2, 70])  # solved as a matrix, and by products
@pytest.mark.parametrize("adjoint", [qdeq.ImplicitAdjoint(), qdeq.NeumannAdjoint()])
def test_a_failed_solve_has_no_tangent(adjoint, size):
    """z ← 2 z + x diverges: forward mode gives zeros there, and 1 / (1 - a) for a < 1. (By
    Optimistix, as `DEQ` would drop it by itself.)"""
    fn = lambda z, x: x[0] * z + x[1]
    options = {"adjoint": adjoint, "max_steps": 100, "throw": False}
    solve = lambda x: optx.fixed_point(
        fn, qdeq.Picard(1e-6, 1e-6), jnp.zeros(size, x.dtype), x, **options
    )
    xs = jnp.array([[0.1, 1.0], [2.0, 1.0]])
    push = lambda x: jax.jvp(lambda x: solve(x).value, (x,), (jnp.array([0.0, 1.0]),))[1]
    tangent = jax.vmap(push)(xs)
    np.testing.assert_allclose(tangent[0], 1 / 0.9, rtol=1e-4)
    np.testing.assert_array_equal(tangent[1], 0)


def test_defaults_are_what_the_documentation_says():
    assert qdeq.NeumannAdjoint() == qdeq.NeumannAdjoint(terms=5)
    assert qdeq.PhantomAdjoint() == qdeq.PhantomAdjoint(steps=5, damp=0.5)
