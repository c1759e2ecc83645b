"""Cells whose measured values rotate wires between two halves of the circuit."""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Complex, Float

from .._compiled import propagate
from .._engines import make_propagator
from ..circuits import Circuit
from ..encodings import AbstractStateEncoding, Axis, pauli_rotations
from ..layers import QuantumLayer
from ..measurements import AbstractMeasurement
from ..simulate import AbstractPropagator, apply_wirewise, from_complex, to_complex
from ._bound import AbstractBoundCell, AbstractCompiledCell, EVALUATIONS
from ._injection import AngleFeedback

_HIGHEST = lax.Precision.HIGHEST


class Feedback(AbstractBoundCell):
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

    def bind(self, x: Float[Array, " d"]) -> Feedback:
        before = propagate(self.first, self.encoding, x, self.turn.shape[0])
        return Feedback(self, to_complex(before.reshape(2, -1)))


class Halves(NamedTuple):
    """The circuit before and after the feedback, with the angles of each."""

    parts: tuple[tuple[Circuit, Float[Array, " _"]], tuple[Circuit, Float[Array, " _"]]]
    encoding: AbstractStateEncoding
    wires: tuple[int, ...]
    turn: Float[Array, "n m"]


def split_at_feedback(layer: QuantumLayer, injection: AngleFeedback) -> Halves:
    n, encoding = layer.n_qubits, layer.encoding
    if not isinstance(encoding, AbstractStateEncoding):
        raise TypeError(
            "AngleFeedback needs an encoding that acts before the circuit (AmplitudeEncoding or "
            f"AngleEncoding); got {type(encoding).__name__}."
        )
    position, wires = injection.resolve(len(layer.circuit), n, layer.out_size)
    (head, head_index), (tail, tail_index) = layer.circuit.split(position)
    first = (head, layer.angles[np.array(head_index, int)])
    second = (tail, layer.angles[np.array(tail_index, int)])
    one_hot = jnp.asarray(np.arange(n)[:, None] == np.array(wires)[None, :], layer.angles.dtype)
    return Halves((first, second), encoding, wires, one_hot * injection.gain)


def compile_feedback(
    layer: QuantumLayer, injection: AngleFeedback, in_size: int
) -> _CompiledFeedback:
    halves = split_at_feedback(layer, injection)
    (head, head_angles), (tail, tail_angles) = halves.parts
    n, encoding = layer.n_qubits, halves.encoding
    options = {
        "engine": layer.engine,
        "block_size": layer.block_size,
        "n_values": layer.out_size,
        "gradient": layer.gradient,
    }
    first = make_propagator(
        head,
        head_angles,
        encoding.n_amplitudes(in_size, n),
        complex_input=encoding.is_complex,
        samples=layer.expected_batch,
        **options,
    )
    second = make_propagator(
        tail,
        tail_angles,
        2 * 2**n,
        complex_input=True,
        samples=layer.expected_batch * EVALUATIONS,
        **options,
    )
    return _CompiledFeedback(
        first=first,
        second=second,
        encoding=encoding,
        measurement=layer.measurement,
        turn=halves.turn,
        axis=injection.axis,  # pyright: ignore[reportArgumentType]
    )
