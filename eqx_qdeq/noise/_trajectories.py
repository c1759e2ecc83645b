"""Noisy circuits as averages over state vectors, each with errors drawn for it."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Complex, Float, PRNGKeyArray

from ..circuits import Circuit
from ..measurements import AbstractMeasurement
from ..simulate import best_block_size, Block, evolve, full_tensor, fuse
from ._fused import fused_matrices, ordered_product
from ._model import NoiseModel, PreparationNoise
from ._readout_values import values_with_readout
from ._sampling import sample_channels, sample_steps
from ._steps import make_steps

# States of more trajectories than fit into so many bytes are computed in turn.
_MEMORY = 2**28


class Trajectory(eqx.Module):
    """A circuit with the errors drawn for it: blocks of operators, and a weight."""

    blocks: tuple[Block, ...] = eqx.field(static=True)
    matrices: list[Float[Array, "2 _ _"]]
    log_weight: Float[Array, ""]

    def __call__(self, parts: Float[Array, "2 dim"]) -> Float[Array, "2 dim"]:
        """The state after the circuit, not normalised."""
        n = parts.shape[1].bit_length() - 1
        tensor = full_tensor(parts[..., None], n)
        return evolve(self.matrices, self.blocks, tensor, n)[..., 0]


def sample_circuit(
    key: PRNGKeyArray,
    circuit: Circuit,
    angles: Float[Array, " n_params"],
    noise: NoiseModel,
    block_size: int | None = None,
    batch: int = 1,
) -> Trajectory:
    """Draws the errors of a circuit. `batch`: how many states will share them."""
    steps = make_steps(circuit, noise)
    if not steps:
        return Trajectory((), [], jnp.zeros((), angles.dtype))
    log_weight, stacks = sample_steps(key, circuit, angles, noise, steps)
    wires = [step.wires for step in steps]
    size = block_size or best_block_size(circuit, batch)
    blocks = fuse(wires, min(size, circuit.n_qubits))
    matrices = fused_matrices(stacks, wires, blocks, 2)
    return _trajectory(blocks, matrices, log_weight, angles.dtype)


def sample_preparation(
    key: PRNGKeyArray, preparation: PreparationNoise | None, n_qubits: int, dtype: jnp.dtype
) -> Trajectory:
    """Draws the errors of the gates that prepare an amplitude encoding."""
    if preparation is None or not preparation.two_wire:
        return Trajectory((), [], jnp.zeros((), dtype))
    blocks, matrices, log_weight = [], [], jnp.zeros(())
    for i, ((a, b), times) in enumerate(preparation.pairs(n_qubits).items()):
        key_i = jax.random.fold_in(key, i)
        more, operators = sample_channels(key_i, preparation.two_wire, 2, times)
        product = ordered_product(operators[None])[0]
        if a > b:
            product = product.reshape(2, 2, 2, 2).transpose(1, 0, 3, 2).reshape(4, 4)
        log_weight = log_weight + more
        blocks.append(Block((min(a, b), max(a, b)), (i,)))
        matrices.append(product)
    return _trajectory(tuple(blocks), matrices, log_weight, dtype)


def _trajectory(
    blocks: tuple[Block, ...], matrices: list[Array], log_weight: Array, dtype: jnp.dtype
) -> Trajectory:
    parts = [jnp.stack([m.real, jnp.imag(m)]).astype(dtype) for m in matrices]
    return Trajectory(blocks, parts, log_weight.astype(dtype))


def over_trajectories(function, n_qubits: int, n_trajectories: int, drawn):
    """`function` of every trajectory along the first axis of `drawn`: at once, or in chunks that
    keep within a memory limit and are computed again for the gradient."""
    fitting = _MEMORY // (16 * 2**n_qubits)
    if n_trajectories <= fitting:
        return jax.vmap(function)(drawn)
    return lax.map(jax.checkpoint(function), drawn, batch_size=max(1, fitting))


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
    error = jnp.std(lax.stop_gradient(values), axis=0, ddof=1) / jnp.sqrt(n_trajectories)
    return jnp.mean(values, axis=0), error
