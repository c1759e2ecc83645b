"""NaN where the caller made NaN, and exact everywhere else; finite in all other cases."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest

import eqx_qdeq as qdeq

_ADJOINTS = {
    "implicit": qdeq.ImplicitAdjoint(),
    "implicit, VJPs": qdeq.ImplicitVJPAdjoint(),
    "Neumann": qdeq.NeumannAdjoint(40),
    "phantom": qdeq.PhantomAdjoint(40, damp=0.0),
    "one step": qdeq.OneStepAdjoint(),
    "SHINE": qdeq.ShineAdjoint(),
    "unrolled": qdeq.UnrolledAdjoint(),
    "Optimistix's checkpoints": optx.RecursiveCheckpointAdjoint(),
}


class _Tanh(eqx.Module):
    weight: jax.Array

    def __call__(self, z, x):
        return jnp.tanh(self.weight * z + x)


_CELL = qdeq.FunctionCell(_Tanh(jnp.array(0.5)), jnp.zeros_like)


def _deq(adjoint, x64, cell=_CELL, **options):
    accuracy = 1e-11 if x64 else 1e-6
    return qdeq.DEQ(cell, qdeq.Broyden(accuracy, accuracy), adjoint, **options)


def _norms(deq, xs):
    # The norm has no derivative at zero: JAX says NaN.
    return jnp.sum(jax.vmap(lambda x: jnp.linalg.norm(deq(x)))(xs))


def _masked_logs(deq, xs):
    # The well-known trap: the mask comes too late for the derivative of log 0.
    z = jax.vmap(deq)(xs)
    return jnp.sum(jnp.where(z > 0, jnp.log(z), 0))


# The adjoint does not know which loss made the NaN: all of them with one, one of them with both.
@pytest.mark.parametrize(
    ("adjoint", "n", "loss"),
    [
        *((adjoint, n, _norms) for adjoint in _ADJOINTS for n in (2, 70)),
        ("implicit", 2, _masked_logs),
        ("unrolled", 2, _masked_logs),
    ],
)
def test_nan_for_the_sample_whose_loss_made_it(adjoint, n, loss, x64, tol):
    """Of two entries, whose system is solved as a matrix, and of 70, by products."""
    deq = _deq(_ADJOINTS[adjoint], x64)
    xs = jnp.linspace(0.1, 0.8, 3 * n).reshape(3, n)
    gradient = eqx.filter_jit(lambda xs: eqx.filter_grad(lambda both: loss(*both))((deq, xs)))
    _, clean = gradient(xs)
    shared, spoilt = gradient(xs.at[1].set(0))
    assert np.all(np.isfinite(clean))
    assert np.all(np.isnan(spoilt[1]))
    np.testing.assert_allclose(spoilt[::2], clean[::2], rtol=100 * tol)
    # A sum with a NaN in it is NaN: mathematics, not the solver.
    assert np.isnan(shared.cell.fn.weight)


@pytest.mark.parametrize("mode", ["jvp", "linearize"])
@pytest.mark.parametrize("adjoint", ["implicit", "Neumann", "phantom", "one step", "SHINE"])
def test_a_tangent_that_is_nan(adjoint, mode, x64):
    deq = jax.vmap(_deq(_ADJOINTS[adjoint], x64))
    xs = jnp.linspace(0.1, 0.6, 4).reshape(2, 2)
    t = jnp.ones_like(xs)
    push = jax.jit(lambda t: jax.jvp(deq, (xs,), (t,))[1])
    if mode == "linearize":
        push = jax.linearize(deq, xs)[1]
    clean, spoilt = push(t), push(t.at[0, 0].set(jnp.nan))
    np.testing.assert_array_equal(spoilt[1], clean[1])
    assert np.isnan(spoilt[0, 0])


@pytest.mark.float32
def test_the_backward_solve_says_nan_for_nan(tol):
    fn = lambda z: 0.5 * jnp.roll(z, 1)
    found = qdeq.solve_adjoint(fn, jnp.zeros(3), jnp.array([1.0, jnp.nan, 0.0]))
    assert np.all(np.isnan(found.value)) and not found.report.success


class _Linear(eqx.Module):
    """z ← ρ z + θ x, whose equilibrium θ x / (1 - ρ) is nearly singular for ρ close to 1."""

    theta: jax.Array

    def __call__(self, z, x):
        return x[0] * z + self.theta * x[1]


@pytest.mark.parametrize(
    ("adjoint", "solver"),
    [
        pytest.param("implicit", qdeq.Broyden, marks=pytest.mark.float32),
        ("implicit", qdeq.Anderson),
        ("implicit", qdeq.Newton),
        ("implicit", qdeq.Picard),
        # What is unrolled takes long to compile: each solver once.
        pytest.param("unrolled", qdeq.Broyden, marks=pytest.mark.float32),
        ("unrolled", qdeq.Newton),
        ("Optimistix's checkpoints", qdeq.Anderson),
        ("Optimistix's checkpoints", qdeq.Picard),
    ],
)
def test_a_nearly_singular_sample_leaves_the_others_alone(adjoint, solver, x64, tol):
    """It succeeds, and its derivative is what the solver makes of it, but finite."""
    cell = qdeq.FunctionCell(_Linear(jnp.array([1.0, 0.7])), lambda x: jnp.zeros(2, x.dtype))
    deq = qdeq.DEQ(cell, solver(1e-5, 1e-5), _ADJOINTS[adjoint])
    where = lambda deq: deq.cell.fn.theta

    @jax.jit
    @jax.value_and_grad
    def run(inputs):
        theta, xs = inputs
        return jnp.sum(jax.vmap(eqx.tree_at(where, deq, theta))(xs))

    for nearly in (1e-3, 1e-5, 1e-7):
        # ρ and x of a sample; of the equilibria's sum, the derivatives are Σθ x/(1 - ρ)² and
        # Σθ/(1 - ρ). All samples share θ.
        xs = jnp.array([[0.5, 1.0], [1 - nearly, 1.0], [0.3, 1.0]])
        value, (whole, gradients) = run((where(deq), xs))
        expected = [[1.7 / 0.25, 1.7 / 0.5], [1.7 / 0.49, 1.7 / 0.7]]
        np.testing.assert_allclose(gradients[::2], expected, rtol=1e-3)
        assert np.all(np.isfinite(gradients)) and np.all(np.isfinite(whole))
        # Both solved ones are in it, and of the other what was found.
        assert np.isfinite(value) and np.all(whole > (2 + 1 / 0.7) * 0.999)
