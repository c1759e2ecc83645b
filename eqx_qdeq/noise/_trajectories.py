"""Noisy circuits as averages over state vectors, each with errors drawn for it."""

import functools as ft
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Complex, Float, PRNGKeyArray

from .._memory import within_memory
from .._precise import dot, matmul
from ..circuits import Circuit
from ..measurements import AbstractMeasurement, Probabilities
from ..simulate import best_block_size, Block, evolve, full_tensor
from ._channel import AbstractChannel
from ._model import Channels, NoiseModel, PreparationNoise
from ._paulis import on_each_wire
from ._readout import as_strings, expanded, ReadoutError
from ._steps import fused, gate_stacks, make_steps, on_pair, ordered_product, Step

# A channel is Λ(ρ) = Σ w_i B_i ρ B_i†. One of the B_i is drawn with the probability q_i that it has
# in the maximally mixed state, whatever the state is, and weighted by w_i / q_i: the mean over
# draws is Λ(ρ). As q_i is a constant for differentiation, the mean of the draws' derivatives is the
# derivative of Λ(ρ), in the angles and in the rates. (Draws whose probabilities depend on the
# state, as is usual for trajectories, have a biased derivative: that of the probabilities is
# missing.) The weights of all draws multiply; their logarithms are summed, as the product of
# hundreds may leave the range of float32.

# States of more trajectories than fit into so many bytes are computed in turn.
_MEMORY = 2**28
# Up to this many wires the signs of diagonal observables are a constant matrix.
_MATRIX_WIRES = 11


def sample_channel(
    key: PRNGKeyArray, channel: AbstractChannel, shape: tuple[int, ...]
) -> tuple[Float[Array, "..."], Complex[Array, "..."]]:
    """Weights and operators of independent draws, shapes `shape` and `shape + (dim, dim)`."""
    weights, operators = channel.branches()
    # q_i = w_i Tr(B_i† B_i) / dim.
    squares = jnp.sum(operators.real**2 + operators.imag**2, axis=(1, 2)) / operators.shape[1]
    odds = lax.stop_gradient(weights * squares)
    odds = odds / jnp.sum(odds)
    drawn = jax.random.categorical(key, jnp.log(odds), shape=shape)
    return weights[drawn] / odds[drawn], operators[drawn]


def sample_channels(
    key: PRNGKeyArray, channels: Channels, n_wires: int, count: int
) -> tuple[Float[Array, ""], Complex[Array, "count dim dim"]]:
    """The log of the total weight and the operators of `count` rounds of channels on so many
    wires."""
    log_weight = jnp.zeros(())
    total = jnp.broadcast_to(jnp.eye(2**n_wires), (count, 2**n_wires, 2**n_wires))
    for i, channel in enumerate(channels):
        # A channel on one wire is drawn for each wire by itself.
        times = n_wires if channel.n_wires == 1 else 1
        weights, each = sample_channel(jax.random.fold_in(key, i), channel, (count, times))
        operators = ft.reduce(jax.vmap(jnp.kron), [each[:, wire] for wire in range(times)])
        log_weight = log_weight + jnp.sum(jnp.log(weights))
        total = matmul(operators, total.astype(operators.dtype))
    return log_weight, total


def sample_steps(
    key: PRNGKeyArray,
    circuit: Circuit,
    angles: Float[Array, " n_params"],
    noise: NoiseModel,
    steps: list[Step],
) -> tuple[Float[Array, ""], dict[int, Complex[Array, "_ _ _"]]]:
    """The log of the total weight, and every step's gate followed by drawn operators."""
    log_weight, counter, stacks = jnp.zeros(()), 0, {}
    for k, (unitaries, kinds, which) in gate_stacks(circuit, angles, noise, steps).items():
        for i, channels in enumerate(kinds):
            if not channels:
                continue
            places = np.flatnonzero(which == i)
            key_i, counter = jax.random.fold_in(key, counter), counter + 1
            more, operators = sample_channels(key_i, channels, k, len(places))
            log_weight = log_weight + more
            operators = operators.astype(unitaries.dtype)
            applied = matmul(operators, unitaries[places])
            unitaries = unitaries.at[places].set(applied)
        stacks[k] = unitaries
    return log_weight, stacks


class SampledErrors(eqx.Module):
    """A circuit with the errors drawn for it: blocks of operators, and a weight."""

    blocks: tuple[Block, ...] = eqx.field(static=True)
    matrices: list[Float[Array, "2 _ _"]]
    log_weight: Float[Array, ""]

    def __call__(self, parts: Float[Array, "2 dim"]) -> Float[Array, "2 dim"]:
        """The state after the circuit, not normalized."""
        n = parts.shape[1].bit_length() - 1
        tensor = full_tensor(parts[..., None], n)
        out = evolve(self.matrices, self.blocks, tensor, n)[..., 0]
        what, remedy = f"trajectories of {n} wires", "Take fewer wires or samples at a time."
        size = 2.0 * 2**n * parts.dtype.itemsize
        return within_memory(out, out, what, remedy, bytes=2 * size)


def sample_circuit(
    key: PRNGKeyArray,
    circuit: Circuit,
    angles: Float[Array, " n_params"],
    noise: NoiseModel,
    block_size: int | None = None,
    batch: int = 1,
) -> SampledErrors:
    """Draws the errors of a circuit. `batch`: how many states will share them."""
    steps = make_steps(circuit, noise)
    if not steps:
        return SampledErrors((), [], jnp.zeros((), angles.dtype))
    log_weight, stacks = sample_steps(key, circuit, angles, noise, steps)
    size = block_size or best_block_size(circuit, batch)
    blocks, matrices = fused(steps, stacks, min(size, circuit.n_qubits), 2)
    return _sampled(blocks, matrices, log_weight, angles.dtype)


def sample_preparation(
    key: PRNGKeyArray, preparation: PreparationNoise | None, n_qubits: int, dtype: jnp.dtype
) -> SampledErrors:
    """Draws the errors of the gates that prepare an amplitude encoding."""
    if preparation is None or not preparation.two_wire:
        return SampledErrors((), [], jnp.zeros((), dtype))
    both, log_weight = [], jnp.zeros(())
    for i, (pair, times) in enumerate(preparation.pairs(n_qubits).items()):
        key_i = jax.random.fold_in(key, i)
        more, operators = sample_channels(key_i, preparation.two_wire, 2, times)
        log_weight = log_weight + more
        both.append(on_pair(ordered_product(operators[None])[0], pair))
    return _sampled([b for b, _ in both], [m for _, m in both], log_weight, dtype)


def _sampled(
    blocks: Sequence[Block], matrices: Sequence[Array], log_weight: Array, dtype: jnp.dtype
) -> SampledErrors:
    parts = [jnp.stack([m.real, jnp.imag(m)]).astype(dtype) for m in matrices]
    return SampledErrors(tuple(blocks), parts, log_weight.astype(dtype))


def over_trajectories(function, n_qubits: int, n_trajectories: int, drawn):
    """`function` of every trajectory along the first axis of `drawn`: at once, or in chunks that
    keep within a memory limit and are computed again for the gradient."""
    fitting = _MEMORY // (16 * 2**n_qubits)
    if n_trajectories <= fitting:
        return jax.vmap(function)(drawn)
    return lax.map(jax.checkpoint(function), drawn, batch_size=max(1, fitting))


def values_with_readout(
    measurement: AbstractMeasurement, readout: ReadoutError | None, state: Complex[Array, " dim"]
) -> Float[Array, " m"]:
    """The measured values of a state that need not be normalized.

    **Raises:** `TypeError` for a measurement of a kind not known, on many wires.
    """
    if readout is None:
        return measurement.values(state)
    n = state.shape[0].bit_length() - 1
    if isinstance(measurement, Probabilities):
        wires = tuple(range(n)) if measurement.wires is None else measurement.wires
        outcomes = measurement.values(state).reshape((2,) * len(wires))
        confusion = readout.confusion(n)[np.array(wires)].astype(outcomes.dtype)
        return on_each_wire(confusion, outcomes).reshape(-1)
    diagonals = measurement.diagonals(n) if n <= _MATRIX_WIRES else None
    if diagonals is not None:
        read = readout.on_probabilities(state.real**2 + state.imag**2)
        return dot(jnp.asarray(diagonals, read.dtype), read)
    strings, matrix = as_strings(measurement, n)
    scale, shift = (a.astype(state.real.dtype) for a in readout.pauli_map(n))
    parts, mixed = expanded(strings, scale, shift)
    read = dot(mixed, parts.values(state))
    return dot(jnp.asarray(matrix, read.dtype), read)


def state_values(
    parts: Float[Array, "2 dim"],
    log_weight: Float[Array, ""],
    measurement: AbstractMeasurement,
    noise: NoiseModel,
) -> Float[Array, " m"]:
    """What one trajectory adds to the mean of the measured values."""
    state = lax.complex(parts[0], parts[1])
    return jnp.exp(log_weight) * values_with_readout(measurement, noise.readout, state)


def trajectory_values(
    circuit: Circuit,
    angles: Float[Array, " n_params"],
    measurement: AbstractMeasurement,
    noise: NoiseModel,
    state: Complex[Array, " dim"],
    *,
    key: PRNGKeyArray,
    n_trajectories: int = 128,
) -> tuple[Float[Array, " m"], Float[Array, " m"]]:
    r"""The measured values of one state after the noisy circuit, as a mean over trajectories.

    Every trajectory is a state vector, so that 20 wires are possible. Errors are drawn with
    probabilities that do not depend on the state, and weighted: values and gradients, in the angles
    and in the rates, are right on average. (A rate of exactly 0 is never drawn, and its gradient
    misses what errors would add: start from small rates.)

    !!! example

        ```python
        import jax
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        circuit = qdeq.circuits.hardware_efficient(n_qubits=2, depth=1)
        angles = jnp.zeros(circuit.n_params)
        noise = qdeq.noise.NoiseModel.depolarizing(0.1)
        state = jnp.array([1, 0, 0, 0], complex)
        values, errors = qdeq.noise.trajectory_values(
            circuit, angles, qdeq.PauliZ(), noise, state, key=jax.random.key(0)
        )
        values.shape, errors.shape  # ((2,), (2,))
        ```

    **Arguments:**

    - `circuit`, `angles`, `measurement`, `noise`, `state`: as for
        [`eqx_qdeq.noise.density_values`][].
    - `key`: for the draws.
    - `n_trajectories`: how many, at least 2.

    **Returns:**

    The means and their standard errors, both of shape `(m,)`.

    **Raises:** `ValueError` for fewer than two trajectories.
    """
    if n_trajectories < 2:
        raise ValueError(f"`n_trajectories` must be at least 2; got {n_trajectories}.")
    n, dtype = circuit.n_qubits, angles.dtype
    start = jnp.stack([state.real, state.imag]).astype(dtype)

    def one(key: PRNGKeyArray) -> Array:
        first, second = jax.random.split(key)
        before = sample_preparation(first, noise.preparation, n, dtype)
        after = sample_circuit(second, circuit, angles, noise)
        weight = before.log_weight + after.log_weight
        return state_values(after(before(start)), weight, measurement, noise)

    keys = jax.random.split(key, n_trajectories)
    values = over_trajectories(one, n, n_trajectories, keys)
    # The error is a report, not a part of the model: it has no gradient.
    error = jnp.std(lax.stop_gradient(values), axis=0, ddof=1) / jnp.sqrt(n_trajectories)
    return jnp.mean(values, axis=0), error
