"""Cells whose measured values rotate wires between two halves of the circuit."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from .._inputs import features
from .._precise import dot, matmul
from ..circuits import Circuit
from ..encodings import AbstractStateEncoding, Axis, pauli_rotations
from ..layers import (
    AbstractPreparedNoisily,
    AbstractPreparedState,
    draw,
    draw_on_wires,
    Drawn,
    make_encoder,
    make_propagator,
    NoisyEncoder,
    propagate,
    QuantumLayer,
    run_trajectory,
)
from ..measurements import AbstractMeasurement
from ..noise import (
    compile_noisy,
    NoiseModel,
    NoisyCircuit,
    on_each_wire,
    over_trajectories,
    probabilities_of_paulis,
    pulled_back,
    sample_circuit,
    SampledErrors,
    state_values,
    transfer_of_channels,
    transfer_of_operators,
)
from ..simulate import AbstractPropagator, apply_wirewise, from_complex, to_complex
from ._cell import AbstractCompiledCell, EVALUATIONS
from ._injection import AngleFeedback, scaled


# f(z, x) = ⟨ψ₁| T(z)† (U₂† O_q U₂) T(z) |ψ₁⟩ with ψ₁ = U₁ ψ(x): U₁ and the encoding run once for a
# sample, T(z) is n rotations of single wires, and U₂ runs in each step, as a matrix where that is
# cheaper. There is no smaller form: T(z) is trigonometric in z, not polynomial.
class Feedback(AbstractPreparedState):
    cell: "_CompiledFeedback"
    before: Complex[Array, " dim"]

    def __call__(self, z: Float[Array, " m"]) -> Float[Array, " m"]:
        return self.cell.measurement.values_of_parts(self._parts(z))

    def state(self, z: Float[Array, " m"]) -> Complex[Array, " dim"]:
        return to_complex(self._parts(z).reshape(2, -1))

    def _parts(self, z: Array) -> Array:
        gates = pauli_rotations(self.cell.axis, turns(self.cell.turn, z))
        turned = from_complex(apply_wirewise(gates, self.before))
        return self.cell.second.halves(turned.reshape(-1))


def turns(turn: Float[Array, "n m"], z: Array) -> Float[Array, " n"]:
    """By how much the values turn each wire, in radians."""
    return dot(turn, features(z, turn.dtype, name="z", size=turn.shape[1]))


class _CompiledFeedback(AbstractCompiledCell):
    first: AbstractPropagator
    second: AbstractPropagator
    encoding: AbstractStateEncoding
    measurement: AbstractMeasurement
    turn: Float[Array, "n m"]  # radians on each wire per unit of each measured value
    axis: Axis = eqx.field(static=True)

    def init(self, x: Float[Array, " d"]) -> Float[Array, " m"]:
        return jnp.zeros(self.turn.shape[1], self.turn.dtype)

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
    # Several values may turn one wire: their angles add up, as rotations about one axis commute.
    one_hot = np.arange(n)[:, None] == np.array(wires)
    turn = scaled(one_hot, injection.gain, layer.angles.dtype)
    return Halves((first, second), encoding, wires, turn)


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


# --- Under noise: the first half of the circuit is carried forwards to the feedback and the
# observables are pulled back to it, so that an iteration only turns wires and takes a product.


# Under noise the map is Tr[O_q Λ₂(T(z) ρ₁ T(z)†)]. In the Pauli basis ρ₁ is a real vector and T(z)
# with the noise of its gates a real 4×4 matrix on each wire; the observables are pulled back
# through Λ₂ once, to coefficients in the same basis. A step is n small products and one inner
# product.
class _DensityFeedback(AbstractPreparedNoisily):
    cell: "_CompiledDensityFeedback"
    before: Float[Array, "..."]

    def __call__(self, z: Float[Array, " m"]) -> Float[Array, " m"]:
        return self._values(self.cell.coefficients, z)

    def _turned(self, z: Array) -> Array:
        return on_each_wire(self.cell.rotations(z), self.before)

    def _values(self, coefficients: Array, z: Array) -> Array:
        flat = coefficients.reshape(-1, coefficients.shape[-1])
        return dot(self._turned(z).reshape(-1), flat)

    def measure(
        self, measurement: AbstractMeasurement, z: Float[Array, " m"]
    ) -> Float[Array, " k"]:
        return self._values(self.cell.pulled_back(measurement), z)

    def probabilities(self, z: Float[Array, " m"]) -> Float[Array, " dim"]:
        vector = self.cell.second.push(self._turned(z))
        return probabilities_of_paulis(vector, self.cell.noise.readout)


class _CompiledDensityFeedback(AbstractCompiledCell):
    encoder: NoisyEncoder
    first: NoisyCircuit
    second: NoisyCircuit
    coefficients: Float[Array, "..."]
    noise: NoiseModel
    after: Float[Array, "n 4 4"]  # the noise of the feedback's rotations
    turn: Float[Array, "n m"]  # radians on each wire per unit of each measured value
    axis: Axis = eqx.field(static=True)

    def init(self, x: Float[Array, " d"]) -> Float[Array, " m"]:
        return jnp.zeros(self.turn.shape[1], self.turn.dtype)

    def bind(self, x: Float[Array, " d"]) -> _DensityFeedback:
        return _DensityFeedback(self, self.first.push(self.encoder(x)))

    def rotations(self, z: Float[Array, " m"]) -> Float[Array, "n 4 4"]:
        gates = pauli_rotations(self.axis, turns(self.turn, z))
        matrices = transfer_of_operators(gates).astype(self.turn.dtype)
        return matmul(self.after, matrices)

    def pulled_back(self, measurement: AbstractMeasurement) -> Float[Array, "..."]:
        n, dtype = self.encoder.n_qubits, self.turn.dtype
        return pulled_back((self.second,), measurement, n, self.noise.readout, dtype)


class _TrajectoryFeedback(AbstractPreparedNoisily):
    cell: "_CompiledTrajectoryFeedback"
    before: Float[Array, "t 2 dim"]
    log_weights: Float[Array, " t"]

    def __call__(self, z: Float[Array, " m"]) -> Float[Array, " m"]:
        return self.measure(self.cell.measurement, z)

    def measure(
        self, measurement: AbstractMeasurement, z: Float[Array, " m"]
    ) -> Float[Array, " k"]:
        def values(parts: Array, log_weight: Array) -> Array:
            return state_values(parts, log_weight, measurement, self.cell.noise)

        return self._mean(values, z)

    def probabilities(self, z: Float[Array, " m"]) -> Float[Array, " dim"]:
        def outcomes(parts: Array, log_weight: Array) -> Array:
            return jnp.exp(log_weight) * jnp.sum(parts**2, axis=0)

        mean, readout = self._mean(outcomes, z), self.cell.noise.readout
        return mean if readout is None else readout.on_probabilities(mean)

    def _mean(self, function, z: Array) -> Array:
        cell, (n, _) = self.cell, self.cell.turn.shape
        # One axis of trajectories, each with errors of its own, drawn once: the solver sees a
        # function.
        gates = pauli_rotations(cell.axis, turns(cell.turn, z))

        def one(args) -> Array:
            before, log_weight, second, operators = args
            noisy = matmul(operators.astype(gates.dtype), gates)
            turned = from_complex(apply_wirewise(noisy, to_complex(before)))
            return function(second(turned), log_weight)

        drawn = (self.before, self.log_weights, cell.second, cell.operators)
        values = over_trajectories(one, n, len(self.log_weights), drawn)
        return jnp.mean(values, axis=0)


class _CompiledTrajectoryFeedback(AbstractCompiledCell):
    first: Drawn  # this and the next two have an axis of trajectories in front
    second: SampledErrors
    operators: Complex[Array, "t n 2 2"]  # after the feedback's rotations
    encoding: AbstractStateEncoding
    measurement: AbstractMeasurement
    noise: NoiseModel
    turn: Float[Array, "n m"]
    axis: Axis = eqx.field(static=True)

    def init(self, x: Float[Array, " d"]) -> Float[Array, " m"]:
        return jnp.zeros(self.turn.shape[1], self.turn.dtype)

    def bind(self, x: Float[Array, " d"]) -> _TrajectoryFeedback:
        n = self.turn.shape[0]

        def one(drawn: Drawn) -> tuple[Array, Array]:
            return run_trajectory(drawn, self.encoding, self.noise, x, n)

        before, log_weights = over_trajectories(one, n, len(self.operators), self.first)
        return _TrajectoryFeedback(self, before, log_weights + self.second.log_weight)


def compile_noisy_feedback(
    layer: QuantumLayer, injection: AngleFeedback, in_size: int
) -> AbstractCompiledCell:
    noise = layer.noise
    assert noise is not None
    halves, engine = split_at_feedback(layer, injection), layer.noisy_engine()
    encoding = halves.encoding
    encoding.check(in_size, layer.n_qubits)
    gate = f"R{injection.axis.lower()}"
    after = [noise.after(gate, (w,)) if w in halves.wires else () for w in range(layer.n_qubits)]
    axis: Axis = injection.axis  # pyright: ignore[reportAssignmentType]
    if engine == "trajectories":
        return _compile_trajectories(layer, noise, halves, after, axis)
    n, dtype = layer.n_qubits, layer.angles.dtype
    first, second = (
        compile_noisy(circuit, angles, noise, layer.block_size) for circuit, angles in halves.parts
    )
    return _CompiledDensityFeedback(
        encoder=make_encoder(encoding, noise, n, dtype),
        first=first,
        second=second,
        coefficients=pulled_back((second,), layer.measurement, n, noise.readout, dtype),
        noise=noise,
        after=jnp.stack([transfer_of_channels(c, 1) for c in after]).astype(dtype),
        turn=halves.turn,
        axis=axis,
    )


def _compile_trajectories(
    layer: QuantumLayer, noise: NoiseModel, halves: Halves, after: list, axis: Axis
) -> _CompiledTrajectoryFeedback:
    key = layer.own_key()
    assert key is not None
    first_key, second_key = jax.random.split(key)
    options = {"block_size": layer.block_size, "batch": layer.expected_batch}
    first = draw(first_key, layer.n_trajectories, halves.parts[:1], noise, **options)

    def one(key: Array) -> tuple[SampledErrors, Array]:
        second = sample_circuit(key, *halves.parts[1], noise, **options)
        operators, log_weight = [], second.log_weight
        for wire, channels in enumerate(after):
            key_w = jax.random.fold_in(key, wire)
            found, more = draw_on_wires(key_w, channels, np.ones(1, bool))
            operators.append(jnp.eye(2, dtype=complex) if found is None else found[0])
            log_weight = log_weight + more.astype(log_weight.dtype)
        return eqx.tree_at(lambda s: s.log_weight, second, log_weight), jnp.stack(operators)

    second, operators = eqx.filter_vmap(one)(jax.random.split(second_key, layer.n_trajectories))
    return _CompiledTrajectoryFeedback(
        first=first,
        second=second,
        operators=operators,
        encoding=halves.encoding,
        measurement=layer.measurement,
        noise=noise,
        turn=halves.turn,
        axis=axis,
    )
