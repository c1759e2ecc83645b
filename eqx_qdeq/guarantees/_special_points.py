r"""Where a branch turns, crosses another one, or loses its stability in an oscillation.

Between two points of a branch one of three test functions changes its sign:

- a **fold**: the tangent's share $\dot q$ of the parameter. There $I - J$ is singular, and the two
  equilibria on either side meet;
- a **crossing**: $\det M$ with $M = (DG; t^\top)$, which does not vanish at folds. There DG itself
  loses rank, and another branch goes through the point;
- a **Hopf** point: the largest real part of the complex eigenvalues of J, minus 1. From there
  on the flow $\dot z = f(z) - z$ oscillates.

At a crossing the null space of DG is a plane. With the left null vector ψ of DG, a direction d in
it belongs to a branch if $\psi\cdot D^2G[d, d] = 0$ (the algebraic bifurcation equation): a
quadratic form with two null directions. The crossing is a **pitchfork** if one of them has no share
of the parameter, and **transcritical** otherwise.

??? cite "Reference"

    R. Seydel, "Practical Bifurcation and Stability Analysis", 3rd ed., Springer (2010), chapter 5;
    G. Moore and A. Spence, "The calculation of turning points of nonlinear equations", SIAM Journal
    on Numerical Analysis 17 (1980), 567-576; A. Griewank and G. W. Reddien, "Characterization and
    computation of generalized turning points", ibid. 21 (1984), 176-185.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from .._precise import dot
from ..adjoints import ImplicitAdjoint
from ..equilibrium import solve_map
from ..solvers import Newton
from ._arclength import Curve, Point, step

NOTHING, FOLD, PITCHFORK, TRANSCRITICAL, HOPF = range(5)
KINDS = ("none", "fold", "pitchfork", "transcritical", "Hopf")

# Halvings of the step in which a point lies: down to rounding in either precision, or to where
# Newton's method takes over.
_HALVINGS, _ROUGHLY = 48, 5
# A branch through a crossing whose direction has less than this share of the parameter is vertical.
_VERTICAL = 1e-3


class Tests(NamedTuple):
    """The test functions at a point of a branch."""

    fold: Float[Array, ""]
    crossing: Float[Array, ""]
    hopf: Float[Array, ""]

    @staticmethod
    def at(curve: Curve, u: Point, t: Point) -> "Tests":
        slopes = curve.slopes(u)
        sign, size = jnp.linalg.slogdet(jnp.concatenate([slopes, t[None]]))
        sign = sign * curve.orientation
        # G = f - z: the eigenvalues of J are those of ∂G/∂z, plus 1.
        spectrum = curve.spectrum(slopes)
        complex_ones = jnp.abs(spectrum.imag) > 1e-6 * (1 + jnp.abs(spectrum.real))
        real = jnp.max(jnp.where(complex_ones, spectrum.real, -jnp.inf))
        return Tests(t[-1], sign * jnp.exp(size), real)


def kind_between(before: Tests, after: Tests) -> Int[Array, ""]:
    """What happens between two points; a crossing counts before a fold: on the bent branch of a
    pitchfork the parameter turns as well."""
    # A zero at the end of a step belongs to it, and not to the next one.
    changes = lambda a, b: ((a * b < 0) | ((b == 0) & (a != 0))) & jnp.isfinite(a) & jnp.isfinite(b)
    kind = jnp.where(changes(before.hopf, after.hopf), HOPF, NOTHING)
    kind = jnp.where(changes(before.fold, after.fold), FOLD, kind)
    return jnp.where(changes(before.crossing, after.crossing), PITCHFORK, kind)


class Special(NamedTuple):
    """A special point: its kind, itself, and the direction of the branch that crosses there (NaN
    where none does)."""

    kind: Int[Array, ""]
    u: Point
    other: Point


def locate(
    curve: Curve,
    live: Callable[[Point], Float[Array, " n"]],
    kind: Array,
    u: Point,
    t: Point,
    h: Float[Array, ""],
) -> Special:
    """The special point of this kind on the step of length h from u along t.

    `live` are the curve's equations with their derivatives by what they are made of, which folds
    and crossings have then too.
    """
    curve, t = curve.sliced(u, t)
    live = curve.of(live)

    def test(u: Point, t: Point) -> Array:
        found = Tests.at(curve, u, t)
        at_crossing = jnp.where(kind == HOPF, found.hopf, found.crossing)
        return jnp.where(kind == FOLD, found.fold, at_crossing)

    first = jnp.sign(test(u, t))

    def halve(_: Array, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = (low + high) / 2
        at = step(curve, u, t, middle)
        before = jnp.sign(test(at.u, at.t)) == first
        return jnp.where(before, middle, low), jnp.where(before, high, middle)

    # Folds and crossings need only a good start. At a crossing itself there is no way back to the
    # curve: in the plane normal to t all of the other branch may lie.
    times = jnp.where(kind == HOPF, _HALVINGS, _ROUGHLY)
    # So it is approached from this side.
    low, _ = lax.fori_loop(0, times, halve, (jnp.zeros_like(h), h))
    near, along, *_ = step(curve, u, t, low)
    at_fold, at_crossing = _fold(live, near), _crossing(live, near)
    there = jnp.where(kind == FOLD, at_fold, jnp.where(kind == HOPF, near, at_crossing))
    # What Newton's method has led elsewhere is not polished.
    there = jnp.where(jnp.linalg.norm(there - near) <= h, there, near)
    one, other = _directions(curve, lax.stop_gradient(there), along)
    vertical = jnp.minimum(jnp.abs(one[-1]), jnp.abs(other[-1])) < _VERTICAL
    crosses = kind == PITCHFORK
    kind = jnp.where(crosses & ~vertical, TRANSCRITICAL, kind)
    return Special(kind, there, jnp.where(crosses, other, jnp.nan))


def _zero(equations: Callable[[Array], Array], start: Array) -> Array:
    """A regular zero nearby, with its implicit derivative."""
    eps = float(jnp.finfo(start.dtype).eps)
    solver = Newton(rtol=0.0, atol=eps**0.75)
    fn, adjoint = lambda y: y + equations(y), ImplicitAdjoint()
    return solve_map(fn, lax.stop_gradient(start), solver, adjoint, max_steps=12).value


def _fold(live: Callable[[Point], Array], u: Point) -> Point:
    r"""The zero of G = 0, $\partial_z G\, v = 0$, v·v = 1 in (u, v), which is regular at a fold
    (Moore and Spence)."""
    n = u.size - 1
    slopes = lax.stop_gradient(jax.jacfwd(live)(u))
    v = jnp.linalg.svd(slopes[:, :n])[2][-1]

    def equations(y: Array) -> Array:
        u, v = y[: n + 1], y[n + 1 :]
        g, along = jax.jvp(live, (u,), (jnp.append(v, jnp.zeros_like(v[:1])),))
        return jnp.concatenate([g, along, (dot(v, v) - 1)[None]])

    return _zero(equations, jnp.concatenate([u, v]))[: n + 1]


def _crossing(live: Callable[[Point], Array], u: Point) -> Point:
    r"""The zero of $G + \mu\psi = 0$, $DG^\top\psi = 0$, ψ·ψ = 1 in (u, μ, ψ), which is regular at
    a crossing (Griewank and Reddien). Where a perturbation parts the two branches, so that μ is not
    0, it is the point between them."""
    n = u.size - 1
    psi = jnp.linalg.svd(lax.stop_gradient(jax.jacfwd(live)(u)))[0][:, -1]

    def equations(y: Array) -> Array:
        u, mu, psi = y[: n + 1], y[n + 1], y[n + 2 :]
        g, transposed = jax.vjp(live, u)
        left = transposed(psi)[0]
        return jnp.concatenate([g + mu * psi, left, (dot(psi, psi) - 1)[None]])

    return _zero(equations, jnp.concatenate([u, jnp.zeros_like(u[:1]), psi]))[: n + 1]


def _directions(curve: Curve, u: Point, along: Point) -> tuple[Point, Point]:
    """The unit directions of the two branches through a crossing, that along `along` first."""
    left, _, right = jnp.linalg.svd(curve.slopes(u), full_matrices=True)
    psi, basis = left[:, -1], right[-2:]
    form = lambda s: dot(psi, curve.equations(s))
    second = lambda a, b: jax.jvp(lambda s: jax.jvp(form, (s,), (a,))[1], (u,), (b,))[1]
    mixed = second(basis[0], basis[1])
    matrix = jnp.array([[second(basis[0], basis[0]), mixed], [mixed, second(basis[1], basis[1])]])
    # λ₁ x² + λ₂ y² = 0 along the eigenvectors, of which one is negative where two branches cross.
    values, vectors = jnp.linalg.eigh(matrix)
    x, y = jnp.sqrt(jnp.abs(values[1])), jnp.sqrt(jnp.abs(values[0]))
    two = [dot(x * vectors[:, 0] + sign * y * vectors[:, 1], basis) for sign in (1, -1)]
    two = [d / jnp.linalg.norm(d) for d in two]
    first = jnp.abs(dot(two[0], along)) >= jnp.abs(dot(two[1], along))
    return jnp.where(first, two[0], two[1]), jnp.where(first, two[1], two[0])
