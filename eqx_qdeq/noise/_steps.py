"""A noisy circuit as a list of steps, and the steps' matrices multiplied into blocks.

A step is a gate and the channels after it, or channels alone. What a step's matrix is depends on
who evaluates the circuit: a transfer matrix (four numbers for each wire), or an operator on states
(two). How matrices are fused does not.
"""

import dataclasses
import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from .._precise import matmul
from ..circuits import Circuit, one_angle_each
from ..simulate import Block, constant_matrix, entry_layout, fuse, gate_entries
from ._model import Channels, NoiseModel

# For each gate with an angle of rotation, which of its angles that is.
_OWN_ANGLE = {
    **dict.fromkeys("Rx Ry Rz U1 CRx CRy CRz CU1 ISWAP XXPhase YYPhase ZZPhase".split(), 0),
    **dict.fromkeys("U3 CU3 PhasedX".split(), 0),
    "PhasedISWAP": 1,
}


@dataclasses.dataclass(frozen=True, eq=False)
class Step:
    """A gate of the circuit, by its position (`None`: no gate), and then `channels`.

    A channel on one wire acts on each of the step's wires.
    """

    wires: tuple[int, ...]
    gate: int | None
    channels: Channels


def make_steps(circuit: Circuit, noise: NoiseModel) -> list[Step]:
    """The steps of a circuit in an order in which they can be carried out."""
    steps = [
        Step(wires, g, noise.after(gate, wires))
        for g, (gate, wires) in enumerate(zip(circuit.gates, circuit.wires, strict=True))
    ]
    if not noise.idle:
        return steps
    # As early as possible: a gate begins when the last of its wires is free. All moments last
    # equally long, so a wire that no gate of a moment touches waits for one unit of idle noise.
    moments: dict[int, list[Step]] = {}
    free = [0] * circuit.n_qubits
    for step in steps:
        moment = max(free[w] for w in step.wires)
        moments.setdefault(moment, []).append(step)
        for w in step.wires:
            free[w] = moment + 1
    out = []
    for gates in moments.values():
        busy = {w for step in gates for w in step.wires}
        waiting = [w for w in range(circuit.n_qubits) if w not in busy]
        out += [*gates, *(Step((w,), None, noise.idle) for w in waiting)]
    return out


def _kinds_of_channels(steps: list[Step]) -> tuple[list[Channels], np.ndarray]:
    """The different channels that follow the steps, and which of them follow each step."""
    # Compared by identity, as rates may be traced. They are few: those that the model holds.
    keys = [tuple(map(id, step.channels)) for step in steps]
    kinds = dict(zip(keys, (step.channels for step in steps), strict=True))
    number = {key: i for i, key in enumerate(kinds)}
    return list(kinds.values()), np.array([number[key] for key in keys])


def gate_stacks(
    circuit: Circuit, angles: Float[Array, " n_params"], noise: NoiseModel, steps: list[Step]
) -> dict[int, tuple[Complex[Array, "_ _ _"], list[Channels], np.ndarray]]:
    """Of the steps on k wires, in order: the unitaries of their gates (1 where there is none), the
    different channels after them, and which of these follow each step."""
    if noise.over_rotation is not None:
        circuit, angles = _own_angles(circuit, angles, noise)
    # One pool of numbers for all gates: entries that depend on angles, then constants, each once.
    # The stacks are gathers from it, so the traced operations do not grow with the circuit.
    entries, (starts, end) = gate_entries(circuit, angles), entry_layout(circuit)
    positions, constants, out = dict(starts), [np.zeros(0)], {}
    for k in sorted({len(step.wires) for step in steps}):
        members = [step for step in steps if len(step.wires) == k]
        # The negative numbers stand for "no gate", on so many wires.
        gates = [-k if step.gate is None else step.gate for step in members]
        for gate in gates:
            if gate not in positions:
                matrix = np.eye(2**k) if gate < 0 else constant_matrix(circuit.gates[gate])  # pyright: ignore[reportArgumentType]
                positions[gate] = end + sum(map(np.size, constants))
                constants.append(matrix.reshape(-1))
        index = np.array([positions[gate] for gate in gates])[:, None] + np.arange(4**k)
        out[k] = index.reshape(-1, 2**k, 2**k), *_kinds_of_channels(members)
    pool = jnp.concatenate([entries, jnp.asarray(np.concatenate(constants), entries.dtype)])
    return {k: (pool[index], kinds, which) for k, (index, kinds, which) in out.items()}


def _own_angles(circuit: Circuit, angles: Array, noise: NoiseModel) -> tuple[Circuit, Array]:
    """The same gates with a parameter for each angle of each gate, and what is carried out.

    Gates that share a parameter may do so with other scales and offsets, and U3 has one angle of
    rotation among three: only angle by angle can they be turned too far.
    """
    own, index, scales, offsets = one_angle_each(circuit)
    if not len(index):
        return circuit, angles
    error, slots = noise.over_rotation, zip(circuit.gates, circuit.params, strict=True)
    rotates = [_OWN_ANGLE.get(str(gate)) == s for gate, ps in slots for s in range(len(ps))]
    meant = angles[index] * scales.astype(angles.dtype) + offsets.astype(angles.dtype)
    assert error is not None
    turned = meant * (1 + error.relative) + error.absolute
    return own, jnp.where(np.array(rotates), turned, meant).astype(angles.dtype)


def fused(
    steps: list[Step], stacks: dict[int, Array], block_size: int, base: int
) -> tuple[tuple[Block, ...], list[Array]]:
    """The steps' matrices multiplied into blocks: gathered from one pool of numbers into factors of
    the size of their blocks, and multiplied in a tree of batched products.

    **Arguments:**

    - `steps`: one or more.
    - `stacks`: the matrices of the steps on k wires, in order, shape `(steps, base**k, base**k)`.
    - `block_size`: on how many wires a block acts at most.
    - `base`: the numbers of a wire.

    **Returns:**

    The blocks, and for each one on k wires an array of shape `(base**k, base**k)`.
    """
    wires = [step.wires for step in steps]
    blocks = fuse(wires, block_size)
    # Where each step's matrix begins in the pool: stack after stack, matrix after matrix.
    starts, end = {}, 0
    for k, stack in stacks.items():
        starts[k] = iter(range(end, end + stack.size, base ** (2 * k)))
        end += stack.size
    position = [next(starts[len(ws)]) for ws in wires]
    flat = [stack.reshape(-1) for stack in stacks.values()]
    pool = jnp.concatenate([*flat, jnp.asarray([0, 1], flat[0].dtype)])
    zero, one = end, end + 1

    out: dict[int, Array] = {}
    for k in sorted({len(block.wires) for block in blocks}):
        members = [b for b, block in enumerate(blocks) if len(block.wires) == k]
        length = max(1, *(len(blocks[b].gates) for b in members))
        # Blocks with fewer steps are filled up with identities.
        identity = np.where(np.eye(base**k, dtype=bool), one, zero)
        index = np.tile(identity, (len(members), length, 1, 1))
        for row, b in enumerate(members):
            for f, g in enumerate(blocks[b].gates):
                local = [blocks[b].wires.index(w) for w in wires[g]]
                index[row, f] = _embedded(position[g], local, k, base, zero)
        products = ordered_product(pool[index])
        out |= {b: products[row] for row, b in enumerate(members)}
    return blocks, [out[b] for b in range(len(blocks))]


def _embedded(start: int, wires: list[int], k: int, base: int, zero: int) -> np.ndarray:
    """Where the entries of a matrix on some of k wires go, if it begins at `start`."""
    # M ⊗ 1 has the entry M[own, own'] where the digits of all other wires agree, and 0 elsewhere.
    digits = np.arange(base**k)[:, None] // base ** np.arange(k)[::-1] % base
    own = digits[:, wires] @ base ** np.arange(len(wires))[::-1]
    rest = np.delete(digits, wires, axis=1)
    same = np.all(rest[:, None] == rest[None, :], axis=-1)
    return np.where(same, start + own[:, None] * base ** len(wires) + own[None, :], zero)


def ordered_product(matrices: Array) -> Array:
    """M_{f-1} ⋯ M_1 M_0 along the second axis, by pairing neighbors."""
    while matrices.shape[1] > 1:
        even = matrices.shape[1] // 2 * 2
        paired = matmul(matrices[:, 1:even:2], matrices[:, 0:even:2])
        matrices = jnp.concatenate([paired, matrices[:, even:]], axis=1)
    return matrices[:, 0]


def on_pair(matrix: Any, pair: tuple[int, int]) -> tuple[Block, Any]:
    """A matrix on two wires as a block, whose wires are in ascending order."""
    # It names a gate, though there is none: a block that is empty would be passed over.
    block = Block((min(pair), max(pair)), (0,))
    return block, matrix if pair[0] < pair[1] else swapped_wires(matrix)


def swapped_wires(matrices: Any) -> Any:
    """Matrices on two wires, shape `(..., base**2, base**2)`, with the wires' roles exchanged."""
    base = math.isqrt(matrices.shape[-1])
    tensor = matrices.reshape(-1, base, base, base, base)
    return tensor.transpose(0, 2, 1, 4, 3).reshape(matrices.shape)
