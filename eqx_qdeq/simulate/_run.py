"""Running a plan: on states, on real vectors, or for the circuit's matrix."""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from ._apply import evolve, full_tensor, PARTS, StateTensor
from ._fusion import Plan
from ._uncompute import evolve_uncomputed

Gradient = Literal["stored", "checkpointed", "uncomputed"]
GRADIENTS = ("stored", "checkpointed", "uncomputed")


def _apply_sections(
    plan: Plan,
    angles: Float[Array, " n_params"],
    t: StateTensor,
    *,
    open_wires: range = range(0),
    columns: int = 1,
    unroll: int = 1,
    gradient: Gradient = "stored",
) -> Float[Array, "2 dim cols"]:
    n = plan.n_qubits
    unitaries = plan.unitaries(angles)

    def first(array: Array, unitaries: list[Array]) -> Array:
        tensor = StateTensor(array, list(t.labels))
        return evolve(unitaries, plan.blocks, tensor, n, open_wires, columns)

    def section(state: Array, unitaries: list[Array]) -> tuple[Array, None]:
        return evolve(unitaries, plan.blocks, full_tensor(state, n), n), None

    if gradient == "checkpointed":
        first, section = jax.checkpoint(first), jax.checkpoint(section)
    # The first section brings the wires in; the others all look alike.
    state = first(t.array, [u[0] for u in unitaries])
    if plan.n_sections == 1:
        return state
    out, _ = lax.scan(section, state, [u[1:] for u in unitaries], unroll=unroll)
    return out


@eqx.filter_jit
def apply_plan(
    plan: Plan,
    angles: Float[Array, " n_params"],
    state: Float[Array, "2 dim cols"],
    *,
    unroll: int = 1,
    gradient: Gradient = "stored",
) -> Float[Array, "2 dim cols"]:
    """Applies the planned circuit to every column of `state`.

    **Arguments:**

    - `plan`: from [`make_plan`][].
    - `angles`: in radians, shape `(n_params,)`.
    - `state`: real and imaginary parts of the columns, shape `(2, 2**n, columns)`.
    - `unroll`: sections of a periodic circuit per step of the scan.
    - `gradient`: what reverse mode keeps. `"stored"`: the states before every block.
        `"checkpointed"`: those before every section; the others are computed again.
        `"uncomputed"`: none; going back, they are recovered from the result by the blocks'
        adjoints. The last one has no forward mode and no second derivatives.

    **Returns:**

    The columns after the circuit, same shape.
    """
    n = plan.n_qubits
    if gradient == "uncomputed":
        return evolve_uncomputed(plan.unitaries(angles), plan.blocks, n, state)
    return _apply_sections(plan, angles, full_tensor(state, n), unroll=unroll, gradient=gradient)


def apply_plan_to_real(
    plan: Plan,
    angles: Float[Array, " n_params"],
    vectors: Float[Array, "p cols"],
    *,
    gradient: Gradient = "stored",
) -> Float[Array, "2 dim cols"]:
    """As [`apply_plan`][], for states of which the first p ≤ 2ⁿ amplitudes are real and the
    others zero."""
    wires = _low_wires(plan.n_qubits, vectors.shape[0])
    padded = jnp.pad(vectors, ((0, 2 ** len(wires) - vectors.shape[0]), (0, 0)))
    if gradient == "uncomputed":
        dim = 2**plan.n_qubits
        state = jnp.zeros((2, dim, vectors.shape[1]), vectors.dtype)
        state = state.at[0, : padded.shape[0]].set(padded)
        return apply_plan(plan, angles, state, gradient=gradient)
    tensor = StateTensor(padded.reshape((1,) + (2,) * len(wires) + (-1,)), [PARTS, *wires])
    return _apply_sections(plan, angles, tensor, gradient=gradient)


def plan_columns(
    plan: Plan, angles: Float[Array, " n_params"], columns: int
) -> Float[Array, "2 dim columns"]:
    """The first `columns` columns of the circuit's matrix."""
    wires = _low_wires(plan.n_qubits, columns)
    one = StateTensor(jnp.ones((1, 1), angles.dtype), [PARTS])
    return _apply_sections(plan, angles, one, open_wires=wires, columns=columns)


def _low_wires(n_qubits: int, size: int) -> range:
    """The last wires, as many as it takes to number `size` basis states."""
    return range(n_qubits - min(n_qubits, (size - 1).bit_length()), n_qubits)
