r"""Pseudo-arclength continuation: one step along a curve of equilibria, and what it proves.

A point is $u = (z, q)$, with the parameter scaled to q in [0, 1]. Equilibria are the zeros of
$G(u) = f(z; q) - z$, n equations for n + 1 numbers: a curve, as long as the n × (n + 1) matrix $DG$
has rank n, which it has at folds too. Its unit tangent t spans the null space of DG. A step of
length h goes to $u + h t$ and back to the curve, by Newton's method on

$$F(u') = \big(G(u'),\; t\cdot(u' - u) - h\big), \qquad
M = DF = \begin{pmatrix} DG \\ t^\top \end{pmatrix}.$$

**What is proven.** Let K be a Lipschitz constant of DG (Frobenius or spectral norm), $\beta_0 \geq
\|M(u)^{-1}\|$ and $\|G(u)\| \leq \rho$. For every s in [0, h] the point $u + s t$ has
$\|F\| \leq \rho + K s^2/2$, since G vanishes to first order along t, and
$\|M(u + s t)^{-1}\| \leq b$ with $b = \beta_0/(1 - \beta_0 K s)$. So if

$$b^2 K \big(\rho + \tfrac12 K h^2\big) \leq \tfrac12 \quad\text{with}\quad \beta_0 K h < 1,$$

then by Newton and Kantorovich there is, for every s up to h, one zero next to $u + s t$: an arc of
the *same* curve without gaps, on which the step ends. With $\rho = 0$ that is
$h \leq 1/(2\beta_0 K)$.

**Flat directions.** Equilibria may be curves, or surfaces of k dimensions, already at a fixed
parameter, as those of a circuit with more angles than its state needs. Then DG has rank n - k
everywhere on the branch: k left null vectors L, and k more null vectors N, beside t. What is
followed is a curve on the surface, normal to N. From the point $u_0$ on it is the zeros of

$$\tilde G(u) = G(u) - L N^\top (u - u_0), \qquad D\tilde G(u_0) = DG - L N^\top,$$

regular as any other: the singular values that are zero in DG become 1. Near $u_0$ the slice
$N^\top(u - u_0) = 0$ meets the surface in a curve, on which $\tilde G = G = 0$. As zeros of
$\tilde G$ near it are unique, it is this one; but that is a statement about G, which had to be
zero on the slice. So it is looked at G at each point, and no step counts as proven.

??? cite "Reference"

    H. B. Keller, "Numerical solution of bifurcation and nonlinear eigenvalue problems", in P. H.
    Rabinowitz (ed.), Applications of Bifurcation Theory, Academic Press (1977), 359-384.
"""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Complex, Float, Int

from .._precise import dot

Point = Float[Array, " n1"]
# Newton steps back to the curve: where it is smooth, three do. More mean that the step was too
# long.
_NEWTON_STEPS = 8
# A tangent that turned by more than this (as a cosine), or a correction of more than this share of
# the step, may belong to another branch.
_COSINE, _CORRECTION = 0.9, 0.4
# A tangent with less than this share of the parameter is that of a fold, nearly.
_SHARE = 1e-3


class Slice(NamedTuple):
    """What holds a point on a surface of equilibria: L, N and u₀, where columns of zeros stand in
    for directions that are not flat."""

    left: Float[Array, "n n"]
    normal: Float[Array, "n1 n"]
    at: Point


class Curve(eqx.Module):
    """The equations G(u) = 0 of a curve of equilibria; with `flat` directions, of one in a slice
    of a surface."""

    raw: Callable[[Point], Float[Array, " n"]]
    tolerance: Float[Array, ""]
    flat: Int[Array, ""]
    slice: Slice

    @classmethod
    def plain(cls, raw: Callable, u: Point, tolerance: Array) -> "Curve":
        n = u.size - 1
        zeros = lambda *shape: jnp.zeros(shape, u.dtype)
        return cls(raw, tolerance, jnp.array(0), Slice(zeros(n, n), zeros(n + 1, n), u))

    def equations(self, u: Point) -> Float[Array, " n"]:
        return self.of(self.raw)(u)

    def of(self, raw: Callable[[Point], Array]) -> Callable[[Point], Array]:
        """The equations with G given by `raw`, which may have derivatives."""
        left, normal, at = self.slice
        return lambda u: raw(u) - dot(left, dot(normal.T, u - at))

    def slopes(self, u: Point) -> Float[Array, "n n1"]:
        return jax.jacfwd(self.raw)(u) - dot(self.slice.left, self.slice.normal.T)

    def spectrum(self, slopes: Float[Array, "n n1"]) -> Complex[Array, " n"]:
        """The eigenvalues of J - I without those of flat directions, in whose place -1 stands."""
        both = slopes + dot(self.slice.left, self.slice.normal.T)
        mu = jnp.linalg.eigvals(both[:, :-1])
        mu = mu[jnp.argsort(jnp.abs(mu))]
        return jnp.where(jnp.arange(mu.size) < self.flat, -jnp.ones_like(mu), mu)

    def is_on(self, u: Point) -> Bool[Array, ""]:
        """Whether a zero of the equations is one of G."""
        return (self.flat == 0) | (jnp.linalg.norm(self.raw(u)) <= 100 * self.tolerance)

    def counted(self, u: Point) -> "Curve":
        """The curve, told by a point on it how many directions are flat."""
        sigma = jnp.linalg.svd(jax.jacfwd(self.raw)(u), compute_uv=False)
        flat = jnp.sum(sigma <= jnp.finfo(u.dtype).eps ** 0.5 * sigma[0])
        return eqx.tree_at(lambda c: c.flat, self, flat)

    def sliced(self, u: Point, along: Point) -> tuple["Curve", Point]:
        """The curve from here on, and its tangent, normal to all that is flat."""
        n = u.size - 1
        left, _, right = jnp.linalg.svd(jax.jacfwd(self.raw)(u), full_matrices=True)
        is_flat = jnp.arange(n) >= n - self.flat
        null = jnp.append(is_flat, True)
        # The rows of `right` that are `null` span the null space of DG. Flat directions have no
        # share of the parameter, so t is what the parameter's axis has of it. At a fold that is
        # nothing, and t goes on as it went.
        axis, onwards = jnp.where(null, right[:, -1], 0), jnp.where(null, dot(right, along), 0)
        exact = axis * jnp.sign(dot(axis, onwards))
        t = jnp.where(jnp.linalg.norm(axis) > _SHARE, exact, onwards)
        t = t / jnp.linalg.norm(t)
        # A reflection within the null space takes t to its last vector: the others become N.
        mirror = t.at[-1].add(jnp.where(t[-1] < 0, -1, 1))
        turned = right - jnp.outer(mirror, dot(mirror, right)) * 2 / dot(mirror, mirror)
        hold = Slice(jnp.where(is_flat, left, 0), jnp.where(is_flat, turned[:n].T, 0), u)
        return self.held(hold), dot(t, right)

    def held(self, slice: Slice) -> "Curve":
        return eqx.tree_at(lambda c: c.slice, self, slice)

    @property
    def orientation(self) -> Float[Array, ""]:
        """The sign that the choice of L and N gives to the determinant of (D G̃; t)."""
        left, normal, _ = self.slice
        n = len(left)
        is_flat = jnp.arange(n)[:, None] >= n - self.flat
        return jnp.linalg.slogdet(
            jnp.where(is_flat, dot(left.T, normal[:n]), jnp.eye(n, dtype=left.dtype))
        )[0]

    def tangent(self, u: Point, along: Point) -> Point:
        """The unit tangent that points along `along`."""
        # M t = e with the row `along` in M: t has a positive share of it.
        matrix = jnp.concatenate([self.slopes(u), along[None]])
        t = jnp.linalg.solve(matrix, jnp.zeros_like(u).at[-1].set(1))
        return t / jnp.linalg.norm(t)

    def back(
        self, start: Point, row: Point, least_norm: bool = False
    ) -> tuple[Point, Bool[Array, ""], Int[Array, ""]]:
        """From `start` to the curve within the plane through it that `row` is normal to. By steps
        of least norm where it is not known yet what is flat.

        **Returns:** the point, whether it is on the curve, and the evaluations.
        """
        rounding = float(jnp.finfo(start.dtype).eps) ** 0.5

        def newton(carry: tuple[Point, Array, Array]) -> tuple[Point, Array, Array]:
            u, _, k = carry
            g = self.equations(u)
            matrix = jnp.concatenate([self.slopes(u), row[None]])
            right = jnp.concatenate([g, dot(row, u - start)[None]])
            if least_norm:
                change = jnp.linalg.lstsq(matrix, right, rcond=rounding)[0]
            else:
                change = jnp.linalg.solve(matrix, right)
            # Rounding leaves g at a few units of the last place, whatever the tolerance.
            small = jnp.linalg.norm(change) <= self.tolerance
            return u - change, small, k + 1

        going = lambda carry: (
            ~carry[1] & (carry[2] < _NEWTON_STEPS) & jnp.all(jnp.isfinite(carry[0]))
        )
        u, small, k = lax.while_loop(going, newton, (start, jnp.array(False), jnp.array(0)))
        return u, small & jnp.all(jnp.isfinite(u)) & self.is_on(u), k

    def certified_length(self, u: Point, t: Point, curvature: Float[Array, ""]) -> Float[Array, ""]:
        """The longest step that is proven to stay on the curve; 0 if none is."""
        matrix = jnp.concatenate([self.slopes(u), t[None]])
        n, eps = u.size, jnp.finfo(u.dtype).eps
        size = jnp.linalg.norm(matrix)
        # Weyl: singular values move by no more than the matrix does, here by rounding.
        least = jnp.linalg.svd(matrix, compute_uv=False)[-1] - 8 * n * eps * size
        value = self.equations(u)
        rounding = 16 * eps * n**0.5 * (jnp.linalg.norm(u) + jnp.linalg.norm(value + u[:-1]))
        rho = jnp.linalg.norm(value) + rounding

        def proven(h: Array) -> Array:
            left = least - curvature * h  # 1/b
            return (left > 0) & (curvature * (rho + curvature * h**2 / 2) <= left**2 / 2)

        # With ρ = 0 it is least/(2K); ρ only shortens it, and what is proven for a length is for
        # all shorter ones.
        safe = jnp.where(curvature > 0, curvature, 1)
        lengths = 0.999 * least / (2 * safe) * 0.5 ** jnp.arange(24, dtype=u.dtype)
        holds = proven(lengths)
        longest = jnp.max(jnp.where(holds, lengths, 0))
        return jnp.where(curvature > 0, longest, jnp.where(least > 0, jnp.inf, 0))


class Step(NamedTuple):
    """Where a step has led."""

    u: Point
    t: Point
    accepted: Bool[Array, ""]
    easy: Bool[Array, ""]  # the next one may be longer
    evals: Int[Array, ""]


def step(
    curve: Curve,
    u: Point,
    t: Point,
    h: Float[Array, ""],
    row: Point | None = None,
    proven: bool | Bool[Array, ""] = False,
) -> Step:
    """A step of length h from u along t, and back to the curve in the plane that `row` (t if left
    out) is normal to. One that is proven to stay on the curve is not doubted."""
    start = u + h * t
    new, found, evals = curve.back(start, t if row is None else row)
    turned = curve.tangent(jnp.where(found, new, u), t)
    cosine, moved = dot(turned, t), jnp.linalg.norm(new - start)
    accepted = found & (proven | ((cosine >= _COSINE) & (moved <= _CORRECTION * h)))
    easy = (cosine >= 0.99) & (moved <= 0.1 * h) & (evals <= 4)
    return Step(new, turned, accepted, easy, evals + 1)
