"""A circuit as a linear map on real vectors.

Every encoding that acts before the circuit gives a state that is linear in a real vector
u ∈ R^p: amplitude encoding u = v (the first p amplitudes are real), product states
u = [Re φ; Im φ]. The circuit's state is then M u with a real matrix M of shape (2·2ⁿ, p),
rows real parts first. A *propagator* applies M; how it does so is the engine.
"""

import abc

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from ._fusion import Plan
from ._run import apply_plan, apply_plan_to_real, Gradient, plan_columns

_HIGHEST = lax.Precision.HIGHEST


class AbstractPropagator(eqx.Module):
    """The real-linear map u ↦ U(θ) φ(u), from R^p to a state of n wires."""

    @abc.abstractmethod
    def __call__(self, vectors: Float[Array, "p cols"]) -> Float[Array, "2 dim cols"]:
        """Applies the map to every column; real and imaginary parts come first."""

    def vector(self, u: Float[Array, " p"]) -> Float[Array, " twice"]:
        """Applies the map to one vector: 2ⁿ real parts, followed by the imaginary parts."""
        return self(u[:, None]).reshape(-1)


class GatePropagator(AbstractPropagator):
    """Applies the fused gates to each vector. Memory does not grow beyond the states."""

    plan: Plan = eqx.field(static=True)
    angles: Float[Array, " n_params"]
    complex_input: bool = eqx.field(static=True)
    gradient: Gradient = eqx.field(static=True, default="stored")

    def __call__(self, vectors: Float[Array, "p cols"]) -> Float[Array, "2 dim cols"]:
        if not self.complex_input:
            return apply_plan_to_real(self.plan, self.angles, vectors, gradient=self.gradient)
        states = vectors.reshape(2, 2**self.plan.n_qubits, vectors.shape[1])
        return apply_plan(self.plan, self.angles, states, gradient=self.gradient)


class MatrixPropagator(AbstractPropagator):
    """Applies M, computed once for the angles: a matrix product for a batch of vectors."""

    matrix: Float[Array, "2 dim p"]

    def __call__(self, vectors: Float[Array, "p cols"]) -> Float[Array, "2 dim cols"]:
        return jnp.tensordot(self._columns(len(vectors)), vectors, 1, precision=_HIGHEST)

    def vector(self, u: Float[Array, " p"]) -> Float[Array, " twice"]:
        matrix = self._columns(u.shape[0]).reshape(-1, u.shape[0])
        return jnp.dot(matrix, u, precision=_HIGHEST)

    def _columns(self, size: int) -> Float[Array, "2 dim size"]:
        return self.matrix[..., :size]  # the amplitudes beyond are zero


def gate_propagator(
    plan: Plan,
    angles: Float[Array, " n_params"],
    *,
    complex_input: bool,
    gradient: Gradient = "stored",
) -> GatePropagator:
    """The circuit as a propagator that applies its gates, for every kind of input."""
    return GatePropagator(plan, angles, complex_input, gradient)


def matrix_propagator(
    plan: Plan, angles: Float[Array, " n_params"], size: int, *, complex_input: bool
) -> MatrixPropagator:
    """The circuit as a matrix: its action on the p = `size` basis vectors of the input.

    With complex input the imaginary unit vectors need no simulation of their own: the
    columns of M are `[Re U; Im U]` and `[-Im U; Re U]`.
    """
    u = plan_columns(plan, angles, 2**plan.n_qubits if complex_input else size)
    if complex_input:
        u = jnp.concatenate([u, jnp.stack([-u[1], u[0]])], axis=-1)
    return MatrixPropagator(u)
