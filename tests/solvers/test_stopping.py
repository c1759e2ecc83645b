"""When solvers stop, and what they return then."""

import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest

from eqx_qdeq import solvers as s
from tests.solvers._solvers import solvers_at

_T = 1e-4


_SOLVERS = solvers_at(_T, s.Ladder(s.Picard(_T, _T), s.Newton(_T, _T)))


def _solve(fn, solver, y0, args=None, *, throw=False, **kwargs):
    return optx.fixed_point(fn, solver, y0, args, throw=throw, **kwargs)


def _cosine(y, args):
    """One function for several tests: they share what was compiled for it."""
    scale, shift = args
    return scale * jnp.cos(y) + shift, {"y": y, "twice": 2 * y}


# --- The tolerance ------------------------------------------------------------------------------


def test_a_damped_step_is_not_mistaken_for_convergence():
    """Optimistix's own iteration stops on the damped increment, a hundredth of the residual."""
    fn = lambda y, _: jnp.cos(y)
    theirs = _solve(fn, optx.FixedPointIteration(_T, _T, damp=0.99), jnp.array(0.0), max_steps=5000)
    ours = _solve(fn, s.Picard(0.0, _T, damp=0.99), jnp.array(0.0), max_steps=5000)
    assert abs(float(fn(theirs.value, None) - theirs.value)) > 10 * _T
    assert ours.result == optx.RESULTS.successful
    assert abs(float(fn(ours.value, None) - ours.value)) <= _T


def test_stops_at_the_first_iterate_within_the_tolerance():
    """y ← y/2 + 1 from 0 has the residual 2⁻ᵏ at step k."""
    fn = lambda y, _: y / 2 + 1
    for rtol, atol, norm, size, step in (
        (0.0, 1e-3, optx.two_norm, 1, 10),
        (0.0, 2.0**-10, optx.two_norm, 1, 10),  # a tie is within the tolerance
        (0.0, 1e-3, optx.two_norm, 64, 13),  # 8 · 2⁻ᵏ
        (0.0, 1e-3, optx.rms_norm, 64, 10),
        (0.0, 1e-3, optx.max_norm, 64, 10),
        (1e-3, 0.0, optx.two_norm, 64, 9),  # relative to ‖f‖ ≈ 2
        (1e-3, 2e-3, optx.rms_norm, 64, 8),  # both
    ):
        solver = s.Picard(rtol, atol, norm)
        found = _solve(fn, solver, jnp.zeros(size))
        assert int(found.stats["best_step"]) == step, (rtol, atol, norm, size)
        assert int(found.stats["num_steps"]) == int(found.stats["num_evals"]) == step + 1
        # The residual in the statistics is Euclidean, whatever the norm of the test.
        assert found.stats["residual"] == pytest.approx(size**0.5 * 2.0**-step, rel=1e-3)


@pytest.mark.parametrize("name", sorted(_SOLVERS))
def test_an_exact_guess_takes_one_evaluation(name):
    args = jnp.array(0.0), jnp.zeros(2)
    found = _solve(_cosine, _SOLVERS[name], jnp.zeros(2), args, has_aux=True)
    assert found.result == optx.RESULTS.successful
    assert int(found.stats["num_steps"]) == 1
    assert int(found.stats["best_step"]) == 0
    assert found.stats["residual"] == 0


@pytest.mark.parametrize("name", sorted(_SOLVERS))
def test_auxiliary_output_is_that_of_the_returned_iterate(name):
    args = jnp.array(1.0), jnp.array([0.0, 0.5])
    found = _solve(_cosine, _SOLVERS[name], jnp.zeros(2), args, has_aux=True)
    assert found.result == optx.RESULTS.successful
    np.testing.assert_array_equal(found.aux["y"], found.value)
    np.testing.assert_array_equal(found.aux["twice"], 2 * found.value)


# --- Giving up ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "solver",
    [
        s.Broyden(0.0, 1e-9),
        s.Newton(0.0, 1e-9),
        s.Ladder(s.Picard(0.0, 1e-9), s.Picard(0.0, 1e-9), budget=1),
    ],
)
def test_out_of_steps(solver):
    fn = lambda y, _: jnp.tanh(jnp.array([[0.9, 0.8], [-0.8, 0.9]]) @ y) + 0.3
    found = _solve(fn, solver, jnp.zeros(2), max_steps=2)
    assert found.result == optx.RESULTS.nonlinear_max_steps_reached
    assert int(found.stats["num_steps"]) == 2
    gap = np.linalg.norm(fn(found.value, None) - found.value)
    assert found.stats["residual"] == pytest.approx(gap, rel=1e-3)
    with pytest.raises(Exception, match="maximum number of steps"):
        _solve(fn, solver, jnp.zeros(2), max_steps=2, throw=True)


def test_stagnation_counts_steps_without_progress():
    rotation = lambda y, _: jnp.array([-y[1], y[0]]) + 1  # Picard goes round in circles
    for stagnation in (3, 20):
        solver = s.Picard(_T, _T, limits=s.SolverLimits(stagnation=stagnation))
        found = _solve(rotation, solver, jnp.zeros(2))
        assert found.result == optx.RESULTS.nonlinear_max_steps_reached
        assert int(found.stats["num_steps"]) == stagnation + 1


def test_slow_progress_is_progress():
    """A spectral radius of 0.9999: a ten-thousandth per step, for ten thousands of steps."""
    found = _solve(lambda y, _: 0.9999 * y, s.Picard(0.0, 0.5), 1e4 * jnp.ones(1), max_steps=9999)
    assert found.result == optx.RESULTS.successful
    assert int(found.stats["num_steps"]) > 5000


def test_rounding_is_not_progress(x64):
    """A tolerance below what the precision allows ends in stagnation, with the best iterate."""
    fn = lambda y, _: jnp.cos(3 * y) * 0.3 + 100
    found = _solve(fn, s.Newton(0.0, 1e-30), 90 * jnp.ones(2))
    eps = 1e-13 if x64 else 1e-4
    if found.result != optx.RESULTS.successful:  # an exact zero is possible
        assert found.result == optx.RESULTS.nonlinear_max_steps_reached
    assert found.stats["residual"] < eps


def test_divergence_is_measured_against_the_first_residual():
    fn = lambda y, _: 3 * y + 1
    for factor, steps in ((10.0, 4), (1e3, 8)):  # the residual is (3 - 1)·3ᵏ/2 = 3ᵏ
        solver = s.Picard(_T, _T, limits=s.SolverLimits(divergence=factor))
        found = _solve(fn, solver, jnp.zeros(1))
        assert found.result == optx.RESULTS.nonlinear_divergence
        assert int(found.stats["num_steps"]) == steps
        assert found.value == 0
    with pytest.raises(Exception, match="diverged"):
        _solve(fn, solver, jnp.zeros(1), throw=True)


@pytest.mark.parametrize("name", ["Anderson", "Broyden", "Newton", "PseudoTransient"])
def test_solvers_step_back_from_where_the_map_is_not_finite(name):
    """√ is NaN left of 0, where the first steps lead; the fixed point is at 1."""
    fn = lambda y, _: jnp.sqrt(y) - 6 * (y - 1)
    found = _solve(fn, _SOLVERS[name], jnp.array([3.0]))
    assert found.result == optx.RESULTS.successful, (found.value, found.stats)
    np.testing.assert_allclose(found.value, 1, atol=10 * _T)


def test_steps_back_for_ever_are_divergence():
    """Finite at the initial guess alone."""
    fn = lambda y, _: jnp.where(y == 0, 1.0, jnp.nan)
    found = _solve(fn, s.Anderson(_T, _T, limits=s.SolverLimits(stagnation=8)), jnp.zeros(2))
    assert found.result == optx.RESULTS.nonlinear_divergence
    np.testing.assert_array_equal(found.value, 0)
    # Nine attempts, and twice one for each coordinate that look around for a Jacobian.
    assert int(found.stats["num_steps"]) == 9 + 2 * 2
