"""QuantumCell: a quantum layer whose measured values are fed back into its input.

The state of the cell is the vector w of m measured values, not the d-vector that the paper
iterates: the paper's map factors through the measurement, so both have the same fixed points,
and here the Jacobian is a small dense matrix.

A solve has three stages. *Compile* does what depends on the angles alone (once for a batch),
*bind* what depends on the sample (once per solve); only the rest is iterated.
"""

import abc
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jax import lax
from jaxtyping import Array, Complex, Float

from .._compiled import AbstractCompiledLayer, propagate, quadratic_forms
from .._engines import make_propagator
from ..encodings import (
    AbstractStateEncoding,
    AmplitudeEncoding,
    Axis,
    ComplexAmplitudeEncoding,
    pauli_rotations,
)
from ..layers import QuantumLayer
from ..measurements import AbstractMeasurement
from ..simulate import (
    AbstractPropagator,
    apply_wirewise,
    from_complex,
    MatrixPropagator,
    to_complex,
)
from ._cell import AbstractCell
from ._injection import AbstractInjection, AbstractLinearInjection, AngleFeedback

_HIGHEST = lax.Precision.HIGHEST

# How often a solve evaluates a cell for each sample, as far as the choice of an engine goes.
_EVALUATIONS = 10


class AbstractBoundCell(eqx.Module):
    """A quantum cell with its sample filled in: the map w ↦ f(w) that a solver iterates."""

    @abc.abstractmethod
    def __call__(self, w: Float[Array, " m"]) -> Float[Array, " m"]:
        """The measured values after one application."""

    @abc.abstractmethod
    def state(self, w: Float[Array, " m"]) -> Complex[Array, " dim"]:
        """The state that the application prepares, of unit norm: read out anything from it."""


class AbstractCompiledCell(AbstractCell):
    """A quantum cell whose angle-dependent work is done."""

    always_finite: ClassVar[bool] = True

    @abc.abstractmethod
    def bind(self, x: Float[Array, " d"]) -> AbstractBoundCell:
        """Fills in a sample."""


class QuantumCell(AbstractCell):
    r"""A quantum layer with an injection: $f(w, x) = \mathrm{layer}(v(w, x))$, from the m measured
    values to the m measured values.

    With amplitude encoding and a linear injection $v = b(x) + R\,w$ the map is a ratio of two
    quadratic forms in w,

    $$f_q(w) = \frac{c_q + 2\,b_q\cdot w + w^\top C_q\,w}{s + 2\,r\cdot w + w^\top G\,w},$$

    and one iteration costs O(m³), whatever the number of wires. This form is used wherever it
    applies.
    """

    layer: QuantumLayer
    injection: AbstractInjection

    always_finite: ClassVar[bool] = True

    def __check_init__(self) -> None:
        if not isinstance(self.injection, AbstractLinearInjection | AngleFeedback):
            raise TypeError(
                "`injection` must be a linear injection (AddInjection, LinearInjection, "
                f"ConcatInjection) or AngleFeedback; got {type(self.injection).__name__}. Use "
                "FunctionCell for other feedback."
            )

    def init(self, x: Float[Array, " d"]) -> Float[Array, " m"]:
        """The zero vector, from which the paper starts."""
        return jnp.zeros(self.layer.out_size, x.dtype)

    def compile(self, in_size: int) -> AbstractCompiledCell:
        """Does the work that depends on the angles alone.

        **Arguments:**

        - `in_size`: the number of features of a sample.

        **Returns:**

        A cell with the same fixed points, for use where many samples share the angles and are
        not batched by `vmap` (e.g. in a `lax.map` over chunks).
        """
        if isinstance(self.injection, AngleFeedback):
            return _compile_feedback(self.layer, self.injection, in_size)
        assert isinstance(self.injection, AbstractLinearInjection)
        if isinstance(self.layer.encoding, AmplitudeEncoding | ComplexAmplitudeEncoding):
            return _compile_rational(self.layer, self.injection, in_size)
        layer = self.layer.compile(evaluations=_EVALUATIONS)
        return _CompiledComposition(layer, self.injection, self.layer.out_size)

    def bind(self, x: Float[Array, " d"]) -> AbstractBoundCell:
        return self.compile(x.shape[0]).bind(x)


QuantumCell.__init__.__doc__ = """**Arguments:**

- `layer`: the quantum layer.
- `injection`: how the measured values are fed back.

**Raises:** `TypeError` for an injection that a quantum cell does not know.
"""


# --- Any encoding that takes a feature vector -------------------------------------------------


class _Composition(AbstractBoundCell):
    layer: AbstractCompiledLayer
    offset: Float[Array, " d"]
    matrix: Float[Array, "d m"]

    def __call__(self, w: Float[Array, " m"]) -> Float[Array, " m"]:
        return self.layer(self._input(w))

    def state(self, w: Float[Array, " m"]) -> Complex[Array, " dim"]:
        return self.layer.state(self._input(w))

    def _input(self, w: Array) -> Array:
        return self.offset + jnp.dot(self.matrix, w, precision=_HIGHEST)


class _CompiledComposition(AbstractCompiledCell):
    layer: AbstractCompiledLayer
    injection: AbstractLinearInjection
    n_values: int = eqx.field(static=True)

    def init(self, x: Float[Array, " d"]) -> Float[Array, " m"]:
        return jnp.zeros(self.n_values, x.dtype)

    def bind(self, x: Float[Array, " d"]) -> _Composition:
        offset = self.injection.offset(x, self.n_values)
        return _Composition(
            self.layer, offset, self.injection.matrix(x.shape[0], self.n_values, x.dtype)
        )


# --- Amplitude encoding with a linear injection: the rational quadratic form ------------------


class _Forms(eqx.Module):
    """The m values' numerators and their common denominator as p = m + 1 quadratic forms in u,

    N_p(u) = c_p + 2 b_p·u + uᵀC_p u,    f_q = N_q / N_m.

    The index order of C makes `u @ C` the batch-first matrix product.
    """

    c: Float[Array, " p"]
    b: Float[Array, "p m"]
    curvature: Float[Array, "m p m"]

    def half_gradient(self, u: Float[Array, " m"]) -> Float[Array, "p m"]:
        """b + C u."""
        return self.b + jnp.tensordot(u, self.curvature, axes=1, precision=_HIGHEST)

    def values(self, u: Float[Array, " m"], half: Float[Array, "p m"]) -> Float[Array, " p"]:
        """N(u), from the half gradient at u."""
        return self.c + jnp.dot(self.b + half, u, precision=_HIGHEST)


def _quotient(u: Array, forms: _Forms, at_zero: Array) -> tuple[Array, Array, Array]:
    """f, the inverse of the denominator, and the half gradient."""
    half = forms.half_gradient(u)
    values = forms.values(u, half)
    # Where x and R w cancel, the sums carry no information: the encoding's value at zero.
    quadratic = jnp.dot(half[-1] - forms.b[-1], u, precision=_HIGHEST)
    safe = values[-1] > 8 * jnp.finfo(u.dtype).eps * (forms.c[-1] + quadratic)
    inverse = jnp.where(safe, 1 / jnp.where(safe, values[-1], 1), 0)
    return jnp.where(safe, values[:-1] * inverse, at_zero), inverse, half


@eqx.filter_custom_jvp
def _ratio_of_forms(
    w: Float[Array, " m"], scale: Float[Array, ""], forms: _Forms, at_zero: Float[Array, " q"]
) -> Float[Array, " q"]:
    return _quotient(scale * w, forms, at_zero)[0]


@_ratio_of_forms.def_jvp
def _ratio_of_forms_jvp(primals, tangents):
    # The quotient rule, df = (dN - f dD) / D. In u it gives the dense Jacobian and one small
    # product for each direction. In the forms, N and D are linear: dN and dD are N and D with the
    # tangents for the forms.
    # The scale has no tangent: f does not depend on it.
    w, scale, forms, at_zero = primals
    t_w, _, t_forms, t_at_zero = tangents
    u = scale * w
    f, inverse, half = _quotient(u, forms, at_zero)
    tangent = jnp.zeros_like(f)
    if t_w is not None:
        jacobian = 2 * scale * inverse * (half[:-1] - f[:, None] * half[-1])
        tangent = tangent + jnp.dot(jacobian, t_w, precision=_HIGHEST)
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


class _Rational(AbstractBoundCell):
    """The ratio of quadratic forms, in u = t·w with the sample scaled by t (see `bind`)."""

    cell: "_CompiledRational"
    base: Float[Array, "2 dim"]
    scale: Float[Array, ""]
    forms: _Forms

    def __call__(self, w: Float[Array, " m"]) -> Float[Array, " q"]:
        return _ratio_of_forms(w, self.scale, self.forms, self.cell.at_zero)

    def state(self, w: Float[Array, " m"]) -> Complex[Array, " dim"]:
        raw = self.base + jnp.dot(self.cell.fed_back, self.scale * w, precision=_HIGHEST)
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
    matrix: Float[Array, "u m"]  # R; u is d, or 2·2ⁿ with zeros for complex amplitudes
    slope: Float[Array, "q m u"] | None  # Rᵀ A_q, where the circuit is a matrix
    zero_state: Float[Array, "2 dim"]
    at_zero: Float[Array, " q"]

    def init(self, x: Float[Array, " d"]) -> Float[Array, " m"]:
        return jnp.zeros(self.matrix.shape[1], x.dtype)

    def bind(self, x: Float[Array, " d_in"]) -> _Rational:
        v = self.injection.offset(x, self.matrix.shape[1])
        # f does not change when x and R w are scaled alike. Scaling keeps the squares of huge
        # features finite; t is constant for differentiation because f does not depend on it.
        scale = 1 / jnp.maximum(lax.stop_gradient(jnp.max(jnp.abs(v))), 1)
        v = jnp.pad(v * scale, (0, self.matrix.shape[0] - v.shape[0]))
        v = lax.optimization_barrier(v)  # not to be fused into the products below
        base = self.propagator.vector(v)
        states = base.reshape(2, -1)
        if self.slope is None:
            b = quadratic_forms(self.measurement, self.fed_back, states[..., None])[..., 0]
        else:
            b = jnp.dot(self.slope, v, precision=_HIGHEST)
        return _Rational(
            cell=self,
            base=states,
            scale=scale,
            forms=_Forms(
                c=jnp.append(
                    self.measurement.values_of_parts(base), jnp.dot(v, v, precision=_HIGHEST)
                ),
                b=jnp.concatenate([b, jnp.dot(v, self.matrix, precision=_HIGHEST)[None]]),
                curvature=self.curvature,
            ),
        )


def _compile_rational(
    layer: QuantumLayer, injection: AbstractLinearInjection, in_size: int
) -> _CompiledRational:
    dtype = layer.angles.dtype
    matrix = injection.matrix(in_size, layer.out_size, dtype)
    d = matrix.shape[0]
    encoding = layer.encoding
    assert isinstance(encoding, AbstractStateEncoding)
    encoding.check(d, layer.n_qubits)
    # Complex amplitudes are padded to all real and imaginary parts; real ones are not.
    size = encoding.n_amplitudes(d, layer.n_qubits)
    matrix = jnp.pad(matrix, ((0, size - d), (0, 0)))
    propagator = layer.propagator(d)
    fed_back = propagator(matrix)
    first = jnp.zeros((size, 1), dtype).at[0, 0].set(1)
    slope = None
    if isinstance(propagator, MatrixPropagator):
        slope = quadratic_forms(layer.measurement, fed_back, propagator.matrix)
        zero_state = propagator.matrix[..., 0]
    else:
        zero_state = propagator(first)[..., 0]
    curvature = quadratic_forms(layer.measurement, fed_back, fed_back)
    gram = jnp.dot(matrix.T, matrix, precision=_HIGHEST)
    return _CompiledRational(
        propagator=propagator,
        measurement=layer.measurement,
        injection=injection,
        fed_back=fed_back,
        curvature=jnp.concatenate([curvature, gram[None]]).transpose(1, 0, 2),
        matrix=matrix,
        slope=slope,
        zero_state=zero_state,
        at_zero=layer.measurement.values(to_complex(zero_state)),
    )


# --- Angle feedback ---------------------------------------------------------------------------


class _Feedback(AbstractBoundCell):
    cell: "_CompiledFeedback"
    before: Complex[Array, " dim"]

    def __call__(self, w: Float[Array, " m"]) -> Float[Array, " m"]:
        return self.cell.measurement.values_of_parts(self._parts(w))

    def state(self, w: Float[Array, " m"]) -> Complex[Array, " dim"]:
        return to_complex(self._parts(w).reshape(2, -1))

    def _parts(self, w: Array) -> Array:
        gates = pauli_rotations(self.cell.axis, jnp.dot(self.cell.turn, w, precision=_HIGHEST))
        turned = from_complex(apply_wirewise(gates, self.before))
        return self.cell.second.vector(turned.reshape(-1))


class _CompiledFeedback(AbstractCompiledCell):
    first: AbstractPropagator
    second: AbstractPropagator
    encoding: AbstractStateEncoding
    measurement: AbstractMeasurement
    turn: Float[Array, "n m"]  # radians on each wire per unit of each measured value
    axis: Axis = eqx.field(static=True)

    def init(self, x: Float[Array, " d"]) -> Float[Array, " m"]:
        return jnp.zeros(self.turn.shape[1], x.dtype)

    def bind(self, x: Float[Array, " d"]) -> _Feedback:
        before = propagate(self.first, self.encoding, x, self.turn.shape[0])
        return _Feedback(self, to_complex(before.reshape(2, -1)))


def _compile_feedback(
    layer: QuantumLayer, injection: AngleFeedback, in_size: int
) -> _CompiledFeedback:
    n, m = layer.n_qubits, layer.out_size
    encoding = layer.encoding
    if not isinstance(encoding, AbstractStateEncoding):
        raise TypeError(
            "AngleFeedback needs an encoding that acts before the circuit (AmplitudeEncoding or "
            f"AngleEncoding); got {type(encoding).__name__}."
        )
    position, wires = injection.resolve(len(layer.circuit), n, m)
    (head, head_index), (tail, tail_index) = layer.circuit.split(position)
    options = {
        "engine": layer.engine,
        "block_size": layer.block_size,
        "n_values": layer.out_size,
        "gradient": layer.gradient,
    }
    first = make_propagator(
        head,
        layer.angles[np.array(head_index, int)],
        encoding.n_amplitudes(in_size, n),
        complex_input=encoding.is_complex,
        samples=layer.expected_batch,
        **options,
    )
    second = make_propagator(
        tail,
        layer.angles[np.array(tail_index, int)],
        2 * 2**n,
        complex_input=True,
        samples=layer.expected_batch * _EVALUATIONS,
        **options,
    )
    one_hot = jnp.asarray(np.arange(n)[:, None] == np.array(wires)[None, :], layer.angles.dtype)
    return _CompiledFeedback(
        first=first,
        second=second,
        encoding=encoding,
        measurement=layer.measurement,
        turn=one_hot * injection.gain,
        axis=injection.axis,  # pyright: ignore[reportArgumentType]
    )
