"""The exact adjoints against finite differences, and against each other."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest
from jax.flatten_util import ravel_pytree

import eqx_qdeq as qdeq
from tests._jaxprs import equations

_EXACT = {
    "implicit": qdeq.ImplicitAdjoint(),
    "implicit, VJPs": qdeq.ImplicitVJPAdjoint(),
    "unrolled": qdeq.UnrolledAdjoint(),
    "many Neumann terms": qdeq.NeumannAdjoint(200),
    "many phantom steps": qdeq.PhantomAdjoint(200),
}


class _Tanh(eqx.Module):
    """On a pytree of two arrays."""

    weight: jax.Array
    bias: jax.Array

    def __call__(self, z, x):
        flat = jnp.concatenate([z["a"], z["b"].reshape(-1)])
        new = jnp.tanh(self.weight @ flat + self.bias + jnp.sum(x))
        return {"a": new[:1], "b": new[1:].reshape(2, -1)}


def _tanh(n):
    rng = np.random.default_rng(n)
    weight = rng.standard_normal((n, n))
    weight *= 0.7 / np.max(np.abs(np.linalg.eigvals(weight)))
    fn = _Tanh(jnp.asarray(weight), jnp.asarray(0.3 * rng.standard_normal(n)))
    return qdeq.FunctionCell(
        fn, lambda x: {"a": jnp.zeros(1, x.dtype), "b": jnp.zeros((2, (n - 1) // 2), x.dtype)}
    )


def _quantum(encoding, injection):
    circuit = qdeq.circuits.hardware_efficient(n_qubits=2, depth=2)
    layer = qdeq.QuantumLayer(circuit, encoding, qdeq.PauliZ(), key=jax.random.key(0))
    return qdeq.QuantumCell(layer, injection)


_CELLS = {
    "tanh": _tanh(5),
    "tanh, large": _tanh(101),
    "amplitudes": _quantum(qdeq.AmplitudeEncoding(), qdeq.AddInjection(4, jnp.array(0.5))),
    "angles": _quantum(qdeq.AngleEncoding(), qdeq.AddInjection(2, jnp.array(0.4))),
    "angle feedback": _quantum(qdeq.AmplitudeEncoding(), qdeq.AngleFeedback(gain=0.5)),
}
_SIZE = {"tanh": 3, "tanh, large": 3, "angles": 2}


def _batch(name):
    # Large enough for spectral radii below 1, which the series need.
    x = np.random.default_rng(1).standard_normal((3, _SIZE.get(name, 4)))
    return jnp.asarray(3 * x / np.linalg.norm(x, axis=1, keepdims=True))


def _loss(cell, x, adjoint, tol, solver=qdeq.Newton):
    deq = qdeq.DEQ(cell, solver(tol, tol), adjoint, max_steps=400)
    values = jax.vmap(deq)(x)
    return sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(values))


@pytest.mark.parametrize("cell", _CELLS)
def test_gradients_agree_with_finite_differences_and_each_other(cell, tol, x64):
    """Of a batch, with respect to parameters and inputs."""
    if not x64 and cell not in ("tanh", "amplitudes"):
        pytest.skip("in single precision two cells will do: there are no finite differences")
    parameters, static = eqx.partition(_CELLS[cell], eqx.is_inexact_array)
    flat, unravel = ravel_pytree((parameters, _batch(cell)))

    def loss(flat, adjoint, solver):
        parameters, x = unravel(flat)
        accuracy = 1e-13 if x64 else 1e-6
        return _loss(eqx.combine(parameters, static), x, adjoint, accuracy, solver)

    def gradients(flat):
        found = {}
        for name, adjoint in _EXACT.items():
            if name in ("unrolled", "many phantom steps") and cell not in ("tanh", "amplitudes"):
                continue  # they take long to trace and do not look at what is in a cell
            solver = qdeq.Picard if name == "unrolled" else qdeq.Newton
            found[name] = jax.grad(loss)(flat, adjoint, solver)
        return found

    found = jax.jit(gradients)(flat)
    reference = found["implicit"]
    scale = np.max(np.abs(reference))
    for name, gradient in found.items():
        np.testing.assert_allclose(
            gradient, reference, atol=scale * (1e-8 if x64 else 2e-3), err_msg=name
        )
    if not x64:
        return
    rng, h = np.random.default_rng(0), 1e-5
    directions = jnp.asarray(rng.standard_normal((3, flat.size)) / np.sqrt(flat.size))
    run = jax.jit(jax.vmap(lambda f: loss(f, _EXACT["implicit"], qdeq.Newton)))
    # Of fourth order, so that 1e-6 is within reach.
    at = lambda s: run(flat[None] + s * h * 10 * directions)
    expected = (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / (120 * h)
    np.testing.assert_allclose(directions @ reference, expected, rtol=1e-6)


@pytest.mark.parametrize("cell", ["tanh", "tanh, large", "amplitudes"])
def test_forward_mode_and_second_derivatives(cell, x64, tol):
    x = _batch(cell)
    accuracy = 1e-13 if x64 else 1e-6

    def loss(t):
        return _loss(_CELLS[cell], t * x, qdeq.ImplicitAdjoint(), accuracy)

    @jax.jit
    def derivatives(t):
        forward = jax.jacfwd(loss)(t)
        return forward, jax.grad(loss)(t), jax.jacfwd(jax.grad(loss))(t), jax.hessian(loss)(t)

    first, reverse, second, hessian = derivatives(1.0)
    np.testing.assert_allclose(first, reverse, rtol=10 * tol, atol=10 * tol)
    np.testing.assert_allclose(second, hessian, rtol=100 * tol, atol=100 * tol)
    if x64:
        h = 1e-4
        expected = (derivatives(1 + h)[1] - derivatives(1 - h)[1]) / (2 * h)
        np.testing.assert_allclose(second, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("adjoint", _EXACT)
def test_works_in_plain_optimistix(adjoint, tol):
    """In `fixed_point`, with our solvers and its own, a root finder among them."""

    def loss(theta, solver, adjoint):
        found = optx.fixed_point(
            lambda y, t: jnp.cos(t * y), solver, jnp.array([0.3, 0.5]), theta, adjoint=adjoint
        )
        return jnp.sum(found.value**2)

    accuracy = 0.1 * tol
    solvers = [qdeq.Anderson(accuracy, accuracy), optx.FixedPointIteration(accuracy, accuracy)]
    if adjoint != "unrolled":  # Optimistix's Newton cannot be reversed
        solvers.append(optx.Newton(accuracy, accuracy))
    theta = jnp.array([0.7, 0.9])
    expected = jax.grad(loss)(theta, optx.Newton(accuracy, accuracy), optx.ImplicitAdjoint())
    for solver in solvers:
        found = jax.grad(loss)(theta, solver, _EXACT[adjoint])
        np.testing.assert_allclose(found, expected, atol=300 * tol)


def test_the_adjoint_vector_solves_its_system(x64, tol):
    """Also for a large state with a Jacobian of spectral radius above 1, where Picard fails."""
    n = 80
    weight = jnp.asarray(np.random.default_rng(0).standard_normal((n, n)) * 2 / np.sqrt(n))
    fn = lambda z: weight @ z
    cotangent = jnp.linspace(-1, 1, n)
    found = qdeq.solve_adjoint(fn, jnp.zeros(n), cotangent)
    expected = np.linalg.solve(np.eye(n) - np.asarray(weight, float).T, np.asarray(cotangent))
    assert found.report.success
    error = np.linalg.norm(found.value - expected) / np.linalg.norm(expected)
    assert error < (1e-8 if x64 else 1e-2)
    again = qdeq.solve_adjoint(fn, jnp.zeros(n), cotangent, guess=found.value)
    assert again.report.num_products == 1
    hopeless = qdeq.EarlyExitGMRES(0.0, 0.0, max_steps=3)
    failed = qdeq.solve_adjoint(fn, jnp.zeros(n), cotangent, linear_solver=hopeless)
    assert not failed.report.success
    gap = np.asarray(cotangent - (failed.value - weight.T @ failed.value))
    np.testing.assert_allclose(failed.report.residual, np.linalg.norm(gap), rtol=100 * tol)


@pytest.mark.parametrize(("size", "matrix"), [(64, True), (65, False)])
def test_small_systems_are_solved_as_a_matrix(size, matrix):
    cell = qdeq.FunctionCell(lambda z, x: 0.5 * jnp.tanh(z) + x, jnp.zeros_like)
    deq = qdeq.DEQ(cell, qdeq.Picard(1e-6, 1e-6), qdeq.ImplicitAdjoint())
    program = jax.make_jaxpr(jax.grad(lambda x: jnp.sum(deq(x))))(jnp.zeros(size))
    assert any(e.primitive.name == "lu" for e in equations(program.jaxpr)) == matrix
