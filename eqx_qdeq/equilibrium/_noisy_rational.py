"""Cells with amplitude encoding and linear injection under noise: the same ratios of quadratic
forms, of observables pulled back through the noisy circuit."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Complex, Float

from .._noisy import FormsLayer, no_pure_state
from ..encodings import AbstractStateEncoding
from ..layers import QuantumLayer
from ..measurements import AbstractMeasurement
from ._bound import AbstractBoundCell, AbstractCompiledCell
from ._injection import AbstractLinearInjection
from ._rational import curvature_with_norm, Forms, ratio_of_forms, scaled_offset, with_norm

_HIGHEST = lax.Precision.HIGHEST


class _NoisyRational(AbstractBoundCell):
    """The ratio of quadratic forms of the noiseless cell, with noisy forms."""

    cell: "_CompiledNoisyRational"
    offset: Float[Array, " d"]  # the sample, scaled
    scale: Float[Array, ""]
    forms: Forms

    def __call__(self, w: Float[Array, " m"]) -> Float[Array, " q"]:
        return ratio_of_forms(w, self.scale, self.forms, self.cell.layer.forms[:, 0, 0])

    def state(self, w: Float[Array, " m"]) -> Complex[Array, " dim"]:
        no_pure_state()

    def measure(
        self, measurement: AbstractMeasurement, w: Float[Array, " m"]
    ) -> Float[Array, " k"]:
        return self.cell.layer.measure(measurement, self._input(w))

    def probabilities(self, w: Float[Array, " m"]) -> Float[Array, " dim"]:
        return self.cell.layer.probabilities(self._input(w))

    def _input(self, w: Array) -> Array:
        return self.offset + jnp.dot(self.cell.matrix, self.scale * w, precision=_HIGHEST)


class _CompiledNoisyRational(AbstractCompiledCell):
    layer: FormsLayer
    injection: AbstractLinearInjection
    matrix: Float[Array, "d m"]  # R
    slope: Float[Array, "q m d"]  # Rᵀ A_q
    curvature: Float[Array, "m p m"]  # C_q = Rᵀ A_q R, and G = Rᵀ R

    def init(self, x: Float[Array, " d"]) -> Float[Array, " m"]:
        return jnp.zeros(self.matrix.shape[1], x.dtype)

    def bind(self, x: Float[Array, " d_in"]) -> _NoisyRational:
        v, scale = scaled_offset(self.injection, self.matrix, x)
        c = jnp.dot(jnp.dot(self.layer.forms, v, precision=_HIGHEST), v, precision=_HIGHEST)
        b = jnp.dot(self.slope, v, precision=_HIGHEST)
        forms = with_norm(c, b, self.curvature, v, self.matrix)
        return _NoisyRational(self, v, scale, forms)


def compile_noisy_rational(
    layer: QuantumLayer,
    encoding: AbstractStateEncoding,
    injection: AbstractLinearInjection,
    in_size: int,
) -> _CompiledNoisyRational:
    matrix = injection.matrix(in_size, layer.out_size, layer.angles.dtype)
    d = matrix.shape[0]
    encoding.check(d, layer.n_qubits)
    matrix = jnp.pad(matrix, ((0, encoding.n_amplitudes(d, layer.n_qubits) - d), (0, 0)))
    compiled = layer.compile(d)
    assert isinstance(compiled, FormsLayer)
    slope = jnp.einsum("dm,qde->qme", matrix, compiled.forms, precision=_HIGHEST)
    curvature = jnp.dot(slope, matrix, precision=_HIGHEST)
    return _CompiledNoisyRational(
        layer=compiled,
        injection=injection,
        matrix=matrix,
        slope=slope,
        curvature=curvature_with_norm(curvature, matrix),
    )
