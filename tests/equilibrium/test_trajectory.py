"""Solves that are recorded step by step, and what is made of the record."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest

import eqx_qdeq as qdeq

_WEIGHT = 0.3 * jax.random.normal(jax.random.key(0), (3, 3))
_SOLVERS = {
    "Picard": qdeq.Picard,
    "Anderson": qdeq.Anderson,
    "Broyden": qdeq.Broyden,
    "Newton": qdeq.Newton,
    "PseudoTransient": qdeq.PseudoTransient,
    "SteadyState": qdeq.SteadyState,
}


def _fn(weight, x):
    return lambda z: jnp.tanh(weight @ z + x)


@pytest.mark.parametrize("solver", _SOLVERS)
def test_ends_where_the_solve_ends(solver, tol):
    accuracy = 1e-5
    solver, x = _SOLVERS[solver](accuracy, accuracy), jnp.array([0.3, -0.2, 0.5])

    @jax.jit
    def both(x):
        fn = _fn(_WEIGHT, x)
        record = qdeq.record_trajectory(fn, solver, jnp.zeros(3), 120)
        found = optx.fixed_point(lambda z, _: fn(z), solver, jnp.zeros(3), max_steps=120)
        return record, found.value, found.stats["num_steps"], jax.vmap(fn)(record.iterates)

    record, value, num_steps, applied = jax.tree.map(np.asarray, both(x))
    assert record.success and record.num_steps == num_steps < 120
    np.testing.assert_array_equal(record.iterates[0], 0)
    end = int(num_steps) - 1
    np.testing.assert_allclose(record.iterates[end], value, atol=10 * tol)
    np.testing.assert_array_equal(
        record.iterates[end:], np.tile(record.iterates[end], (120 - end, 1))
    )
    gaps = np.linalg.norm(applied - record.iterates, axis=1)
    np.testing.assert_allclose(record.residuals, gaps, atol=10 * tol)


def test_picard_is_the_map_itself(tol):
    x = jnp.array([0.3, -0.2, 0.5])
    fn = _fn(_WEIGHT, x)
    record = qdeq.record_trajectory(fn, qdeq.Picard(0.0, 0.0), jnp.zeros(3), 5)
    z = np.zeros(3)
    for k in range(5):
        np.testing.assert_allclose(record.iterates[k], z, atol=tol)
        z = np.tanh(np.asarray(_WEIGHT, float) @ z + np.asarray(x, float))
    assert record.num_steps == 5 and not record.success


def test_one_bad_sample_in_a_batch(tol):
    xs = jnp.array([[0.1, 0.2, 0.3], [jnp.nan, 0, 0], [0.5, 0.1, -0.3]])
    deq = qdeq.DEQ(qdeq.FunctionCell(lambda z, x: _fn(_WEIGHT, x)(z), jnp.zeros_like))
    one = jax.jit(lambda x: deq.trajectory(x, n_steps=10))
    record = jax.vmap(one)(xs)
    assert record.iterates.shape == (3, 10, 3) and record.residuals.shape == (3, 10)
    assert np.all(np.isfinite(record.iterates))
    for i in (0, 2):
        alone = one(xs[i])
        np.testing.assert_allclose(record.iterates[i], alone.iterates, atol=10 * tol)
        assert record.success[i]


@pytest.mark.parametrize(
    ("solver", "error", "match"),
    [
        (optx.Newton(1e-5, 1e-5), TypeError, "use eqx_qdeq.Newton"),
        (qdeq.Ladder(qdeq.Newton(1e-5, 1e-5)), TypeError, "one rung of a ladder"),
        (qdeq.Picard(1e-5, 1e-5), ValueError, "at least 1; got 0"),
    ],
)
def test_refusals(solver, error, match):
    with pytest.raises(error, match=match):
        qdeq.record_trajectory(lambda z: z / 2, solver, jnp.zeros(2), 0)


def test_correction_loss(x64, tol):
    x = jnp.array([0.3, -0.2, 0.5])
    solver = qdeq.Picard(1e-5, 1e-5)

    def correction(weight):
        record = qdeq.record_trajectory(_fn(weight, x), solver, jnp.zeros(3), 60)
        loss = lambda z: jnp.sum(z**2)
        return qdeq.fixed_point_correction(
            _fn(weight, x), record, loss, n_states=2, decay=0.5
        ), record

    (value, record), gradient = jax.jit(jax.value_and_grad(correction, has_aux=True))(_WEIGHT)
    n = int(record.num_steps)

    def by_hand(weight):
        total = 0.0
        for j in (1, 2):
            z = record.iterates[j * (n - 1) // 3]
            total += 0.5 ** (3 - j) * jnp.sum(_fn(weight, x)(z) ** 2)
        return total

    np.testing.assert_allclose(value, by_hand(_WEIGHT), rtol=10 * tol)
    np.testing.assert_allclose(gradient, jax.grad(by_hand)(_WEIGHT), rtol=100 * tol, atol=tol)
    with pytest.raises(ValueError, match="above 0 and at most 1; got 0"):
        qdeq.fixed_point_correction(_fn(_WEIGHT, x), record, jnp.sum, decay=0.0)


def test_corrections_shorten_the_way():
    """What they are for: trained with them, Picard needs fewer steps to the same tolerance."""
    weight = jnp.array([[0.9, 0.3], [-0.3, 0.85]])
    x, target = jnp.array([0.4, -0.1]), jnp.array([0.3, 0.3])
    solver = qdeq.Picard(1e-4, 1e-4)

    def loss(weight, share):
        fn = _fn(weight, x)
        error = lambda z: jnp.sum((z - target) ** 2)
        record = qdeq.record_trajectory(fn, solver, jnp.zeros(2), 200)
        cell = qdeq.FunctionCell(lambda z, x: fn(z), jnp.zeros_like)
        main = error(qdeq.DEQ(cell, qdeq.Newton(1e-6, 1e-6))(x))
        return main + share * qdeq.fixed_point_correction(fn, record, error), record.num_steps

    @jax.jit
    def train(share):
        step = lambda _, w: w - 0.05 * jax.grad(lambda w: loss(w, share)[0])(w)
        return loss(jax.lax.fori_loop(0, 60, step, weight), share)[1]

    assert train(jnp.array(1.0)) < train(jnp.array(0.0))


def test_diagnosis_of_a_linear_cell(x64, tol):
    """All is known: J, the residuals of Picard's iteration, the adjoint's gradients."""
    weight, shift = jnp.array([[0.5, 0.2], [0.0, -0.3]]), jnp.array([1.0, -2.0])

    class Affine(eqx.Module):
        weight: jax.Array

        def __call__(self, z, x):
            return self.weight @ z + x

    solver = qdeq.Picard(1e-6, 1e-6)
    deq = qdeq.DEQ(qdeq.FunctionCell(Affine(weight), jnp.zeros_like), solver)
    found = eqx.filter_jit(lambda deq, x: deq.diagnose(x, n_steps=40))(deq, shift)
    w, b = np.asarray(weight, float), np.asarray(shift, float)
    n = int(found.num_steps)
    expected = [np.linalg.norm(np.linalg.matrix_power(w, k) @ b) for k in range(n)]
    np.testing.assert_allclose(found.residuals[:n], expected, rtol=1e-3, atol=2e-7)
    assert np.all(np.isnan(found.residuals[n:]))
    np.testing.assert_allclose(found.spectral_radius, 0.5, rtol=10 * tol)
    np.testing.assert_allclose(found.flow_rate, -0.5, rtol=10 * tol)
    np.testing.assert_allclose(found.spectral_norm, np.linalg.norm(w, 2), rtol=10 * tol)
    np.testing.assert_allclose(found.contraction_margin, 1 - np.linalg.norm(w, 2), rtol=100 * tol)
    z = np.linalg.solve(np.eye(2) - w, b)
    u = np.linalg.solve(np.eye(2) - w.T, z)
    norms = found.gradient_norms
    assert set(norms) == {"fn.weight", "x"}
    np.testing.assert_allclose(norms["x"], np.linalg.norm(u), rtol=1e-4)
    np.testing.assert_allclose(norms["fn.weight"], np.linalg.norm(np.outer(u, z)), rtol=1e-4)
    assert found.success and found.backward.success and found.num_jvps == 0
    text = str(found)
    assert "spectral radius" in text and "0.5" in text and "gradient norm fn.weight" in text


def test_diagnosis_tells_a_saddle_from_a_minimum():
    """Two angles that minimise the energy cos a - cos b, solved for as an equilibrium."""
    energy = lambda z: jnp.cos(z[0]) - jnp.cos(z[1])
    cell = qdeq.FunctionCell(lambda z, x: z - jax.grad(energy)(z), lambda x: x)
    start = jnp.array([0.5, 0.5])
    for solver, angle, rate in (
        (qdeq.Newton(1e-6, 1e-6), 0.0, 1.0),  # a saddle: least in b, largest in a
        (qdeq.SteadyState(1e-6, 1e-6), np.pi, -1.0),
    ):
        deq = qdeq.DEQ(cell, solver)
        found = eqx.filter_jit(lambda x, deq=deq: (deq(x), deq.diagnose(x, n_steps=4)))(start)
        np.testing.assert_allclose(found[0], [angle, 0], atol=1e-5)
        assert found[1].success
        np.testing.assert_allclose(found[1].flow_rate, rate, atol=1e-5)


def test_diagnosis_of_a_failure_in_a_batch():
    deq = qdeq.QDEQ(4, 16, key=jax.random.key(0)).deq
    x = jax.random.normal(jax.random.key(1), (4, 16)).at[2].set(jnp.nan)
    found = jax.jit(jax.vmap(lambda x: deq.diagnose(x, n_steps=12)))(x)
    assert found.success.tolist() == [True, True, False, True]
    assert "75.0%" in str(found)
    assert np.all(np.isfinite(found.spectral_radius))
    assert found.gradient_norms["layer.angles"][2] == 0
