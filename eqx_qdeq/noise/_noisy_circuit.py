r"""Noisy circuits in the Pauli basis.

A gate and the noise after it are one real matrix on the gate's wires; its transpose is the
Heisenberg picture. Consecutive steps are multiplied into blocks before they touch the $4^n$
numbers of a state or of an observable.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..circuits import Circuit
from ..measurements import AbstractMeasurement, PauliStrings
from ..simulate import Block, fuse
from ._channel import AbstractChannel
from ._fused import fused_matrices
from ._model import Channels, NoiseModel, PreparationNoise
from ._paulis import coefficients_of_matrices, dot, transfer_of_operators, walsh_hadamard
from ._readout import ReadoutError
from ._steps import by_size, gate_stacks, make_steps


def _block_size(asked: int | None, n_qubits: int) -> int:
    """Wires of a block: three pay where it costs more to move the 4ⁿ numbers, more never do."""
    best = 2 if n_qubits < 9 else 3
    return min(best if asked is None else asked, 3, n_qubits)


class NoisyCircuit(eqx.Module):
    """A circuit with its noise, compiled for its angles: blocks of Pauli transfer matrices."""

    blocks: tuple[Block, ...] = eqx.field(static=True)
    matrices: list[Float[Array, "paulis paulis"]]

    def push(self, vector: Float[Array, "..."]) -> Float[Array, "..."]:
        """A state (its Pauli expectation values, shape `(4,) * n`) through the circuit."""
        n = vector.ndim
        order = list(range(n))
        for block, matrix in zip(self.blocks, self.matrices, strict=True):
            vector, order = _apply(matrix, vector, block.wires, order)
        return vector.transpose([order.index(w) for w in range(n)])

    def pull(self, coefficients: Float[Array, "..."]) -> Float[Array, "..."]:
        """Observables (their Pauli coefficients, shape `(4,) * n + (m,)`) back through it."""
        n = coefficients.ndim - 1
        order = list(range(n))
        for block, matrix in zip(reversed(self.blocks), reversed(self.matrices), strict=True):
            coefficients, order = _apply(matrix.T, coefficients, block.wires, order)
        return coefficients.transpose([*(order.index(w) for w in range(n)), n])


def _apply(
    matrix: Array, tensor: Array, wires: tuple[int, ...], order: list[int]
) -> tuple[Array, list[int]]:
    """A matrix on the axes of `wires`, which it leaves in front; `order` names the axes' wires."""
    k, axes = len(wires), [order.index(w) for w in wires]
    out = dot(matrix.reshape((4,) * (2 * k)), tensor, (tuple(range(k, 2 * k)), axes))
    return out, [*wires, *(w for w in order if w not in wires)]


def noisy_circuit(
    circuit: Circuit,
    angles: Float[Array, " n_params"],
    noise: NoiseModel,
    block_size: int | None = None,
) -> NoisyCircuit:
    """Does what depends on the angles and the rates alone."""
    steps = make_steps(circuit, noise)
    if not steps:
        return NoisyCircuit((), [])
    stacks = {}
    unitaries = gate_stacks(circuit, angles, noise, steps)
    for k, members in by_size(steps).items():
        kinds: dict[tuple[int, ...], int] = {}
        chosen, matrices = [], []
        for step in members:
            kind = tuple(map(id, step.channels))
            if kind not in kinds:
                kinds[kind] = len(kinds)
                matrices.append(transfer_of_channels(step.channels, k).astype(angles.dtype))
            chosen.append(kinds[kind])
        transfers = transfer_of_operators(unitaries[k])
        if any(step.channels for step in members):
            after = jnp.stack(matrices)[np.array(chosen)]
            transfers = jnp.matmul(after, transfers, precision="highest")
        stacks[k] = transfers
    wires = [step.wires for step in steps]
    blocks = fuse(wires, _block_size(block_size, circuit.n_qubits))
    return NoisyCircuit(blocks, fused_matrices(stacks, wires, blocks, 4))


def preparing_circuit(
    preparation: PreparationNoise | None, n_qubits: int, dtype: np.dtype
) -> NoisyCircuit:
    """The noise of the gates that prepare an amplitude encoding."""
    if preparation is None or not preparation.two_wire:
        return NoisyCircuit((), [])
    pairs = preparation.pairs(n_qubits)
    once = transfer_of_channels(preparation.two_wire, 2).astype(dtype)
    with jax.default_matmul_precision("highest"):
        powers = {times: jnp.linalg.matrix_power(once, times) for times in set(pairs.values())}
    blocks, matrices = [], []
    for (a, b), times in pairs.items():
        wires = (min(a, b), max(a, b))
        blocks.append(Block(wires, ()))
        matrices.append(powers[times] if a < b else _swap_wires(powers[times]))
    return NoisyCircuit(tuple(blocks), matrices)


def _swap_wires(matrix: Array) -> Array:
    return matrix.reshape(4, 4, 4, 4).transpose(1, 0, 3, 2).reshape(16, 16)


def transfer_of_channels(channels: Channels, n_wires: int) -> Float[Array, "paulis paulis"]:
    """The transfer matrix of channels on so many wires, one after the other."""
    total = jnp.eye(4**n_wires)
    for channel in channels:
        matrix = _on_all(channel, n_wires)
        total = jnp.dot(matrix, total, precision="highest")
    return total


def _on_all(channel: AbstractChannel, n_wires: int) -> Array:
    one = matrix = channel.transfer()
    if channel.n_wires < n_wires:
        for _ in range(n_wires - 1):
            matrix = jnp.kron(matrix, one)
    return matrix


def observables(
    measurement: AbstractMeasurement,
    n_qubits: int,
    readout: ReadoutError | None,
    dtype: np.dtype,
) -> Float[Array, "..."]:
    """Pauli coefficients of what is measured: of products of I and Z, shape `(2,) * n + (m,)`, if
    there are no others, else of all, shape `(4,) * n + (m,)`."""
    diagonals = measurement.diagonals(n_qubits)
    if diagonals is not None:
        values = np.moveaxis(np.asarray(diagonals, float), 0, -1)
        values = values.reshape((2,) * n_qubits + (-1,)) / 2**n_qubits
        out = jnp.asarray(walsh_hadamard(values, n_qubits), dtype)
    elif isinstance(measurement, PauliStrings):
        measurement.size(n_qubits)
        index = np.zeros((n_qubits + 1, len(measurement)), int)
        for q, string in enumerate(measurement.strings):
            index[-1, q] = q
            for wire, letter in string:
                index[wire, q] = "IXYZ".index(letter)
        shape = (4,) * n_qubits + (len(measurement),)
        out = jnp.zeros(shape, dtype).at[tuple(index)].set(1)
    else:
        eye = jnp.eye(2**n_qubits, dtype=jnp.result_type(dtype, jnp.complex64))
        out = coefficients_of_matrices(measurement.apply(eye))
    return out if readout is None else readout.on_coefficients(out)
