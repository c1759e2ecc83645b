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
  vectors $n_j$. Neighbouring rotations about different axes have orthogonal n, so $\|N\|^2 \leq
  c^\top M c$ with zeros in M there and ones elsewhere, and
  $\Delta H_c^2 \leq \frac14 \sum_w \lambda_{\max}(M_w)\,\|c_w\|^2$.
- rotations that commute keep the covariance of their generators:
  $\Delta H_c^2 = \frac14\, c^\top \mathrm{Cov}(P)\, c$ in the state before them.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from .._precise import dot
from ..cells import AbstractLinearInjection, AngleFeedback, QuantumCell, scaled
from ..encodings import AbstractEncoding, AngleEncoding, DataReuploading
from ..simulate import apply_wirewise
from ._value_ranges import joint_spread, safe_sqrt


def angle_slope(cell: QuantumCell, in_size: int) -> Float[Array, ""]:
    """An upper bound on ‖J‖ that holds for every sample and every w."""
    layer = cell.layer
    spread = joint_spread(layer.measurement, layer.n_qubits)
    if isinstance(cell.injection, AngleFeedback):
        return spread * _sum_norm(turns(cell)) / 2
    assert isinstance(cell.injection, AbstractLinearInjection)
    matrix = cell.injection.matrix(in_size, layer.out_size, layer.angles.dtype)
    encoding, uploads, first_is_product = uploads_of(layer.encoding, len(layer.circuit))
    matrix = encoding.scale * matrix
    entangled = _sum_norm(matrix)
    product = jnp.minimum(entangled, _product_norm(encoding, matrix, layer.n_qubits))
    first = product if first_is_product else entangled
    # Standard deviations of sums are at most the sums of standard deviations.
    return spread * (first + (uploads - 1) * entangled) / 2


def angle_frequency(cell: QuantumCell, in_size: int) -> Float[Array, ""]:
    """The highest frequency of f along any unit direction of w."""
    if isinstance(cell.injection, AngleFeedback):
        return _sum_norm(turns(cell))
    layer = cell.layer
    assert isinstance(cell.injection, AbstractLinearInjection)
    matrix = cell.injection.matrix(in_size, layer.out_size, layer.angles.dtype)
    encoding, uploads, _ = uploads_of(layer.encoding, len(layer.circuit))
    return uploads * _sum_norm(encoding.scale * matrix)


def angle_curvature(cell: QuantumCell, in_size: int) -> Float[Array, ""]:
    """A Lipschitz constant of the Jacobian, for every sample and everywhere."""
    spread = joint_spread(cell.layer.measurement, cell.layer.n_qubits)
    return spread * angle_frequency(cell, in_size) ** 2 / 2


def feedback_slope(cell: QuantumCell, before: Complex[Array, " dim"]) -> Float[Array, ""]:
    """An upper bound on ‖J‖ for angle feedback that acts on the given state."""
    assert isinstance(cell.injection, AngleFeedback)
    layer, matrix = cell.layer, turns(cell)
    spread = joint_spread(layer.measurement, layer.n_qubits)
    covariance = _pauli_covariance(cell.injection.axis, before, layer.n_qubits)
    form = dot(dot(matrix.T, covariance), matrix)
    # Rounding may leave a covariance of zero a little off.
    noise = 4 * jnp.finfo(form.dtype).eps * jnp.sum(matrix**2)
    fisher = safe_sqrt(jnp.maximum(jnp.linalg.eigvalsh(form)[-1], 0) + noise)
    return spread * jnp.minimum(fisher, _sum_norm(matrix)) / 2


def turns(cell: QuantumCell) -> Float[Array, "n m"]:
    """The radians by which a unit of each measured value turns each wire."""
    assert isinstance(cell.injection, AngleFeedback)
    layer = cell.layer
    _, wires = cell.injection.resolve(len(layer.circuit), layer.n_qubits, layer.out_size)
    one_hot = np.arange(layer.n_qubits)[:, None] == np.array(wires)[None, :]
    return scaled(one_hot, cell.injection.gain, layer.angles.dtype)


def uploads_of(encoding: AbstractEncoding, n_gates: int) -> tuple[AngleEncoding, int, bool]:
    """The rotations, how often they act, and whether first on a product state."""
    if isinstance(encoding, DataReuploading):
        return encoding.encoding, encoding.n_uploads, encoding.cuts(n_gates)[0] == 0
    if not isinstance(encoding, AngleEncoding):
        raise TypeError(
            "bounds are known for AmplitudeEncoding, AngleEncoding and DataReuploading; got "
            f"{type(encoding).__name__}. Use diagnose for estimates at an equilibrium."
        )
    return encoding, 1, True


def _sum_norm(matrix: Float[Array, "d m"]) -> Float[Array, ""]:
    """A bound on the largest sum of moduli |(R δ)_j| for unit δ."""
    by_columns = safe_sqrt(jnp.sum(jnp.sum(jnp.abs(matrix), axis=0) ** 2))
    return jnp.minimum(by_columns, matrix.shape[0] ** 0.5 * jnp.linalg.norm(matrix, 2))


def _product_norm(
    encoding: AngleEncoding, matrix: Float[Array, "d m"], n_qubits: int
) -> Float[Array, ""]:
    """A bound on 2 ΔH for unit δ, where the rotations act on a product state."""
    weights = _wire_weights(encoding, matrix.shape[0], n_qubits)
    return jnp.linalg.norm(jnp.asarray(weights, matrix.dtype)[:, None] * matrix, 2)


def _wire_weights(encoding: AngleEncoding, in_size: int, n_qubits: int) -> np.ndarray:
    """√λmax(M) of the wire that each feature turns."""
    layout = encoding.resolve(in_size, n_qubits)
    weights = np.ones(in_size)
    for wire in range(n_qubits):
        members = [i for i, (_, w) in enumerate(layout) if w == wire]
        overlaps = np.ones((len(members), len(members)))
        for k in range(len(members) - 1):
            same = layout[members[k]][0] == layout[members[k + 1]][0]
            overlaps[k, k + 1] = overlaps[k + 1, k] = float(same)
        if members:
            weights[members] = np.sqrt(np.linalg.eigvalsh(overlaps)[-1])
    return weights


def _pauli_covariance(
    axis: str, state: Complex[Array, " dim"], n_qubits: int
) -> Float[Array, "n n"]:
    """The covariance matrix of one Pauli operator on every wire."""
    half = np.sqrt(0.5)
    # To the basis in which the Pauli operator is Z.
    gate = {
        "X": half * np.array([[1, 1], [1, -1]], complex),
        "Y": half * np.array([[1, -1j], [1, 1j]], complex),
        "Z": np.eye(2, dtype=complex),
    }[axis]
    state = apply_wirewise(jnp.asarray(np.stack([gate] * n_qubits), state.dtype), state)
    p = state.real**2 + state.imag**2
    bits = (np.arange(2**n_qubits)[None, :] >> np.arange(n_qubits)[::-1, None]) & 1
    signs = jnp.asarray(1 - 2 * bits, p.dtype)
    means = dot(signs, p)
    # About the means: the difference of two numbers near 1 would lose the small variances.
    centred = signs - means[:, None]
    return dot(centred * p[None], centred.T)
