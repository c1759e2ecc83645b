"""Success is earned: no solver claims a root where there is none, at any scale of the state, and
none refuses one because it is far away."""

import functools as ft

import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest

from eqx_qdeq import solvers as s
from tests.solvers._solvers import solvers_at

pytestmark = pytest.mark.portable

_T = 1e-5
_SOLVERS = solvers_at(_T, s.Ladder(s.Newton(_T, _T), s.Anderson(_T, _T), s.PseudoTransient(_T, _T)))
# Residuals f(z) - z that are never small. The first ones invite Newton's method and the secant
# methods to leap to 10⁶ and beyond, where 10⁻⁵ ‖f‖ is more than the residual of 1. In float32 there
# is an exact fixed point of `z + 1`, by rounding, from 1.7 · 10⁷ on.
_ROOTLESS = (
    lambda z: 1 + 1e-6 * jnp.sin(z),
    lambda z: 1 + 1e-9 * jnp.tanh(z),
    lambda z: jnp.sign(z),
    lambda z: 1.2 + jnp.sin(z),
    lambda z: 1e-3 * jnp.sqrt(1 + z**2),
    lambda z: 1 + z**2,
)
_SCALES = (0.1, 1.0, 1e6)


@ft.cache
def _rootless(name, size):
    """Success and value, by residual, scale and initial guess."""

    def one(kind, scale, start):
        f = lambda z: z + scale * jax.lax.switch(kind, _ROOTLESS, z / scale)
        z0 = scale * start
        found = optx.fixed_point(lambda z, _: f(z), _SOLVERS[name], z0, throw=False)
        return found.result == optx.RESULTS.successful, jnp.max(jnp.abs(found.value)) / scale

    rng = np.random.default_rng(0)
    starts = [np.full(size, 0.1), rng.standard_normal(size), 30 * rng.standard_normal(size)]
    solve = jax.vmap(jax.vmap(jax.vmap(one, (None, None, 0)), (None, 0, None)), (0, None, None))
    kinds, scales = jnp.arange(len(_ROOTLESS)), jnp.asarray(_SCALES, float)
    return jax.jit(solve)(kinds, scales, jnp.asarray(np.stack(starts), float))


@pytest.mark.parametrize(
    ("name", "size"),
    [*((name, 2) for name in sorted(_SOLVERS)), ("Anderson", 100), ("Broyden", 100)],
)
def test_no_success_where_there_is_no_root(name, size):
    success, furthest = _rootless(name, size)
    assert not np.any(success), np.argwhere(success)
    # Nor is a leap taken for the best that is known: the next solve may start there.
    assert np.max(furthest) < 3000


def _far(kind, scale, y):
    maps = (
        lambda y: 0.999 * y + 1e3,  # a thousand times as large as the first residual
        lambda y: jnp.cos(y) + 1e6,
        lambda y: 0.5 * y + 5e5,
        lambda y: jnp.cos(y),
        lambda y: jnp.tanh(2 * y),  # from near an unstable fixed point
    )
    return scale * jax.lax.switch(kind, maps, y / scale)


@pytest.mark.parametrize("name", ["Anderson", "Broyden", "Newton", "Ladder"])
def test_equilibria_far_away_are_found(name):
    """From 0, 1 and the equilibrium itself; the last takes one evaluation."""

    def one(kind, scale, start):
        solve = lambda z0: optx.fixed_point(
            lambda y, _: _far(kind, scale, y), _SOLVERS[name], z0, throw=False
        )
        found = solve(scale * start)
        again = solve(found.value)
        ok = lambda found: found.result == optx.RESULTS.successful
        return ok(found), found.value / scale, ok(again), again.stats["num_steps"]

    solve = jax.vmap(jax.vmap(jax.vmap(one, (None, None, 0)), (None, 0, None)), (0, None, None))
    starts = jnp.asarray([[0.0, 0.0], [1.0, 1.0], [0.1, -0.3]], float)
    scales = jnp.asarray([1.0, 1e3], float)
    success, value, again, steps = jax.jit(solve)(jnp.arange(5), scales, starts)
    assert np.all(success), np.argwhere(~success)
    assert np.all(again)
    steps = np.max(steps, axis=-1) if name == "Ladder" else steps
    assert np.max(steps) == 1
    for kind, expected in ((0, 1e6), (2, 1e6), (3, 0.7390851)):
        np.testing.assert_allclose(value[kind], expected, rtol=0.02)
    np.testing.assert_allclose(value[1], 1e6, atol=40)
    np.testing.assert_allclose(value[4] - np.tanh(2 * value[4]), 0, atol=1e-4)
