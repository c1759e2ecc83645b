"""The search for all equilibria: known ones, SciPy's, and cells that have several."""

import functools as ft

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import eqx_qdeq as qdeq
from eqx_qdeq.guarantees import certify, contractive, find_equilibria

_KEY = jax.random.key(0)
# Found by search: three equilibria, two of them stable.
_SEED, _SIZE = 58, 0.8


def _quantum(seed, size):
    """A cell of the kind that has several equilibria: amplitude encoding of a short input."""
    rng = np.random.default_rng(seed)
    layer = qdeq.QuantumLayer(
        qdeq.circuits.hardware_efficient(3, 2), qdeq.AmplitudeEncoding(), qdeq.PauliZ(), key=_KEY
    )
    angles = jnp.asarray(rng.uniform(-np.pi, np.pi, layer.angles.shape), float)
    x = rng.standard_normal(8)
    cell = qdeq.QuantumCell(eqx.tree_at(lambda l: l.angles, layer, angles), qdeq.AddInjection(8))
    return cell, jnp.asarray(size * x / np.linalg.norm(x), float)


def _network():
    weight = 1.8 * jax.random.orthogonal(jax.random.key(3), 3)
    weight = weight + weight.T
    cell = qdeq.FunctionCell(lambda z, x: jnp.tanh(weight @ z + x), jnp.zeros_like)
    return cell, jnp.array([0.1, -0.05, 0.02])


def _roots_by_scipy(cell, x, starts):
    """Roots from the same kind of starts, without anything of ours but the map."""
    residual = jax.jit(lambda w: cell.bind(x)(w) - w)
    fn = lambda w: np.asarray(residual(jnp.asarray(w, float)), float)
    roots = []
    for start in starts:
        found = scipy.optimize.root(fn, start, tol=1e-10)
        if np.linalg.norm(fn(found.x)) < 1e-5:
            if all(np.linalg.norm(found.x - other) > 1e-3 for other in roots):
                roots.append(found.x)
    return np.array(roots)


@pytest.mark.parametrize("kind", ["network", "quantum"])
def test_it_finds_what_scipy_finds(kind):
    cell, x = _network() if kind == "network" else _quantum(_SEED, _SIZE)
    found = jax.jit(ft.partial(find_equilibria, cell, n_starts=512))(x, _KEY)
    starts = np.random.default_rng(0).uniform(-1, 1, (150, 3))
    roots = _roots_by_scipy(cell, x, starts)
    count = int(found.count)
    values = np.asarray(found.values)
    gaps = np.linalg.norm(values[:count, None] - roots, axis=2)
    assert len(roots) >= 3
    assert np.all(gaps.min(axis=0) < 1e-3)  # each of SciPy's is there
    assert count >= len(roots)
    assert np.sum(found.hits) + found.failed == 512
    assert np.all(np.isnan(values[count:])) and not np.any(found.hits[count:])
    # Whatever else was found is an equilibrium too, and its stability that of its Jacobian. And no
    # certificate may claim that there are no others where there are.
    curvature = 0.77 * 3.6**2 if kind == "network" else None

    @jax.jit
    @jax.vmap
    def examine(w):
        fn = cell.bind(x)
        return fn(w) - w, qdeq.jacobian(fn, w), certify(cell, x, w, curvature=curvature)

    gaps, matrices, proven = examine(found.values[:count])
    for i in range(count):
        assert np.linalg.norm(gaps[i]) < 1e-4
        spectrum = np.linalg.eigvals(np.asarray(matrices[i], float))
        assert found.spectral_radius[i] == pytest.approx(np.abs(spectrum).max(), rel=1e-3)
        assert found.stable[i] == (np.abs(spectrum).max() < 1)
        assert found.flow_stable[i] == (spectrum.real.max() < 1)
    assert not np.any(proven.unique)
    distances = np.linalg.norm(values[:count, None] - values[:count], axis=2)
    np.fill_diagonal(distances, np.inf)
    assert np.all(proven.unique_radius <= distances.min(axis=1) * (1 + 1e-3))


def test_cubic_maps(tol):
    """z ↦ 1.5 z - 0.5 z³ - x: -1, 0 and 1 at x = 0, with slopes 0, 1.5 and 0. One at x = 1. And
    one of z ↦ 3 - 2 z, a slope that is stable for the flow only."""
    fn = lambda z, x: x[:1] * z + x[1:2] * z**3 + x[2:]
    cell = qdeq.FunctionCell(fn, lambda x: jnp.zeros_like(x[:1]))
    search = lambda x: find_equilibria(cell, x, _KEY, solver=qdeq.Newton(tol, tol))
    all_three = jax.jit(jax.vmap(search))(jnp.array([[1.5, -0.5, 0], [1.5, -0.5, -1], [-2, 0, 3]]))
    np.testing.assert_array_equal(all_three.count, [3, 1, 1])
    both, (first, _, line) = (
        jax.tree.map(lambda a: a[:2], all_three),
        [jax.tree.map(lambda a, i=i: np.asarray(a)[i], all_three) for i in range(3)],
    )
    order = np.argsort(first.values[:3, 0])
    np.testing.assert_allclose(first.values[order, 0], [-1, 0, 1], atol=1e-4)
    np.testing.assert_allclose(first.spectral_radius[order], [0, 1.5, 0], atol=1e-3)
    np.testing.assert_array_equal(first.stable[order], [True, False, True])
    np.testing.assert_array_equal(first.flow_stable[order], [True, False, True])
    assert np.all(first.hits[:2] >= first.hits[1:3]) and np.all(first.hits[3:] == 0)
    text = str(jax.tree.map(jnp.asarray, first))
    assert "3 equilibria from 64 starts" in text and text.count("unstable") == 2
    assert "2 samples, 64 starts each" in str(both)
    assert not line.stable[0] and line.flow_stable[0]
    assert "1 equilibrium from 64 starts" in str(jax.tree.map(jnp.asarray, line))


def test_a_contraction_has_one_and_a_shift_none():
    cell, x = _quantum(_SEED, 0.1)
    found = jax.jit(ft.partial(find_equilibria, contractive(cell, 0.9)))(x, _KEY)
    assert found.count == 1 and found.hits[0] == 64 and found.stable[0]
    shift = qdeq.FunctionCell(lambda z, x: {"a": z["a"] + x}, lambda x: {"a": x})
    found = find_equilibria(shift, jnp.ones(2), _KEY, n_starts=4, max_steps=20)
    assert found.count == 0 and found.failed == 4 and not np.any(found.stable)
    assert found.values["a"].shape == (4, 2)


def test_equilibria_of_a_variational_state_are_told_apart_by_what_they_are(tol):
    """Two angles where one is enough: the magnet up or down, at many angles each."""
    circuit = qdeq.Circuit(["Ry", "Ry"], [[0], [0]], [[0], [1]])
    layer = qdeq.QuantumLayer(
        circuit, qdeq.AmplitudeEncoding(), qdeq.PauliZ(), angles=jnp.array([0.2, 0.1])
    )
    energy = lambda m, h: qdeq.PauliSum({"X0": -h, "Z0": -4 * m[0]})
    cell = qdeq.SelfConsistentCell(layer, energy, initial_fields=jnp.ones(1))
    search = jax.jit(ft.partial(find_equilibria, cell, n_starts=6))
    found = search(jnp.array(2.0), _KEY)
    n, m = int(found.count), np.sqrt(0.75)
    assert 1 <= n <= 2 and found.hits.sum() == 6 and found.failed == 0
    np.testing.assert_allclose(np.abs(found.values.fields[:n, 0]), m, atol=1e-3)
    np.testing.assert_allclose(found.energies[:n], -np.hypot(2, 4 * m), atol=1e-3)
    assert np.all(found.variances[:n] < 1e-3) and np.all(np.isnan(found.energies[n:]))
    assert np.all(found.flat[:n] == 1) and np.all(found.flow_stable[:n])
    assert "variance" in str(found) and "(1 flat)" in str(found)
    # The lowest is a start for the equilibrium with its derivatives: dm/dh = -h / 16 m.
    deq = qdeq.DEQ(cell, qdeq.PseudoTransient(0.0, tol, avoids_saddles=True))
    mean = lambda h: jnp.abs(deq(h, z0=search(h, _KEY).lowest).fields[0])
    value, slope = jax.jit(jax.value_and_grad(mean))(jnp.array(2.0))
    np.testing.assert_allclose([value, slope], [m, -2 / (16 * m)], atol=10 * tol)


@pytest.mark.parametrize("options", [{"n_starts": 0}, {"tolerance": 0.0}, {"spread": -1.0}])
def test_mistakes_are_named(options):
    cell, x = _network()
    (name,) = options
    with pytest.raises(
        ValueError, match=rf"`find_equilibria\({name}=...\)` must be (positive|at least 1)"
    ):
        find_equilibria(cell, x, _KEY, **options)
