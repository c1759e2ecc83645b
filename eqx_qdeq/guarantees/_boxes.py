"""Boxes of measured values: between which numbers they lie, one by one and jointly, and how long
the inputs are that belong to them."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from .._precise import dot
from ..cells import AbstractLinearInjection, QuantumCell
from ..measurements import AbstractMeasurement, Hermitian, PauliStrings

# Up to so many joint outcomes all pairs of them are compared.
_OUTCOMES = 2048
# Steps of the descent that looks for the input of least norm. Few do: any of them gives a bound.
_DESCENT = 50


# --- Numbers that may vanish. Of the two branches of a `where` both are differentiated, so the safe
# value goes in before the root and before the division: 0 times an infinite slope would be NaN.


def safe_sqrt(square: Float[Array, "..."]) -> Float[Array, "..."]:
    """The square root, 0 with derivative 0 where rounding made the square negative; NaN stays."""
    nothing = square <= 0
    return jnp.where(nothing, 0, jnp.sqrt(jnp.where(nothing, 1, square)))


def divisor(number: Float[Array, "..."]) -> Float[Array, "..."]:
    """The number where it is positive, elsewhere 1."""
    return jnp.where(number > 0, number, 1)


def over(a: float | Float[Array, "..."], b: Float[Array, "..."]) -> Float[Array, "..."]:
    """a / b where b is positive. Elsewhere, also where b is no number, nothing is known: +inf."""
    return jnp.where(b > 0, a / divisor(b), jnp.inf)


# --- What can be measured ---------------------------------------------------------------------


def value_ranges(measurement: AbstractMeasurement, n_qubits: int) -> tuple[np.ndarray, np.ndarray]:
    """The least and the greatest eigenvalue of every observable, shape `(m,)` each: the box of
    possible measured values."""
    diagonals = measurement.diagonals(n_qubits)
    if diagonals is not None:
        return diagonals.min(axis=1).astype(float), diagonals.max(axis=1).astype(float)
    if isinstance(measurement, Hermitian):
        values = np.linalg.eigvalsh(measurement.matrices)
        return values[:, 0], values[:, -1]
    norms = measurement.norms(n_qubits)
    if isinstance(measurement, PauliStrings):
        # A string squares to 1 and has trace 0, so it has both -1 and 1; the identity has 1 alone.
        return np.where([len(string) > 0 for string in measurement.strings], -norms, norms), norms
    return -norms, norms


def joint_spread(measurement: AbstractMeasurement, n_qubits: int) -> float:
    r"""An upper bound on the diameter of the set of possible vectors of measured values,

    $$D = \sup_{\|a\| = 1} \big(\lambda_{\max}(O_a) - \lambda_{\min}(O_a)\big), \qquad
    O_a = \textstyle\sum_q a_q O_q$$

    It is at most the diagonal of the box; exact for diagonal observables on a few wires.
    """
    low, high = value_ranges(measurement, n_qubits)
    bounds = [float(np.linalg.norm(high - low))]
    diagonals = measurement.diagonals(n_qubits)
    if diagonals is not None:
        # The set is the polytope of the outcomes. Its diameter is their largest distance, and at
        # most twice the largest one from their mean.
        outcomes = np.asarray(diagonals, float).T
        centred = outcomes - outcomes.mean(axis=0)
        bounds.append(2 * float(np.linalg.norm(centred, axis=1).max()))
        if len(outcomes) <= _OUTCOMES:
            # |a - b|² = |a|² + |b|² - 2 a·b for all pairs at once.
            distinct = np.unique(outcomes, axis=0)
            squares = np.sum(distinct**2, axis=1)
            gaps = squares[:, None] + squares - 2 * distinct @ distinct.T
            bounds.append(float(gaps.max()) ** 0.5)
    elif isinstance(measurement, PauliStrings):
        # In O_a² = Σ a_q a_p O_q O_p the pairs that anticommute cancel, so ‖O_a‖² is at most the
        # largest eigenvalue of the matrix with a one for each pair that commutes. The identity
        # shifts O_a and has no spread.
        strings = [dict(string) for string in measurement.strings if string]
        commute = np.array([[_commute(one, other) for other in strings] for one in strings], float)
        bounds.append(2 * float(np.linalg.eigvalsh(commute)[-1]) ** 0.5)
    elif isinstance(measurement, Hermitian):
        # ‖Σ a_q B_q‖² ≤ λmax(Σ B_q²): the norm of the B_q stacked in one column.
        matrices = measurement.matrices
        centred = matrices - ((low + high) / 2)[:, None, None] * np.eye(matrices.shape[1])
        bounds.append(2 * float(np.linalg.eigvalsh(np.sum(centred @ centred, axis=0))[-1]) ** 0.5)
    return min(bounds)


def spread_of(cell: QuantumCell) -> float:
    """The joint spread of all that a cell can measure."""
    return joint_spread(cell.layer.measurement, cell.layer.n_qubits)


def _commute(one: dict[int, str], other: dict[int, str]) -> bool:
    # Two different Pauli operators on one wire anticommute; the signs of the wires multiply.
    return sum(letter != other.get(wire, letter) for wire, letter in one.items()) % 2 == 0


def spreads_of_forms(
    forms: Float[Array, "m k k"],
) -> tuple[Float[Array, " m"], Float[Array, " m"], Float[Array, ""]]:
    r"""The extreme eigenvalues of real symmetric matrices $A_q$, and an upper bound on

    $$D = \sup_{\|a\|=1} \big(\lambda_{\max}(A_a) - \lambda_{\min}(A_a)\big), \qquad
    A_a = \textstyle\sum_q a_q A_q$$

    ??? cite "Reference"

        L. Mirsky, "The spread of a matrix", Mathematika 3 (1956), 127-130.
    """
    m, k, _ = forms.shape
    values = jax.vmap(jnp.linalg.eigvalsh)(forms)
    low, high = values[:, 0], values[:, -1]
    eye = jnp.eye(k, dtype=forms.dtype)[None]
    # With B_q = A_q - α_q, α the middle of the eigenvalues, A_a and B_a have the same spread. It is
    # at most 2 ‖B_a‖, and ‖Σ a_q B_q‖ at most the norm of the B_q stacked in one column: so
    # D² ≤ 4 λmax(Σ B_q²).
    stacked = (forms - ((low + high) / 2)[:, None, None] * eye).reshape(m * k, k)
    column = jnp.linalg.eigvalsh(dot(stacked.T, stacked))[-1]
    # With C_q the traceless parts, Mirsky: λmax - λmin ≤ √2 ‖C_a‖_F, whose maximum over a is that
    # of a quadratic form: D² ≤ 2 λmax(tr C_q C_p).
    traces = jnp.trace(forms, axis1=1, axis2=2)
    flat = (forms - (traces / k)[:, None, None] * eye).reshape(m, k * k)
    frobenius = jnp.linalg.eigvalsh(dot(flat, flat.T))[-1]
    # And Σ a_q s_q ≤ ‖s‖ with the spreads s_q of the A_q: the diagonal of the box.
    box = jnp.sum((high - low) ** 2)
    return low, high, safe_sqrt(jnp.minimum(jnp.minimum(4 * column, 2 * frobenius), box))


class Box(eqx.Module):
    """The vectors z with |z - center| ≤ half, entry by entry."""

    centre: Float[Array, " m"]
    half: Float[Array, " m"]

    @classmethod
    def between(cls, low: Float[Array, " m"], high: Float[Array, " m"]) -> "Box":
        return cls((low + high) / 2, (high - low) / 2)

    @classmethod
    def of_values(cls, cell: QuantumCell) -> "Box":
        """All that can be measured."""
        low, high = value_ranges(cell.layer.measurement, cell.layer.n_qubits)
        dtype = cell.layer.angles.dtype
        return cls.between(jnp.asarray(low, dtype), jnp.asarray(high, dtype))

    def join(self, z: Float[Array, " m"]) -> "Box":
        """The smallest box that contains this one and z."""
        low, high = self.centre - self.half, self.centre + self.half
        return Box.between(jnp.minimum(low, z), jnp.maximum(high, z))

    def meet(self, low: Float[Array, " m"], high: Float[Array, " m"]) -> "Box":
        """The part of it between the two."""
        low = jnp.maximum(low, self.centre - self.half)
        high = jnp.minimum(high, self.centre + self.half)
        # Two boxes that rounding has parted are taken to touch.
        return Box.between(low, jnp.maximum(low, high))

    def farthest(self, z: Float[Array, " m"]) -> Float[Array, ""]:
        """The largest distance of its points from z."""
        return safe_sqrt(jnp.sum((jnp.abs(z - self.centre) + self.half) ** 2))


# --- The inputs that belong to them -----------------------------------------------------------


def feedback_matrix(cell: QuantumCell, in_size: int) -> Float[Array, "d m"]:
    """R of a linear injection v = b(x) + R z."""
    assert isinstance(cell.injection, AbstractLinearInjection)
    return cell.injection.matrix(in_size, cell.layer.out_size, cell.layer.angles.dtype)


class InputMap(eqx.Module):
    """The affine map z ↦ s + T z to the circuit's input, in an orthonormal basis."""

    start: Float[Array, " k"]
    matrix: Float[Array, "k m"]
    norm: Float[Array, ""]  # ‖T‖

    def __call__(self, z: Float[Array, " m"]) -> Float[Array, " k"]:
        return self.start + dot(self.matrix, z)

    def reach(self, half: Float[Array, " m"]) -> Float[Array, ""]:
        """A bound on ‖T δ‖ for |δ| ≤ half: exact if the columns of T are orthogonal."""
        # ‖T δ‖² = δᵀ(TᵀT)δ ≤ |δ|ᵀ|TᵀT||δ|, and ‖T δ‖ ≤ ‖T‖ ‖δ‖.
        gram = dot(self.matrix.T, self.matrix)
        square = jnp.dot(half, dot(jnp.abs(gram), half))
        return jnp.minimum(safe_sqrt(square), self.norm * safe_sqrt(jnp.sum(half**2)))

    def greatest_norm(self, box: Box) -> Float[Array, ""]:
        """An upper bound on ‖s + T z‖ over a box."""
        return safe_sqrt(jnp.sum(self(box.centre) ** 2)) + self.reach(box.half)

    def least_norm(self, box: Box) -> Float[Array, ""]:
        """A lower bound on ‖s + T z‖ over a box: exact where the descent has converged.

        For every unit vector p, ‖s + T z‖ ≥ p·(s + T z) ≥ p·(s + T c) - |Tᵀp|·half.
        The best p is the direction of the nearest point; being optimal, it needs no derivative.
        """
        start, matrix, half = lax.stop_gradient((self(box.centre), self.matrix, box.half))
        # The slope of ½‖s + T (c + δ)‖² is Tᵀ(s + T c) + TᵀT δ, with the Lipschitz constant ‖T‖².
        gram, slope = dot(matrix.T, matrix), dot(matrix.T, start)
        step = 1 / divisor(lax.stop_gradient(self.norm) ** 2)

        def descend(k, carry):  # Nesterov's projected gradient descent
            last, ahead = carry
            new = jnp.clip(ahead - step * (slope + dot(gram, ahead)), -half, half)
            return new, new + k / (k + 3) * (new - last)

        nothing = jnp.zeros_like(half)
        shift, _ = lax.fori_loop(0, _DESCENT, descend, (nothing, nothing))
        nearest = start + dot(matrix, shift)
        p = nearest / divisor(jnp.linalg.norm(nearest))
        bound = dot(p, self(box.centre)) - jnp.dot(jnp.abs(dot(p, self.matrix)), box.half)
        # What rounding alone may have left is not a distance.
        noise = 16 * jnp.finfo(bound.dtype).eps * (jnp.linalg.norm(start) + self.reach(half))
        return jnp.where(bound > lax.stop_gradient(noise), bound, 0)
