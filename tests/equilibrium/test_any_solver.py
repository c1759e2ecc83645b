"""Gradients do not depend on who solved: every Optimistix solver that takes a fixed point, with
every adjoint, against finite differences."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest

import eqx_qdeq as qdeq

_T = 1e-8
SOLVERS = {
    "FixedPointIteration": optx.FixedPointIteration(_T, _T),
    "Newton": optx.Newton(_T, _T),
    "Chord": optx.Chord(_T, _T),
    "LevenbergMarquardt": optx.LevenbergMarquardt(_T, _T),
    "GaussNewton": optx.GaussNewton(_T, _T),
    "Dogleg": optx.Dogleg(_T, _T),
    "BFGS": optx.BFGS(_T, _T),
    "LBFGS": optx.LBFGS(_T, _T),
    "DFP": optx.DFP(_T, _T),
    "NonlinearCG": optx.NonlinearCG(_T, _T),
    "NelderMead": optx.NelderMead(1e-10, 1e-10),
    "ours": qdeq.Newton(_T, _T),
}
ADJOINTS = {
    "ours": qdeq.ImplicitAdjoint(),
    "VJPs": qdeq.ImplicitVJPAdjoint(),
    "Optimistix's": optx.ImplicitAdjoint(),
    "Neumann": qdeq.NeumannAdjoint(60),
    "phantom": qdeq.PhantomAdjoint(60, damp=0.0),
}
MATRIX = np.array([[0.3, -0.2], [0.1, 0.4]])
X = np.array([0.3, -0.5])


def _loss(x, solver, adjoint):
    cell = qdeq.FunctionCell(lambda z, x: jnp.tanh(jnp.asarray(MATRIX) @ z + x), jnp.zeros_like)
    solution = qdeq.DEQ(cell, solver, adjoint, max_steps=5000).solve(x)
    return jnp.sum(solution.value), solution


@pytest.mark.parametrize("adjoint", sorted(ADJOINTS))
@pytest.mark.parametrize("solver", sorted(SOLVERS))
def test_gradients_do_not_depend_on_who_solved(solver, adjoint, x64):
    if not x64:
        pytest.skip("finite differences need double precision")
    loss = eqx.filter_jit(lambda x: _loss(x, SOLVERS[solver], ADJOINTS[adjoint]))
    found, solution = jax.grad(loss, has_aux=True)(jnp.asarray(X))
    assert solution.success
    assert solution.stats["residual"] < 1e-4

    def plain(x):
        z = np.zeros(2)
        for _ in range(200):
            z = np.tanh(MATRIX @ z + x)
        return z.sum()

    h = 1e-5
    expected = [(plain(X + h * e) - plain(X - h * e)) / (2 * h) for e in np.eye(2)]
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_success_of_another_library_is_checked():
    """Optimistix's iteration looks at increments: damped, they are small everywhere; and far out,
    relative to the state, they are small although there is no fixed point."""
    linear = qdeq.FunctionCell(lambda z, x: 0.3 * z + x, jnp.zeros_like)
    damped = optx.FixedPointIteration(0.0, 1e-4, damp=0.99)
    far = qdeq.FunctionCell(lambda z, x: z + x, jnp.zeros_like)
    for cell, solver, residual in (
        (linear, damped, 1e-2),
        (far, optx.FixedPointIteration(1e-2, 1e-5), 1.0),
    ):
        found = qdeq.DEQ(cell, solver, max_steps=2000).solve(jnp.ones(1))
        np.testing.assert_allclose(found.stats["residual"], residual, rtol=0.05)
        assert not found.success
        with pytest.raises(Exception, match="maximum number of steps"):
            qdeq.DEQ(cell, solver, max_steps=2000, throw=True).solve(jnp.ones(1))
    honest = qdeq.DEQ(linear, optx.FixedPointIteration(1e-4, 1e-4, damp=0.5))
    assert honest.solve(jnp.ones(1)).success
