"""The cheap adjoints against their formulas, with dense Jacobians."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest

import eqx_qdeq as qdeq

pytestmark = pytest.mark.portable

_N = 4
_WEIGHT = 0.4 * jax.random.normal(jax.random.key(0), (_N, _N))
_X = jax.random.normal(jax.random.key(1), (_N,))


def _map(weight, z, x):
    return jnp.tanh(weight @ z + x)


def _solver(x64):
    accuracy = 1e-12 if x64 else 1e-6
    return qdeq.Broyden(accuracy, accuracy)


def _jacobians(adjoint, solver):
    """dz/dx, and z."""
    cell = qdeq.FunctionCell(lambda z, x: _map(_WEIGHT, z, x), jnp.zeros_like)
    deq = qdeq.DEQ(cell, solver, adjoint)
    return jax.jit(jax.jacrev(deq))(_X), jax.jit(deq)(_X)


def _formula(z):
    j = np.asarray(jax.jacfwd(lambda z: _map(_WEIGHT, z, _X))(z), float)
    b = np.asarray(jax.jacfwd(lambda x: _map(_WEIGHT, z, x))(_X), float)
    return j, b


@pytest.mark.parametrize("terms", [1, 2, 7])
def test_neumann(terms, x64, tol):
    found, z = _jacobians(qdeq.NeumannAdjoint(terms), _solver(x64))
    j, b = _formula(z)
    series = sum(np.linalg.matrix_power(j, k) for k in range(terms))
    np.testing.assert_allclose(found, series @ b, atol=10 * tol)


@pytest.mark.parametrize(("steps", "damp"), [(1, 0.0), (1, 0.5), (6, 0.0), (6, 0.7)])
def test_phantom(steps, damp, x64, tol):
    found, z = _jacobians(qdeq.PhantomAdjoint(steps, damp), _solver(x64))
    j, b = _formula(z)
    damped = damp * np.eye(_N) + (1 - damp) * j
    series = (1 - damp) * sum(np.linalg.matrix_power(damped, k) for k in range(steps))
    np.testing.assert_allclose(found, series @ b, atol=10 * tol)


def test_one_step_is_the_derivative_of_the_cell(x64, tol):
    found, z = _jacobians(qdeq.OneStepAdjoint(), _solver(x64))
    np.testing.assert_allclose(found, _formula(z)[1], atol=10 * tol)


def test_shine_is_broydens_inverse(x64, tol):
    solver = _solver(x64)
    found, z = _jacobians(qdeq.ShineAdjoint(), solver)
    j, b = _formula(z)
    state = optx.fixed_point(
        lambda y, args: _map(_WEIGHT, y, _X), solver, jnp.zeros(_N), throw=False
    ).state.memory
    inverse = np.eye(_N) + np.asarray(state.u, float).T @ np.asarray(state.v, float)
    np.testing.assert_allclose(found, inverse @ b, atol=10 * tol)
    # Learnt along the way, so nearer to the exact one than no inverse at all.
    exact = np.linalg.solve(np.eye(_N) - j, b)
    assert np.linalg.norm(found - exact) < 0.7 * np.linalg.norm(b - exact)


def test_shine_needs_broyden():
    cell = qdeq.FunctionCell(lambda z, x: 0.1 * z + x, jnp.zeros_like)
    with pytest.raises(TypeError, match="Use solver=Broyden"):
        qdeq.DEQ(cell, adjoint=qdeq.ShineAdjoint())(_X)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: qdeq.NeumannAdjoint(0), "at least 1; got 0"),
        (lambda: qdeq.PhantomAdjoint(0), "at least 1; got 0"),
        (lambda: qdeq.PhantomAdjoint(damp=1.5), "below 1"),
        (lambda: qdeq.UnrolledAdjoint(0), "at least 1; got 0"),
    ],
)
def test_bad_settings(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def test_the_value_does_not_depend_on_the_adjoint(x64, tol):
    values = [
        _jacobians(adjoint, _solver(x64))[1]
        for adjoint in (
            qdeq.ImplicitAdjoint(),
            qdeq.PhantomAdjoint(),
            qdeq.OneStepAdjoint(),
            qdeq.ShineAdjoint(),
            qdeq.UnrolledAdjoint(),
            qdeq.ImplicitVJPAdjoint(),
        )
    ]
    for value in values[1:]:
        np.testing.assert_array_equal(value, values[0])


# --- A map that has vector-Jacobian products only, evaluated outside JAX ----------------------


def _on_the_host(weight, z, x):
    return np.tanh(weight @ z + x)


@jax.custom_vjp
def _device(weight, z, x):
    """What a call of quantum hardware looks like: values from the host, gradients by a rule."""
    return jax.pure_callback(
        _on_the_host,
        jax.ShapeDtypeStruct(z.shape, z.dtype),
        weight,
        z,
        x,
        vmap_method="sequential",
    )


def _device_fwd(weight, z, x):
    out = _device(weight, z, x)
    return out, (weight, z, out)


def _device_bwd(residuals, cotangent):
    weight, z, out = residuals
    # On the host too: nothing here can be linearised or transposed by JAX.
    inner = jax.pure_callback(
        lambda c, o: c * (1 - o**2),
        jax.ShapeDtypeStruct(z.shape, z.dtype),
        cotangent,
        out,
        vmap_method="sequential",
    )
    return jnp.outer(inner, z), weight.T @ inner, inner


_device.defvjp(_device_fwd, _device_bwd)


class _Device(eqx.Module):
    weight: jax.Array

    def __call__(self, z, x):
        return _device(self.weight, z, x)


_REVERSE = {
    "implicit, VJPs": (qdeq.ImplicitVJPAdjoint(), qdeq.ImplicitAdjoint()),
    "phantom": (qdeq.PhantomAdjoint(3), qdeq.PhantomAdjoint(3)),
    "one step": (qdeq.OneStepAdjoint(), qdeq.OneStepAdjoint()),
    "SHINE": (qdeq.ShineAdjoint(), qdeq.ShineAdjoint()),
}


@pytest.mark.parametrize("adjoint", _REVERSE)
def test_maps_with_vector_jacobian_products_only(adjoint, x64, tol):
    ours, reference = _REVERSE[adjoint]
    xs = jax.random.normal(jax.random.key(2), (3, _N))

    def gradient(fn, adjoint):
        cell = qdeq.FunctionCell(fn, jnp.zeros_like)
        loss = lambda cell, xs: jnp.sum(jax.vmap(qdeq.DEQ(cell, _solver(x64), adjoint))(xs) ** 2)
        return eqx.filter_jit(eqx.filter_grad(loss))(cell, xs).fn.weight

    class Plain(eqx.Module):
        weight: jax.Array

        def __call__(self, z, x):
            return _map(self.weight, z, x)

    found = gradient(_Device(_WEIGHT), ours)
    expected = gradient(Plain(_WEIGHT), reference)
    # Broyden's last updates divide small differences: what they teach depends on rounding.
    atol = 0.05 if adjoint == "SHINE" else 100 * tol
    np.testing.assert_allclose(found, expected, atol=atol)
