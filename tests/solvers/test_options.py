"""Options of solvers: least steps, random starts, noisy steps, and ways around saddles."""

import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest

import eqx_qdeq as qdeq


def solve(fn, y0, solver, max_steps=200):
    return optx.fixed_point(
        lambda y, _: fn(y), solver, jnp.asarray(y0), max_steps=max_steps, throw=False
    )


def test_a_solve_takes_its_least_steps():
    fn = lambda y: 0.5 * y
    for least, steps in ((0, 1), (1, 1), (7, 7)):
        limits = qdeq.SolverLimits(min_steps=least)
        found = solve(fn, [1e-9], qdeq.Picard(1e-6, 1e-6, limits=limits))
        assert found.stats["num_steps"] == steps
        assert found.result == optx.RESULTS.successful
    with pytest.raises(ValueError, match="min_steps"):
        qdeq.SolverLimits(min_steps=-1)


def test_random_starts_find_what_one_start_misses():
    # Below zero plain iteration runs away, above it comes to 3.
    fn = lambda y: jnp.where(y > 0, 1.5 + 0.5 * y, y - 1)
    picard = qdeq.Picard(1e-6, 1e-6)
    one = solve(fn, [-4.0], qdeq.Ladder(picard, budget=40))
    assert one.result != optx.RESULTS.successful
    many = qdeq.Ladder(*[picard] * 20, budget=40, restart=True, spread=6.0)
    found = solve(fn, [-4.0], many)
    assert found.result == optx.RESULTS.successful
    np.testing.assert_allclose(found.value, 3, rtol=1e-5)
    # Where none succeeds the best of all starts is returned.
    nowhere = lambda y: y + 1 + y**2
    single = solve(nowhere, [5.0], qdeq.Ladder(picard, budget=1))
    several = qdeq.Ladder(*[picard] * 10, budget=1, restart=True, spread=5.0)
    found = solve(nowhere, [5.0], several)
    assert found.result != optx.RESULTS.successful
    assert found.stats["residual"] < single.stats["residual"]
    with pytest.raises(ValueError, match="spread"):
        qdeq.Ladder(picard, spread=-1.0)


def test_noisy_steps_come_to_rest():
    fn = lambda y: -0.9 * y
    noisy = solve(fn, [1.0, -1.0], qdeq.Picard(1e-5, 1e-5, damp=0.1, noise=0.1))
    assert noisy.result == optx.RESULTS.successful
    np.testing.assert_allclose(noisy.value, 0, atol=1e-4)
    # On the way they leave the line on which plain iteration stays.
    way = qdeq.record_trajectory(
        fn, qdeq.Picard(1e-5, 1e-5, damp=0.1, noise=0.1), jnp.array([1.0, -1.0]), 3
    ).iterates
    assert np.all(np.abs(np.sum(way[1:], axis=1)) > 1e-3)
    with pytest.raises(ValueError, match="noise"):
        qdeq.Picard(1e-5, 1e-5, noise=1.0)


def test_growing_modes_are_followed_by_steps_of_any_size():
    # The flow of E = (a² - 1)²/4 + b²/2 leaves the saddle (0, 0) for (1, 0).
    energy = lambda y: (y[0] ** 2 - 1) ** 2 / 4 + y[1] ** 2 / 2
    fn = lambda y: y - jax.grad(energy)(y)
    start = [0.05, 2.0]
    large = {"rtol": 0.0, "atol": 1e-6, "time_step": 1e4}
    saddle = solve(fn, start, qdeq.PseudoTransient(**large))
    np.testing.assert_allclose(saddle.value, [0, 0], atol=1e-5)
    found = solve(fn, start, qdeq.PseudoTransient(**large, avoids_saddles=True))
    assert found.result == optx.RESULTS.successful
    np.testing.assert_allclose(found.value, [1, 0], atol=1e-5)
    with pytest.raises(ValueError, match="avoids_saddles"):
        qdeq.PseudoTransient(
            1e-6, 1e-6, linear_solver=qdeq.EarlyExitGMRES(0.1, 0.1), avoids_saddles=True
        )


def test_steps_have_no_part_along_a_curve_of_equilibria():
    # A valley: all points of the unit circle are equilibria, and the nearest one is found.
    fn = lambda y: y * (1 + 0.7 * (1 - jnp.sum(y**2)))
    start = np.array([0.3, 0.4])
    found = solve(fn, start, qdeq.PseudoTransient(0.0, 1e-6, avoids_saddles=True))
    assert found.result == optx.RESULTS.successful
    np.testing.assert_allclose(found.value, start / 0.5, atol=1e-5)
