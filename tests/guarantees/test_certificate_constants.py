"""The constants in certificates: how fast slopes change, and how far rounding leads."""

import functools as ft

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eqx_qdeq as qdeq
from eqx_qdeq.guarantees import angle_curvature, Reach, rounding_errors
from tests.guarantees._certificate_cells import AMPLITUDES, CASES, cast, make_cell, Z


@pytest.mark.parametrize("name", ["add", "probabilities", "angles", "re-uploading", "feedback"])
def test_slopes_change_no_faster_than_claimed(name):
    """Second derivatives along random directions, at random places and inputs."""

    @jax.jit
    @jax.vmap
    def both(key):
        keys = jax.random.split(key, 4)
        cell = make_cell(name, keys[0])
        x = 3 * jax.random.normal(keys[1], (8,))
        w = jax.random.uniform(keys[2], (cell.layer.out_size,), minval=-1, maxval=1)
        direction = jax.random.normal(keys[3], w.shape)
        direction = direction / jnp.linalg.norm(direction)
        f = cell.bind(x)
        slopes = lambda w: jax.jvp(f, (w,), (direction,))[1]
        bend = jnp.linalg.norm(jax.jacfwd(slopes)(w), 2)
        if name in ("add", "probabilities"):
            return bend, Reach.of(cell, x).curvature(w, jnp.zeros(()))
        return bend, angle_curvature(cell, 8)

    bend, bound = both(jax.random.split(jax.random.key(0), 256))
    assert np.all(bend <= bound * (1 + 1e-4))
    assert np.max(bend / bound) > 0.02


def test_the_curvature_bound_is_attained():
    """Z on one wire: from the top eigenvector, straight towards the other one."""
    layer = qdeq.QuantumLayer(
        qdeq.Circuit(("Rz",), ((0,),), ((0,),), 1), AMPLITUDES, Z, key=jax.random.key(0)
    )
    injection = qdeq.LinearInjection(2, 1, 2, use_bias=False, key=jax.random.key(0))
    weights = (jnp.eye(2), jnp.array([[0.0], [1.0]]))
    injection = eqx.tree_at(lambda i: (i.input_weight, i.state_weight), injection, weights)
    cell, x = qdeq.QuantumCell(layer, injection), jnp.array([0.5, 0.0])

    @jax.jit
    def both(x, w):
        bound = Reach.of(cell, x).curvature(w, jnp.zeros(()))
        return jax.jacfwd(jax.jacfwd(cell.bind(x)))(w), bound

    bend, bound = both(x, jnp.zeros(1))
    assert abs(bend.item()) == pytest.approx(float(bound), rel=1e-5)
    assert float(bound) == pytest.approx(2 * 2 / 0.5**2, rel=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_rounding_is_bounded(name, x64):
    """A float32 cell against the same cell in float64, or against one of another engine."""
    cell = cast(make_cell(name, jax.random.key(0)), jnp.float32)

    def evaluate(cell, x, w):
        f = cell.bind(x)
        return f(w), jax.jacfwd(f)(w)

    @jax.jit
    @ft.partial(jax.vmap, in_axes=(0, 0))
    def errors(x, w):
        value, slopes = evaluate(cell, x, w)
        if x64:
            reference = evaluate(*cast((cell, x, w), jnp.float64))
        else:
            layer = cell.layer
            engine = "statevector" if name == "re-uploading" else "operator"
            other = qdeq.QuantumLayer(
                layer.circuit,
                layer.encoding,
                layer.measurement,
                key=jax.random.key(0),
                engine=engine,
                block_size=1 if engine == "statevector" else 3,
            )
            other = eqx.tree_at(lambda l: l.angles, other, layer.angles)
            reference = evaluate(qdeq.QuantumCell(other, cell.injection), x, w)
        value, slopes = value.astype(reference[0].dtype), slopes.astype(reference[1].dtype)
        gaps = (value - reference[0], slopes - reference[1])
        norms = (jnp.linalg.norm(gaps[0]), jnp.linalg.norm(gaps[1], 2))
        return jnp.stack(norms), jnp.stack(rounding_errors(cell, x, w)[:2])

    sizes = np.repeat([1e-2, 1.0, 100.0], 32)[:, None]
    rng = np.random.default_rng(0)
    xs = jnp.asarray(sizes * rng.standard_normal((96, 8)), jnp.float32)
    ws = jnp.asarray(rng.uniform(-1, 1, (96, cell.layer.out_size)), jnp.float32)
    gaps, bounds = errors(xs, ws)
    assert np.all(np.asarray(gaps) <= np.asarray(bounds) / (10 if x64 else 5))
    assert np.all(bounds[:64] < 0.02)
