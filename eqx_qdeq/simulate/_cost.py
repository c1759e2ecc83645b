"""What a plan costs: floating-point operations, memory traffic, and an estimate of the time.

The operations are counted exactly, by following which wires are in the computation. The time is a
roofline with the constants of `Machine`; it only has to rank block sizes and engines.
"""

import dataclasses
import functools as ft

import jax

from ..circuits import Circuit
from ._blocks import fuse
from ._fusion import make_plan, Plan

_LARGEST = 6  # wires of a block that is worth considering


@dataclasses.dataclass(frozen=True)
class Machine:
    """Rates in operations and bytes per second, times in seconds."""

    flops: float  # of large matrix products
    small_flops: float  # of products of 32 x 32 matrices
    bandwidth: float  # of a copy that reorders axes
    overhead: float  # of one block


# Fitted to two cores of a server (float32); `benchmarks --suite scaling` shows what comes of it.
_CPU = Machine(flops=120e9, small_flops=40e9, bandwidth=8e9, overhead=10e-6)
# Not measured: the data sheet of a mid-range accelerator, at a quarter of its peak.
_GPU = Machine(flops=5e12, small_flops=500e9, bandwidth=400e9, overhead=20e-6)


def this_machine() -> Machine:
    """The constants for JAX's default backend."""
    return _CPU if jax.default_backend() == "cpu" else _GPU


@dataclasses.dataclass(frozen=True)
class Cost:
    """Operations, bytes moved, and estimated seconds."""

    flops: float = 0.0
    bytes: float = 0.0
    seconds: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.flops + other.flops, self.bytes + other.bytes, self.seconds + other.seconds
        )


def product_cost(rows: int, inner: int, columns: int, machine: Machine) -> Cost:
    """Of a real matrix product. Short inner dimensions do not fill the pipelines."""
    flops = 2.0 * rows * inner * columns
    size = 4.0 * (rows * inner + inner * columns + rows * columns)
    rate = machine.flops * inner / (inner + 16)
    return Cost(flops, size, max(flops / rate, size / machine.bandwidth))


def plan_cost(
    plan: Plan, columns: int, *, wires: int | None = None, basis: bool = False
) -> tuple[Cost, Cost]:
    """The cost of a plan, once forward, in float32.

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
        # Columns that came in so far: all of them once every live wire was touched.
        states = min(columns, 2 ** len(opened)) if basis else columns
        rest = 2 ** len(present - inside) * states
        inner = parts * 2 ** len(present & inside)
        product = product_cost(2 * 2 ** len(inside) * 2 ** len(new), inner, rest, machine)
        moved = 2 * 4.0 * inner * rest
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
        # Each pair is spread over the block's matrix by a constant with 16 such matrices.
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
    """The block size with the lowest estimated time; the arguments are those of `plan_cost`."""

    def seconds(block_size: int) -> float:
        plan = make_plan(circuit, block_size)
        build, apply = plan_cost(plan, columns, wires=wires, basis=basis)
        return build.seconds + apply.seconds

    times = {k: seconds(k) for k in range(1, min(_LARGEST, circuit.n_qubits) + 1)}
    # Smaller blocks compile faster and differentiate faster: larger ones must be clearly better.
    return min(k for k, time in times.items() if time <= 1.15 * min(times.values()))
