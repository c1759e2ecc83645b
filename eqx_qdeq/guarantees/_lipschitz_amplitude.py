r"""Bounds on the Jacobian of amplitude-encoded cells with linear injection.

The map is $f_q(z) = u^\top A_q u$ with $u = v/\|v\|$, $v = v_0 + R z$ and real symmetric $A_q$.
Write $f_a = \sum_q a_q f_q$ and $A_a = \sum_q a_q A_q$ for unit a, $s_a$ for the spread
$\lambda_{\max} - \lambda_{\min}$ of $A_a$, and D for the largest $s_a$. With h a unit vector:

Slope. $\nabla_v f_a = 2 (A_a - f_a) u / \|v\|$. As $\|(A_a - f_a) u\|^2 = u^\top A_a^2 u - f_a^2$
is the variance of a random variable on an interval of length $s_a$, it is at most $s_a^2/4$
(Popoviciu). Hence $\|\nabla_v f_a\| \leq s_a/\|v\|$ and $\|J\| \leq D\,\|R\|/\|v\|$.

Curvature. With $g = (A_a - f_a) u$, which is orthogonal to u, and $h = \cos\varphi\,u +
\sin\varphi\,h_\perp$,

    ‖v‖² D²f_a[h, h] = -4 cosφ sinφ g·h⊥ + 2 sin²φ h⊥ᵀ(A_a - f_a) h⊥.

Let f_a lie at the fraction t of its interval. Then ‖g‖ ≤ s_a √(t(1-t)) and ‖A_a - f_a‖ ≤ s_a M
with M = max(t, 1-t), so the modulus is at most s_a (M + √(M² + 4t(1-t))), which grows from t = 1/2
to its maximum 2 s_a at t = 0 and t = 1. It is attained: $\|D^2 f_a\| \leq 2 s_a/\|v\|^2$. So J has
the Lipschitz constant $2 D \|R\|^2/\|v\|^2$.

Subspace. All v lie in the span S of v₀ and the range of R. So the A_q may be replaced by their
compressions to S, matrices of size m + 1 with a smaller spread.
"""

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from .._precise import dot
from ..cells import AbstractLinearInjection, QuantumCell
from ..measurements import quadratic_forms
from ._boxes import Box, divisor, feedback_matrix, InputMap, safe_sqrt, spread_of, spreads_of_forms


class Reach(eqx.Module):
    """A sample's cell within the span S of its inputs."""

    inputs: InputMap
    forms: Float[Array, "m k k"]  # the observables, compressed to S
    low: Float[Array, " m"]  # their extreme eigenvalues
    high: Float[Array, " m"]
    spread: Float[Array, ""]  # D
    at_zero: Float[Array, " m"]  # f where the input vanishes, by definition

    @classmethod
    def of(cls, cell: QuantumCell, x: Float[Array, " d_in"]) -> "Reach":
        """For a sample. What depends on the parameters alone is done once for a batch."""
        layer, injection = cell.layer, cell.injection
        assert isinstance(injection, AbstractLinearInjection)
        r = feedback_matrix(cell, x.shape[0])
        propagator, basis = layer.propagator(len(r)), _orthonormal_basis(r)
        # f depends on directions alone: scale huge inputs and R alike, lest squares overflow.
        v = injection.offset(x, layer.out_size)
        scale = 1 / jnp.maximum(lax.stop_gradient(jnp.max(jnp.abs(v))), 1)
        v = v * scale
        # Gram and Schmidt, twice: v = basis · along + length · new.
        along = dot(v, basis)
        across = v - dot(basis, along)
        across = across - dot(basis, dot(across, basis))
        noise = 16 * jnp.finfo(v.dtype).eps * jnp.max(jnp.abs(v))
        has_new = jnp.max(jnp.abs(across)) > noise
        across = jnp.where(has_new, across, 0)
        length = safe_sqrt(jnp.sum(across**2))
        new = across / jnp.where(has_new, length, 1)

        # The observables pulled back through the circuit, in the basis (basis, new) of S.
        moved, moved_new = propagator(basis), propagator.vector(new).reshape(2, -1, 1)
        known = quadratic_forms(layer.measurement, moved, moved)
        side = quadratic_forms(layer.measurement, moved, moved_new)
        corner = quadratic_forms(layer.measurement, moved_new, moved_new)
        # Without a new direction its row is zero, and so must not have an eigenvalue of its own.
        mean = jnp.trace(known, axis1=1, axis2=2) / basis.shape[1]
        corner = jnp.where(has_new, corner, mean[:, None, None])
        forms = jnp.block([[known, side], [jnp.swapaxes(side, 1, 2), corner]])
        low, high, spread = spreads_of_forms(forms)
        matrix = jnp.pad(scale * dot(basis.T, r), ((0, 1), (0, 0)))
        inputs = InputMap(jnp.append(along, length), matrix, scale * jnp.linalg.norm(r, 2))
        first = propagator.halves(jnp.zeros(len(r), r.dtype).at[0].set(1))
        at_zero = layer.measurement.values_of_parts(first)
        return cls(inputs, forms, low, high, jnp.minimum(spread, spread_of(cell)), at_zero)

    def values(self, z: Float[Array, " m"]) -> tuple[Float[Array, " m"], Float[Array, "m m"]]:
        """f and its Jacobian, both 0 where the input vanishes."""
        v = self.inputs(z)
        square = divisor(jnp.sum(v**2))
        images = dot(self.forms, v)
        f = dot(images, v) / square
        slopes = 2 * (images - f[:, None] * v[None]) / square
        return f, dot(slopes, self.inputs.matrix)

    def image(self, box: Box) -> Box:
        """A box that contains f(box), and is no larger than the given one."""
        least, reach = self.inputs.least_norm(box), self.inputs.reach(box.half)
        f, jacobian = self.values(box.centre)
        # By the slopes everywhere, or by the slope at the center and the curvature everywhere:
        # with ‖v - v_c‖ ≤ reach, |f_q(z) - f_q(c)| is at most s_q reach / min‖v‖, and at most
        # |J(c)| half + ½ (2 s_q / min‖v‖²) reach².
        spreads, ratio = self.high - self.low, reach / divisor(least)
        taylor = dot(jnp.abs(jacobian), box.half) + spreads * ratio**2
        width = jnp.where(least > 0, jnp.minimum(spreads * ratio, taylor), jnp.inf)
        low, high = jnp.maximum(self.low, f - width), jnp.minimum(self.high, f + width)
        # The state of a vanishing input is |0…0⟩, which need not lie in S.
        low = jnp.where(least > 0, low, jnp.minimum(low, self.at_zero))
        high = jnp.where(least > 0, high, jnp.maximum(high, self.at_zero))
        return box.meet(low, high)

    def bound(self, box: Box) -> Float[Array, ""]:
        """An upper bound on ‖J‖ over a box."""
        least, norm = self.inputs.least_norm(box), self.inputs.norm
        safe = divisor(least)
        # By the slope everywhere, or by the slope at the center and how much it can change.
        _, jacobian = self.values(box.centre)
        change = 2 * self.spread * norm * self.inputs.reach(box.half) / safe**2
        bound = jnp.minimum(self.spread * norm / safe, jnp.linalg.norm(jacobian, 2) + change)
        return jnp.where(least > 0, bound, jnp.inf)

    def shrink(self, box: Box, rounds: int) -> tuple[Box, Float[Array, ""]]:
        """A box that contains f(f(…f(box))), and an upper bound on ‖J‖ there."""

        def step(_, carry):
            box = self.image(carry[0])
            # The boxes are nested, so every earlier bound holds too.
            return box, jnp.minimum(carry[1], self.bound(box))

        return lax.fori_loop(0, rounds, step, (box, self.bound(box)))

    def curvature(self, z: Float[Array, " m"], radius: Float[Array, "..."]) -> Float[Array, "..."]:
        """A Lipschitz constant of J on the ball of that radius about z."""
        least = jnp.linalg.norm(self.inputs(z)) - self.inputs.norm * radius
        bound = 2 * self.spread * self.inputs.norm**2 / divisor(least) ** 2
        return jnp.where(least > 0, bound, jnp.inf)


def _orthonormal_basis(matrix: Float[Array, "d m"]) -> Float[Array, "d k"]:
    """An orthonormal basis of a space that contains the range of a matrix, with the derivative
    of a QR decomposition also where the columns are dependent or more than the rows."""
    # The span moves with the matrix: if Q = A X at a place, then A X follows it with X held fixed.
    frozen = lax.stop_gradient(matrix)
    basis, _ = jnp.linalg.qr(frozen)
    mixing = lax.stop_gradient(dot(jnp.linalg.pinv(frozen), basis))
    basis = basis + dot(matrix - frozen, mixing)
    # One Newton-Schulz step toward an orthonormal basis of the same span: no change in the
    # value, and all that is needed in the derivative.
    eye = jnp.eye(basis.shape[1], dtype=matrix.dtype)
    return dot(basis, 1.5 * eye - 0.5 * dot(basis.T, basis))
