"""The self-consistent systems: run small, against what is known on paper."""

import jax
import numpy as np
import pytest

pytestmark = pytest.mark.usefixtures("once")


@pytest.fixture(autouse=True)
def in_double_precision():
    with jax.enable_x64(True):
        yield


def test_ferromagnet(checked):
    five, equilibrium, worst = checked(
        "self_consistent/ferromagnet",
        "J learned # by 5, # by equilibrium; the equilibrium's worst of 2 is #% off",
    )
    # The true coupling is 1.
    assert abs(equilibrium - 1) < 0.006 and worst < 0.6
    assert abs(five - 0.86) < 0.02


def test_clusters(checked):
    one, two, error, slope, solved, evals, steps = checked(
        "self_consistent/clusters",
        "critical fields #, #; m to # and dm/dh to # of diagonalization, #% of solves to 1e-9; the "
        "pair at h = 3.84 in # evaluations, plain iteration # steps",
    )
    np.testing.assert_allclose([one, two], [4, 3.8537], atol=1e-3)
    assert error < 1e-6 and slope < 1e-5 and solved == 100
    assert steps == 2236 and evals < 100


def test_mott(checked):
    z, slope, *ten, low, high, at_999, at_99, _ = checked(
        "self_consistent/mott",
        "Z and dZ/dU to # and #; ten applications wrong by #, #, #% at 0.8, 0.9, 0.95 U_c; rate "
        "over \\(U/U_c\\)² # to #; U_c moves by #% at 99.9% two-wire fidelity, #% at 99%, and by "
        "less than 1% up to an error of #",
    )
    assert z < 1e-6 and slope < 1e-6
    np.testing.assert_allclose(ten, [0.7, 10.9, 47.8], atol=0.1)
    assert 0.99 < low <= high < 1.01
    assert at_99 < at_999 < 0


def test_bistability(checked):
    upper, lower, apart, drive, *states, certified, steps, evals, _, starts = checked(
        "self_consistent/bistability",
        "folds at # and #, # from paper; at g = # # stable, # unstable, # stable; # of # steps "
        "certified; # evaluations; 64 random starts at # drives: #",
    )
    np.testing.assert_allclose([upper, lower], [3.608577, 2.989340], atol=1e-6)
    assert apart < 1e-6
    cubic = np.roots([100, -100, 1 + 2 * drive**2, -1])
    np.testing.assert_allclose(states, np.sort(cubic.real), atol=1e-4)
    # Without a bound on the curvature nothing is proven.
    assert certified == 0 and steps > 10
    assert evals < starts / 5


def test_infinite_chain(checked):
    *above, _, _, _ = checked(
        "self_consistent/infinite_chain",
        "at g = 0.5, 1, 1.5, with 1 bond wire: energy too high by #, #, #, gradient after ten "
        "applications wrong by #, #, #",
    )
    # Variational: never below the exact energy.
    assert np.all(np.array(above) > 0) and np.all(np.array(above) < 2e-3)
