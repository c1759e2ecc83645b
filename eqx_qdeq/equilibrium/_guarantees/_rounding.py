r"""How far a quantum cell's computed values and slopes may be from the exact ones."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from ...encodings import AmplitudeEncoding, AngleEncoding
from .._injection import AbstractLinearInjection
from .._quantum_cell import QuantumCell
from ._lipschitz_angles import angle_frequency, turns, uploads_of

_HIGHEST = lax.Precision.HIGHEST


class Rounding(NamedTuple):
    """Bounds on errors: of f in the Euclidean norm, of J in the spectral norm, and of what is
    computed from observables, relative to their norms."""

    value: Float[Array, ""]
    jacobian: Float[Array, ""]
    relative: Float[Array, ""]


def rounding_errors(cell: QuantumCell, x: Float[Array, " d_in"], w: Float[Array, " m"]) -> Rounding:
    r"""In the standard model of floating-point arithmetic every operation has the relative error
    ε. The relative error of a quadratic form in a state is taken as

    $$\gamma = \varepsilon\,\big(G + \textstyle\sum_j |\theta_j| +
    2\,(2^{n/2} + \sqrt d + m)\big)$$

    for G gates with angles θ on n wires, d features and m values: gates preserve norms, so that
    their errors add up; the errors of a sum of N terms, random in sign, grow as $\sqrt N$. That
    makes it generous: the tests find errors that are smaller by an order of magnitude and more.

    - Amplitude encoding divides two forms in $v = v_0 + R w$, whose parts may cancel. With
      $\kappa = (\|v_0\| + \|R w\|)^2/\|v\|^2$ the values have the error
      $\gamma\,\kappa\,\|o\|$ and the slopes $2\,\gamma\,\kappa\,\|o\|\,\|R\|/\|v\|$, where o are
      the observables' norms.
    - Rotations by features and feedback: the angles α have the error
      $(m + 2)\,\varepsilon\,|\alpha|$, their parts taken for positive, and the values
      $(\gamma + (m + 2)\,\varepsilon\,\sum|\alpha|)\,\|o\|$. The slopes have Ω times that, with
      f's highest frequency Ω along unit directions of w.
    """
    layer, injection = cell.layer, cell.injection
    n, m = layer.n_qubits, layer.out_size
    eps = jnp.finfo(w.dtype).eps
    norms = float((layer.measurement.norms(n) ** 2).sum() ** 0.5)
    angles = jnp.sum(jnp.abs(layer.angles)).astype(w.dtype)
    gates = len(layer.circuit) + angles + 2 * (2 ** (n / 2) + x.shape[0] ** 0.5 + m)
    relative = eps * gates
    if not isinstance(injection, AbstractLinearInjection):
        turned = jnp.sum(jnp.dot(jnp.abs(turns(cell)), jnp.abs(w), precision=_HIGHEST))
        if isinstance(layer.encoding, AngleEncoding):
            turned = turned + abs(layer.encoding.scale) * jnp.sum(jnp.abs(x))
    else:
        offset = injection.offset(x, m)
        matrix = injection.matrix(x.shape[0], m, w.dtype)
        fed_back = jnp.dot(matrix, w, precision=_HIGHEST)
        if isinstance(layer.encoding, AmplitudeEncoding):
            largest = jnp.max(jnp.abs(offset)) + jnp.max(jnp.abs(fed_back))
            scale = jnp.where(largest > 0, largest, 1)
            parts = jnp.linalg.norm(offset / scale) + jnp.linalg.norm(fed_back / scale)
            whole = jnp.linalg.norm((offset + fed_back) / scale)
            value = relative * norms * (parts / whole) ** 2
            slope = jnp.linalg.norm(matrix / scale, 2) / whole
            return Rounding(value, 2 * value * slope, relative)
        encoding, uploads, _ = uploads_of(layer.encoding, len(layer.circuit))
        parts = jnp.abs(offset) + jnp.dot(jnp.abs(matrix), jnp.abs(w), precision=_HIGHEST)
        turned = uploads * abs(encoding.scale) * jnp.sum(parts)
        relative = relative + eps * uploads * offset.shape[0]
    value = norms * (relative + (m + 2) * eps * turned)
    return Rounding(value, value * jnp.maximum(angle_frequency(cell, x.shape[0]), 1), relative)
