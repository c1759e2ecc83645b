"""Branches of equilibria against closed forms: folds, crossings, Hopf points, ends, derivatives."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq

import eqx_qdeq as qdeq

TANH = qdeq.FunctionCell(lambda m, t: jnp.tanh(m / t), lambda _: jnp.zeros(1))


def _as_input(p):
    return p[None]


def _spins(drive) -> qdeq.FunctionCell:
    """Driven-dissipative spins: bistable."""

    def fn(m, g):
        square = 4 * drive**2 * m**2
        return -(1 + square) / (1 + square + 2 * g[0] ** 2)

    return qdeq.FunctionCell(fn, lambda _: jnp.zeros(1))


def _roots(g: float, drive: float) -> np.ndarray:
    """All roots of the cubic that the fixed points of `_spins` solve."""
    return np.roots([4 * drive**2, 4 * drive**2, 1 + 2 * g**2, 1])


def _fold(low: float, high: float, drive: float) -> float:
    """Where the number of real roots changes: the cubic's discriminant vanishes."""

    def discriminant(g: float) -> float:
        a, b, c, d = 4 * drive**2, 4 * drive**2, 1 + 2 * g**2, 1.0
        return 18 * a * b * c * d - 4 * b**3 * d + b**2 * c**2 - 4 * a * c**3 - 27 * a**2 * d**2

    return brentq(discriminant, low, high, xtol=1e-13)


def test_an_s_curve_with_both_folds():
    """Every point is a root of the cubic, with its slope; the folds are where it has a double one,
    with their derivatives."""
    drive = 5.0
    start = jnp.array([-1.0])

    @eqx.filter_jit
    def trace(drive):
        return qdeq.trace_branch(
            _spins(drive), _as_input, start, start=0.0, stop=6.0, largest_step=0.1, max_points=64
        )

    branch = trace(jnp.asarray(drive))
    n = int(branch.count)
    assert branch.kinds == ("fold", "fold")
    assert branch.end == "reached the end of the path"
    assert branch.parameters[n - 1] == 6.0
    points = np.asarray(branch.values)[:n, 0]
    for g, m, slope in zip(branch.parameters[:n], points, branch.slopes[:n, 0], strict=True):
        roots = _roots(float(g), drive)
        assert np.min(np.abs(roots - m)) < 1e-10
        # dm/dg from the cubic, differentiated.
        expected = -4 * g * m / (12 * drive**2 * m**2 + 8 * drive**2 * m + 1 + 2 * g**2)
        np.testing.assert_allclose(slope, expected, rtol=1e-8)
    # Three equilibria between the folds, of which the middle one is unstable.
    upper, lower = _fold(3.3, 4.0, drive), _fold(2.5, 3.2, drive)
    np.testing.assert_allclose(branch.special_parameters[:2], [upper, lower], atol=1e-9)
    middle = np.asarray(branch.slopes)[:n, 0] < 0
    np.testing.assert_array_equal(np.asarray(branch.flow_stable)[:n], ~middle)

    # Implicit derivatives: of the folds, and of the points at fixed parameters.
    def moving(v):
        branch = trace(v)
        return jnp.append(branch.special_parameters[:2], branch.values[n - 1, 0])

    by_drive = jax.jit(jax.jacfwd(moving))(jnp.asarray(drive))
    step = 1e-5
    numeric = [
        (_fold(a, b, drive + step) - _fold(a, b, drive - step)) / (2 * step)
        for a, b in ((3.3, 4.0), (2.5, 3.2))
    ]
    np.testing.assert_allclose(by_drive[:2], numeric, rtol=1e-6)
    m = points[-1]
    cubic = 12 * drive**2 * m**2 + 8 * drive**2 * m + 1 + 2 * 36
    np.testing.assert_allclose(
        by_drive[2], -(8 * drive * m**3 + 8 * drive * m**2) / cubic, rtol=1e-7
    )


def test_steps_are_certified_where_the_curvature_is_known():
    """Between the folds of a circle: z ↦ z + (1 - z² - p²)/2 has curvature 1 in (z, p)."""
    cell = qdeq.FunctionCell(lambda z, p: z + (1 - z**2 - p[0] ** 2) / 2, lambda _: jnp.zeros(1))
    trace = eqx.filter_jit(
        lambda curvature: qdeq.trace_branch(
            cell,
            _as_input,
            jnp.ones(1),
            start=0.0,
            stop=1.0,
            begin=0.0,
            curvature=curvature,
            largest_step=1.0,
            step_size=1.0,
        )
    )
    branch = trace(jnp.asarray(1.0))
    n = int(branch.count)
    assert branch.kinds == ("fold",)
    assert branch.end == "came back to the path's beginning"
    np.testing.assert_array_equal(branch.certified, (np.arange(256) > 0) & (np.arange(256) < n))
    # M is orthogonal on the circle, β₀ = 1: steps of 1/2 are proven, and no longer ones.
    points = np.stack([branch.values[:n, 0], branch.parameters[:n]])
    np.testing.assert_allclose(np.linalg.norm(points, axis=0), 1, atol=1e-10)
    assert n == 8  # π in arcs of arcsin(1/2): six of them are just too short
    # A larger bound takes shorter steps, and none is certified without one.
    assert int(trace(jnp.asarray(4.0)).count) > 3 * n


@pytest.mark.parametrize(
    ("cell", "z0", "interval", "kinds", "at"),
    [
        (TANH, [0.0], (0.5, 1.5), ("pitchfork",), 1.0),
        (TANH, [0.9575], (0.5, 1.5), ("pitchfork",), 1.0),
        (
            qdeq.FunctionCell(lambda z, p: z + 0.5 * z * (p[0] - z), lambda _: jnp.zeros(1)),
            [0.0],
            (-1.0, 1.3),
            ("transcritical",),
            0.0,
        ),
        (
            qdeq.FunctionCell(
                lambda z, p: (
                    z + 0.3 * (jnp.stack([p[0] * z[0] - z[1], z[0] + p[0] * z[1]]) - (z @ z) * z)
                ),
                lambda _: jnp.zeros(2),
            ),
            [0.0, 0.0],
            (-1.0, 1.3),
            ("Hopf",),
            0.0,
        ),
    ],
)
def test_crossings_and_hopf_points(cell, z0, interval, kinds, at):
    branch = qdeq.trace_branch(
        cell, _as_input, jnp.array(z0), start=interval[0], stop=interval[1], max_special=2
    )
    assert branch.kinds == kinds
    np.testing.assert_allclose(branch.special_parameters[0], at, atol=1e-7)
    np.testing.assert_allclose(branch.special_values[0], 0, atol=1e-7)
    assert kinds[0] in str(branch)


def test_the_other_branch_is_followed_from_a_crossing():
    """Below its critical temperature m = tanh(m / T) has two magnetized equilibria."""
    trivial = qdeq.trace_branch(TANH, _as_input, jnp.zeros(1), start=0.5, stop=1.5)
    direction = jax.tree.map(lambda leaf: leaf[0], trivial.special_directions)
    np.testing.assert_allclose(direction[0], 0, atol=1e-8)
    other = qdeq.trace_branch(
        TANH,
        _as_input,
        trivial.special_values[0],
        start=0.5,
        stop=1.5,
        begin=trivial.special_parameters[0],
        tangent=direction,
    )
    assert other.end == "came back to the path's beginning"
    m = float(other.values[int(other.count) - 1, 0])
    exact = brentq(lambda m: m - np.tanh(m / 0.5), 0.5, 1.0, xtol=1e-14)
    np.testing.assert_allclose(abs(m), exact, atol=1e-10)
    assert bool(other.stable[int(other.count) - 1])
    # Both are equilibria that a search finds, if it starts from the branches.
    found = qdeq.find_equilibria(
        TANH,
        jnp.array([0.5]),
        jax.random.key(0),
        n_starts=2,
        spread=1e-3,
        starts=jnp.concatenate([other.values, -other.values]),
    )
    assert int(found.count) == 3


def test_a_branch_ends_by_name():
    circle = qdeq.FunctionCell(
        lambda z, p: z + 0.5 * (z**2 + (p[0] - 0.5) ** 2 - 0.04), lambda _: jnp.zeros(1)
    )
    closed = qdeq.trace_branch(
        circle, _as_input, jnp.array([0.2]), begin=0.5, largest_step=0.05, max_special=4
    )
    assert closed.end == "closed on itself" and closed.kinds == ("fold", "fold")
    np.testing.assert_allclose(np.sort(closed.special_parameters[:2]), [0.3, 0.7], atol=1e-10)
    root = qdeq.FunctionCell(lambda z, p: jnp.sqrt(0.7 - p) + 0 * z, lambda _: jnp.zeros(1))
    assert qdeq.trace_branch(root, _as_input, jnp.array([0.83])).end.startswith("left the domain")
    natural = qdeq.trace_branch(
        circle, _as_input, jnp.array([0.2]), begin=0.5, method="natural", smallest_step=1e-3
    )
    assert natural.end.startswith("lost")
    few = qdeq.trace_branch(TANH, _as_input, jnp.zeros(1), start=0.5, stop=1.5, max_points=3)
    assert few.end.startswith("not at its end") and int(few.count) == 3


def test_curves_of_equilibria_are_followed_across():
    """The S-curve turned about an axis: each equilibrium is one of a circle, with the same folds
    and the same stability; a start that needs a step of least norm, and derivatives."""
    drive = 5.0

    def fn(z, g):
        r = jnp.linalg.norm(z)
        return -z / r * _spins(drive).bind(g)(-r[None])[0]

    cell = qdeq.FunctionCell(fn, lambda _: jnp.array([0.6, 0.8]))

    @eqx.filter_jit
    def trace(last):
        path = lambda g: last * g[None] / 6
        return qdeq.trace_branch(
            cell, path, jnp.array([0.601, 0.8]), stop=6.0, largest_step=0.1, max_points=64
        )

    branch = trace(jnp.asarray(6.0))
    n = int(branch.count)
    assert int(branch.flat) == 1 and "1 flat direction;" in str(branch)
    assert branch.kinds == ("fold", "fold")
    assert branch.end == "reached the end of the path"
    radii = np.linalg.norm(branch.values[:n], axis=1)
    for g, m in zip(branch.parameters[:n], -radii, strict=True):
        assert np.min(np.abs(_roots(float(g), drive) - m)) < 1e-9
    # Nothing turns about the axis.
    np.testing.assert_allclose(branch.values[:n] / radii[:, None], [[0.6, 0.8]] * n, atol=1e-3)
    folds = [_fold(3.3, 4.0, drive), _fold(2.5, 3.2, drive)]
    np.testing.assert_allclose(branch.special_parameters[:2], folds, atol=1e-8)
    # In the middle between the folds the flow leaves; iteration and flow are stable elsewhere.
    outward = np.einsum("ni,ni->n", branch.slopes[:n], branch.values[:n])
    np.testing.assert_array_equal(branch.flow_stable[:n], outward < 1e-9)
    np.testing.assert_array_equal(branch.stable[:n], outward < 1e-9)
    # dr/dlast at g = last is dr/dg there.
    radius = lambda last: jnp.linalg.norm(trace(last).values[n - 1])
    slope = jax.jit(jax.grad(radius))(jnp.asarray(6.0))
    np.testing.assert_allclose(slope, outward[-1] / radii[-1], rtol=1e-6)


def test_a_curvature_proves_nothing_along_a_surface():
    ring = qdeq.FunctionCell(
        lambda z, p: z * (1 + (1 + p[0] - z @ z) / 2), lambda _: jnp.array([0.0, 1.0])
    )
    branch = qdeq.trace_branch(ring, _as_input, jnp.array([0.0, 1.0]), curvature=10.0)
    assert int(branch.flat) == 1 and not np.any(branch.certified)
    np.testing.assert_allclose(branch.values[int(branch.count) - 1], [0, 2**0.5], atol=1e-9)


def test_branches_in_a_batch():
    """A sample that has no equilibrium to begin with leaves the others alone."""
    starts = jnp.array([[0.9575], [9.0]])
    batch = jax.vmap(
        lambda z0: qdeq.trace_branch(TANH, _as_input, z0, start=0.5, stop=1.5, max_special=2)
    )(starts)
    assert int(batch.count[0]) > 5 and int(batch.count[1]) == 0
    np.testing.assert_allclose(batch.special_parameters[0, 0], 1, atol=1e-7)
    assert "1  not begun" in str(batch)


def test_mistakes_are_named():
    trace = lambda *args, **kwargs: qdeq.trace_branch(*args, **kwargs)
    zero = jnp.zeros(1)
    with pytest.raises(ValueError, match="`z0` is no equilibrium"):
        trace(TANH, _as_input, jnp.array([9.0]), start=0.5, stop=1.5)
    with pytest.raises(ValueError, match="`start` and `stop` must differ"):
        trace(TANH, _as_input, zero, start=1.0, stop=1.0)
    with pytest.raises(ValueError, match="step_size"):
        trace(TANH, _as_input, zero, step_size=0.0)
    with pytest.raises(ValueError, match="max_points"):
        trace(TANH, _as_input, zero, max_points=1)
