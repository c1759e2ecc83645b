"""Applying a plan to states, in real arithmetic.

A batch of complex states is a real array `(2, 2**n, columns)`: real and imaginary parts first,
columns last. A k-wire block B acts as one real matrix product with

    [[Re B, -Im B], [Im B, Re B]]

over the real/imaginary axis and the block's k wires. The product leaves the block's wires in
front; they are not moved back, the order of the wires is followed instead and restored once at
the end.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Complex, Float

from ._fusion import Plan


def real_form(matrix: Complex[Array, "*b rows cols"]) -> Float[Array, "*b 2*rows 2*cols"]:
    """`[[Re, -Im], [Im, Re]]`: the complex matrix as a real one."""
    re, im = matrix.real, matrix.imag
    top = jnp.concatenate([re, -im], axis=-1)
    bottom = jnp.concatenate([im, re], axis=-1)
    return jnp.concatenate([top, bottom], axis=-2)


def _apply_blocks(
    state: Float[Array, "2 dim cols"],
    matrices: Sequence[Float[Array, "..."]],
    wires: Sequence[tuple[int, ...]],
    n_qubits: int,
) -> Float[Array, "2 dim cols"]:
    cols = state.shape[-1]
    tensor = state.reshape((2,) * (n_qubits + 1) + (cols,))
    order = list(range(n_qubits))
    for matrix, block in zip(matrices, wires, strict=True):
        rows = matrix.shape[0]
        axes = (0, *(order.index(wire) + 1 for wire in block))
        matrix = matrix.reshape((rows,) + (2,) * len(axes))
        # HIGHEST: a TF32 or bfloat16 product would cap the accuracy of the equilibrium.
        tensor = lax.dot_general(
            matrix,
            tensor,
            ((tuple(range(1, len(axes) + 1)), axes), ((), ())),
            precision=lax.Precision.HIGHEST,
        ).reshape((2,) * (n_qubits + 1) + (cols,))
        order = [*block, *(wire for wire in order if wire not in block)]
    back = [order.index(wire) + 1 for wire in range(n_qubits)]
    return tensor.transpose(0, *back, n_qubits + 1).reshape(2, 2**n_qubits, cols)


def apply_plan(
    plan: Plan,
    angles: Float[Array, " n_params"],
    state: Float[Array, "2 dim cols"],
    *,
    unroll: int = 1,
) -> Float[Array, "2 dim cols"]:
    """Applies the planned circuit to every column of `state`.

    **Arguments:**

    - `plan`: from [`make_plan`][].
    - `angles`: in radians, shape `(n_params,)`.
    - `state`: real and imaginary parts of the columns, shape `(2, 2**n, columns)`.
    - `unroll`: sections of a periodic circuit per step of the scan.

    **Returns:**

    The columns after the circuit, same shape.
    """
    matrices = [real_form(u).astype(state.dtype) for u in plan.block_unitaries(angles)]
    wires = [block.wires for block in plan.blocks]
    if plan.n_sections == 1:
        return _apply_blocks(state, [m[0] for m in matrices], wires, plan.n_qubits)

    def section(state: Array, matrices: list[Array]) -> tuple[Array, None]:
        return _apply_blocks(state, matrices, wires, plan.n_qubits), None

    out, _ = lax.scan(section, state, matrices, unroll=unroll)
    return out


def to_complex(state: Float[Array, "2 *shape"]) -> Complex[Array, "*shape"]:
    """Real and imaginary parts to one complex array."""
    return jax.lax.complex(state[0], state[1])


def from_complex(state: Complex[Array, "*shape"] | Float[Array, "*shape"]) -> Array:
    """A complex (or real) array to its real and imaginary parts, stacked in front."""
    return jnp.stack([state.real, jnp.imag(state)])


def apply_wirewise(
    gates: Complex[Array, "n 2 2"], state: Complex[Array, " dim"]
) -> Complex[Array, " dim"]:
    """Applies one single-wire gate to every wire of a state."""
    n = gates.shape[0]
    tensor = state.reshape((2,) * n)
    for wire in range(n):
        product = jnp.tensordot(gates[wire], tensor, (1, wire), precision=lax.Precision.HIGHEST)
        tensor = jnp.moveaxis(product, 0, wire)
    return tensor.reshape(-1)
