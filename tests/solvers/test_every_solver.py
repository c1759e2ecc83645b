"""Every solver on every problem, against SciPy.

A solver is compiled once, for the batch of all problems; the tests look at the batch.
"""

import functools as ft

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import optimistix as optx
import pytest
import scipy.optimize

from eqx_qdeq import solvers as s
from tests.solvers._problems import (
    make_solve,
    NAMES,
    numpy_map,
    PROBLEMS,
    solution,
    SOLVABLE,
    stack,
)

pytestmark = pytest.mark.portable

_X64 = jax.config.jax_enable_x64
_DTYPE = jnp.float64 if _X64 else jnp.float32
_TOL = 1e-11 if _X64 else 1e-5
# The flow takes steps of the accuracy that is asked for at its end.
_FLOW_TOL = 1e-7 if _X64 else 1e-5
# The stiff problem's Jacobian has the norm 60, so a residual is known up to eps * 60 * ‖y‖; ten
# times that in float32.
_STIFF_TOL = 1e-7 if _X64 else 10 * 60 * float(np.finfo(np.float32).eps)

_SOLVERS = {
    "Picard": s.Picard(_TOL, _TOL),
    "Picard, damped": s.Picard(_TOL, _TOL, damp=0.5),
    "Anderson": s.Anderson(_TOL, _TOL),
    "Broyden, good": s.Broyden(_TOL, _TOL),
    "Broyden, bad": s.Broyden(_TOL, _TOL, method="bad"),
    "Newton": s.Newton(_TOL, _TOL),
    "Newton with QR": s.Newton(_TOL, _TOL, linear_solver=lx.QR(), backtracks=2),
    "PseudoTransient": s.PseudoTransient(_TOL, _TOL),
    "SteadyState": s.SteadyState(_FLOW_TOL, _FLOW_TOL),
    "SteadyState, implicit": s.SteadyState(_STIFF_TOL, _STIFF_TOL, ode_solver=diffrax.Kvaerno5()),
    "Ladder": s.Ladder(
        s.Picard(_TOL, _TOL), s.Anderson(_TOL, _TOL), s.Newton(_TOL, _TOL), budget=(20, 20, 60)
    ),
}

_QUICK = {"real spectrum", "complex pairs", "tanh network", "quantum"}
_STABLE = _QUICK | {"expanding"}  # for the flow
_SUCCEEDS = {
    "Picard": _QUICK,
    "Picard, damped": _QUICK,
    "Anderson": set(SOLVABLE),
    "Broyden, good": set(SOLVABLE),
    "Broyden, bad": set(SOLVABLE),
    "Newton": set(SOLVABLE),
    "Newton with QR": set(SOLVABLE),
    "PseudoTransient": set(SOLVABLE),
    "SteadyState": _STABLE,
    "SteadyState, implicit": _STABLE | {"stiff"},
    "Ladder": set(SOLVABLE),
}


@ft.cache
def _compiled(name):
    # An adjoint that does not raise where the problem has no fixed point.
    adjoint = optx.ImplicitAdjoint(lx.AutoLinearSolver(well_posed=False))
    return make_solve(_SOLVERS[name], adjoint)


def _run(name, problems):
    return {k: np.asarray(v) for k, v in _compiled(name)(*stack(problems, _DTYPE)).items()}


@ft.cache
def _batch(name):
    return _run(name, PROBLEMS.values())


def _tolerance(name):
    return {"SteadyState": _FLOW_TOL, "SteadyState, implicit": _STIFF_TOL}.get(name, _TOL)


@pytest.fixture(params=sorted(_SOLVERS))
def solver(request):
    return request.param


def test_finds_scipys_fixed_point(solver):
    found = _batch(solver)
    for name in _SUCCEEDS[solver]:
        i = NAMES.index(name)
        assert found["success"][i], (name, found["residual"][i], found["num_steps"][i])
    for name in SOLVABLE:
        i = NAMES.index(name)
        if found["success"][i] and name != "quantum, small input":  # that one has several
            expected, _ = solution(name)
            error = np.linalg.norm(found["value"][i] - expected)
            # The residual bounds the error up to the norm of (I - J)⁻¹.
            assert error < 50 * _tolerance(solver) * (1 + np.linalg.norm(expected)), name


def test_derivatives_agree_with_finite_differences(solver, x64):
    found = _batch(solver)
    for name in _SUCCEEDS[solver] - {"quantum, small input"}:
        i = NAMES.index(name)
        expected = solution(name)[1]
        rough = 1e-5 if solver.startswith("SteadyState") else 1e-6
        atol, rtol = (rough, rough) if x64 else (5e-4 * _tolerance(solver) / _TOL,) * 2
        np.testing.assert_allclose(found["tangent"][i], expected, atol=atol, rtol=rtol)


def test_the_residual_is_the_true_one_of_the_returned_iterate(solver):
    found = _batch(solver)
    assert np.all(np.isfinite(found["value"]))
    eps = np.finfo(_DTYPE).eps
    for i, name in enumerate(NAMES):
        if name == "not a number":
            continue
        value, problem = found["value"][i], PROBLEMS[name]
        size = 1 + np.linalg.norm(value) * (1 + np.linalg.norm(problem.matrix))
        true = np.linalg.norm(found["gap"][i])
        assert found["residual"][i] == pytest.approx(true, abs=50 * eps * size, rel=1e-4), name
        # In double precision and by NumPy, too.
        value = value.astype(float)
        exact = np.linalg.norm(numpy_map(problem)(value) - value)
        assert found["residual"][i] == pytest.approx(exact, abs=50 * eps * size, rel=1e-3), name
        # The initial guess is among the iterates, so the best cannot be worse.
        start = np.linalg.norm(numpy_map(problem)(np.zeros(6)))
        assert true <= start * (1 + 1e-5), name
        if found["success"][i]:
            scale = np.linalg.norm(numpy_map(problem)(value))
            assert exact <= _tolerance(solver) * (1 + scale) + 50 * eps * size, name


def test_statistics_are_the_same_for_all_solvers(solver):
    found = _batch(solver)
    keys = {"num_steps", "residual", "num_evals", "num_jvps", "best_step"}
    assert keys == set(found) - {"value", "tangent", "gap", "success", "diverged", "gave up"}
    assert np.all(found["num_evals"] >= found["num_steps"])
    assert np.all(found["best_step"] < found["num_steps"])
    newton = solver.startswith(("Newton", "PseudoTransient"))
    if solver != "Ladder":
        assert np.all((found["num_jvps"] > 0) == newton)
    assert found["value"].dtype == found["residual"].dtype == _DTYPE


def test_says_so_where_there_is_no_fixed_point(solver):
    found = _batch(solver)
    i = NAMES.index("translation")
    assert not found["success"][i]
    assert found["gave up"][i]
    assert found["num_steps"][i] < 600  # it noticed
    assert found["residual"][i] == pytest.approx(np.sqrt(6), rel=1e-4)


def test_says_so_where_the_map_is_not_finite(solver):
    found = _batch(solver)
    i = NAMES.index("not a number")
    assert found["diverged"][i]
    assert found["num_steps"][i] == (3 if solver == "Ladder" else 1)
    np.testing.assert_array_equal(found["value"][i], 0)


def test_divergence_is_contained(solver):
    found = _batch(solver)
    i = NAMES.index("cubic")
    if solver.startswith("Picard"):
        assert found["diverged"][i]
        assert found["num_steps"][i] < 10
        np.testing.assert_array_equal(found["value"][i], 0)
    assert np.all(np.isfinite(found["tangent"][i]))


def test_a_failing_sample_changes_no_other(solver):
    """The same batch with failing samples in the place of others, and in another order."""
    problems = list(PROBLEMS.values())
    changed = [problems[i] for i in (0, 8, 9, 7, 4, 5, 9, 8, 7, 2)]
    expected, found = _batch(solver), _run(solver, changed)
    for here, there in ((0, 0), (4, 4), (5, 5), (9, 2)):
        for key in ("value", "num_steps", "num_evals", "success"):
            np.testing.assert_allclose(
                found[key][here], expected[key][there], atol=1e-6 if _X64 else 1e-4
            )


@pytest.mark.parametrize("method", ["anderson", "broyden1"])
def test_scipys_own_accelerated_solvers_agree(method):
    """The oracle is not the only method that finds these fixed points."""
    for name in ("tanh network", "quantum"):
        fn = numpy_map(PROBLEMS[name])
        found = getattr(scipy.optimize, method)(
            lambda y, fn=fn: fn(y) - y, np.zeros(6), f_tol=1e-10
        )
        np.testing.assert_allclose(found, solution(name)[0], atol=1e-8)
        ours = _batch("Anderson" if method == "anderson" else "Broyden, good")
        np.testing.assert_allclose(
            ours["value"][NAMES.index(name)], found, atol=1e-8 if _X64 else 1e-4
        )


def test_solvers_are_modules_without_arrays(solver):
    """So a solver is static under `filter_jit`, and no parameter for an optimizer."""
    assert not [x for x in jax.tree_util.tree_leaves(_SOLVERS[solver]) if eqx.is_array(x)]
