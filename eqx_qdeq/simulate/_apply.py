"""Applying a plan to states, in real arithmetic.

A batch of complex states is a real array `(2, 2**n, columns)`: real and imaginary parts first,
columns last. A k-wire block B acts as one real matrix product with

    [[Re B, -Im B], [Im B, Re B]]

over the real/imaginary axis and the block's k wires. The product leaves the block's wires in
front; they are not moved back, the order of the wires is followed instead and restored once at
the end.

A wire comes into the computation when the first block touches it. Until then it is |0⟩ (of the
block's matrix only half is used), or *open*: the columns are the basis states of the open wires,
and the block's own input axis is the column axis. So the matrix of a circuit grows from that of
its first block, and the zeros that pad an amplitude encoding are never multiplied.
"""

import dataclasses
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Complex, Float

from .._precise import dot, HIGHEST, tensordot
from ._blocks import Block, multiply, real_form

PARTS = "parts"  # the label of the axis of real and imaginary parts

# A block's axes go to the front unless fewer than this many axes lie behind them.
# (What lies behind is moved in one piece, and pieces of fewer than 8 numbers are slow.)
_SHORT_RUN = 3

_Label = int | str
"""The number of a wire, ~wire for the input of an open wire, or `PARTS`."""


@dataclasses.dataclass
class StateTensor:
    """States on the wires that were touched: an array with one axis per label, then the columns.

    The axis of parts has length 1 as long as the states are real.
    """

    array: Array
    labels: list[_Label]

    def axis(self, label: _Label) -> int:
        return self.labels.index(label)

    def arrange(self, labels: Sequence[_Label]) -> None:
        self.array = self.array.transpose(*map(self.axis, labels), len(labels))
        self.labels = list(labels)


def apply_block(u: Float[Array, "2 _ _"], block: Block, t: StateTensor, n_open: int) -> None:
    """One block on a tensor. Untouched wires from `n_open` on are open, those before are |0⟩."""
    k = len(block.wires)
    present = [w for w in block.wires if w in t.labels]
    opened = [w for w in block.wires if w not in t.labels and w >= n_open]
    if len(present) == k and not block.gates:
        return
    # A wire in |0⟩ uses the block's first column only, a real state its real columns only.
    n_parts = t.array.shape[t.axis(PARTS)]
    index: list[int | slice] = [*([slice(None)] * (k + 1)), slice(0, n_parts)]
    index += [slice(None) if w in present or w in opened else 0 for w in block.wires]
    matrix = real_form(u).astype(t.array.dtype).reshape((2,) * (2 * k + 2))[tuple(index)]
    inputs = [w for w in block.wires if w in present or w in opened]

    # The contracted axes in the tensor's order, so that what lies together is not moved.
    in_order = sorted(present, key=t.axis)
    contracted = [PARTS, *in_order]
    behind = len(t.labels) - 1 - max(map(t.axis, contracted))
    at_end = t.array.shape[-1] == 1 and len(present) == k and behind < _SHORT_RUN
    of_matrix = [k + 1 if c == PARTS else k + 2 + inputs.index(c) for c in contracted]
    of_tensor = [t.axis(c) for c in contracted]
    rest = [label for label in t.labels if label not in contracted]
    outputs = [PARTS, *block.wires, *(~w for w in opened)]
    if at_end:
        # One state, and the block's axes are among its last ones. Brought to the front, they
        # would be moved number by number; to the end, in longer runs or not at all.
        array = lax.squeeze(t.array, (len(t.labels),))
        dims = ((of_tensor, of_matrix), ((), ()))
        t.array = lax.dot_general(array, matrix, dims, precision=HIGHEST)[..., None]
        t.labels = [*rest, *outputs]
        return
    if t.array.shape[-1] == 1:
        # A batch of these may come from `vmap`, whose axis the product then takes in by itself.
        dims = ((of_matrix, of_tensor), ((), ()))
        t.array = lax.dot_general(matrix, t.array, dims, precision=HIGHEST)
    else:
        t.array = _matrix_product(matrix, of_matrix, t.array, of_tensor)
    t.labels = [*outputs, *rest]


def _matrix_product(
    matrix: Array, of_matrix: Sequence[int], array: Array, of_array: Sequence[int]
) -> Array:
    """The contraction of these axes, as a product of two plain matrices.

    The result is that of `dot_general`. But there the product that is the matrix's gradient has
    to transpose both of its sides axis by axis, which takes twice the time on a CPU.
    """
    rows = [i for i in range(matrix.ndim) if i not in of_matrix]
    columns = [i for i in range(array.ndim) if i not in of_array]
    shape = [matrix.shape[i] for i in rows] + [array.shape[i] for i in columns]
    size = math.prod(matrix.shape[i] for i in of_matrix)
    left = matrix.transpose(*rows, *of_matrix).reshape(-1, size)
    right = array.transpose(*of_array, *columns).reshape(size, -1)
    return dot(left, right).reshape(shape)


def _close(t: StateTensor, open_wires: range, columns: int) -> None:
    """Turns the inputs of the open wires into columns, once all of them are there."""
    # Before that, columns of the matrix would not yet be told apart by all of their bits. A size
    # that is no power of two wastes less than half of them, and only here are they cut off.
    inputs = [~w for w in open_wires]
    if not inputs or any(label not in t.labels for label in inputs):
        return
    others = [label for label in t.labels if label not in inputs]
    t.arrange([*others, *inputs])
    t.array = t.array.reshape(*t.array.shape[: len(others)], -1)[..., :columns]
    t.labels = others


def evolve(
    unitaries: Sequence[Float[Array, "2 _ _"]],
    blocks: Sequence[Block],
    t: StateTensor,
    n_qubits: int,
    open_wires: range = range(0),
    columns: int = 1,
) -> Float[Array, "2 dim cols"]:
    n_open = open_wires.start if len(open_wires) else n_qubits
    for u, block in zip(unitaries, blocks, strict=True):
        apply_block(u, block, t, n_open)
        _close(t, open_wires, columns)
    t.arrange([PARTS, *range(n_qubits)])
    array = t.array.reshape(len(t.array), 2**n_qubits, -1)
    # States that met no block, in a circuit without gates, are as real as they came.
    return array if len(array) == 2 else jnp.concatenate([array, jnp.zeros_like(array)])


def full_tensor(state: Float[Array, "2 dim cols"], n_qubits: int) -> StateTensor:
    array = state.reshape((2,) * (n_qubits + 1) + (state.shape[-1],))
    return StateTensor(array, [PARTS, *range(n_qubits)])


def to_complex(state: Float[Array, "2 *shape"]) -> Complex[Array, "*shape"]:
    """Real and imaginary parts to one complex array.

    !!! example

        ```python
        import jax.numpy as jnp
        from eqx_qdeq import simulate

        simulate.to_complex(jnp.array([[0.6, 0.0], [0.0, 0.8]]))  # [0.6+0.j 0. +0.8j]
        ```

    **Arguments:**

    - `state`: real parts, then imaginary parts, shape `(2, ...)`.

    **Returns:** a complex array of shape `(...)`.
    """
    return jax.lax.complex(state[0], state[1])


def from_complex(state: Complex[Array, "*shape"] | Float[Array, "*shape"]) -> Array:
    """A complex (or real) array to its real and imaginary parts, stacked in front.

    !!! example

        ```python
        import jax.numpy as jnp
        from eqx_qdeq import simulate

        simulate.from_complex(jnp.array([0.6, 0.8j])).shape  # (2, 2)
        ```

    **Arguments:**

    - `state`: of any shape.

    **Returns:** real parts, then imaginary parts, shape `(2, ...)`.
    """
    return jnp.stack([state.real, jnp.imag(state)])


def apply_wirewise(
    gates: Complex[Array, "n 2 2"], state: Complex[Array, " dim"]
) -> Complex[Array, " dim"]:
    """Applies one single-wire gate to every wire of a state.

    !!! example

        ```python
        import jax.numpy as jnp
        from eqx_qdeq import simulate

        hadamard = jnp.array([[1, 1], [1, -1]], complex) / 2**0.5
        state = jnp.array([1, 0, 0, 0], complex)
        simulate.apply_wirewise(jnp.stack([hadamard, hadamard]), state).real
        # [0.5 0.5 0.5 0.5]
        ```

    **Arguments:**

    - `gates`: one for each wire, shape `(n, 2, 2)`.
    - `state`: shape `(2**n,)`.

    **Returns:** the state after the gates, shape `(2**n,)`.
    """
    n = gates.shape[0]
    tensor = state.reshape((2,) * n)
    for wire in range(n):
        tensor = jnp.moveaxis(tensordot(gates[wire], tensor, (1, wire)), 0, wire)
    return tensor.reshape(-1)


# --- Reverse mode by uncomputing: the memory of two states, however many blocks ------------------
#
# A block's unitary U is undone by its adjoint, so the states before it need not be kept. Going
# backwards with the state s and its cotangent c,
#
#     s ← U† s,    c ← U† c,    ∂L/∂U = (U c) s† = U (c s†)
#
# (the last line with the new s and c). Both are moved alike, so c s† is one matrix product of
# arrays that lie ready.


def evolve_uncomputed(
    unitaries: Sequence[Float[Array, "sections 2 _ _"]],
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
            gradients.append(jnp.zeros_like(u))  # an idle wire's block is never multiplied
            continue
        adjoint = jnp.stack([u[0].T, -u[1].T])  # Re U† = (Re U)ᵀ, Im U† = -(Im U)ᵀ
        apply_block(adjoint, block, s, n)
        apply_block(adjoint, block, c, n)
        gradients.append(multiply(u, _outer(c, s, block)))
    for tensor in (s, c):
        tensor.arrange([PARTS, *range(n)])
    shape = state.shape
    return (s.array.reshape(shape), c.array.reshape(shape)), gradients[::-1]


def _outer(c: StateTensor, s: StateTensor, block: Block) -> Float[Array, "2 dim dim"]:
    """c s†, the other wires and the columns summed over."""
    dim = 2 ** len(block.wires)
    inside = {c.axis(PARTS), *(c.axis(w) for w in block.wires)}
    outside = [i for i in range(c.array.ndim) if i not in inside]
    product = lax.dot_general(c.array, s.array, ((outside, outside), ((), ())), precision=HIGHEST)
    # With c = ∂L/∂Re + i ∂L/∂Im, the cotangents of both parts, dL = Re tr(c† dU s): the gradient of
    # L in the parts of U is c s† in the same sense. (a + ib)(x + iy)† = (a xᵀ + b yᵀ) + i (b xᵀ -
    # a yᵀ): the product above holds all four of these, with axes in the tensor's order.
    order = sorted([PARTS, *block.wires], key=c.axis)
    side = [order.index(label) for label in (PARTS, *block.wires)]
    product = product.transpose(*side, *(len(side) + i for i in side))
    product = product.reshape(2, dim, 2, dim)
    return jnp.stack([product[0, :, 0] + product[1, :, 1], product[1, :, 0] - product[0, :, 1]])
