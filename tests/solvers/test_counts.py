"""How many evaluations the solvers need, by spectral radius."""

import functools as ft

import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest

from eqx_qdeq import solvers as s
from tests.solvers._problems import with_spectrum

pytestmark = pytest.mark.usefixtures("once")

_SIZE = 32
_RADII = (0.5, 0.9, 0.97, 0.999)
_TOL = 1e-5  # the default, reachable in both precisions at a spectral radius of 0.999

_SOLVERS = {
    "Picard": s.Picard(_TOL, _TOL),
    "Anderson": s.Anderson(_TOL, _TOL),
    "Broyden, good": s.Broyden(_TOL, _TOL),
    "Broyden, bad": s.Broyden(_TOL, _TOL, method="bad"),
    "Newton": s.Newton(_TOL, _TOL),
    "PseudoTransient": s.PseudoTransient(_TOL, _TOL),
    "SteadyState": s.SteadyState(_TOL, _TOL, max_ode_steps=10_000),
}


def _spectra(radius):
    """Eigenvalues of largest modulus `radius`: the ways in which problems differ."""
    rng = np.random.default_rng(0)
    angles = rng.uniform(0, np.pi, _SIZE // 2)
    moduli = np.sqrt(rng.uniform(0, 1, _SIZE // 2))
    spread = moduli * np.exp(1j * angles)
    clustered = 0.5 * spread
    clustered[0] = np.exp(0.3j)
    spread[0] = np.exp(1j * angles[0])
    return {
        "geometric": radius * 0.7 ** np.arange(_SIZE),
        "one pair": radius * clustered,
        "positive": np.linspace(0, radius, _SIZE),
        "symmetric": np.linspace(-radius, radius, _SIZE),
        "disc": radius * spread,
    }


SPECTRA = tuple(_spectra(1.0))


@ft.cache
def counts(solver):
    """Evaluations, by (radius, spectrum)."""
    keys = [(radius, name) for radius in _RADII for name in SPECTRA]
    matrices = jnp.asarray([with_spectrum(_spectra(r)[n], 1) for r, n in keys], float)
    vector = jnp.asarray(np.random.default_rng(2).standard_normal(_SIZE), float)

    @jax.jit
    @jax.vmap
    def solve(matrix):
        found = optx.fixed_point(
            lambda y, m: m @ y + vector,
            _SOLVERS[solver],
            jnp.zeros(_SIZE),
            matrix,
            max_steps=20_000,
            throw=False,
        )
        return found.stats["num_evals"], found.result == optx.RESULTS.successful

    evals, success = solve(matrices)
    assert np.all(success), solver
    return dict(zip(keys, np.asarray(evals).tolist(), strict=True))


@pytest.mark.parametrize("spectrum", [name for name in SPECTRA if name != "disc"])
def test_anderson_needs_a_tenth_of_picard(spectrum):
    key = (0.97, spectrum)
    assert 10 * counts("Anderson")[key] <= counts("Picard")[key]


def test_anderson_where_no_krylov_method_needs_a_tenth():
    """With eigenvalues that fill a disc even GMRES without restarts, in all of the 32 dimensions,
    takes more than a tenth of Picard's evaluations.
    """
    key = (0.97, "disc")
    matrix = with_spectrum(_spectra(0.97)["disc"], 1)
    vector = np.random.default_rng(2).standard_normal(_SIZE)
    steps = _gmres_steps(np.eye(_SIZE) - matrix, vector)
    assert 10 * steps > counts("Picard")[key]
    assert steps <= counts("Anderson")[key] <= 1.3 * steps


def _gmres_steps(matrix, vector):
    """The smallest Krylov space with a residual within the tolerance, by least squares."""
    basis = vector[:, None] / np.linalg.norm(vector)
    for steps in range(1, _SIZE + 1):
        y = basis @ np.linalg.lstsq(matrix @ basis, vector)[0]
        residual = np.linalg.norm(vector - matrix @ y)
        if residual <= _TOL * (1 + np.linalg.norm(y)):
            return steps
        basis = np.linalg.qr(np.column_stack([basis, matrix @ basis[:, -1]]))[0]
    return _SIZE


def test_acceleration_never_costs_more():
    """Also where no Krylov method gains much: eigenvalues that fill a disc."""
    picard = counts("Picard")
    for solver in ("Anderson", "Broyden, good", "Broyden, bad"):
        for key, evals in counts(solver).items():
            assert evals <= picard[key], (solver, key)


def test_picard_takes_the_steps_that_the_spectral_radius_says():
    for radius in _RADII[1:]:
        expected = np.log(_TOL) / np.log(radius)
        assert 0.4 * expected < counts("Picard")[radius, "positive"] < 1.2 * expected


def test_newton_solves_a_linear_problem_in_one_step():
    assert set(counts("Newton").values()) == {2}


def test_pseudo_transient_turns_into_newton():
    """Up to 0.97; at 0.999 it needs over a hundred evaluations on real spectra."""
    evals = counts("PseudoTransient")
    assert max(evals[radius, name] for radius in _RADII[:3] for name in SPECTRA) <= 16


def test_the_flow_needs_a_few_times_picard():
    """Seven evaluations for a step of the flow, which is longer than Picard's."""
    picard, flow = counts("Picard"), counts("SteadyState")
    for name in SPECTRA:
        assert 1 < flow[0.97, name] / picard[0.97, name] < 6
