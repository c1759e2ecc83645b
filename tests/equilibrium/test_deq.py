"""Equilibria: values, derivatives, and what bad samples may and may not do."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest
import scipy.optimize
from jax.test_util import check_grads

import eqx_qdeq as qdeq

pytestmark = pytest.mark.float32


def _quantum(seed=0, gain=1.0, n_qubits=4, in_size=16):
    return qdeq.QDEQ(n_qubits, in_size, gain=gain, key=jax.random.key(seed)).deq


def _tight(deq, x64):
    tolerance = 1e-12 if x64 else 1e-6
    return qdeq.DEQ(deq.cell, qdeq.Newton(tolerance, tolerance), deq.adjoint)


def _with_angles(deq, angles):
    return eqx.tree_at(lambda d: d.cell.layer.angles, deq, angles)


def test_the_equilibrium_is_scipys(tol, x64):
    deq = _tight(_quantum(), x64)
    x = 3 * jax.random.normal(jax.random.key(1), (16,))
    fn = deq.cell.bind(x)
    jacobian = jax.jit(jax.jacobian(fn))
    expected = scipy.optimize.root(
        lambda w: np.asarray(fn(jnp.asarray(w, x.dtype))) - w,
        np.zeros(4),
        jac=lambda w: np.asarray(jacobian(jnp.asarray(w, x.dtype))) - np.eye(4),
    )
    np.testing.assert_allclose(eqx.filter_jit(deq)(x), expected.x, atol=20 * tol)


def test_implicit_gradients_agree_with_finite_differences(x64):
    if not x64:
        pytest.skip("a relative 1e-6 needs double precision")
    deq = _tight(_quantum(), x64)
    x = jax.random.normal(jax.random.key(1), (16,))

    @jax.jit
    def loss(angles, x):
        return jnp.sum(jnp.sin(_with_angles(deq, angles)(x) * jnp.arange(1.0, 5.0)))

    angles = deq.cell.layer.angles
    check_grads(loss, (angles, x), order=2, modes=("fwd", "rev"), atol=1e-5, rtol=1e-5)
    gradient = jax.grad(loss)(angles, x)
    direction = jax.random.normal(jax.random.key(2), angles.shape)
    h = 1e-5
    central = (loss(angles + h * direction, x) - loss(angles - h * direction, x)) / (2 * h)
    assert gradient @ direction == pytest.approx(float(central), rel=1e-6)


def test_implicit_gradients_agree_with_unrolling(tol, x64):
    deq = _tight(_quantum(), x64)
    x = 2 * jax.random.normal(jax.random.key(1), (16,))

    def unrolled(angles):
        fn = _with_angles(deq, angles).cell.bind(x)
        w, _ = jax.lax.scan(lambda w, _: (fn(w), None), jnp.zeros(4), None, length=100)
        return jnp.sum(w**3)

    implicit = lambda angles: jnp.sum(_with_angles(deq, angles)(x) ** 3)
    angles = deq.cell.layer.angles
    both = jax.jit(lambda a: (jax.grad(implicit)(a), jax.grad(unrolled)(a)))
    gradient, expected = both(angles)
    np.testing.assert_allclose(gradient, expected, atol=100 * tol)


@pytest.mark.parametrize(
    "adjoint", [optx.ImplicitAdjoint(), optx.RecursiveCheckpointAdjoint(), qdeq.ImplicitAdjoint()]
)
@pytest.mark.parametrize("solver", [qdeq.Newton, qdeq.Picard, qdeq.Anderson, optx.Newton])
def test_any_solver_and_adjoint_may_be_used(adjoint, solver, tol):
    base = _quantum(gain=0.5)
    x = 2 * jax.random.normal(jax.random.key(1), (16,))
    deq = qdeq.DEQ(base.cell, solver(0.1 * tol, 0.1 * tol), adjoint, max_steps=60)
    reference = qdeq.DEQ(base.cell, qdeq.Newton(0.1 * tol, 0.1 * tol))
    run = lambda d: eqx.filter_jit(jax.value_and_grad(lambda x: jnp.sum(d(x) ** 2)))(x)
    value, gradient = run(deq)
    expected, expected_gradient = run(reference)
    np.testing.assert_allclose(value, expected, atol=20 * tol)
    if isinstance(adjoint, optx.RecursiveCheckpointAdjoint):
        # The best iterate of an unrolled solve is a step behind in its derivative.
        np.testing.assert_allclose(gradient, expected_gradient, atol=1e-2)
    else:
        np.testing.assert_allclose(gradient, expected_gradient, atol=200 * tol)


class _Affine(eqx.Module):
    """z ← a z + θ + x, which diverges for |a| > 1 under Picard iteration."""

    slope: jax.Array
    shift: jax.Array

    def __call__(self, z, x):
        return x[0] * z + self.shift * jnp.sin(self.slope) + x[1]


def _affine_gradient(xs, solver):
    deq = qdeq.DEQ(
        qdeq.FunctionCell(_Affine(jnp.array(0.7), jnp.array([1.0, 2.0])), lambda x: jnp.zeros(2)),
        solver,
        max_steps=200,
    )

    @eqx.filter_jit
    def run(fn, xs):
        def loss(fn, x):
            model = eqx.tree_at(lambda d: d.cell.fn, deq, fn)
            solution = model.solve(x)
            return jnp.sum(solution.value**2), solution

        # One gradient a sample, and that of the sum over the batch, as in training.
        each = jax.vmap(jax.grad(lambda fn, x: loss(fn, x)[0]), (None, 0))(fn, xs)
        whole = jax.grad(lambda fn: jnp.sum(jax.vmap(lambda x: loss(fn, x)[0])(xs)))(fn)
        return each, whole, jax.vmap(lambda x: loss(fn, x)[1])(xs)

    return run(deq.cell.fn, xs)


@pytest.mark.parametrize("bad", ["diverges", "nan", "singular", "huge"])
def test_one_bad_sample_changes_no_other_gradient(bad, tol):
    """In a batch of 256, whatever is wrong with one sample."""
    xs = np.zeros((256, 2))
    xs[:, 0] = np.linspace(-0.5, 0.5, 256)
    xs[:, 1] = 1
    good = np.delete(np.arange(256), 100)
    xs[100] = {
        "diverges": (3.0, 1.0),
        "nan": (np.nan, 1.0),
        "singular": (1.0, 0.3),
        "huge": (1.1, 1e30),
    }[bad]
    tolerance = 0.1 * tol
    solver = qdeq.Newton if bad == "singular" else qdeq.Picard
    each, whole, solutions = _affine_gradient(jnp.asarray(xs), solver(tolerance, tolerance))
    assert not solutions.success[100] and np.all(solutions.success[good])
    assert np.all(np.isfinite(solutions.value))
    for e, w in zip(jax.tree.leaves(each), jax.tree.leaves(whole), strict=True):
        assert np.all(np.isfinite(e)) and np.all(np.isfinite(w))
        np.testing.assert_array_equal(e[100], np.zeros_like(e[100]))
        np.testing.assert_allclose(np.sum(np.asarray(e)[good], 0), w, rtol=100 * tol)


def test_a_cell_that_is_not_finite_is_contained():
    """log of a negative number in one sample of a batch."""

    class Log(eqx.Module):
        weight: jax.Array

        def __call__(self, z, x):
            return 0.1 * jnp.log(self.weight * x) + 0.3 * z

    cell = qdeq.FunctionCell(Log(jnp.array(2.0)), jnp.zeros_like)
    xs = jnp.array([[1.0], [-1.0], [3.0]])

    def loss(cell):
        solutions = jax.vmap(qdeq.DEQ(cell).solve)(xs)
        return jnp.sum(solutions.value), solutions.success

    step = eqx.filter_jit(eqx.filter_value_and_grad(loss, has_aux=True))
    (value, success), gradient = step(cell)
    np.testing.assert_array_equal(success, [True, False, True])
    assert np.isfinite(value)
    # d/dw of 0.1 log(w x) / 0.7 for the two good samples.
    np.testing.assert_allclose(gradient.fn.weight, 2 * 0.1 / 0.7 / 2.0, rtol=1e-4)


def test_a_sample_that_ran_out_of_steps_says_so():
    deq = qdeq.DEQ(_quantum().cell, qdeq.Picard(1e-6, 1e-6), max_steps=2)
    x = jax.random.normal(jax.random.key(1), (16,))
    solution = eqx.filter_jit(deq.solve)(x)
    assert not solution.success
    assert solution.result == optx.RESULTS.nonlinear_max_steps_reached
    gap = deq.cell.bind(x)(solution.value) - solution.value
    np.testing.assert_allclose(solution.stats["residual"], jnp.linalg.norm(gap), rtol=1e-4)
    assert solution.stats["num_steps"] == 2


def test_throw_raises():
    deq = qdeq.DEQ(_quantum().cell, qdeq.Picard(1e-6, 1e-6), max_steps=2, throw=True)
    with pytest.raises(Exception, match="maximum number of (solver )?steps"):
        jax.block_until_ready(deq(jax.random.normal(jax.random.key(1), (16,))))
    with pytest.raises(Exception, match="not finite at the initial guess"):
        jax.block_until_ready(qdeq.DEQ(_quantum().cell, throw=True)(jnp.full(16, jnp.nan)))


def test_a_warm_start_takes_fewer_steps(tol):
    deq = _quantum()
    x = jax.random.normal(jax.random.key(1), (16,))
    solve = eqx.filter_jit(lambda z0: deq.solve(x, z0=z0))
    cold = solve(jnp.zeros(4))
    warm = solve(cold.value)
    assert warm.stats["num_evals"] < cold.stats["num_evals"]
    np.testing.assert_allclose(warm.value, cold.value, atol=1e-4)


def test_any_pytree_can_be_the_state(tol):
    def fn(z, x):
        return {"a": 0.3 * jnp.tanh(z["b"][:2]) + x, "b": 0.2 * jnp.concatenate([z["a"], x[:1]])}

    cell = qdeq.FunctionCell(fn, lambda x: {"a": jnp.zeros(2), "b": jnp.zeros(3)})
    deq = qdeq.DEQ(cell, qdeq.Newton(0.1 * tol, 0.1 * tol))
    z = eqx.filter_jit(deq)(jnp.array([0.5, -1.0]))
    np.testing.assert_allclose(
        jax.flatten_util.ravel_pytree(fn(z, jnp.array([0.5, -1.0])))[0],
        jax.flatten_util.ravel_pytree(z)[0],
        atol=tol,
    )


def test_float32_under_x64(x64):
    """A float32 state, whatever JAX's default."""
    matrix = jnp.array([[0.2, 0.1], [0.0, -0.3]], jnp.float32)
    for solver in (qdeq.Newton, qdeq.Picard, qdeq.Anderson):
        cell = qdeq.FunctionCell(lambda z, x: jnp.tanh(matrix @ z + x), jnp.zeros_like)
        deq = qdeq.DEQ(cell, solver(1e-5, 1e-5))
        x = jnp.ones(2, jnp.float32)
        value, gradient = jax.jit(jax.value_and_grad(lambda x, deq=deq: jnp.sum(deq(x))))(x)
        assert value.dtype == gradient.dtype == jnp.float32


def test_jacobian_penalty(tol):
    deq = _quantum()
    x = jax.random.normal(jax.random.key(1), (16,))
    fn, z = deq.cell.bind(x), eqx.filter_jit(deq)(x)
    exact = qdeq.jacobian_penalty(fn, z)
    np.testing.assert_allclose(exact, jnp.sum(jax.jacobian(fn)(z) ** 2) / 4, rtol=100 * tol)
    probed = qdeq.jacobian_penalty(fn, z, key=jax.random.key(3), n_probes=20_000)
    np.testing.assert_allclose(probed, exact, rtol=0.05)
    np.testing.assert_allclose(qdeq.jacobian(fn, z), jax.jacobian(fn)(z), atol=10 * tol)


def _complex(x):
    return x.astype(complex)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda c: qdeq.DEQ(c, max_steps=0), ValueError, "`max_steps` must be at least 1; got 0"),
        (
            lambda c: qdeq.DEQ(qdeq.FunctionCell(lambda z, x: z[:1], jnp.zeros_like))(jnp.ones(2)),
            ValueError,
            "must map a state to one of the same structure",
        ),
        (
            lambda c: qdeq.DEQ(qdeq.FunctionCell(lambda z, x: z, _complex))(jnp.ones(2)),
            TypeError,
            "must be made of real floating-point arrays; got complex",
        ),
        (
            lambda c: qdeq.QDEQ(5, 40, key=jax.random.key(0)),
            ValueError,
            "on 5 wires takes 1 to 32 features; got 40",
        ),
        (
            lambda c: qdeq.QDEQ(5, 4, circuit=qdeq.circuits.paper(4), key=jax.random.key(0)),
            ValueError,
            "`circuit` has 4 wires, but n_qubits=5",
        ),
        (
            # Where types are checked, as in these tests, they are first.
            lambda c: qdeq.FunctionCell(lambda z, x: z + x, jnp.zeros(3)),
            TypeError,
            "initial",
        ),
    ],
)
def test_mistakes_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make(_quantum().cell)
