r"""Sampling a channel's operators.

A channel is $\Lambda(\rho)=\sum_i w_i B_i\rho B_i^\dagger$. One of the $B_i$ is drawn with the
probability $q_i$ that it has in the maximally mixed state, whatever the state is, and weighted by
$w_i/q_i$: the mean over draws is Λ(ρ). As $q_i$ is a constant for differentiation, the mean of the
draws' derivatives is the derivative of Λ(ρ), in the angles and in the rates. (Draws whose
probabilities depend on the state, as is usual for trajectories, have a biased derivative.)
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Complex, Float, PRNGKeyArray

from ..circuits import Circuit
from ._channel import AbstractChannel
from ._model import Channels, NoiseModel
from ._steps import by_size, gate_stacks, Step


def sample_channel(
    key: PRNGKeyArray, channel: AbstractChannel, shape: tuple[int, ...]
) -> tuple[Float[Array, "..."], Complex[Array, "..."]]:
    """Weights and operators of independent draws, shapes `shape` and `shape + (dim, dim)`."""
    weights, operators = channel.branches()
    squares = jnp.sum(operators.real**2 + operators.imag**2, axis=(1, 2)) / operators.shape[1]
    odds = lax.stop_gradient(weights * squares)
    odds = odds / jnp.sum(odds)
    drawn = jax.random.categorical(key, jnp.log(odds), shape=shape)
    return weights[drawn] / odds[drawn], operators[drawn]


def sample_channels(
    key: PRNGKeyArray, channels: Channels, n_wires: int, count: int
) -> tuple[Float[Array, ""], Complex[Array, "count dim dim"]]:
    """The total weight and the operators of `count` rounds of channels on so many wires."""
    log_weight = jnp.zeros(())
    total = jnp.broadcast_to(jnp.eye(2**n_wires), (count, 2**n_wires, 2**n_wires))
    for i, channel in enumerate(channels):
        key_i = jax.random.fold_in(key, i)
        if channel.n_wires == n_wires:
            weights, operators = sample_channel(key_i, channel, (count,))
        else:
            weights, each = sample_channel(key_i, channel, (count, n_wires))
            operators = each[:, 0]
            for wire in range(1, n_wires):
                operators = jax.vmap(jnp.kron)(operators, each[:, wire])
        log_weight = log_weight + jnp.sum(jnp.log(weights))
        total = jnp.matmul(operators, total, precision="highest")
    return log_weight, total


def sample_steps(
    key: PRNGKeyArray,
    circuit: Circuit,
    angles: Float[Array, " n_params"],
    noise: NoiseModel,
    steps: list[Step],
) -> tuple[Float[Array, ""], dict[int, Complex[Array, "steps dim dim"]]]:
    """The log of the total weight, and every step's gate followed by drawn operators."""
    unitaries = gate_stacks(circuit, angles, noise, steps)
    log_weight, out, counter = jnp.zeros(()), {}, 0
    for k, members in by_size(steps).items():
        kinds: dict[tuple[int, ...], list[int]] = {}
        for position, step in enumerate(members):
            kinds.setdefault(tuple(map(id, step.channels)), []).append(position)
        stack = unitaries[k]
        for positions in kinds.values():
            channels = members[positions[0]].channels
            if not channels:
                continue
            key_i, counter = jax.random.fold_in(key, counter), counter + 1
            more, operators = sample_channels(key_i, channels, k, len(positions))
            log_weight = log_weight + more
            index = np.array(positions)
            applied = jnp.matmul(operators.astype(stack.dtype), stack[index], precision="highest")
            stack = stack.at[index].set(applied)
        out[k] = stack
    return log_weight, out
