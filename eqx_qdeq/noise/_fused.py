"""Matrices of consecutive steps, multiplied into blocks on a few wires.

The same for transfer matrices (four numbers for each wire) and for operators on states (two): all
steps' matrices are gathered from one pool of numbers into factors of the size of their blocks, and
the factors of each block are multiplied in a tree of batched products.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ..simulate import Block


def fused_matrices(
    stacks: dict[int, Array], wires: Sequence[tuple[int, ...]], blocks: Sequence[Block], base: int
) -> list[Array]:
    """The matrix of every block.

    **Arguments:**

    - `stacks`: the matrices of the steps on k wires, in order, shape `(steps, base**k, base**k)`.
    - `wires`: of every step.
    - `blocks`: which steps are multiplied, and on which wires.
    - `base`: the numbers of a wire.

    **Returns:**

    For each block on k wires an array of shape `(base**k, base**k)`.
    """
    sizes = {k: base ** (2 * k) for k in stacks}
    ends = np.cumsum([0, *(len(stack) * sizes[k] for k, stack in stacks.items())])
    starts = dict(zip(stacks, ends[:-1].tolist(), strict=True))
    zero, one = int(ends[-1]), int(ends[-1]) + 1
    position, seen = [], dict.fromkeys(stacks, 0)
    for ws in wires:
        k = len(ws)
        position.append(starts[k] + seen[k] * sizes[k])
        seen[k] += 1
    flat = [stack.reshape(-1) for stack in stacks.values()]
    dtype = jnp.result_type(*flat) if flat else jnp.result_type(float)
    pool = jnp.concatenate([*flat, jnp.asarray([0, 1], dtype)])

    out: dict[int, Array] = {}
    for k in sorted({len(block.wires) for block in blocks}):
        members = [b for b, block in enumerate(blocks) if len(block.wires) == k]
        length = max(1, *(len(blocks[b].gates) for b in members))
        identity = np.where(np.eye(base**k, dtype=bool), one, zero)
        index = np.tile(identity, (len(members), length, 1, 1))
        for row, b in enumerate(members):
            for f, g in enumerate(blocks[b].gates):
                local = [blocks[b].wires.index(w) for w in wires[g]]
                index[row, f] = _embedded(position[g], local, k, base, zero)
        products = ordered_product(pool[index])
        out |= {b: products[row] for row, b in enumerate(members)}
    return [out[b] for b in range(len(blocks))]


def _embedded(start: int, wires: list[int], k: int, base: int, zero: int) -> np.ndarray:
    """Where the entries of a matrix on some of k wires go, if it begins at `start`."""
    digits = np.arange(base**k)[:, None] // base ** np.arange(k)[::-1] % base
    powers = base ** np.arange(len(wires))[::-1]
    own = digits[:, wires] @ powers
    rest = np.delete(digits, wires, axis=1)
    same = np.all(rest[:, None] == rest[None, :], axis=-1)
    return np.where(same, start + own[:, None] * base ** len(wires) + own[None, :], zero)


def ordered_product(matrices: Array) -> Array:
    """M_{f-1} ⋯ M_1 M_0 along the second axis, by pairing neighbours."""
    while matrices.shape[1] > 1:
        even = matrices.shape[1] // 2 * 2
        paired = jnp.matmul(matrices[:, 1:even:2], matrices[:, 0:even:2], precision="highest")
        matrices = jnp.concatenate([paired, matrices[:, even:]], axis=1)
    return matrices[:, 0]
