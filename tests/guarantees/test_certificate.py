"""Certificates, against roots found by SciPy and slopes found by sampling."""

import functools as ft

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import eqx_qdeq as qdeq
from eqx_qdeq.guarantees import certify, contractive
from tests.guarantees._certificate_cells import CASES, cast, make_cell

pytestmark = pytest.mark.float32


@pytest.mark.parametrize("name", CASES)
def test_the_root_lies_within_the_certified_radius(name, x64):
    """z is an equilibrium that was moved by various distances; the root is SciPy's, from there."""
    cell = make_cell(name, jax.random.key(0))
    xs = 4 * jax.random.normal(jax.random.key(1), (6, 8))
    moved = jnp.array([0.0, 1e-6, 1e-5, 1e-4, 1e-3, 5e-3])

    @jax.jit
    @jax.vmap
    def prove(x, distance, key):
        z = qdeq.DEQ(cell, qdeq.Newton(1e-12, 1e-12)).solve(x).value
        direction = jax.random.normal(key, z.shape)
        z = z + distance * direction / jnp.linalg.norm(direction)
        return z, certify(cell, x, z)

    z, proven = prove(xs, moved, jax.random.split(jax.random.key(2), 6))
    residual = jax.jit(lambda w, x: cell.bind(x)(w) - w)
    noise = 1e-12 if x64 else 3e-6
    for i in range(6):
        fn = lambda w, x=xs[i]: np.asarray(residual(jnp.asarray(w, z.dtype), x), float)
        root = scipy.optimize.root(fn, np.asarray(z[i], float), tol=1e-14).x
        assert np.linalg.norm(fn(root)) < noise
        distance = np.linalg.norm(root - np.asarray(z[i], float))
        assert proven.certified[i] and proven.exists[i]
        assert distance <= proven.error[i] + noise
        # Sharp: what is proven is little more than the distance and the allowance for rounding.
        assert proven.error[i] <= 2 * distance + 4 * proven.inverse_norm[i] * proven.rounding[i]
        assert proven.error[i] <= proven.unique_radius[i] or proven.unique[i]


def test_no_second_root_lies_within_the_unique_radius():
    """z ↦ 1 - 1.2 z² + ... with known roots, one unstable: K is the modulus of f'', 2.4."""
    cell = qdeq.FunctionCell(lambda z, x: x - 1.2 * z**2, jnp.zeros_like)
    x = jnp.array([1.0])
    roots = (np.sqrt(1 + 4.8) * np.array([1.0, -1.0]) - 1) / 2.4
    prove = jax.jit(lambda z: certify(cell, x, z, curvature=2.4))
    for root, other in (roots, roots[::-1]):
        proven = prove(jnp.array([root]))
        assert proven.certified and not proven.unique
        # For a quadratic map the theorem is exact: r₊ is the distance to the other root.
        assert proven.unique_radius == pytest.approx(abs(root - other), rel=1e-3)
        assert proven.unique_radius <= abs(root - other)
    assert not prove(jnp.array([0.2])).certified
    # The singular place between the roots, where the slope is 1.
    proven = prove(jnp.array([-1 / 2.4]))
    assert proven.radius == jnp.inf and proven.unique_radius == 0


def test_far_from_equilibria_nothing_is_claimed():
    """At random places: where the theorem applies all the same, Newton's method does converge."""
    cell = make_cell("add", jax.random.key(0))

    @jax.jit
    @jax.vmap
    def prove(x, z):
        solution = qdeq.DEQ(cell).solve(x, z0=z)
        return certify(cell, x, z), jnp.linalg.norm(solution.value - z), solution.success

    x = jax.random.normal(jax.random.key(1), (200, 8))
    x = x / jnp.linalg.norm(x, axis=1, keepdims=True)
    z = jax.random.uniform(jax.random.key(2), (200, 3), minval=-1, maxval=1)
    # Lastly a vector far out of the box of possible values, one that is no number, and a sample
    # that has no direction: f is not even continuous.
    x = x.at[-1].set(0)
    z = z.at[-3:].set(jnp.array([[50.0] * 3, [jnp.nan] * 3, [0.0] * 3]))
    proven, distance, success = prove(x, z)
    assert not np.any(proven.certified[-3:]) and not proven.exists[-1]
    assert np.all(proven.exists[:-2])  # by Brouwer's theorem
    claimed = np.asarray(proven.certified)
    assert np.mean(claimed) < 0.2
    assert np.all(success[claimed] & (distance[claimed] <= proven.error[claimed] + 1e-4))


def test_a_float32_certificate_holds_for_the_exact_map(x64):
    """The allowance for rounding covers the distance to the root of the same map in float64."""
    if not x64:
        pytest.skip("needs float64 for the exact root")
    cell = cast(make_cell("add", jax.random.key(0)), jnp.float32)
    xs = jax.random.normal(jax.random.key(1), (8, 8), jnp.float32)
    z, proven = jax.jit(jax.vmap(lambda x: (z := qdeq.DEQ(cell)(x), certify(cell, x, z))))(xs)
    assert z.dtype == proven.radius.dtype == jnp.float32
    exact = qdeq.DEQ(cast(cell, jnp.float64), qdeq.Newton(1e-13, 1e-13))
    root = jax.vmap(lambda x, z: exact(x, z0=z))(*cast((xs, z), jnp.float64))
    distance = np.linalg.norm(np.asarray(z, float) - root, axis=1)
    assert np.all(proven.certified) and np.all(distance <= np.asarray(proven.error, float))


def test_a_contraction_has_one_equilibrium_anywhere():
    cell = contractive(make_cell("add", jax.random.key(0)), 0.5)
    x, z = jnp.full(8, 0.01), jnp.array([0.3, -0.2, 0.9])
    proven, root = jax.jit(lambda x, z: (certify(cell, x, z), qdeq.DEQ(cell)(x)))(x, z)
    assert proven.contracts and proven.unique and proven.lipschitz < 0.51
    assert jnp.linalg.norm(root - z) <= proven.contraction_error <= 2.1 * jnp.linalg.norm(root - z)


def test_other_cells_are_told_their_constants():
    """A network of tanh with a pytree for its state: |tanh''| ≤ 4/(3√3)."""
    weight = 0.4 * jax.random.orthogonal(jax.random.key(0), 4)

    def fn(z, x):
        new = jnp.tanh(weight @ jnp.concatenate([z["a"], z["b"]]) + x)
        return {"a": new[:1], "b": new[1:]}

    cell = qdeq.FunctionCell(fn, lambda x: {"a": x[:1], "b": x[1:]})
    x = jnp.arange(4.0) / 4

    @jax.jit
    def prove(x):
        z = qdeq.DEQ(cell)(x)
        told = ft.partial(certify, cell, x, z, curvature=0.77 * 0.16)
        return z, told(lipschitz=0.4), told(), told(rounding=1e-3)

    z, proven, alone, rough = prove(x)
    assert proven.unique and proven.error < 1e-4
    assert alone.exists
    assert rough.radius > 5e-4
    # An affine map has one equilibrium.
    affine = qdeq.FunctionCell(lambda z, x: x - 3 * z, jnp.zeros_like)
    proven = certify(affine, x, x / 4, curvature=0.0)
    assert proven.unique_radius == jnp.inf and proven.certified
    with pytest.raises(TypeError, match=r"`certify\(curvature=...\)` is needed"):
        certify(cell, x, z)


def test_printing_says_what_is_proven():
    cell = qdeq.FunctionCell(lambda z, x: x - 1.2 * z**2, jnp.zeros_like)
    root = (np.sqrt(1 + 4.8) - 1) / 2.4
    prove = lambda z: certify(cell, jnp.ones(1), z, curvature=2.4)
    proven = jax.jit(jax.vmap(prove))(jnp.array([[root], [0.2]]))
    text, other = (str(jax.tree.map(lambda a, i=i: a[i], proven)) for i in range(2))
    assert "an equilibrium within" in text and "no other one within 2" in text
    assert "near          not proven" in other
    both = str(proven)
    assert "near          1 of 2 samples" in both and "contraction   0 of 2 samples" in both
