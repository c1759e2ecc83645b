"""The linear algebra within the solvers, against NumPy."""

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import optimistix as optx
import pytest

from eqx_qdeq.solvers import DENSE_SIZE, EarlyExitGMRES, gmres, Newton, PseudoTransient, solve_dense

pytestmark = pytest.mark.portable


@pytest.mark.parametrize("size", [0, 1, 2, 7, 10, 11])
def test_dense_solves(size, tol):
    rng = np.random.default_rng(size)
    # A zero in the corner: elimination without pivoting would fail.
    matrices = rng.standard_normal((20, size, size))
    matrices[:, :1, :1] = 0 if size > 1 else 1
    vectors = rng.standard_normal((20, size))
    found = jax.jit(jax.vmap(solve_dense))(jnp.asarray(matrices), jnp.asarray(vectors))
    expected = np.linalg.solve(matrices, vectors[..., None])[..., 0]
    condition = np.linalg.cond(matrices) if size else np.ones(20)
    error = np.max(np.abs(found - expected), axis=1, initial=0)
    assert np.all(error <= tol * condition * np.max(np.abs(expected), axis=1, initial=0))


@pytest.mark.parametrize("size", [2, 10, 12])
def test_a_singular_matrix_gives_no_number(size):
    x = jax.jit(solve_dense)(jnp.zeros((size, size)), jnp.ones(size))
    assert not np.all(np.isfinite(x))


def _gmres(matrix, vector, **kwargs):
    operator = lx.MatrixLinearOperator(jnp.asarray(matrix))
    rtol = kwargs.pop("rtol")
    return lx.linear_solve(
        operator, jnp.asarray(vector), EarlyExitGMRES(rtol, 0.0, **kwargs), throw=False
    )


@pytest.mark.parametrize("restart", [40, 5])
def test_gmres_reaches_its_tolerance(restart, tol):
    rng = np.random.default_rng(0)
    matrix = np.eye(40) - 0.5 * rng.standard_normal((40, 40)) / np.sqrt(40)
    vector = rng.standard_normal(40)
    found = _gmres(matrix, vector, rtol=tol, restart=restart, max_steps=200)
    assert found.result == lx.RESULTS.successful
    assert np.linalg.norm(matrix @ found.value - vector) <= 1.5 * tol * np.linalg.norm(vector)
    # It stops where that is reached, not at the end of a cycle: a rougher one takes fewer steps.
    rough = _gmres(matrix, vector, rtol=0.1, restart=restart)
    assert 0 < 2 * rough.stats["num_steps"] < found.stats["num_steps"]
    assert rough.stats["num_steps"] <= 5


def test_gmres_is_exact_once_the_space_is_invariant(tol):
    """Three distinct eigenvalues: three products, and one to check."""
    rng = np.random.default_rng(1)
    basis, _ = np.linalg.qr(rng.standard_normal((30, 30)))
    matrix = basis @ np.diag(np.repeat([1.0, 2.0, 5.0], 10)) @ basis.T
    vector = rng.standard_normal(30)
    found = _gmres(matrix, vector, rtol=tol)
    assert found.result == lx.RESULTS.successful
    assert found.stats["num_steps"] <= 5
    np.testing.assert_allclose(found.value, np.linalg.solve(matrix, vector), atol=20 * tol)


def test_gmres_says_that_a_singular_system_failed():
    matrix, vector = np.diag([1.0, 1.0, 0.0]), np.ones(3)
    found = _gmres(matrix, vector, rtol=1e-6)
    assert found.result != lx.RESULTS.successful
    assert np.all(np.isfinite(found.value))
    # ... and a zero right-hand side costs nothing.
    assert _gmres(matrix, np.zeros(3), rtol=1e-6).stats["num_steps"] == 0


def test_gmres_can_be_differentiated_and_transposed(tol):
    rng = np.random.default_rng(2)
    matrix = jnp.asarray(np.eye(8) + 0.3 * rng.standard_normal((8, 8)))
    vector = jnp.asarray(rng.standard_normal(8))
    solver = EarlyExitGMRES(tol, 0.0)
    by = lambda solver: (
        lambda m: jnp.sum(
            lx.linear_solve(lx.MatrixLinearOperator(m), vector, solver, throw=False).value ** 2
        )
    )
    np.testing.assert_allclose(
        jax.jit(jax.grad(by(solver)))(matrix), jax.grad(by(lx.LU()))(matrix), atol=100 * tol
    )


def test_richardson_first_where_it_is_quick(tol):
    """A step of it is a product and no more; GMRES takes over where it would be slow."""
    rng = np.random.default_rng(4)
    noise = rng.standard_normal((40, 40)) / np.sqrt(40)
    vector = rng.standard_normal(40)
    for radius, alike in ((0.3, True), (3.0, False)):
        matrix = np.eye(40) - radius * noise
        alone = _gmres(matrix, vector, rtol=tol, restart=40)
        mixed = _gmres(matrix, vector, rtol=tol, restart=40, richardson=40)
        assert mixed.result == alone.result == lx.RESULTS.successful
        error = np.linalg.norm(matrix @ mixed.value - vector) / np.linalg.norm(vector)
        assert error <= 2 * tol
        extra = int(mixed.stats["num_steps"]) - int(alone.stats["num_steps"])
        assert extra <= (6 if alike else 3)


def test_gmres_starts_from_a_guess(tol):
    rng = np.random.default_rng(5)
    matrix = jnp.asarray(np.eye(20) - 0.1 * rng.standard_normal((20, 20)))
    vector = jnp.asarray(rng.standard_normal(20))
    settings = EarlyExitGMRES(1e-4, 0.0)
    product = lambda x: jnp.dot(matrix, x, precision="highest")
    cold = gmres(product, vector, settings)
    warm = gmres(product, vector, settings, y0=cold.value + 1e-3)
    assert warm.result == lx.RESULTS.successful
    assert warm.num_steps < cold.num_steps
    # A guess that is worse than none is not used.
    assert gmres(product, vector, settings, y0=1e6 * vector).num_steps == cold.num_steps + 1
    bad = gmres(product, vector, settings, y0=jnp.full(20, jnp.nan))
    np.testing.assert_array_equal(bad.value, cold.value)


@pytest.mark.parametrize("solver", [Newton, PseudoTransient])
@pytest.mark.parametrize("size", [DENSE_SIZE, DENSE_SIZE + 1])
def test_states_on_either_side_of_the_dense_limit(solver, size, tol):
    rng = np.random.default_rng(3)
    matrix = jnp.asarray(0.9 * rng.standard_normal((size, size)) / np.sqrt(size))
    vector = jnp.asarray(rng.standard_normal(size))
    fn = lambda y, vector: jnp.tanh(matrix @ y + vector)
    found = jax.jit(
        lambda v: optx.fixed_point(fn, solver(tol, tol), jnp.zeros(size), v, max_steps=40)
    )(vector)
    assert np.linalg.norm(fn(found.value, vector) - found.value) < 10 * tol
    steps, jvps = int(found.stats["num_steps"]), int(found.stats["num_jvps"])
    if size <= DENSE_SIZE:
        assert jvps == size * steps
    else:
        # Forcing terms: far fewer products than a Jacobian has columns.
        assert 0 < jvps < size * steps / 4
        assert found.stats["num_evals"] == steps
