"""The largest singular value and eigenvalue, against NumPy and finite differences."""

import functools as ft

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

import eqx_qdeq as qdeq
from eqx_qdeq.jacobians import spectral_abscissa, spectral_norm, spectral_radius
from tests.solvers._problems import with_spectrum

pytestmark = pytest.mark.portable

_BOTH = (spectral_norm, spectral_radius)


def _numpy(function, matrix):
    matrix = np.asarray(matrix, np.float64)
    if function is spectral_norm:
        return np.linalg.norm(matrix, 2)
    return np.abs(np.linalg.eigvals(matrix)).max()


def _condition(function, matrix):
    """By how much a value moves per perturbation of its matrix, and its distance to the next one.

    A singular value moves by 1. An eigenvalue moves by κ = ‖u‖ ‖v‖ / |uᴴv|, with its left and
    right eigenvectors u and v, and the directions of these by κ / distance.
    """
    if function is spectral_norm:
        values = np.linalg.svd(matrix, compute_uv=False)
        return 1.0, values[0] - values[1]
    values, left, right = scipy.linalg.eig(matrix, left=True)  # vectors of length 1
    top = np.argmax(np.abs(values))
    condition = 1 / np.abs(np.vdot(left[:, top], right[:, top]))
    return condition, np.sort(np.abs(values - values[top]))[1]


def _matrices():
    """Random ones, a complex pair on top, a negative value on top, symmetric, low rank."""
    rng = np.random.default_rng(0)
    pair = [1.2 * np.exp(0.7j), 0.5, 0.3, -0.2, 0.1]
    negative = [-1.1, 0.9, 0.5, 0.2, 0.1, 0.0]
    symmetric, shear = rng.standard_normal((2, 6, 6))
    shear = np.eye(6) + np.triu(shear, 1) / 2
    return np.stack(
        [
            rng.standard_normal((6, 6)),
            rng.standard_normal((6, 6)),
            shear @ with_spectrum(pair, 3) @ np.linalg.inv(shear),  # not normal
            with_spectrum(negative, 4),
            symmetric + symmetric.T,
            np.outer(rng.standard_normal(6), rng.standard_normal(6)),
        ]
    )


@pytest.mark.parametrize("method", ["dense", "krylov"])
@pytest.mark.parametrize("function", _BOTH)
def test_values_and_derivatives_of_random_matrices(function, method, tol, x64):
    """In a batch and under jit; forward and reverse mode against central differences."""
    matrices = _matrices()
    batch = jnp.asarray(matrices, float)

    def value(matrix):
        return function(lambda v: matrix @ v, jnp.zeros(6), method=method)

    @jax.jit
    @jax.vmap
    def everything(matrix, direction):
        # Both modes from one linearisation: forward as it is, reverse by its transpose.
        found, forward = jax.linearize(value, matrix)
        (gradient,) = jax.linear_transpose(forward, matrix)(jnp.ones_like(found))
        return found, gradient, forward(direction)

    direction = np.random.default_rng(1).standard_normal((len(batch), 6, 6))
    found, gradient, forward = everything(batch, jnp.asarray(direction, float))
    expected = [_numpy(function, m) for m in matrices]
    # Both methods find the value of a matrix that is E away, each of some 3 n² rotations having
    # rounded all of it: ‖E‖ ≤ 3 n² eps ‖A‖. (Seen: κ times 7 eps ‖A‖.)
    eps = np.finfo(found.dtype).eps
    condition, distance = np.transpose([_condition(function, m) for m in matrices])
    norm = np.linalg.norm(matrices, 2, (1, 2))
    bound = 3 * 6**2 * eps * condition * norm
    np.testing.assert_allclose(found / bound, expected / bound, rtol=0, atol=1)
    h = 1e-6
    slopes = [
        (_numpy(function, m + h * t) - _numpy(function, m - h * t)) / (2 * h)
        for m, t in zip(matrices, direction, strict=True)
    ]
    # uᴴ T v / uᴴv along T: κ ‖T‖ times what the two vectors of n entries turn by, κ / distance for
    # each eps ‖A‖. (Seen: 0.9 of that without 2 n.) The differences themselves err by up to 2e-3.
    turned = 2 * 6 * eps * norm * condition / distance
    bound = condition * np.linalg.norm(direction, 2, (1, 2)) * turned
    bound += 1e-6 + 2e-3 * np.abs(slopes)
    np.testing.assert_allclose(forward / bound, slopes / bound, rtol=0, atol=1)
    reverse = np.sum(np.asarray(gradient) * direction, (1, 2))
    np.testing.assert_allclose(reverse, forward, rtol=100 * tol, atol=100 * tol)


@pytest.mark.parametrize("method", ["dense", "krylov"])
@pytest.mark.parametrize("function", _BOTH)
def test_no_derivative_is_nan(function, method, tol):
    """Zero, multiples of the identity, a rotation, Jordan blocks: values and finite slopes."""
    jordan = np.eye(4) + np.eye(4, k=1)
    rotation = np.kron(np.eye(2), [[0.6, -0.8], [0.8, 0.6]])
    matrices = [np.zeros((4, 4)), 0.7 * np.eye(4), rotation, np.eye(4, k=1), jordan]
    batch = jnp.asarray(np.stack(matrices), float)

    @jax.jit
    @jax.vmap
    def both(matrix):
        fn = lambda matrix: function(lambda v: matrix @ v, jnp.zeros(4), method=method)
        return jax.value_and_grad(fn)(matrix)

    found, gradient = both(batch)
    assert np.all(np.isfinite(gradient))
    # A defective eigenvalue of n equal ones moves by the n-th root of a perturbation.
    loose = 1.0 if function is spectral_norm else 0.1
    expected = [_numpy(function, m) for m in matrices]
    np.testing.assert_allclose(found[:3], expected[:3], atol=100 * tol)
    np.testing.assert_allclose(found[3:], expected[3:], atol=100 * tol if loose == 1.0 else loose)
    np.testing.assert_array_equal(gradient[0], 0)
    # d = 0.7 I: along I the value changes by 1, whichever vectors were chosen.
    assert np.trace(gradient[1]) == pytest.approx(1, abs=100 * tol)


@pytest.mark.parametrize("function", _BOTH)
def test_large_states_need_only_products(function, tol, x64):
    """300 numbers in a pytree; the automatic choice is Krylov's."""
    rng = np.random.default_rng(0)
    angles = rng.uniform(0, np.pi, 150)
    values = 0.9 * np.sqrt(rng.uniform(0, 1, 150)) * np.exp(1j * angles)
    values[0] = 1.1 * np.exp(0.4j)
    matrix = with_spectrum(values, 2)
    array = jnp.asarray(matrix, float)
    z = {"a": jnp.zeros((10, 20)), "b": jnp.zeros(100)}

    def fn(scale, z):
        flat, unravel = jax.flatten_util.ravel_pytree(z)
        return unravel(jnp.tanh(scale * (array @ flat)))

    value = lambda scale: function(ft.partial(fn, scale), z)
    found, slope = jax.jit(jax.value_and_grad(value))(jnp.ones(()))
    # The value is proportional to the scale, which is 1.
    assert found == pytest.approx(_numpy(function, matrix), rel=1e-8 if x64 else 1e-4)
    assert slope == pytest.approx(_numpy(function, matrix), rel=1e-6 if x64 else 1e-3)


@pytest.mark.parametrize("method", ["dense", "krylov"])
def test_at_a_quantum_cell_they_are_those_of_its_jacobian(method, x64):
    """The value, and its derivative by the gain, the sample and the state together; a key each."""
    qlayer = qdeq.QDEQ(3, 8, key=jax.random.key(0))
    rng = np.random.default_rng(0)
    x, dx = jnp.asarray(rng.standard_normal((2, 8)), float)
    w, dw = jnp.asarray(rng.uniform(-0.5, 0.5, (2, 3)), float)

    def bound(t):
        injection = qdeq.AddInjection(8, 1.0 + t)
        return qdeq.QuantumCell(qlayer.deq.cell.layer, injection).bind(x + t * dx), w + t * dw

    @jax.jit
    @ft.partial(jax.vmap, in_axes=(0, None))
    def both(key, t):
        value = lambda t, function: function(*bound(t), method=method, key=key)
        return [jax.value_and_grad(value)(t, function) for function in _BOTH]

    jacobian = jax.jit(lambda t: qdeq.jacobian(*bound(t)))
    h = 1e-5 if x64 else 1e-2
    here, above, below = (jacobian(jnp.asarray(t, float)) for t in (0.0, h, -h))
    found = both(jax.random.split(jax.random.key(1), 3), jnp.zeros(()))
    for function, (value, slope) in zip(_BOTH, found, strict=True):
        np.testing.assert_allclose(value, [_numpy(function, here)] * 3, rtol=1e-8 if x64 else 1e-4)
        expected = (_numpy(function, above) - _numpy(function, below)) / (2 * h)
        np.testing.assert_allclose(slope, [expected] * 3, rtol=1e-5 if x64 else 2e-2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "power"}, "`method` must be one of auto, dense, krylov; got 'power'"),
        ({"krylov_size": 1}, "`krylov_size` must be at least 2"),
        ({"restarts": -1}, "`restarts` must be at least 0"),
        ({"rtol": -1.0}, "`rtol` must not be negative"),
    ],
)
def test_mistakes_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        spectral_norm(lambda z: z, jnp.zeros(2), **options)


def test_the_abscissa_is_numpys(tol):
    """Dense and by products, also where the eigenvalue of largest modulus is another one."""
    matrices = _matrices()
    fn = lambda m: lambda z: m @ z

    def both(m):
        krylov = spectral_abscissa(fn(m), jnp.zeros(6), method="krylov", krylov_size=4, rtol=tol)
        return spectral_abscissa(fn(m), jnp.zeros(6)), krylov

    dense, krylov = jax.jit(jax.vmap(both))(jnp.asarray(matrices, float))
    expected = np.linalg.eigvals(matrices).real.max(-1)
    np.testing.assert_allclose(dense, expected, rtol=1e3 * tol, atol=1e3 * tol)
    np.testing.assert_allclose(krylov, expected, rtol=1e4 * tol, atol=1e3 * tol)
