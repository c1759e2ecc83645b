"""Boxes of measured values, and how long the inputs are that belong to them."""

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from .._precise import dot
from ..cells import QuantumCell
from ._value_ranges import safe_sqrt, value_ranges

# Steps of the descent that looks for the input of least norm. Few do: any of them gives a bound.
_DESCENT = 50


class Box(eqx.Module):
    """The vectors w with |w - centre| ≤ half, entry by entry."""

    centre: Float[Array, " m"]
    half: Float[Array, " m"]

    @classmethod
    def between(cls, low: Float[Array, " m"], high: Float[Array, " m"]) -> "Box":
        return cls((low + high) / 2, (high - low) / 2)

    def join(self, w: Float[Array, " m"]) -> "Box":
        """The smallest box that contains this one and w."""
        low, high = self.centre - self.half, self.centre + self.half
        return Box.between(jnp.minimum(low, w), jnp.maximum(high, w))

    def farthest(self, w: Float[Array, " m"]) -> Float[Array, ""]:
        """The largest distance of its points from w."""
        return safe_sqrt(jnp.sum((jnp.abs(w - self.centre) + self.half) ** 2))

    def meet(self, low: Float[Array, " m"], high: Float[Array, " m"]) -> "Box":
        """The part of it between the two."""
        low = jnp.maximum(low, self.centre - self.half)
        high = jnp.minimum(high, self.centre + self.half)
        return Box.between(low, jnp.maximum(low, high))


def box_of_values(cell: QuantumCell) -> Box:
    """All that can be measured."""
    dtype = cell.layer.angles.dtype
    low, high = value_ranges(cell.layer.measurement, cell.layer.n_qubits)
    return Box.between(jnp.asarray(low, dtype), jnp.asarray(high, dtype))


class InputMap(eqx.Module):
    """The affine map w ↦ s + T w to the circuit's input, in an orthonormal basis."""

    start: Float[Array, " k"]
    matrix: Float[Array, "k m"]
    norm: Float[Array, ""]  # ‖T‖

    @classmethod
    def linear(cls, matrix: Float[Array, "k m"]) -> "InputMap":
        """The map w ↦ T w."""
        return cls(jnp.zeros(len(matrix), matrix.dtype), matrix, jnp.linalg.norm(matrix, 2))

    def __call__(self, w: Float[Array, " m"]) -> Float[Array, " k"]:
        return self.start + dot(self.matrix, w)

    def reach(self, half: Float[Array, " m"]) -> Float[Array, ""]:
        """A bound on ‖T δ‖ for |δ| ≤ half: exact if the columns of T are orthogonal."""
        gram = dot(self.matrix.T, self.matrix)
        square = jnp.dot(half, dot(jnp.abs(gram), half))
        return jnp.minimum(safe_sqrt(square), self.norm * safe_sqrt(jnp.sum(half**2)))

    def least_norm(self, box: Box) -> Float[Array, ""]:
        """A lower bound on ‖s + T w‖ over a box: exact where the descent has converged.

        For every unit vector p, ‖s + T w‖ ≥ p·(s + T w) ≥ p·(s + T c) - |Tᵀp|·half.
        The best p is the direction of the nearest point; being optimal, it needs no derivative.
        """
        start, matrix, half = lax.stop_gradient((self(box.centre), self.matrix, box.half))
        gram = dot(matrix.T, matrix)
        slope = dot(matrix.T, start)
        square = lax.stop_gradient(self.norm) ** 2
        step = 1 / jnp.where(square > 0, square, 1)

        def descend(k, carry):  # Nesterov's projected gradient descent
            last, ahead = carry
            new = ahead - step * (slope + dot(gram, ahead))
            new = jnp.clip(new, -half, half)
            return new, new + k / (k + 3) * (new - last)

        nothing = jnp.zeros_like(half)
        shift, _ = lax.fori_loop(0, _DESCENT, descend, (nothing, nothing))
        nearest = start + dot(matrix, shift)
        length = jnp.linalg.norm(nearest)
        p = nearest / jnp.where(length > 0, length, 1)
        bound = dot(p, self(box.centre))
        bound = bound - jnp.dot(jnp.abs(dot(p, self.matrix)), box.half)
        # What rounding alone may have left is not a distance.
        noise = 16 * jnp.finfo(bound.dtype).eps * (jnp.linalg.norm(start) + self.reach(half))
        return jnp.where(bound > lax.stop_gradient(noise), bound, 0)


def largest_feedback(inputs: InputMap, box: Box) -> Float[Array, ""]:
    """A bound on ‖R w‖ over a box."""
    image = dot(inputs.matrix, box.centre)
    return safe_sqrt(jnp.sum(image**2)) + inputs.reach(box.half)
