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
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Complex, Float

from ._blocks import Block
from ._fusion import Plan
from ._product import real_form


@dataclasses.dataclass
class _Tensor:
    """States on the wires that were touched, as an array with one axis for each label.

    Axes: real and imaginary parts (or only real parts), the labels, the columns. A label is the
    number of a wire, or ~wire for the input of an open wire.
    """

    array: Array
    labels: list[int]

    def wires(self) -> list[int]:
        return [label for label in self.labels if label >= 0]


def _apply_block(matrix: Float[Array, "rows rows"], block: Block, t: _Tensor, n_open: int):
    """One block on a tensor. Untouched wires from `n_open` on are open, those before are |0⟩."""
    k, labels = len(block.wires), t.labels
    present = [w for w in block.wires if w in labels]
    opened = [w for w in block.wires if w not in labels and w >= n_open]
    if not block.gates and not opened and len(present) == k:
        return
    parts = t.array.shape[0]
    m = matrix.reshape((2,) + (2,) * k + (2,) + (2,) * k)
    # A wire in |0⟩ uses the block's first column only, a real state its real columns only.
    index: list[int | slice] = [slice(None)] * (k + 1) + [slice(0, parts)]
    index += [slice(None) if w in present or w in opened else 0 for w in block.wires]
    m = m[tuple(index)]
    kept = [w for w in block.wires if w in present or w in opened]
    axis = {w: k + 2 + i for i, w in enumerate(kept)}
    # HIGHEST: a TF32 or bfloat16 product would cap the accuracy of the equilibrium.
    t.array = lax.dot_general(
        m,
        t.array,
        (
            ((k + 1, *(axis[w] for w in present)), (0, *(1 + labels.index(w) for w in present))),
            ((), ()),
        ),
        precision=lax.Precision.HIGHEST,
    )
    rest = [label for label in labels if label not in present]
    t.labels = [*block.wires, *(~w for w in opened), *rest]


def _close(t: _Tensor, open_wires: range, columns: int) -> None:
    """Turns the inputs of the open wires into columns, once all of them are there."""
    inputs = [~w for w in open_wires]
    if not inputs or any(label not in t.labels for label in inputs):
        return
    wires = t.wires()
    order = [t.labels.index(label) + 1 for label in (*wires, *inputs)]
    array = t.array[..., 0].transpose(0, *order)
    array = array.reshape(*array.shape[: len(wires) + 1], -1)
    t.array, t.labels = array[..., :columns], wires


def _evolve(
    matrices: Sequence[Float[Array, "_ _"]],
    blocks: Sequence[Block],
    t: _Tensor,
    n_qubits: int,
    open_wires: range = range(0),
    columns: int = 1,
) -> Float[Array, "2 dim cols"]:
    n_open = open_wires.start if len(open_wires) else n_qubits
    for matrix, block in zip(matrices, blocks, strict=True):
        _apply_block(matrix, block, t, n_open)
        _close(t, open_wires, columns)
    order = [t.labels.index(wire) + 1 for wire in range(n_qubits)]
    return t.array.transpose(0, *order, n_qubits + 1).reshape(2, 2**n_qubits, -1)


def _apply_sections(
    plan: Plan,
    angles: Float[Array, " n_params"],
    t: _Tensor,
    *,
    open_wires: range = range(0),
    columns: int = 1,
    unroll: int = 1,
) -> Float[Array, "2 dim cols"]:
    n = plan.n_qubits
    matrices = [real_form(u).astype(t.array.dtype) for u in plan.unitaries(angles)]
    # The first section brings the wires in; the others all look alike.
    state = _evolve([m[0] for m in matrices], plan.blocks, t, n, open_wires, columns)
    if plan.n_sections == 1:
        return state

    def section(state: Array, matrices: list[Array]) -> tuple[Array, None]:
        return _evolve(matrices, plan.blocks, _full(state, n), n), None

    out, _ = lax.scan(section, state, [m[1:] for m in matrices], unroll=unroll)
    return out


def _full(state: Float[Array, "2 dim cols"], n_qubits: int) -> _Tensor:
    array = state.reshape((2,) * (n_qubits + 1) + (state.shape[-1],))
    return _Tensor(array, list(range(n_qubits)))


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
    return _apply_sections(plan, angles, _full(state, plan.n_qubits), unroll=unroll)


def apply_plan_to_real(
    plan: Plan, angles: Float[Array, " n_params"], vectors: Float[Array, "p cols"]
) -> Float[Array, "2 dim cols"]:
    """As [`apply_plan`][], for states of which the first p ≤ 2ⁿ amplitudes are real and the
    others zero."""
    wires = _low_wires(plan.n_qubits, vectors.shape[0])
    padded = jnp.pad(vectors, ((0, 2 ** len(wires) - vectors.shape[0]), (0, 0)))
    array = padded.reshape((1,) + (2,) * len(wires) + (-1,))
    return _apply_sections(plan, angles, _Tensor(array, list(wires)))


def plan_columns(
    plan: Plan, angles: Float[Array, " n_params"], columns: int
) -> Float[Array, "2 dim columns"]:
    """The first `columns` columns of the circuit's matrix."""
    wires = _low_wires(plan.n_qubits, columns)
    one = _Tensor(jnp.ones((1, 1), angles.dtype), [])
    return _apply_sections(plan, angles, one, open_wires=wires, columns=columns)


def _low_wires(n_qubits: int, size: int) -> range:
    """The last wires, as many as it takes to number `size` basis states."""
    return range(n_qubits - min(n_qubits, (size - 1).bit_length()), n_qubits)


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
