"""Bounds on a cell's Jacobian: never exceeded, and not far away."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eqx_qdeq as qdeq
from eqx_qdeq.guarantees import (
    joint_spread,
    lipschitz_bound,
    lipschitz_bound_for_norm,
    value_ranges,
)
from tests.guarantees._lipschitz_cells import (
    AMPLITUDES,
    CASES,
    make_cell,
    MATRICES,
    STRINGS,
    Z,
)

_ROUNDS = (0, 2)


def _anywhere(cell, key, count):
    """Random values, corners of the box of possible values among them."""
    low, high = value_ranges(cell.layer.measurement, cell.layer.n_qubits)
    share = jax.random.uniform(key, (count, len(low)), minval=-0.5, maxval=1.5)
    return jnp.asarray(low)[None] + jnp.clip(share, 0, 1) * jnp.asarray(high - low)[None]


def _norms(f, ws):
    return jax.vmap(lambda w: jnp.linalg.norm(jax.jacfwd(f)(w), 2))(ws)


@pytest.mark.parametrize("name", CASES)
def test_no_slope_exceeds_its_bound(name):
    """Random circuits and inputs of many norms; at random places, and where f leads from there."""
    in_size = CASES[name][1]

    @jax.jit
    @jax.vmap
    def both(key, size):
        key_angles, key_x, key_w = jax.random.split(key, 3)
        cell = make_cell(name, key_angles)
        direction = jax.random.normal(key_x, (in_size,))
        x = size * direction / jnp.linalg.norm(direction)
        bounds = [lipschitz_bound(cell, x, rounds=r) for r in _ROUNDS]
        f, ws = cell.bind(x), _anywhere(cell, key_w, 64)
        slopes = []
        for before, after in zip((0, *_ROUNDS), _ROUNDS, strict=False):
            for _ in range(after - before):
                ws = jax.vmap(f)(ws)
            slopes.append(jnp.max(_norms(f, ws)))
        least = size
        if isinstance(cell.injection, qdeq.LinearInjection):
            least = jnp.linalg.norm(cell.injection.offset(x, cell.layer.out_size))
        return jnp.stack(bounds), jnp.stack(slopes), lipschitz_bound_for_norm(cell, in_size, least)

    sizes = jnp.repeat(jnp.array([0.3, 1.0, 3.0, 10.0, 100.0]), 4)
    bounds, slopes, uniform = both(jax.random.split(jax.random.key(0), len(sizes)), sizes)
    assert np.all(slopes <= bounds * (1 + 1e-4))
    assert np.all(bounds[:, 1:] <= bounds[:, :-1])
    assert np.all(bounds[:, -1] <= uniform * (1 + 1e-4))
    # Not vacuous: where the input is long, or everywhere if it does not matter.
    long = np.asarray(sizes >= 10)
    assert np.all(np.isfinite(bounds[long])) and np.all(np.isfinite(uniform[long]))
    assert np.all(bounds[long] <= 40 * slopes[long] + 1e-6)


def test_the_papers_circuit_is_bounded_closely():
    """16 features of norm 8: within a quarter of the steepest slope that sampling finds."""

    @jax.jit
    @jax.vmap
    def ratio(key):
        key_angles, key_x, key_w = jax.random.split(key, 3)
        layer = qdeq.QuantumLayer(qdeq.circuits.paper(4), AMPLITUDES, Z, key=key_angles)
        cell = qdeq.QuantumCell(layer, qdeq.AddInjection(16))
        direction = jax.random.normal(key_x, (16,))
        x = 8 * direction / jnp.linalg.norm(direction)
        f, ws = cell.bind(x), _anywhere(cell, key_w, 256)
        for _ in range(5):
            ws = jax.vmap(f)(ws)
        return lipschitz_bound(cell, x), jnp.max(_norms(f, ws))

    bounds, slopes = ratio(jax.random.split(jax.random.key(0), 8))
    assert np.all(bounds < 0.6)  # the corollary with 2√m needs a norm of 12 to promise as much as 1
    assert np.median(bounds / slopes) < 1.25


@pytest.mark.parametrize(
    "measurement",
    [Z, qdeq.Probabilities((1, 0)), STRINGS, MATRICES, qdeq.PauliStrings(["X0", "Y0", "Z0"])],
)
def test_measured_values_lie_in_their_ranges(measurement):
    """Against the spectra of the observables themselves, and of random combinations of them."""
    n = 3
    dense = np.asarray(measurement.apply(jnp.eye(2**n, dtype=complex)))
    low, high = value_ranges(measurement, n)
    values = np.linalg.eigvalsh(dense)
    np.testing.assert_allclose(low, values[:, 0], atol=1e-5)
    np.testing.assert_allclose(high, values[:, -1], atol=1e-5)
    a = np.random.default_rng(0).standard_normal((500, len(dense)))
    a /= np.linalg.norm(a, axis=1, keepdims=True)
    values = np.linalg.eigvalsh(np.tensordot(a, dense, 1))
    widest = np.max(values[:, -1] - values[:, 0])
    spread = joint_spread(measurement, n)
    assert widest <= spread * (1 + 1e-5)
    assert spread <= 1.5 * widest


def test_spreads_that_are_known_exactly():
    assert joint_spread(Z, 4) == pytest.approx(4)  # between |0000⟩ and |1111⟩
    assert joint_spread(qdeq.Probabilities(), 3) == pytest.approx(2**0.5)  # any two outcomes
    assert joint_spread(qdeq.PauliStrings(["X0", "Y0", "Z0"]), 1) == pytest.approx(2)  # a ball
