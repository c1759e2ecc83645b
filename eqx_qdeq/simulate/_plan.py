"""Plans: which gates are multiplied together before they touch a state, and what that costs.

A gate-by-gate simulation moves the whole state through memory once for every gate. A *plan*
collects neighboring gates into blocks on at most `block_size` wires; a block's small unitary
is built once per set of angles, and the state is moved once per block, as a matrix product.

A circuit that repeats a block of gates with fresh parameters (every template does) is planned
once for the repeated part and scanned, so that compile time does not grow with depth.
"""

import dataclasses
import functools as ft

import jax
from jaxtyping import Array, Float

from ..circuits import Circuit
from ._blocks import Block, block_unitaries, fuse
from ._qujax import check_angles, gate_entries


@dataclasses.dataclass(frozen=True)
class Plan:
    """How a circuit is applied: `blocks` of `section`, `n_sections` times in a row.

    The circuit equals `section.repeat(n_sections)`; section s uses the angles
    `s * section.n_params` onwards. Every wire is in a block, which has no gates if the wire has
    none.

    !!! example

        ```python
        import eqx_qdeq as qdeq
        from eqx_qdeq import simulate

        plan = simulate.make_plan(qdeq.circuits.hardware_efficient(n_qubits=2, depth=1))
        plan.n_qubits, plan.n_sections, len(plan.blocks)  # (2, 1, 1)
        ```
    """

    section: Circuit
    n_sections: int
    blocks: tuple[Block, ...]

    @property
    def n_qubits(self) -> int:
        return self.section.n_qubits

    def unitaries(self, angles: Float[Array, " n_params"]) -> list[Float[Array, "sections 2 _ _"]]:
        """The unitary of every block, for all sections at once.

        **Returns:**

        One array of shape `(n_sections, 2, 2**k, 2**k)` for each block on k wires, real parts
        first.

        **Raises:** `TypeError` for angles that are no array of floating-point numbers.
        """
        check_angles(angles)
        per_section = angles.reshape(self.n_sections, self.section.n_params)
        entries = jax.vmap(ft.partial(gate_entries, self.section))(per_section)
        return block_unitaries(self.section, self.blocks, entries)


Plan.__init__.__doc__ = """**Arguments:**

- `section`: the circuit of one section.
- `n_sections`: how often it is applied.
- `blocks`: its fused gates, in the order in which they act.
"""


@ft.lru_cache(maxsize=256)
def make_plan(circuit: Circuit, block_size: int = 5, section_gates: int | None = None) -> Plan:
    """Plans the fused application of a circuit. Cached: circuits are hashable.

    !!! example

        ```python
        import eqx_qdeq as qdeq
        from eqx_qdeq import simulate

        circuit = qdeq.circuits.hardware_efficient(n_qubits=3, depth=2)
        plan = simulate.make_plan(circuit, block_size=2)
        plan.n_sections, [block.wires for block in plan.blocks]
        # (1, [(0, 1), (1, 2), (0, 2), (0, 1), (1, 2), (0, 2)])
        ```

    **Arguments:**

    - `circuit`: the circuit.
    - `block_size`: the largest number of wires of a block (a single gate on more wires is a
        block of its own). [`eqx_qdeq.simulate.best_block_size`][] estimates the best one.
    - `section_gates`: a periodic circuit is scanned in sections of at most this many gates
        (at least one period), which bounds the compile time. 12 for each wire if left out.

    **Returns:**

    A [`Plan`][].

    **Raises:** `ValueError` if `block_size` is below 1.
    """
    if block_size < 1:
        raise ValueError(f"`block_size` must be at least 1 wire; got {block_size}.")
    if section_gates is None:
        section_gates = 12 * circuit.n_qubits
    # The sections are whole periods, as many as divide the circuit and keep the program short; a
    # section longer than one period fuses across the periods' borders.
    period, repeats = circuit.repetition()
    divisors = [d for d in range(1, repeats + 1) if repeats % d == 0]
    fitting = [d for d in divisors if d * len(period) <= section_gates]
    periods_per_section = max(fitting, default=1)
    if periods_per_section == repeats:
        section, n_sections = circuit, 1
    else:
        section, n_sections = period.repeat(periods_per_section), repeats // periods_per_section
    blocks = fuse(section.wires, min(block_size, circuit.n_qubits))
    touched = {wire for block in blocks for wire in block.wires}
    idle = tuple(Block((w,), ()) for w in range(circuit.n_qubits) if w not in touched)
    return Plan(section, n_sections, blocks + idle)


# --- Costs ------------------------------------------------------------------------------------
#
# The operations are counted exactly, by following which wires are in the computation. The time is
# a roofline with the constants of `Machine`; it only has to rank block sizes and engines.

_LARGEST = 6  # wires of a block that is worth considering


@dataclasses.dataclass(frozen=True)
class Machine:
    """Rates in operations and bytes per second, times in seconds.

    !!! example

        ```python
        from eqx_qdeq import simulate

        mine = simulate.Machine(
            flops=1e11, small_flops=3e10, bandwidth=1e10, overhead=1e-5
        )
        simulate.product_cost(100, 100, 100, mine).seconds  # 2.32e-05
        ```
    """

    flops: float  # of large matrix products
    small_flops: float  # of products of 32 x 32 matrices
    bandwidth: float  # of a copy that reorders axes
    overhead: float  # of one block


Machine.__init__.__doc__ = """**Arguments:**

- `flops`: of large matrix products, in operations per second.
- `small_flops`: of products of 32 × 32 matrices.
- `bandwidth`: of a copy that reorders axes, in bytes per second.
- `overhead`: of one block, in seconds.
"""


# Fitted to two cores of a server (float32): large products reach 120 GFLOP/s, the many small ones
# of the blocks' unitaries a third of that; copies that reorder axes run at 8 GB/s, far below what
# the memory can do; a block costs 10 µs whatever its size. Rough values are enough: with half or
# twice of any one of them the block sizes chosen for ten circuits changed by 2 at most.
# `benchmarks --suite scaling` shows what comes of it.
_CPU = Machine(flops=120e9, small_flops=40e9, bandwidth=8e9, overhead=10e-6)
# Not measured: the data sheet of a mid-range accelerator, at a quarter of its peak.
_GPU = Machine(flops=5e12, small_flops=500e9, bandwidth=400e9, overhead=20e-6)


def this_machine() -> Machine:
    """The constants for JAX's default backend.

    !!! example

        ```python
        from eqx_qdeq import simulate

        simulate.this_machine().bandwidth > 0  # True
        ```

    **Returns:** a [`eqx_qdeq.simulate.Machine`][].
    """
    return _CPU if jax.default_backend() == "cpu" else _GPU


@dataclasses.dataclass(frozen=True)
class Cost:
    """Operations, bytes moved, and estimated seconds.

    !!! example

        ```python
        from eqx_qdeq import simulate

        simulate.Cost(flops=2.0) + simulate.Cost(flops=3.0, bytes=8.0)
        # Cost(flops=5., bytes=8., seconds=0.)
        ```
    """

    flops: float = 0.0
    bytes: float = 0.0
    seconds: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.flops + other.flops, self.bytes + other.bytes, self.seconds + other.seconds
        )


Cost.__init__.__doc__ = """**Arguments:**

- `flops`: operations.
- `bytes`: what is moved.
- `seconds`: an estimate, for ranking.
"""


def product_cost(rows: int, inner: int, columns: int, machine: Machine) -> Cost:
    """Of a real matrix product.

    !!! example

        ```python
        from eqx_qdeq import simulate

        simulate.product_cost(2, 3, 4, simulate.this_machine()).flops  # 48.
        ```

    **Arguments:**

    - `rows`, `inner`, `columns`: of a product of matrices `(rows, inner)` and `(inner, columns)`.
    - `machine`: what computes it.

    **Returns:** a [`eqx_qdeq.simulate.Cost`][].
    """
    # A multiplication and an addition each. Short inner dimensions do not fill the pipelines: at
    # 16 half of the rate is left. The roofline: whichever takes longer, arithmetic or memory.
    flops = 2.0 * rows * inner * columns
    size = 4.0 * (rows * inner + inner * columns + rows * columns)
    rate = machine.flops * inner / (inner + 16)
    return Cost(flops, size, max(flops / rate, size / machine.bandwidth))


def plan_cost(
    plan: Plan, columns: int, *, wires: int | None = None, basis: bool = False
) -> tuple[Cost, Cost]:
    """The cost of a plan, once forward, in float32.

    !!! example

        ```python
        import eqx_qdeq as qdeq
        from eqx_qdeq import simulate

        plan = simulate.make_plan(qdeq.circuits.hardware_efficient(n_qubits=3, depth=2))
        unitaries, application = simulate.plan_cost(plan, columns=100)
        application.flops  # 5.12e+04
        ```

    **Arguments:**

    - `plan`: the plan.
    - `columns`: the number of states, or of columns of the circuit's matrix.
    - `wires`: the number of last wires on which the states live, the others being |0⟩, with
        real amplitudes; all wires and complex amplitudes if left out.
    - `basis`: whether the columns are basis states, so that they cost nothing before a wire is
        touched.

    **Returns:**

    The cost of the blocks' unitaries, and of applying them.
    """
    machine = this_machine()
    n = plan.n_qubits
    live = set(range(n)) if wires is None else set(range(n - wires, n))
    present = set() if basis else set(live)
    opened: set[int] = set()
    parts = 2 if wires is None else 1
    apply = Cost()
    for block in plan.blocks * plan.n_sections:
        inside = set(block.wires)
        new = (inside & live) - present if basis else set()
        if not block.gates and not (inside - present):
            continue
        # Rows: the block's outputs in two parts, and its open wires' inputs, which become columns.
        # Inner: what is contracted, the wires that are there and the parts that are.
        # Columns that came in so far: all of them once every live wire was touched.
        states = min(columns, 2 ** len(opened)) if basis else columns
        rest = 2 ** len(present - inside) * states
        inner = parts * 2 ** len(present & inside)
        product = product_cost(2 * 2 ** len(inside) * 2 ** len(new), inner, rest, machine)
        moved = 2 * 4.0 * inner * rest  # read and written once, to bring the wires to the front
        apply += product + Cost(0.0, moved, moved / machine.bandwidth + machine.overhead)
        present |= inside
        opened |= new
        parts = 2
    return _build_cost(plan, machine), apply


def _build_cost(plan: Plan, machine: Machine) -> Cost:
    cost = Cost()
    for block in plan.blocks:
        dim = 2 ** len(block.wires)
        pairs = len(fuse([plan.section.wires[g] for g in block.gates], 2))
        # Each pair is spread over the block's matrix by a constant with 16 such matrices: 16
        # multiplications and additions for both parts of dim² numbers, 4 bytes for each of the
        # constant's. A complex product of dim × dim matrices is 4 real ones of 2 dim³ operations.
        spread = Cost(64.0 * pairs * dim**2, 64.0 * pairs * dim**2, 0.0)
        products = 8.0 * max(0, pairs - 1) * dim**3
        seconds = spread.bytes / machine.bandwidth + products / machine.small_flops
        cost += Cost(
            plan.n_sections * (spread.flops + products),
            spread.bytes,
            seconds * plan.n_sections,
        )
    return cost


@ft.lru_cache(maxsize=256)
def best_block_size(
    circuit: Circuit, columns: int, *, wires: int | None = None, basis: bool = False
) -> int:
    """The block size with the lowest estimated time; the arguments are those of `plan_cost`.

    !!! example

        ```python
        import eqx_qdeq as qdeq
        from eqx_qdeq import simulate

        circuit = qdeq.circuits.hardware_efficient(n_qubits=3, depth=2)
        1 <= simulate.best_block_size(circuit, columns=100) <= 3  # True
        ```

    **Arguments:**

    - `circuit`: the circuit.
    - `columns`, `wires`, `basis`: as for [`eqx_qdeq.simulate.plan_cost`][].

    **Returns:** the number of wires.
    """

    def seconds(block_size: int) -> float:
        plan = make_plan(circuit, block_size)
        build, apply = plan_cost(plan, columns, wires=wires, basis=basis)
        return build.seconds + apply.seconds

    times = {k: seconds(k) for k in range(1, min(_LARGEST, circuit.n_qubits) + 1)}
    # Smaller blocks compile faster and differentiate faster: larger ones must be clearly better.
    return min(k for k, time in times.items() if time <= 1.15 * min(times.values()))
