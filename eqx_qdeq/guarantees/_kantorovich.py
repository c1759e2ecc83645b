r"""The Newton-Kantorovich theorem, evaluated.

Let $g(y) = f(y) - y$, $A = I - J(z)$, $\beta \geq \|A^{-1}\|$, $\eta \geq \|A^{-1} g(z)\|$, and K a
Lipschitz constant of J on the ball of radius ρ about z. If $h = \beta K \eta \leq 1/2$ and ρ is at
least

$$r_- = \frac{1 - \sqrt{1 - 2h}}{\beta K} = \frac{2 \eta}{1 + \sqrt{1 - 2h}} \leq 2 \eta ,$$

then there is an equilibrium within $r_-$ of z, and it is the only one in the ball that is closer
than $r_+ = (1 + \sqrt{1 - 2h})/(\beta K)$.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from .._precise import dot
from ..cells import AbstractLinearInjection, QuantumCell
from ._boxes import divisor, over
from ._lipschitz_angles import angle_frequency, turns, turns_wires

# Balls that are tried for the radius of uniqueness.
_BALLS = 96


class Kantorovich(NamedTuple):
    inverse_norm: Float[Array, ""]  # β, +inf where A may be singular
    newton_step: Float[Array, ""]  # η
    h: Float[Array, ""]
    radius: Float[Array, ""]  # r₋, +inf where the theorem says nothing
    unique_radius: Float[Array, ""]  # r₊, 0 there


def newton_kantorovich(
    residual: Float[Array, " n"],
    jacobian: Float[Array, "n n"],
    curvature: Callable[[Float[Array, "..."]], Float[Array, "..."]],
    *,
    value_error: Float[Array, ""],
    jacobian_error: Float[Array, ""],
) -> Kantorovich:
    """From the computed f(z) - z and J(z), bounds on their errors, and ρ ↦ K."""
    n, eps = residual.size, jnp.finfo(residual.dtype).eps
    eye = jnp.eye(n, dtype=residual.dtype)
    a = eye - jacobian
    size = jnp.linalg.norm(a)
    # Weyl: the smallest singular value moves by no more than the matrix, and its computation.
    least = jnp.linalg.svd(a, compute_uv=False)[-1] - jacobian_error - 4 * n * eps * size
    beta = over(1.0, least)

    # A⁻¹ g = s + A⁻¹ (g - A s) for any s: here the computed Newton step.
    step = jnp.linalg.solve(jnp.where(least > 0, a, eye), residual)
    length = jnp.linalg.norm(step)
    # ‖g - A s‖ for the exact g and A: as computed, and what their errors and the product's add.
    left = jnp.linalg.norm(residual - dot(a, step)) + value_error + jacobian_error * length
    left = left + 4 * n * eps * (size * length + jnp.linalg.norm(residual))
    eta = length + beta * left

    def radii(ball: Array) -> tuple[Array, Array, Array]:
        k = jnp.broadcast_to(curvature(ball), ball.shape)
        h = beta * k * eta
        proven = h <= 0.5  # false where NaN
        root = jnp.sqrt(jnp.where(proven, 1 - 2 * h, 1))
        inner = jnp.where(proven, 2 * eta / (1 + root), jnp.inf)
        outer = jnp.where(k > 0, (1 + root) / (beta * divisor(k)), jnp.inf)
        return h, inner, jnp.where(proven, outer, 0)

    # r₋ ≤ 2η, so this ball is large enough.
    h, radius, first = radii(2 * eta)
    # Larger balls have a larger K: somewhere r₊ and ρ meet. r₊ never exceeds 2 / (β K(0)).
    limit = curvature(jnp.zeros_like(eta))
    farthest = 2 / (beta * divisor(limit))
    proven = jnp.isfinite(radius)
    share = jnp.linspace(0, 1, _BALLS, dtype=eta.dtype)
    # A lower end above zero also where z is exact.
    nearest = jnp.where(proven, jnp.clip(2 * eta, 1e-3 * farthest, farthest), 1)
    balls = nearest * (jnp.where(proven, farthest, 1) / nearest) ** share
    _, inner, outer = radii(balls)
    # In a ball for which the theorem holds there is no other one within r₊, as far as it reaches.
    unique = jnp.where(inner <= balls, jnp.minimum(outer, balls), 0)
    unique = jnp.maximum(jnp.max(unique), jnp.minimum(first, 2 * eta))
    unique = jnp.where(limit > 0, unique, jnp.inf)  # f is affine
    # A few operations of rounding between the bounds and the radii, to the safe side.
    radius, unique = radius * (1 + 8 * eps), jnp.where(proven, unique * (1 - 8 * eps), 0)
    return Kantorovich(beta, eta, h, radius, unique)


# --- How far a quantum cell's computed values and slopes may be from the exact ones. ---


class Rounding(NamedTuple):
    """Bounds on errors: of f in the Euclidean norm, of J in the spectral norm, and of what is
    computed from observables, relative to their norms."""

    value: Float[Array, ""]
    jacobian: Float[Array, ""]
    relative: Float[Array, ""]


def rounding_errors(cell: QuantumCell, x: Float[Array, " d_in"], z: Float[Array, " m"]) -> Rounding:
    r"""In the standard model of floating-point arithmetic every operation has the relative error
    ε. The relative error of a quadratic form in a state is taken as

    $$\gamma = \varepsilon\,\big(G + \textstyle\sum_j |\theta_j| +
    2\,(2^{n/2} + \sqrt d + m)\big)$$

    for G gates with angles θ on n wires, d features and m values: gates preserve norms, so that
    their errors add up; the errors of a sum of N terms, random in sign, grow as $\sqrt N$. That
    makes it generous: the tests find errors that are smaller by an order of magnitude and more.

    - Amplitude encoding divides two forms in $v = v_0 + R z$, whose parts may cancel. With
      $\kappa = (\|v_0\| + \|R z\|)^2/\|v\|^2$ the values have the error
      $\gamma\,\kappa\,\|o\|$ and the slopes $2\,\gamma\,\kappa\,\|o\|\,\|R\|/\|v\|$, where o are
      the observables' norms.
    - Rotations by features and feedback: the angles α have the error
      $(m + 2)\,\varepsilon\,|\alpha|$, their parts taken for positive, and the values
      $(\gamma + (m + 2)\,\varepsilon\,\sum|\alpha|)\,\|o\|$. The slopes have Ω times that, with
      f's highest frequency Ω along unit directions of z.
    """
    layer, injection = cell.layer, cell.injection
    n, m = layer.n_qubits, layer.out_size
    eps = jnp.finfo(z.dtype).eps
    norms = float((layer.measurement.norms(n) ** 2).sum() ** 0.5)
    angles = jnp.sum(jnp.abs(layer.angles)).astype(z.dtype)
    gates = len(layer.circuit) + angles + 2 * (2 ** (n / 2) + x.shape[0] ** 0.5 + m)
    relative = eps * gates
    turn = turns(cell, x.shape[0]) if turns_wires(cell) else None
    if isinstance(injection, AbstractLinearInjection):
        offset, matrix = injection.offset(x, m), injection.matrix(x.shape[0], m, z.dtype)
        if turn is None:
            fed_back = dot(matrix, z)
            # κ and 1/‖v‖ do not change if all is scaled, but squares of huge entries overflow.
            scale = divisor(jnp.max(jnp.abs(offset)) + jnp.max(jnp.abs(fed_back)))
            parts = jnp.linalg.norm(offset / scale) + jnp.linalg.norm(fed_back / scale)
            whole = jnp.linalg.norm((offset + fed_back) / scale)
            value = relative * norms * (parts / whole) ** 2
            slope = jnp.linalg.norm(matrix / scale, 2) / whole
            return Rounding(value, 2 * value * slope, relative)
        parts = jnp.abs(offset) + dot(jnp.abs(matrix), jnp.abs(z))
        turned = turn.uploads * abs(turn.scale) * jnp.sum(parts)
        relative = relative + eps * turn.uploads * offset.shape[0]
    else:
        assert turn is not None
        turned = jnp.sum(dot(jnp.abs(turn.matrix), jnp.abs(z)))
        turned = turned + abs(turn.scale) * jnp.sum(jnp.abs(x))
    value = norms * (relative + (m + 2) * eps * turned)
    return Rounding(value, value * jnp.maximum(angle_frequency(cell, x.shape[0]), 1), relative)
