"""Running a plan: on states, on real vectors, for the circuit's matrix; and as a linear map."""

import abc
from collections.abc import Callable, Sequence
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from .._memory import check_memory, within_memory
from .._precise import tensordot
from ._apply import evolve, evolve_uncomputed, full_tensor, PARTS, StateTensor
from ._plan import Plan

Gradient = Literal["stored", "checkpointed", "uncomputed"]
"""What reverse mode keeps of a circuit's states: all, those before each repetition of a periodic
circuit, or none; see [large states](../concepts.md#large-states)."""
GRADIENTS = ("stored", "checkpointed", "uncomputed")

# Amplitudes of all columns together, above which they go through a circuit one by one.
_TOGETHER = 2**19

_REMEDY = (
    "Take fewer wires, fewer samples at a time (`QuantumLayer.map` does), or lay the states over "
    'several devices (`map_batch` with a mesh that has an axis "amplitudes").'
)


def _at_once(plan: Plan) -> int:
    """How many states there are at least for each that goes through a circuit."""
    # A block's input and its output; the first block's input may be small.
    return 1 if len(plan.blocks) * plan.n_sections < 3 else 2


def _check_states(plan: Plan, dtype: jnp.dtype, columns: int, *, stored: int = 0) -> None:
    """Refuses states that cannot fit, before any is made: so many at once, and those `stored`."""
    size = (columns * _at_once(plan) + stored) * _state_bytes(plan, dtype)
    check_memory(size, _states(plan, max(columns, stored)), _REMEDY)


def _state_bytes(plan: Plan, dtype: jnp.dtype) -> float:
    return 2.0 * 2**plan.n_qubits * dtype.itemsize


def _states(plan: Plan, columns: int) -> str:
    return f"a circuit on {plan.n_qubits} wires" + f", on {columns} states" * (columns > 1)


def _within(plan: Plan, angles: Array, states: Array, gradient: Gradient) -> Array:
    """States after the circuit, unless they cannot fit, or not with what reverse mode keeps."""
    columns, each = states.shape[-1], _state_bytes(plan, states.dtype)
    # Reverse mode keeps the inputs of all blocks that come when every wire is there.
    touched: set[int] = set()
    late = 0
    for block in plan.blocks:
        late += len(touched) == plan.n_qubits
        touched |= set(block.wires)
    turns = plan.n_sections - 1
    kept = {"stored": late + turns * len(plan.blocks), "checkpointed": turns}.get(gradient, 0)
    return within_memory(
        states,
        angles,
        _states(plan, columns),
        _REMEDY + ' For gradients see `gradient="checkpointed"` and "uncomputed".' * (kept > 0),
        bytes=_at_once(plan) * columns * each,
        kept=kept * columns * each,
    )


def _apply_sections(
    plan: Plan,
    unitaries: Sequence[Float[Array, "sections 2 _ _"]],
    t: StateTensor,
    *,
    open_wires: range = range(0),
    columns: int = 1,
    unroll: int = 1,
    gradient: Gradient = "stored",
) -> Float[Array, "2 dim cols"]:
    n = plan.n_qubits

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

    !!! example

        ```python
        import jax.numpy as jnp
        import eqx_qdeq as qdeq
        from eqx_qdeq import simulate

        plan = simulate.make_plan(qdeq.circuits.hardware_efficient(n_qubits=2, depth=1))
        # |00⟩: real parts, imaginary parts.
        state = jnp.zeros((2, 4, 1)).at[0, 0].set(1)
        simulate.apply_plan(plan, jnp.zeros(4), state)[0, :, 0]  # [1. 0. 0. 0.]
        ```

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

    **Raises:** `MemoryError` if they cannot fit.
    """
    n = plan.n_qubits
    if gradient == "uncomputed":
        out = evolve_uncomputed(plan.unitaries(angles), plan.blocks, n, state)
        return _within(plan, angles, out, gradient)
    unitaries, tensor = plan.unitaries(angles), full_tensor(state, n)
    out = _apply_sections(plan, unitaries, tensor, unroll=unroll, gradient=gradient)
    return _within(plan, angles, out, gradient)


def apply_plan_to_real(
    plan: Plan,
    angles: Float[Array, " n_params"],
    vectors: Float[Array, "p cols"],
    *,
    gradient: Gradient = "stored",
) -> Float[Array, "2 dim cols"]:
    """As [`apply_plan`][], for states of which the first p ≤ 2ⁿ amplitudes are real and the
    others zero.

    !!! example

        ```python
        import jax.numpy as jnp
        import eqx_qdeq as qdeq
        from eqx_qdeq import simulate

        plan = simulate.make_plan(qdeq.circuits.hardware_efficient(n_qubits=2, depth=1))
        vectors = jnp.array([[0.6], [0.8]])  # 0.6|00⟩ + 0.8|01⟩
        simulate.apply_plan_to_real(plan, jnp.zeros(4), vectors).shape  # (2, 4, 1)
        ```

    **Arguments:**

    - `plan`, `angles`, `gradient`: as for `apply_plan`.
    - `vectors`: the columns, shape `(p, columns)`.

    **Returns:** the columns after the circuit, shape `(2, 2**n, columns)`.

    **Raises:** `MemoryError` if they cannot fit.
    """
    n_columns = vectors.shape[1]
    at_once, stored = (n_columns, 0) if together(n_columns, 2**plan.n_qubits) else (1, n_columns)
    _check_states(plan, vectors.dtype, at_once, stored=stored)
    unitaries = plan.unitaries(angles)

    def apply(vectors: Array) -> Array:
        out = _apply_to_real(plan, unitaries, vectors, gradient=gradient)
        return _within(plan, angles, out, gradient)

    return apply_columns(apply, vectors, 2**plan.n_qubits)


def together(columns: int, rows: int) -> bool:
    """Whether so many columns go through a circuit at once."""
    return columns == 1 or columns * rows <= _TOGETHER


def apply_columns(
    apply: Callable[[Array], Array], columns: Float[Array, "*in cols"], rows: int
) -> Float[Array, "2 rows cols"]:
    """`apply(columns)`, or one column after the other where they are many and wide."""
    if together(columns.shape[-1], rows):
        return apply(columns)
    # What is differentiated is computed again, one column at a time, or all of them would keep what
    # one needs. In the caches of a processor a state alone is also moved faster than many.
    one = jax.checkpoint(lambda column: apply(column[..., None])[..., 0])
    return jnp.moveaxis(lax.map(one, jnp.moveaxis(columns, -1, 0)), 0, -1)


def _apply_to_real(
    plan: Plan,
    unitaries: Sequence[Float[Array, "sections 2 _ _"]],
    vectors: Float[Array, "p cols"],
    *,
    gradient: Gradient,
) -> Float[Array, "2 dim cols"]:
    n, columns = plan.n_qubits, vectors.shape[1]
    if gradient == "uncomputed":
        # Going back, the states would have to leave the wires again that came in one by one; here
        # all wires are there from the start.
        padded = jnp.pad(vectors, ((0, 2**n - vectors.shape[0]), (0, 0)))
        state = jnp.stack([padded, jnp.zeros_like(padded)])
        return evolve_uncomputed(unitaries, plan.blocks, n, state)
    wires = _low_wires(n, vectors.shape[0])
    padded = jnp.pad(vectors, ((0, 2 ** len(wires) - vectors.shape[0]), (0, 0)))
    tensor = StateTensor(padded.reshape((1,) + (2,) * len(wires) + (columns,)), [PARTS, *wires])
    return _apply_sections(plan, unitaries, tensor, gradient=gradient)


def plan_columns(
    plan: Plan, angles: Float[Array, " n_params"], columns: int
) -> Float[Array, "2 dim columns"]:
    """The first `columns` columns of the circuit's matrix.

    !!! example

        ```python
        import jax.numpy as jnp
        import eqx_qdeq as qdeq
        from eqx_qdeq import simulate

        plan = simulate.make_plan(qdeq.circuits.hardware_efficient(n_qubits=2, depth=1))
        simulate.plan_columns(plan, jnp.zeros(4), 4)[0]
        # [[1. 0. 0. 0.]
        #  [0. 1. 0. 0.]
        #  [0. 0. 0. 1.]
        #  [0. 0. 1. 0.]]
        ```

    **Arguments:**

    - `plan`, `angles`: as for `apply_plan`.
    - `columns`: how many.

    **Returns:** their real and imaginary parts, shape `(2, 2**n, columns)`.

    **Raises:** `MemoryError` if they cannot fit.
    """
    _check_states(plan, angles.dtype, 0, stored=columns)
    wires = _low_wires(plan.n_qubits, columns)
    one = StateTensor(jnp.ones((1, 1), angles.dtype), [PARTS])
    unitaries = plan.unitaries(angles)
    return _apply_sections(plan, unitaries, one, open_wires=wires, columns=columns)


def _low_wires(n_qubits: int, size: int) -> range:
    """The last wires, as many as it takes to number `size` basis states."""
    return range(n_qubits - min(n_qubits, (size - 1).bit_length()), n_qubits)


# --- Propagators ------------------------------------------------------------------------------
#
# Every encoding that acts before the circuit gives a state that is linear in a real vector
# u ∈ R^p: amplitude encoding u = v (the first p amplitudes are real), product states
# u = [Re φ; Im φ]. The circuit's state is then M u with a real matrix M of shape (2·2ⁿ, p),
# rows real parts first. A *propagator* applies M; how it does so is the engine.


def in_halves(states: Float[Array, "2 dim cols"]) -> Float[Array, "2 first last cols"]:
    """The wires in two halves, the first ⌊n/2⌋ and the others."""
    n = states.shape[1].bit_length() - 1
    return states.reshape(2, 2 ** (n // 2), -1, states.shape[2])


class AbstractPropagator(eqx.Module):
    """The real-linear map u ↦ U(θ) φ(u), from R^p to a state of n wires.

    !!! example

        ```python
        import jax.numpy as jnp
        import eqx_qdeq as qdeq
        from eqx_qdeq import simulate

        plan = simulate.make_plan(qdeq.circuits.hardware_efficient(n_qubits=2, depth=1))
        propagate = simulate.gate_propagator(plan, jnp.zeros(4), complex_input=False)
        isinstance(propagate, simulate.AbstractPropagator)  # True
        propagate(jnp.eye(4)).shape  # (2, 4, 4)
        ```
    """

    @abc.abstractmethod
    def __call__(self, vectors: Float[Array, "p cols"]) -> Float[Array, "2 dim cols"]:
        """Applies the map to every column; real and imaginary parts come first."""

    def vector(self, u: Float[Array, " p"]) -> Float[Array, " twice"]:
        """Applies the map to one vector: 2ⁿ real parts, followed by the imaginary parts."""
        return self.halves(u).reshape(-1)

    def halves(self, u: Float[Array, " p"]) -> Float[Array, "2 first last"]:
        """As `vector`, with axes for both parts, the first ⌊n/2⌋ wires, and the others."""
        return in_halves(self(u[:, None]))[..., 0]


class GatePropagator(AbstractPropagator):
    """Applies the fused gates to each vector. Memory does not grow beyond the states.

    !!! example

        ```python
        import jax.numpy as jnp
        import eqx_qdeq as qdeq
        from eqx_qdeq import simulate

        plan = simulate.make_plan(qdeq.circuits.hardware_efficient(n_qubits=2, depth=1))
        propagate = simulate.GatePropagator(plan, jnp.zeros(4), complex_input=False)
        propagate(jnp.eye(4)).shape  # (2, 4, 4)
        ```
    """

    plan: Plan = eqx.field(static=True)
    angles: Float[Array, " n_params"]
    complex_input: bool = eqx.field(static=True)
    gradient: Gradient = eqx.field(static=True, default="stored")

    def __call__(self, vectors: Float[Array, "p cols"]) -> Float[Array, "2 dim cols"]:
        if not self.complex_input:
            return apply_plan_to_real(self.plan, self.angles, vectors, gradient=self.gradient)
        states = vectors.reshape(2, 2**self.plan.n_qubits, vectors.shape[1])
        return apply_plan(self.plan, self.angles, states, gradient=self.gradient)


GatePropagator.__init__.__doc__ = """**Arguments:**

- `plan`, `angles`, `complex_input`, `gradient`: as for
    [`eqx_qdeq.simulate.gate_propagator`][].
"""


class MatrixPropagator(AbstractPropagator):
    """Applies M, computed once for the angles: a matrix product for a batch of vectors.

    !!! example

        ```python
        import jax.numpy as jnp
        from eqx_qdeq import simulate

        identity = jnp.stack([jnp.eye(4), jnp.zeros((4, 4))])
        propagate = simulate.MatrixPropagator(identity)
        propagate.vector(jnp.array([0.6, 0.8]))  # [0.6 0.8 0. 0. 0. 0. 0. 0. ]
        ```
    """

    matrix: Float[Array, "2 dim p"]

    def __call__(self, vectors: Float[Array, "p cols"]) -> Float[Array, "2 dim cols"]:
        return tensordot(self._columns(len(vectors)), vectors, 1)

    def halves(self, u: Float[Array, " p"]) -> Float[Array, "2 first last"]:
        # Split before the product, or a batch, its last axis, would have to be moved for that.
        return tensordot(in_halves(self._columns(u.shape[0])), u, 1)

    def _columns(self, size: int) -> Float[Array, "2 dim size"]:
        return self.matrix[..., :size]  # the amplitudes beyond are zero


MatrixPropagator.__init__.__doc__ = """**Arguments:**

- `matrix`: real and imaginary parts of M, shape `(2, 2**n, p)`.
"""


def gate_propagator(
    plan: Plan,
    angles: Float[Array, " n_params"],
    *,
    complex_input: bool,
    gradient: Gradient = "stored",
) -> GatePropagator:
    """The circuit as a propagator that applies its gates, for every kind of input.

    !!! example

        ```python
        import jax.numpy as jnp
        import eqx_qdeq as qdeq
        from eqx_qdeq import simulate

        plan = simulate.make_plan(qdeq.circuits.hardware_efficient(n_qubits=2, depth=1))
        propagate = simulate.gate_propagator(plan, jnp.zeros(4), complex_input=False)
        propagate.vector(jnp.array([0.6, 0.8]))  # [0.6 0.8 0. 0. 0. 0. 0. 0. ]
        ```

    **Arguments:**

    - `plan`, `angles`, `gradient`: as for [`eqx_qdeq.simulate.apply_plan`][].
    - `complex_input`: whether vectors hold real and imaginary parts.

    **Returns:** a [`eqx_qdeq.simulate.GatePropagator`][].
    """
    return GatePropagator(plan, angles, complex_input, gradient)


def matrix_propagator(
    plan: Plan, angles: Float[Array, " n_params"], size: int, *, complex_input: bool
) -> MatrixPropagator:
    """The circuit as a matrix: its action on the p = `size` basis vectors of the input.

    With complex input the imaginary unit vectors need no simulation of their own: the
    columns of M are `[Re U; Im U]` and `[-Im U; Re U]`.

    !!! example

        ```python
        import jax.numpy as jnp
        import eqx_qdeq as qdeq
        from eqx_qdeq import simulate

        plan = simulate.make_plan(qdeq.circuits.hardware_efficient(n_qubits=2, depth=1))
        angles = jnp.zeros(4)
        propagate = simulate.matrix_propagator(plan, angles, 2, complex_input=False)
        propagate.matrix.shape  # (2, 4, 2)
        ```

    **Arguments:**

    - `plan`, `angles`: as for [`eqx_qdeq.simulate.apply_plan`][].
    - `size`: the number p of basis vectors.
    - `complex_input`: whether vectors hold real and imaginary parts.

    **Returns:** a [`eqx_qdeq.simulate.MatrixPropagator`][].
    """
    # (U v for v = a + ib is Re U a - Im U b + i (Im U a + Re U b).)
    u = plan_columns(plan, angles, 2**plan.n_qubits if complex_input else size)
    if complex_input:
        u = jnp.concatenate([u, jnp.stack([-u[1], u[0]])], axis=-1)
    return MatrixPropagator(u)
