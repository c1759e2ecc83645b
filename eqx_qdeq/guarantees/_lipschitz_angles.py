r"""Bounds on the Jacobian of cells whose feedback turns wires.

Along a direction c of the rotation angles, every rotation $\exp(-i\,\alpha_r P_r/2)$ has the
generator $c_r P_r / 2$. Pulled forward through the circuit they add up to
$H_c = \frac12 \sum_r c_r \tilde P_r$, and the slope of $f_a = \langle O_a\rangle$ along c is
$\langle i [H_c, O_a] \rangle$ up to sign. Robertson's inequality bounds it by
$2\,\Delta H_c\,\Delta O_a$, and Popoviciu's $\Delta O_a$ by half the spread of $O_a$; so

$$\|\partial_c f\| \leq D\,\Delta H_c ,$$

D being the largest spread of $O_a$ over unit a. What remains is $\Delta H_c$, half the root of the
quantum Fisher information:

- always $\Delta H_c \leq \|H_c\| \leq \frac12 \sum_r |c_r|$. (This is also Bernstein's
  inequality: f is a trigonometric polynomial of degree $\sum_r |c_r|$ along c. A second
  application bounds the curvature by $\frac12 D\,(\sum_r |c_r|)^2$.)
- on a product state without entangling gates between the rotations, variances add up over the
  wires, and on one wire $\sum_j c_j \tilde P_j = N\cdot\sigma$ with $N = \sum_j c_j n_j$ and unit
  vectors $n_j$. Neighboring rotations about different axes have orthogonal n, so $\|N\|^2 \leq
  c^\top M c$ with zeros in M there and ones elsewhere, and
  $\Delta H_c^2 \leq \frac14 \sum_w \lambda_{\max}(M_w)\,\|c_w\|^2$.
- rotations that commute keep the covariance of their generators:
  $\Delta H_c^2 = \frac14\, c^\top \mathrm{Cov}(P)\, c$ in the state before them.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from .._precise import dot
from ..cells import AngleFeedback, Feedback, QuantumCell, scaled
from ..encodings import AmplitudeEncoding, AngleEncoding, DataReuploading
from ..layers import QuantumLayer
from ..measurements import PauliZ
from ..simulate import apply_wirewise
from ._boxes import feedback_matrix, joint_spread, safe_sqrt, spread_of


def turns_wires(cell: QuantumCell) -> bool:
    """Whether the values enter as angles, not as amplitudes."""
    rotates = isinstance(cell.injection, AngleFeedback)
    return rotates or not isinstance(cell.layer.encoding, AmplitudeEncoding)


class Turns(NamedTuple):
    """How measured values turn wires: by the angles α = α₀ + T z, in each of some uploads."""

    matrix: Float[Array, "r m"]  # T, in radians
    uploads: int
    scale: float  # radians per unit of a feature, 0 if features are no angles
    weights: np.ndarray | None  # if the first upload acts on |0…0⟩: √λmax(M) for every rotation


def turns(cell: QuantumCell, in_size: int) -> Turns:
    layer, injection, encoding = cell.layer, cell.injection, cell.layer.encoding
    if isinstance(injection, AngleFeedback):
        _, wires = injection.resolve(len(layer.circuit), layer.n_qubits, layer.out_size)
        one_hot = np.arange(layer.n_qubits)[:, None] == np.array(wires)[None, :]
        scale = encoding.scale if isinstance(encoding, AngleEncoding) else 0.0
        return Turns(scaled(one_hot, injection.gain, layer.angles.dtype), 1, scale, None)
    return _turns_of_features(layer, feedback_matrix(cell, in_size))


def _turns_of_features(layer: QuantumLayer, matrix: Float[Array, "d m"]) -> Turns:
    """How z turns wires where the layer's features are b + matrix z."""
    encoding, uploads, on_product = layer.encoding, 1, True
    if isinstance(encoding, DataReuploading):
        uploads, on_product = encoding.n_uploads, encoding.cuts(len(layer.circuit))[0] == 0
        encoding = encoding.encoding
    if not isinstance(encoding, AngleEncoding):
        raise TypeError(
            "bounds are known for AmplitudeEncoding, AngleEncoding and DataReuploading; got "
            f"{type(encoding).__name__}. Use diagnose for estimates at an equilibrium."
        )
    matrix = encoding.scale * matrix
    weights = _wire_weights(encoding, len(matrix), layer.n_qubits) if on_product else None
    return Turns(matrix, uploads, encoding.scale, weights)


def angle_slope(cell: QuantumCell, in_size: int) -> Float[Array, ""]:
    """An upper bound on ‖J‖ that holds for every sample and every z."""
    return _slope(turns(cell, in_size), cell.layer)


def layer_slope(layer: QuantumLayer, matrix: Float[Array, "d s"]) -> Float[Array, ""]:
    """An upper bound on the Jacobian of s ↦ layer(b + matrix s), for every b and s."""
    return _slope(_turns_of_features(layer, matrix), layer)


def _slope(turn: Turns, layer: QuantumLayer) -> Float[Array, ""]:
    matrix, uploads, _, weights = turn
    anywhere = first = _sum_norm(matrix)
    if weights is not None:
        # Σ_w λmax(M_w) ‖c_w‖² for c = T δ, at its maximum over unit δ.
        weighted = jnp.asarray(weights, matrix.dtype)[:, None] * matrix
        first = jnp.minimum(anywhere, jnp.linalg.norm(weighted, 2))
    # Standard deviations of sums are at most the sums of standard deviations.
    spread = joint_spread(layer.measurement, layer.n_qubits)
    return spread * (first + (uploads - 1) * anywhere) / 2


def angle_frequency(cell: QuantumCell, in_size: int) -> Float[Array, ""]:
    """The highest frequency of f along any unit direction of z."""
    turn = turns(cell, in_size)
    return turn.uploads * _sum_norm(turn.matrix)


def angle_curvature(cell: QuantumCell, in_size: int) -> Float[Array, ""]:
    """A Lipschitz constant of the Jacobian, for every sample and everywhere."""
    return spread_of(cell) * angle_frequency(cell, in_size) ** 2 / 2


def angle_slope_at(cell: QuantumCell, x: Float[Array, " d"]) -> Float[Array, ""]:
    """An upper bound on ‖J‖ for a sample and every z."""
    if not isinstance(cell.injection, AngleFeedback):
        return angle_slope(cell, x.shape[0])
    bound = cell.bind(x)
    assert isinstance(bound, Feedback)
    matrix = bound.cell.turn
    covariance = _pauli_covariance(bound.cell.axis, bound.before, len(matrix))
    form = dot(dot(matrix.T, covariance), matrix)
    # Rounding may leave a covariance of zero a little off.
    noise = 4 * jnp.finfo(form.dtype).eps * jnp.sum(matrix**2)
    fisher = safe_sqrt(jnp.maximum(jnp.linalg.eigvalsh(form)[-1], 0) + noise)
    return spread_of(cell) * jnp.minimum(fisher, _sum_norm(matrix)) / 2


def _sum_norm(matrix: Float[Array, "r m"]) -> Float[Array, ""]:
    """A bound on the largest sum of moduli |(T δ)_j| for unit δ."""
    # Σ_j |Σ_i T_ji δ_i| ≤ Σ_i |δ_i| Σ_j |T_ji|, and ‖·‖₁ ≤ √r ‖·‖₂.
    by_columns = safe_sqrt(jnp.sum(jnp.sum(jnp.abs(matrix), axis=0) ** 2))
    return jnp.minimum(by_columns, matrix.shape[0] ** 0.5 * jnp.linalg.norm(matrix, 2))


def _wire_weights(encoding: AngleEncoding, n_angles: int, n_qubits: int) -> np.ndarray:
    """√λmax(M) of the wire that each feature turns."""
    axes, wires = map(np.array, zip(*encoding.resolve(n_angles, n_qubits), strict=True))
    weights = np.ones(n_angles)
    for wire in set(wires):
        members = np.flatnonzero(wires == wire)
        orthogonal = np.diag(axes[members[:-1]] != axes[members[1:]], 1)
        overlaps = 1.0 - (orthogonal | orthogonal.T)
        weights[members] = np.sqrt(np.linalg.eigvalsh(overlaps)[-1])
    return weights


def _pauli_covariance(
    axis: str, state: Complex[Array, " dim"], n_qubits: int
) -> Float[Array, "n n"]:
    """The covariance matrix of one Pauli operator on every wire."""
    half = np.sqrt(0.5)
    # To the basis in which the Pauli operator is Z: its eigenvectors as rows.
    gate = {
        "X": half * np.array([[1, 1], [1, -1]], complex),
        "Y": half * np.array([[1, -1j], [1, 1j]], complex),
        "Z": np.eye(2, dtype=complex),
    }[axis]
    state = apply_wirewise(jnp.asarray(np.stack([gate] * n_qubits), state.dtype), state)
    p = state.real**2 + state.imag**2
    signs = jnp.asarray(PauliZ().diagonals(n_qubits), p.dtype)
    # About the means: the difference of two numbers near 1 would lose the small variances.
    centred = signs - dot(signs, p)[:, None]
    return dot(centred * p[None], centred.T)
