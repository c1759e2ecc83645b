"""Cells whose states lie on several devices: the rational form, and rotations fed back."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._amplitudes import enter, leave
from .._inputs import features
from .._precise import dot, einsum
from ..encodings import AbstractStateEncoding
from ..layers import (
    AbstractPreparedParts,
    own_columns,
    own_state,
    own_zero,
    parted,
    PartedCircuit,
    QuantumLayer,
    with_rotations,
)
from ..measurements import AbstractMeasurement
from ._angle_feedback import split_at_feedback, turns
from ._cell import AbstractCompiledCell
from ._injection import AbstractLinearInjection, AngleFeedback
from ._rational import Forms, ratio_of_forms, scaled_offset

# Columns after the circuit, and before it.
_Columns = tuple[Float[Array, "2 part _"], Float[Array, "2 part _"]]


# As `_rational.py`, where the derivation is. Every form is a sum over amplitudes,
#     C_q = Σ_i C_q⁽ⁱ⁾,  b_q = Σ_i b_q⁽ⁱ⁾,  c_q = Σ_i c_q⁽ⁱ⁾,
# of which each device has its own terms: one sum over the devices for the angles, one for the
# samples. Then the solve is of m numbers, which all devices have alike, and exchanges nothing.
class _Rational(AbstractPreparedParts):
    cell: "_CompiledRational"
    base: Float[Array, "2 part 1"]  # U x
    scale: Float[Array, ""]
    forms: Forms

    def __call__(self, z: Float[Array, " m"]) -> Float[Array, " q"]:
        return ratio_of_forms(self._accept(z), self.scale, self.forms, self.cell.at_zero)

    def measure(
        self, measurement: AbstractMeasurement, z: Float[Array, " m"]
    ) -> Float[Array, " k"]:
        cell = self.cell
        state = self.base + dot(cell.columns[0], enter(self.scale * self._accept(z))[:, None])
        is_zero = leave(jnp.sum(state**2)) == 0
        state = jnp.where(is_zero, cell.zero_state, state)
        forms = cell.run.forms(enter(measurement), state, state)[:, 0, 0]
        values, norm2 = leave((forms, jnp.sum(state**2)))
        return values / norm2

    def _accept(self, z: Array) -> Array:
        fed_back = self.cell.columns[0]
        return features(z, fed_back.dtype, name="z", size=fed_back.shape[-1])


class _CompiledRational(AbstractCompiledCell):
    run: PartedCircuit
    encoding: AbstractStateEncoding
    measurement: AbstractMeasurement
    injection: AbstractLinearInjection
    columns: _Columns  # U R and R
    zero_state: Float[Array, "2 part 1"]
    curvature: Float[Array, "m p m"]
    at_zero: Float[Array, " q"]

    def init(self, x: Float[Array, " d"]) -> Float[Array, " m"]:
        return jnp.zeros(self.columns[0].shape[-1], self.columns[0].dtype)

    def bind(self, x: Float[Array, " d_in"]) -> _Rational:
        x, n = enter(features(x, self.columns[0].dtype)), self.run.circuit.n_qubits
        matrix = _matrix(self.injection, self.encoding, x.shape[0], self.init(x), n)
        v, scale = scaled_offset(self.injection, matrix, x)
        own = own_columns(v[:, None], n, is_complex=self.encoding.is_complex)
        sample = self.run(own), own
        b = _with_norm(self.run, self.measurement, self.columns, sample)[..., 0]
        c = _with_norm(self.run, self.measurement, sample, sample)[:, 0, 0]
        c, b = leave((c, b))
        return _Rational(self, sample[0], scale, Forms(c, b, self.curvature))


def _matrix(
    injection: AbstractLinearInjection,
    encoding: AbstractStateEncoding,
    in_size: int,
    z: Float[Array, " m"],
    n_qubits: int,
) -> Float[Array, "d m"]:
    """R, with a row for each amplitude that the encoding gives. (All devices would have all of it,
    but for each only its own rows are computed where they are a formula.)"""
    matrix = injection.matrix(in_size, z.shape[0], z.dtype)
    encoding.check(len(matrix), n_qubits)
    rows = encoding.n_amplitudes(len(matrix), n_qubits)
    return jnp.pad(matrix, ((0, rows - len(matrix)), (0, 0)))


def _with_norm(
    run: PartedCircuit, measurement: AbstractMeasurement, left: _Columns, right: _Columns
) -> Float[Array, "p a b"]:
    """This device's part of the forms of the values, between columns after the circuit, and of that
    of the norm, between those before it."""
    norm = einsum("ika,ikb->ab", left[1], right[1])
    return jnp.concatenate([run.forms(measurement, left[0], right[0]), norm[None]])


def compile_rational_parts(
    layer: QuantumLayer,
    encoding: AbstractStateEncoding,
    injection: AbstractLinearInjection,
    in_size: int,
) -> _CompiledRational:
    injection, measurement = enter((injection, layer.measurement))
    run, n = parted(layer), layer.n_qubits
    z = jnp.zeros(layer.out_size, layer.angles.dtype)
    matrix = _matrix(injection, encoding, in_size, z, n)
    own = own_columns(matrix, n, is_complex=encoding.is_complex)
    after = run(jnp.concatenate([own, own_zero(n, z.dtype)], axis=-1))
    columns, zero_state = (after[..., :-1], own), after[..., -1:]
    curvature = _with_norm(run, measurement, columns, columns)
    at_zero = run.forms(measurement, zero_state, zero_state)[:, 0, 0]
    curvature, at_zero = leave((curvature, at_zero))
    return _CompiledRational(
        run=run,
        encoding=encoding,
        measurement=measurement,
        injection=injection,
        columns=columns,
        zero_state=zero_state,
        curvature=curvature.transpose(1, 0, 2),
        at_zero=at_zero,
    )


# As `_angle_feedback.py`: what comes before the feedback runs once for a sample, the rotations and
# the rest of the circuit in each step, with its exchanges.
class _Feedback(AbstractPreparedParts):
    cell: "_CompiledFeedback"
    before: Float[Array, "2 part 1"]

    def __call__(self, z: Float[Array, " m"]) -> Float[Array, " m"]:
        return self.measure(self.cell.measurement, z)

    def measure(
        self, measurement: AbstractMeasurement, z: Float[Array, " m"]
    ) -> Float[Array, " k"]:
        run, angles = self.cell.second, enter(turns(self.cell.turn, z))
        run = eqx.tree_at(lambda c: c.angles, run, jnp.concatenate([run.angles, angles]))
        state = run(self.before)
        return leave(run.forms(enter(measurement), state, state)[:, 0, 0])


class _CompiledFeedback(AbstractCompiledCell):
    first: PartedCircuit
    second: PartedCircuit  # with a rotation of each wire in front
    encoding: AbstractStateEncoding
    measurement: AbstractMeasurement
    turn: Float[Array, "n m"]

    def init(self, x: Float[Array, " d"]) -> Float[Array, " m"]:
        return jnp.zeros(self.turn.shape[1], self.turn.dtype)

    def bind(self, x: Float[Array, " d"]) -> _Feedback:
        n = self.turn.shape[0]
        x = enter(self.encoding.accept(x, n, self.turn.dtype))
        return _Feedback(self, self.first(own_state(self.encoding, x, n), restore=True))


def compile_feedback_parts(layer: QuantumLayer, injection: AngleFeedback) -> _CompiledFeedback:
    halves = split_at_feedback(layer, injection)
    (head, head_angles), (tail, tail_angles) = halves.parts
    rotations = [(injection.axis, wire, wire) for wire in range(layer.n_qubits)]
    return _CompiledFeedback(
        first=parted(layer, head, head_angles),
        second=parted(layer, with_rotations(tail, {0: rotations}), tail_angles),
        encoding=halves.encoding,
        measurement=layer.measurement,
        turn=halves.turn,
    )
