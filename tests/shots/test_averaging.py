"""Averaged Picard iteration on noisy maps whose equilibria are known."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest

import eqx_qdeq as qdeq
from eqx_qdeq.shots import Estimate

A = np.array([[0.5, 0.3, 0.0], [-0.2, -0.4, 0.1], [0.1, 0.0, 0.6]])
B = np.array([0.3, -1.0, 0.5])
ROOT = np.linalg.solve(np.eye(3) - A, B)


def linear(n_shots, matrix=A):
    """Az + b, with normal noise as of so many shots."""

    def fn(z, key):
        error = 1 / jnp.sqrt(jnp.asarray(n_shots, z.dtype))
        noise = error * jax.random.normal(key, z.shape, z.dtype)
        exact = jnp.asarray(matrix, z.dtype) @ z + jnp.asarray(B, z.dtype)
        return Estimate(exact + noise, jnp.full_like(z, error))

    return fn


@eqx.filter_jit
def solve(solver, fn_of, parameter, keys, max_steps):
    one = lambda key: solver.solve(fn_of(parameter), jnp.zeros(3), key=key, max_steps=max_steps)
    return jax.vmap(one)(keys)


def test_the_error_falls_with_the_root_of_steps_and_shots(getkey):
    keys = jax.random.split(getkey(), 400)
    solver = qdeq.AveragedPicard(atol=1e-6)
    costs, errors = [], []
    for steps, shots in ((50, 10), (50, 160), (200, 40), (800, 10), (800, 1000)):
        found = solve(solver, linear, jnp.array(shots), keys, jnp.array(steps))
        assert jnp.all(found.num_steps == steps)
        gap = np.asarray(found.value, float) - ROOT
        errors.append(np.sqrt(np.mean(np.sum(gap**2, axis=1))))
        costs.append(steps * shots)
    slope = np.polyfit(np.log(costs), np.log(errors), 1)[0]
    assert abs(slope + 0.5) < 0.05
    # No averaging of so many evaluations does better than the first; weights cost a third.
    inverse = np.linalg.inv(np.eye(3) - A)
    best = np.sqrt(np.trace(inverse @ inverse.T) / np.array(costs))
    assert np.all(errors > 0.95 * best) and np.all(errors < 1.4 * best)


def test_it_stops_at_the_floor_and_tells_the_residual(getkey):
    keys = jax.random.split(getkey(), 400)
    n_shots = 100
    for atol, steps in ((None, 30), (0.02, 300)):
        found = solve(qdeq.AveragedPicard(atol), linear, jnp.array(n_shots), keys, jnp.array(1000))
        assert jnp.all(found.result == optx.RESULTS.successful)
        assert jnp.all(found.num_steps < steps) and jnp.all(found.num_averaged > 0)
        floor = np.sqrt(3 / n_shots)
        assert jnp.allclose(found.floor, floor, rtol=1e-4)
        z = np.asarray(found.value, float)
        residual = np.linalg.norm(z @ A.T + B - z, axis=1)
        told = np.asarray(found.residual, float)
        assert np.all(told <= (floor if atol is None else atol) * 1.001)
        ratio = np.sqrt(np.mean(residual**2) / np.mean(told**2))
        assert 0.6 < ratio < 1.4


def test_eigenvalues_below_minus_one_are_tamed(getkey):
    """Where Picard iteration runs away, shrinking steps do not."""
    matrix = np.diag([-1.6, 0.5, 0.2])
    root = np.linalg.solve(np.eye(3) - matrix, B)
    keys = jax.random.split(getkey(), 50)
    fn = lambda n: linear(n, matrix)
    found = solve(qdeq.AveragedPicard(0.03), fn, jnp.array(100), keys, jnp.array(1000))
    assert jnp.all(found.result == optx.RESULTS.successful)
    assert np.all(np.linalg.norm(np.asarray(found.value, float) - root, axis=1) < 0.2)


def test_a_map_without_noise_converges_to_rounding(getkey, tol):
    keys = jax.random.split(getkey(), 2)
    found = solve(qdeq.AveragedPicard(), linear, jnp.array(jnp.inf), keys, jnp.array(2000))
    assert jnp.all(found.result == optx.RESULTS.successful)
    assert np.allclose(found.value, ROOT, atol=100 * tol)


def test_a_failing_sample_leaves_the_others_alone(getkey):
    def fn(scale):
        def noisy(z, key):
            estimate = linear(100)(z, key)
            return Estimate(estimate.values * scale, estimate.standard_errors)

        return noisy

    solver = qdeq.AveragedPicard()
    run = eqx.filter_jit(
        jax.vmap(lambda s, k: solver.solve(fn(s), jnp.zeros(3), key=k, max_steps=100))
    )
    keys = jax.random.split(getkey(), 3)
    alone = run(jnp.ones(3), keys)
    mixed = run(jnp.array([1.0, jnp.nan, 1e30]), keys)
    assert jnp.allclose(mixed.value[0], alone.value[0])
    assert np.array_equal(mixed.result == optx.RESULTS.successful, [True, False, False])
    assert np.array_equal(mixed.result == optx.RESULTS.nonfinite, [False, True, True])
    assert jnp.all(mixed.value[1] == 0) and jnp.all(jnp.isfinite(mixed.value[2]))


@pytest.mark.parametrize("options", [{"atol": 0.0}, {"damp": 1.5}, {"decay": 1.0}, {"patience": 0}])
def test_errors(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        qdeq.AveragedPicard(**options)
