"""Reverse mode by uncomputing: the memory of two states, however many blocks.

A block's unitary U is undone by its adjoint, so the states before it need not be kept. Going
backwards with the state s and its cotangent c,

    s ← U† s,    c ← U† c,    ∂L/∂U = (U c) s† = U (c s†)

(the last line with the new s and c). Both are moved alike, so c s† is one matrix product of
arrays that lie ready.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from ._apply import apply_block, evolve, full_tensor, PARTS, StateTensor
from ._blocks import Block

_HIGHEST = lax.Precision.HIGHEST

Unitaries = Sequence[Float[Array, "sections 2 _ _"]]


def evolve_uncomputed(
    unitaries: Unitaries,
    blocks: tuple[Block, ...],
    n_qubits: int,
    state: Float[Array, "2 dim cols"],
) -> Float[Array, "2 dim cols"]:
    """All sections of a plan on full states. Differentiable once, in reverse mode."""

    @jax.custom_vjp
    def run(unitaries: list[Array], state: Array) -> Array:
        def section(state: Array, us: list[Array]) -> tuple[Array, None]:
            return evolve(us, blocks, full_tensor(state, n_qubits), n_qubits), None

        return lax.scan(section, state, unitaries)[0]

    def forward(unitaries: list[Array], state: Array) -> tuple[Array, tuple[list[Array], Array]]:
        out = run(unitaries, state)
        return out, (unitaries, out)

    def backward(kept: tuple[list[Array], Array], cotangent: Array) -> tuple[list[Array], Array]:
        unitaries, out = kept

        def section(
            pair: tuple[Array, Array], us: list[Array]
        ) -> tuple[tuple[Array, Array], list[Array]]:
            return _undo_section(us, blocks, n_qubits, *pair)

        (_, cotangent), gradients = lax.scan(section, (out, cotangent), unitaries, reverse=True)
        return gradients, cotangent

    run.defvjp(forward, backward)
    return run(list(unitaries), state)


def _undo_section(
    unitaries: list[Array], blocks: tuple[Block, ...], n: int, state: Array, cotangent: Array
) -> tuple[tuple[Array, Array], list[Array]]:
    s, c = full_tensor(state, n), full_tensor(cotangent, n)
    gradients: list[Array] = []
    for u, block in zip(reversed(unitaries), reversed(blocks), strict=True):
        if not block.gates:
            gradients.append(jnp.zeros_like(u))
            continue
        adjoint = jnp.stack([u[0].T, -u[1].T])
        apply_block(adjoint, block, s, n)
        apply_block(adjoint, block, c, n)
        gradients.append(_times(u, _outer(c, s, block)))
    for tensor in (s, c):
        tensor.arrange([PARTS, *range(n)])
    shape = state.shape
    return (s.array.reshape(shape), c.array.reshape(shape)), gradients[::-1]


def _outer(c: StateTensor, s: StateTensor, block: Block) -> Float[Array, "2 dim dim"]:
    """c s†, the other wires and the columns summed over."""
    dim = 2 ** len(block.wires)
    inside = {c.axis(PARTS), *(c.axis(w) for w in block.wires)}
    outside = [i for i in range(c.array.ndim) if i not in inside]
    product = lax.dot_general(c.array, s.array, ((outside, outside), ((), ())), precision=_HIGHEST)
    # The block's axes came out in the tensor's order.
    order = sorted([PARTS, *block.wires], key=c.axis)
    side = [order.index(label) for label in (PARTS, *block.wires)]
    product = product.transpose(*side, *(len(side) + i for i in side))
    product = product.reshape(2, dim, 2, dim)
    return jnp.stack([product[0, :, 0] + product[1, :, 1], product[1, :, 0] - product[0, :, 1]])


def _times(a: Float[Array, "2 _ _"], b: Float[Array, "2 _ _"]) -> Float[Array, "2 _ _"]:
    """The product of two complex matrices."""
    dot = lambda x, y: jnp.dot(x, y, precision=_HIGHEST)
    return jnp.stack([dot(a[0], b[0]) - dot(a[1], b[1]), dot(a[0], b[1]) + dot(a[1], b[0])])
