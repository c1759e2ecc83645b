"""Between which numbers measured values lie, one by one and jointly."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._precise import dot
from ..measurements import AbstractMeasurement, Hermitian, PauliStrings

# Up to so many joint outcomes all pairs of them are compared.
_OUTCOMES = 2048


def value_ranges(measurement: AbstractMeasurement, n_qubits: int) -> tuple[np.ndarray, np.ndarray]:
    """The least and the greatest eigenvalue of every observable, shape `(m,)` each: the box of
    possible measured values."""
    diagonals = measurement.diagonals(n_qubits)
    if diagonals is not None:
        return diagonals.min(axis=1).astype(float), diagonals.max(axis=1).astype(float)
    if isinstance(measurement, PauliStrings):
        low = np.array([-1.0 if string else 1.0 for string in measurement.strings])
        return low, np.ones(len(low))
    if isinstance(measurement, Hermitian):
        values = np.linalg.eigvalsh(measurement.matrices)
        return values[:, 0], values[:, -1]
    norms = measurement.norms(n_qubits)
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
        # The set is the polytope of the outcomes, and its diameter their largest distance.
        outcomes = np.asarray(diagonals, float).T
        centred = outcomes - outcomes.mean(axis=0)
        bounds.append(2 * float(np.linalg.norm(centred, axis=1).max()))
        if len(outcomes) <= _OUTCOMES:
            distinct = np.unique(outcomes, axis=0)
            squares = np.sum(distinct**2, axis=1)
            gaps = squares[:, None] + squares - 2 * distinct @ distinct.T
            bounds.append(float(gaps.max()) ** 0.5)
    elif isinstance(measurement, PauliStrings):
        # In O_a² = Σ a_q a_p O_q O_p the pairs that anticommute cancel, so ‖O_a‖² is at most the
        # largest eigenvalue of the matrix with a one for each pair that commutes.
        strings = [dict(string) for string in measurement.strings if string]
        commute = [[_commute(one, other) for other in strings] for one in strings]
        bounds.append(2 * float(np.linalg.eigvalsh(np.array(commute, float))[-1]) ** 0.5)
    elif isinstance(measurement, Hermitian):
        bounds.append(_spread_of_centred(measurement.matrices, low, high))
    return min(bounds)


def _commute(one: dict[int, str], other: dict[int, str]) -> bool:
    return sum(letter != other.get(wire, letter) for wire, letter in one.items()) % 2 == 0


def _spread_of_centred(matrices: np.ndarray, low: np.ndarray, high: np.ndarray) -> float:
    # ‖Σ a_q B_q‖² ≤ λmax(Σ B_q²): the norm of the B_q stacked in one column.
    centred = matrices - ((low + high) / 2)[:, None, None] * np.eye(matrices.shape[1])
    return 2 * float(np.linalg.eigvalsh(np.sum(centred @ centred, axis=0))[-1]) ** 0.5


def spreads_of_forms(
    forms: Float[Array, "m k k"],
) -> tuple[Float[Array, " m"], Float[Array, " m"], Float[Array, ""]]:
    r"""The extreme eigenvalues of real symmetric matrices $A_q$, and an upper bound on

    $$D = \sup_{\|a\|=1} \big(\lambda_{\max}(A_a) - \lambda_{\min}(A_a)\big), \qquad
    A_a = \textstyle\sum_q a_q A_q$$

    It is the least of three. With $B_q = A_q - \alpha_q$, α the middle of the eigenvalues:
    $2\sqrt{\lambda_{\max}(\sum_q B_q^2)}$, as $\|\sum_q a_q B_q\|$ is at most the norm of the
    $B_q$ stacked in one column. With $C_q$ the traceless parts: Mirsky's
    $\lambda_{\max} - \lambda_{\min} \leq \sqrt2\,\|C_a\|_F$, maximised over a, is
    $\sqrt{2\,\lambda_{\max}(\mathrm{tr}\, C_q C_p)}$. And the diagonal of the box.

    ??? cite "Reference"

        L. Mirsky, "The spread of a matrix", Mathematika 3 (1956), 127-130.
    """
    m, k, _ = forms.shape
    values = jax.vmap(jnp.linalg.eigvalsh)(forms)
    low, high = values[:, 0], values[:, -1]
    eye = jnp.eye(k, dtype=forms.dtype)
    centred = forms - ((low + high) / 2)[:, None, None] * eye[None]
    stacked = centred.reshape(m * k, k)
    column = jnp.linalg.eigvalsh(dot(stacked.T, stacked))[-1]
    traceless = forms - (jnp.trace(forms, axis1=1, axis2=2) / k)[:, None, None] * eye[None]
    flat = traceless.reshape(m, k * k)
    frobenius = jnp.linalg.eigvalsh(dot(flat, flat.T))[-1]
    box = jnp.sum((high - low) ** 2)
    return low, high, safe_sqrt(jnp.minimum(jnp.minimum(4 * column, 2 * frobenius), box))


def safe_sqrt(square: Float[Array, "..."]) -> Float[Array, "..."]:
    """The square root, 0 with derivative 0 where rounding made the square negative; NaN stays."""
    nothing = square <= 0
    return jnp.where(nothing, 0, jnp.sqrt(jnp.where(nothing, 1, square)))
