"""Layers under noise by trajectories: the mean over state vectors with errors drawn for each."""

from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, PRNGKeyArray

from .._inputs import precision
from .._precise import matmul
from ..circuits import Circuit
from ..encodings import (
    AbstractEncoding,
    AbstractStateEncoding,
    AngleEncoding,
    check_state,
    DataReuploading,
    product_state,
)
from ..measurements import AbstractMeasurement
from ..noise import (
    Channels,
    NoiseModel,
    over_trajectories,
    sample_channels,
    sample_circuit,
    sample_preparation,
    SampledErrors,
    state_values,
)
from ..simulate import apply_wirewise, from_complex, to_complex
from ._compiled import AbstractPreparedNoisily
from ._noisy_encoder import rotated_wires, rotation_channels


class Drawn(eqx.Module):
    """All that is drawn for a trajectory before samples are seen."""

    sections: list[SampledErrors]
    preparing: SampledErrors
    key: PRNGKeyArray  # for the noise of rotations by features, which depend on their number


class TrajectoryLayer(AbstractPreparedNoisily):
    """The mean over trajectories. All samples share the errors that were drawn."""

    drawn: Drawn  # with an axis of trajectories in front
    encoding: AbstractEncoding
    measurement: AbstractMeasurement
    noise: NoiseModel
    n_qubits: int = eqx.field(static=True)
    n_trajectories: int = eqx.field(static=True)

    def __call__(self, x: Float[Array, " d"]) -> Float[Array, " m"]:
        return self.measure(self.measurement, x)

    def measure(self, measurement: AbstractMeasurement, x: Float[Array, " d"]) -> Array:
        def values(parts: Array, log_weight: Array) -> Array:
            return state_values(parts, log_weight, measurement, self.noise)

        return self._mean(values, x)

    def probabilities(self, x: Float[Array, " d"]) -> Float[Array, " dim"]:
        def outcomes(parts: Array, log_weight: Array) -> Array:
            return jnp.exp(log_weight) * jnp.sum(parts**2, axis=0)

        mean, readout = self._mean(outcomes, x), self.noise.readout
        return mean if readout is None else readout.on_probabilities(mean)

    def _mean(self, function: Callable[[Array, Array], Array], x: Array) -> Array:
        def one(drawn: Drawn) -> Array:
            return function(*run_trajectory(drawn, self.encoding, self.noise, x, self.n_qubits))

        values = over_trajectories(one, self.n_qubits, self.n_trajectories, self.drawn)
        return jnp.mean(values, axis=0)


def draw(
    key: PRNGKeyArray,
    n_trajectories: int,
    sections: Sequence[tuple[Circuit, Array]],
    noise: NoiseModel,
    *,
    block_size: int | None,
    batch: int,
) -> Drawn:
    """Draws the errors of all trajectories, in the circuit's sections and the preparation."""

    def one(key: PRNGKeyArray) -> Drawn:
        key, preparing, *keys = jax.random.split(key, len(sections) + 2)
        found = [
            sample_circuit(k, circuit, angles, noise, block_size, batch)
            for k, (circuit, angles) in zip(keys, sections, strict=True)
        ]
        n, dtype = sections[0][0].n_qubits, sections[0][1].dtype
        return Drawn(found, sample_preparation(preparing, noise.preparation, n, dtype), key)

    return eqx.filter_vmap(one)(jax.random.split(key, n_trajectories))


def run_trajectory(
    drawn: Drawn, encoding: AbstractEncoding, noise: NoiseModel, x: Float[Array, " d"], n: int
) -> tuple[Float[Array, "2 dim"], Float[Array, ""]]:
    """One trajectory's state, and the log of its weight."""
    x = encoding.accept(x, n, precision([s.log_weight for s in drawn.sections]))
    # Errors are drawn with odds that do not depend on the state. The weight, here as a logarithm,
    # is the true odds over these: with it the mean over trajectories is the channel's value, and
    # the mean of their derivatives its derivative, in the angles and in the rates.
    log_weight = sum((s.log_weight for s in drawn.sections), jnp.zeros((), x.dtype))
    check_state(n, x.dtype)
    if isinstance(encoding, DataReuploading):
        first, *sections = drawn.sections
        parts = first(jnp.zeros((2, 2**n), x.dtype).at[0, 0].set(1))
        for i, section in enumerate(sections):
            key = jax.random.fold_in(drawn.key, i)
            gates, more = _noisy_rotations(key, encoding.encoding, noise, x, n)
            state = to_complex(parts)
            for matrices in gates:
                state = apply_wirewise(matrices, state)
            parts, log_weight = section(from_complex(state)), log_weight + more
        return parts, log_weight
    assert isinstance(encoding, AbstractStateEncoding)
    (section,) = drawn.sections
    if isinstance(encoding, AngleEncoding):
        gates, more = _noisy_rotations(drawn.key, encoding, noise, x, n)
        return section(from_complex(product_state(gates))), log_weight + more
    # Amplitudes are prepared by gates that we do not follow: their noise acts on the
    # prepared state, drawn beforehand as for all samples.
    u = encoding.amplitudes(x, n)
    parts = jnp.pad(u, (0, 2 * 2**n - u.shape[0])).reshape(2, -1)
    return section(drawn.preparing(parts)), log_weight + drawn.preparing.log_weight


def _noisy_rotations(
    key: PRNGKeyArray, encoding: AngleEncoding, noise: NoiseModel, x: Array, n: int
) -> tuple[list[Complex[Array, "n 2 2"]], Float[Array, ""]]:
    gates = encoding.rotations(x, n)
    turns = rotated_wires(encoding, x.shape[0], n)
    operators, log_weight = draw_on_wires(key, rotation_channels(noise), turns)
    if operators is None:
        return gates, log_weight.astype(x.dtype)
    # A drawn error follows its rotation, so it multiplies from the left.
    noisy = matmul(operators.astype(gates[0].dtype), jnp.stack(gates))
    return list(noisy), log_weight.astype(x.dtype)


def draw_on_wires(
    key: PRNGKeyArray, channels: Channels, where: np.ndarray
) -> tuple[Complex[Array, "... 2 2"] | None, Float[Array, ""]]:
    """Operators of channels where `where` is true, 1 elsewhere; and the log of their weight."""
    places = np.flatnonzero(where)
    if not channels or len(places) == 0:
        return None, jnp.zeros(())
    log_weight, operators = sample_channels(key, channels, 1, len(places))
    out = jnp.broadcast_to(jnp.eye(2, dtype=operators.dtype), (where.size, 2, 2))
    return out.at[places].set(operators).reshape(*where.shape, 2, 2), log_weight
