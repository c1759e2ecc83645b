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
from jaxtyping import Array, Bool, Float, Int

from .._precise import dot

Point = Float[Array, " n1"]
# Newton steps back to the curve: where it is smooth, three do. More mean that the step was too
# long.
_NEWTON_STEPS = 8
# A tangent that turned by more than this (as a cosine), or a correction of more than this share of
# the step, may belong to another branch.
_COSINE, _CORRECTION = 0.9, 0.4


class Curve(eqx.Module):
    """The equations G(u) = 0 of a curve of equilibria."""

    equations: Callable[[Point], Float[Array, " n"]]
    tolerance: Float[Array, ""]

    def slopes(self, u: Point) -> Float[Array, "n n1"]:
        return jax.jacfwd(self.equations)(u)

    def tangent(self, u: Point, along: Point) -> Point:
        """The unit tangent that points along `along`."""
        # M t = e with the row `along` in M: t has a positive share of it.
        matrix = jnp.concatenate([self.slopes(u), along[None]])
        t = jnp.linalg.solve(matrix, jnp.zeros_like(u).at[-1].set(1))
        return t / jnp.linalg.norm(t)

    def back(self, start: Point, row: Point) -> tuple[Point, Bool[Array, ""], Int[Array, ""]]:
        """From `start` to the curve within the plane through it that `row` is normal to.

        **Returns:** the point, whether it is on the curve, and the evaluations.
        """

        def newton(carry: tuple[Point, Array, Array]) -> tuple[Point, Array, Array]:
            u, _, k = carry
            g = self.equations(u)
            matrix = jnp.concatenate([self.slopes(u), row[None]])
            right = jnp.concatenate([g, dot(row, u - start)[None]])
            change = jnp.linalg.solve(matrix, right)
            # Rounding leaves g at a few units of the last place, whatever the tolerance.
            small = jnp.linalg.norm(change) <= self.tolerance
            return u - change, small, k + 1

        going = lambda carry: (
            ~carry[1] & (carry[2] < _NEWTON_STEPS) & jnp.all(jnp.isfinite(carry[0]))
        )
        u, small, k = lax.while_loop(going, newton, (start, jnp.array(False), jnp.array(0)))
        return u, small & jnp.all(jnp.isfinite(u)), k

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
