"""Cells with amplitude encoding and linear injection, as ratios of quadratic forms."""

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
from jax import lax
from jaxtyping import Array, Complex, Float

from .._inputs import features
from .._precise import dot, einsum, tensordot
from ..encodings import AbstractStateEncoding
from ..layers import (
    AbstractPreparedNoisily,
    AbstractPreparedState,
    FormsLayer,
    QuantumLayer,
)
from ..measurements import AbstractMeasurement, quadratic_forms
from ..simulate import AbstractPropagator, MatrixPropagator, to_complex
from ._cell import AbstractCompiledCell
from ._injection import AbstractLinearInjection, LinearInjection


# Derivation. Amplitude encoding sends v to v/‖v‖, and a value is q(v) = vᵀA_q v / vᵀv with the real
# symmetric A_q = Re(Uᵈ† O_q Uᵈ) of the circuit's first d columns. With v = x + R z,
#     vᵀA v = xᵀA x + 2 (RᵀA x)·z + zᵀ(RᵀA R) z = c + 2 b·z + zᵀC z,
# and vᵀv is the same with A = 1. C belongs to the angles (compile), c and b to the sample (bind); a
# step of the solve sees m numbers and no state. The Jacobian comes with it:
#     ∂f_q/∂z = 2 [(b_q + C_q z) - f_q (r + G z)] / D.
class Forms(eqx.Module):
    """The m values' numerators and their common denominator as p = m + 1 quadratic forms in u,

    N_p(u) = c_p + 2 b_p·u + uᵀC_p u,    f_q = N_q / N_m.

    The index order of C makes `u @ C` the batch-first matrix product.
    """

    c: Float[Array, " p"]
    b: Float[Array, "p m"]
    curvature: Float[Array, "m p m"]

    def half_gradient(self, u: Float[Array, " m"]) -> Float[Array, "p m"]:
        """b + C u."""
        return self.b + tensordot(u, self.curvature, axes=1)

    def values(self, u: Float[Array, " m"], half: Float[Array, "p m"]) -> Float[Array, " p"]:
        """N(u), from the half gradient at u."""
        return self.c + dot(self.b + half, u)


def scaled_offset(
    injection: AbstractLinearInjection, matrix: Float[Array, "d m"], x: Float[Array, " d_in"]
) -> tuple[Float[Array, " d"], Float[Array, ""]]:
    """The sample t·b(x), padded to the rows of R, and the scale t."""
    x, t = features(x, matrix.dtype), 1.0
    if isinstance(injection, LinearInjection):
        # W x may overflow where x does not: t·b(x) = W (t x) + t·(bias).
        t = 1 / jnp.maximum(lax.stop_gradient(jnp.max(jnp.abs(x))) / 2.0**64, 1)
        v = injection.offset(t * x, matrix.shape[1])
        v = v if injection.bias is None else v - (1 - t) * injection.bias
    else:
        v = injection.offset(x, matrix.shape[1])
    v = v.astype(matrix.dtype)
    v = jnp.pad(v, (0, len(matrix) - len(v)))
    # f does not change when x and R z are scaled alike. Scaling keeps the squares of huge
    # features finite; t is constant for differentiation because f does not depend on it. The
    # largest entry becomes 4 and not 1, since the inverse of float32's largest numbers is below its
    # smallest normal one, which processors flush to zero.
    # Tiny features are enlarged, up to where R, of which they are a part in v, would be.
    largest = lambda a: lax.stop_gradient(jnp.max(jnp.abs(a)))
    least = jnp.clip(largest(matrix), 64 * jnp.finfo(v.dtype).tiny, 1)
    scale = 1 / jnp.maximum(largest(v) / 4, least)
    return lax.optimization_barrier(v * scale), t * scale  # not to be fused into products


def _fed_back(z: Array, matrix: Float[Array, "d m"]) -> Float[Array, " m"]:
    return features(z, matrix.dtype, name="z", size=matrix.shape[1])


def with_norm(
    c: Float[Array, " q"],
    b: Float[Array, "q m"],
    curvature: Float[Array, "m p m"],
    v: Float[Array, " d"],
    matrix: Float[Array, "d m"],
) -> Forms:
    """The forms of the values and of the norm ‖v + R u‖²."""
    return Forms(
        c=jnp.append(c, dot(v, v)),
        b=jnp.concatenate([b, dot(v, matrix)[None]]),
        curvature=curvature,
    )


def curvature_with_norm(
    curvature: Float[Array, "q m m"], matrix: Float[Array, "d m"]
) -> Float[Array, "m p m"]:
    """C_q and G = Rᵀ R, in the index order of `Forms`."""
    gram = dot(matrix.T, matrix)
    return jnp.concatenate([curvature, gram[None]]).transpose(1, 0, 2)


def _quotient(u: Array, forms: Forms, at_zero: Array) -> tuple[Array, Array, Array]:
    """f, the inverse of the denominator, and the half gradient."""
    half = forms.half_gradient(u)
    values = forms.values(u, half)
    # Where x and R z cancel, the sums carry no information: the encoding's value at zero.
    quadratic = dot(half[-1] - forms.b[-1], u)
    # (Not `safe = values[-1] > …`, which would also give that value for a z that is NaN.)
    safe = ~(values[-1] <= 8 * jnp.finfo(u.dtype).eps * (forms.c[-1] + quadratic))
    inverse = jnp.where(safe, 1 / jnp.where(safe, values[-1], 1), 0)
    return jnp.where(safe, values[:-1] * inverse, at_zero), inverse, half


@eqx.filter_custom_jvp
def ratio_of_forms(
    z: Float[Array, " m"], scale: Float[Array, ""], forms: Forms, at_zero: Float[Array, " q"]
) -> Float[Array, " q"]:
    return _quotient(scale * z, forms, at_zero)[0]


@ratio_of_forms.def_jvp
def ratio_of_forms_jvp(primals, tangents):
    # The quotient rule, df = (dN - f dD) / D. In u it gives the dense Jacobian and one small
    # product for each direction. In the forms, N and D are linear: dN and dD are N and D with the
    # tangents for the forms.
    # The scale has no tangent: f does not depend on it.
    z, scale, forms, at_zero = primals
    t_w, _, t_forms, t_at_zero = tangents
    u = scale * z
    f, inverse, half = _quotient(u, forms, at_zero)
    tangent = jnp.zeros_like(f)
    if t_w is not None:
        # z enters as u = t z, hence the factor t.
        jacobian = 2 * scale * inverse * (half[:-1] - f[:, None] * half[-1:])
        tangent = tangent + dot(jacobian, t_w)
    if jtu.tree_leaves(t_forms):
        t_forms = jtu.tree_map(
            lambda t, x: jnp.zeros_like(x) if t is None else t,
            t_forms,
            forms,
            is_leaf=lambda t: t is None,
        )
        t_values = t_forms.values(u, t_forms.half_gradient(u))
        tangent = tangent + inverse * (t_values[:-1] - f * t_values[-1])
    if t_at_zero is not None:
        tangent = tangent + jnp.where(inverse > 0, 0, t_at_zero)
    return f, tangent


class _Rational(AbstractPreparedState):
    """The ratio of quadratic forms, in u = t·z with the sample scaled by t (see `bind`)."""

    cell: "_CompiledRational"
    base: Float[Array, "2 dim"]
    scale: Float[Array, ""]
    forms: Forms

    def __call__(self, z: Float[Array, " m"]) -> Float[Array, " q"]:
        z = _fed_back(z, self.cell.matrix)
        return ratio_of_forms(z, self.scale, self.forms, self.cell.at_zero)

    def state(self, z: Float[Array, " m"]) -> Complex[Array, " dim"]:
        # U v = U x + U R z, with both parts known: a state without running the circuit.
        z = _fed_back(z, self.cell.matrix)
        raw = self.base + dot(self.cell.fed_back, self.scale * z)
        norm2 = jnp.sum(raw**2)
        safe = norm2 > 0
        unit = raw / jnp.sqrt(jnp.where(safe, norm2, 1))
        return to_complex(jnp.where(safe, unit, self.cell.zero_state))


class _CompiledRational(AbstractCompiledCell):
    propagator: AbstractPropagator
    measurement: AbstractMeasurement
    injection: AbstractLinearInjection
    fed_back: Float[Array, "2 dim m"]  # U R
    curvature: Float[Array, "m p m"]  # C_q = Rᵀ A_q R, and G = Rᵀ R
    matrix: Float[Array, "d m"]  # R
    slope: Float[Array, "q m d"] | None  # Rᵀ A_q, where the circuit is a matrix
    zero_state: Float[Array, "2 dim"]
    at_zero: Float[Array, " q"]

    def init(self, x: Float[Array, " d"]) -> Float[Array, " m"]:
        return jnp.zeros(self.matrix.shape[1], self.matrix.dtype)

    def bind(self, x: Float[Array, " d_in"]) -> _Rational:
        v, scale = scaled_offset(self.injection, self.matrix, x)
        base = self.propagator.halves(v)
        states = base.reshape(2, -1)
        # b_q = Rᵀ A_q x is one product where the circuit is a matrix. Otherwise it is taken between
        # states, ⟨U R| O_q |U x⟩, and the circuit runs once for the sample.
        if self.slope is None:
            b = quadratic_forms(self.measurement, self.fed_back, states[..., None])[..., 0]
        else:
            b = dot(self.slope, v)
        c = self.measurement.values_of_parts(base)
        forms = with_norm(c, b, self.curvature, v, self.matrix)
        return _Rational(cell=self, base=states, scale=scale, forms=forms)


def compile_rational(
    layer: QuantumLayer,
    encoding: AbstractStateEncoding,
    injection: AbstractLinearInjection,
    in_size: int,
) -> _CompiledRational:
    dtype = layer.angles.dtype
    matrix = injection.matrix(in_size, layer.out_size, dtype)
    d = matrix.shape[0]
    encoding.check(d, layer.n_qubits)
    propagator = layer.propagator(d)
    # With complex amplitudes the features may be fewer than the real and imaginary parts.
    n_amplitudes = encoding.n_amplitudes(d, layer.n_qubits)
    matrix = jnp.pad(matrix, ((0, n_amplitudes - d), (0, 0)))
    slope = None
    if isinstance(propagator, MatrixPropagator):
        fed_back = propagator(matrix)
        slope = quadratic_forms(layer.measurement, fed_back, propagator.matrix)
        curvature = dot(slope, matrix)
        zero_state = propagator.matrix[..., 0]
    else:
        # The encoding of zero goes through the circuit with the columns of R.
        first = jnp.zeros((n_amplitudes, 1), dtype).at[0, 0].set(1)
        columns = propagator(jnp.concatenate([matrix, first], axis=1))
        fed_back, zero_state = columns[..., :-1], columns[..., -1]
        curvature = quadratic_forms(layer.measurement, fed_back, fed_back)
    return _CompiledRational(
        propagator=propagator,
        measurement=layer.measurement,
        injection=injection,
        fed_back=fed_back,
        curvature=curvature_with_norm(curvature, matrix),
        matrix=matrix,
        slope=slope,
        zero_state=zero_state,
        at_zero=layer.measurement.values(to_complex(zero_state)),
    )


# --- Under noise: the same ratios, of observables pulled back through the noisy circuit.


class _NoisyRational(AbstractPreparedNoisily):
    """The ratio of quadratic forms of the noiseless cell, with noisy forms."""

    cell: "_CompiledNoisyRational"
    offset: Float[Array, " d"]  # the sample, scaled
    scale: Float[Array, ""]
    forms: Forms

    def __call__(self, z: Float[Array, " m"]) -> Float[Array, " q"]:
        z = _fed_back(z, self.cell.matrix)
        return ratio_of_forms(z, self.scale, self.forms, self.cell.layer.forms[:, 0, 0])

    def measure(
        self, measurement: AbstractMeasurement, z: Float[Array, " m"]
    ) -> Float[Array, " k"]:
        return self.cell.layer.measure(measurement, self._input(z))

    def probabilities(self, z: Float[Array, " m"]) -> Float[Array, " dim"]:
        return self.cell.layer.probabilities(self._input(z))

    def _input(self, z: Array) -> Array:
        z = _fed_back(z, self.cell.matrix)
        return self.offset + dot(self.cell.matrix, self.scale * z)


class _CompiledNoisyRational(AbstractCompiledCell):
    layer: FormsLayer
    injection: AbstractLinearInjection
    matrix: Float[Array, "d m"]  # R
    slope: Float[Array, "q m d"]  # Rᵀ A_q
    curvature: Float[Array, "m p m"]  # C_q = Rᵀ A_q R, and G = Rᵀ R

    def init(self, x: Float[Array, " d"]) -> Float[Array, " m"]:
        return jnp.zeros(self.matrix.shape[1], self.matrix.dtype)

    def bind(self, x: Float[Array, " d_in"]) -> _NoisyRational:
        v, scale = scaled_offset(self.injection, self.matrix, x)
        # No U to apply: under noise A_q is what the channels left of O_q, pulled back.
        c = dot(dot(self.layer.forms, v), v)
        b = dot(self.slope, v)
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
    slope = einsum("dm,qde->qme", matrix, compiled.forms)
    curvature = dot(slope, matrix)
    return _CompiledNoisyRational(
        layer=compiled,
        injection=injection,
        matrix=matrix,
        slope=slope,
        curvature=curvature_with_norm(curvature, matrix),
    )
