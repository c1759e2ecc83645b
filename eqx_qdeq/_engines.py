"""Which engine evaluates a layer, and what that costs.

- `statevector` applies the fused gates to the state of each sample.
- `operator` computes the circuit's matrix once for the angles and multiplies.
- `heisenberg` pulls the observables back through the circuit once, to quadratic forms in the
  encoded amplitudes.

The last two pay once for the angles and then less for each sample, so the choice depends on how
many samples share the angles. Circuits with noise have engines of their own, see `_noisy`.
"""

import dataclasses
import functools as ft
from typing import Literal

from jaxtyping import Array, Float

from .circuits import Circuit
from .simulate import (
    AbstractPropagator,
    best_block_size,
    Cost,
    gate_propagator,
    Gradient,
    make_plan,
    matrix_propagator,
    Plan,
    plan_cost,
    product_cost,
    this_machine,
)

Engine = Literal["auto", "statevector", "operator", "heisenberg", "density", "trajectories"]
ENGINES = ("auto", "statevector", "operator", "heisenberg")  # of noiseless circuits

# A matrix or a set of forms larger than this is not considered, whatever time it would save.
_MEMORY = 2**30


@dataclasses.dataclass(frozen=True)
class LayerPlan:
    """How a layer is evaluated, and what one forward pass over a batch costs.

    - `engine`: the engine.
    - `plan`: how the circuit is fused: `plan.blocks`, applied `plan.n_sections` times.
    - `once`: the cost of what depends on the angles alone.
    - `batch`: the cost of the samples, all together.
    - `others`: estimated seconds of the engines that could have been chosen instead, the chosen
        one among them.

    Costs count operations and bytes in float32; seconds are an estimate for ranking.
    """

    engine: Engine
    plan: Plan
    once: Cost
    batch: Cost
    others: dict[str, float]

    @property
    def block_size(self) -> int:
        """The largest number of wires of a block."""
        return max(len(block.wires) for block in self.plan.blocks)

    def __str__(self) -> str:
        blocks, sections = len(self.plan.blocks), self.plan.n_sections
        lines = [
            f"engine       {self.engine}",
            f"gates        {len(self.plan.section) * sections} in {blocks * sections} blocks on "
            f"at most {self.block_size} wires",
            f"sections     {sections} (scanned)" if sections > 1 else "sections     1",
        ]
        for name, cost in (("angles", self.once), ("batch", self.batch)):
            lines.append(
                f"{name:13}{cost.flops / 1e6:.4g} MFLOP, {cost.bytes / 2**20:.4g} MiB moved, "
                f"about {1e3 * cost.seconds:.3g} ms"
            )
        times = ", ".join(f"{name} {1e3 * s:.3g} ms" for name, s in self.others.items())
        return "\n".join([*lines, f"estimates    {times}"])


@ft.lru_cache(maxsize=256)
def plan_layer(
    circuit: Circuit,
    size: int,
    n_values: int,
    samples: int,
    *,
    complex_input: bool,
    engine: Engine = "auto",
    block_size: int | None = None,
) -> LayerPlan:
    """The plan of a layer with `size` amplitudes and `n_values` observables for so many samples."""
    names = ENGINES[1:] if engine == "auto" else (engine,)
    plans = {
        name: _plan_engine(name, circuit, size, n_values, samples, complex_input, block_size)
        for name in names
    }
    fitting = {
        name: p
        for name, p in plans.items()
        if _memory(name, circuit.n_qubits, size, n_values) <= _MEMORY
    }
    # Only state vectors always fit; an engine that was asked for is used all the same.
    chosen = fitting if fitting else plans
    seconds = {name: once.seconds + batch.seconds for name, (_, once, batch) in chosen.items()}
    best = min(seconds, key=lambda name: seconds[name])
    plan, once, batch = chosen[best]
    return LayerPlan(best, plan, once, batch, seconds)  # pyright: ignore[reportArgumentType]


def _memory(engine: str, n_qubits: int, size: int, n_values: int) -> float:
    """The bytes of what is kept for the angles, in float32."""
    if engine == "statevector":
        return 0.0
    matrix = 8.0 * 2**n_qubits * size
    # To form them, the observables are applied to all columns of the matrix.
    return matrix if engine == "operator" else matrix * n_values


def _plan_engine(
    engine: str,
    circuit: Circuit,
    size: int,
    n_values: int,
    samples: int,
    complex_input: bool,
    block_size: int | None,
) -> tuple[Plan, Cost, Cost]:
    n, dim, machine = circuit.n_qubits, 2**circuit.n_qubits, this_machine()
    wires = None if complex_input else (size - 1).bit_length()
    measured = product_cost(n_values, 2 * dim, samples, machine)
    if engine == "statevector":
        k = best_block_size(circuit, samples, wires=wires) if block_size is None else block_size
        plan = make_plan(circuit, k)
        build, apply = plan_cost(plan, samples, wires=wires)
        return plan, build, apply + measured
    # The columns for the imaginary parts of complex amplitudes cost nothing.
    columns, wires = (dim, n) if complex_input else (size, wires)
    k = block_size
    if k is None:
        k = best_block_size(circuit, columns, wires=wires, basis=True)
    plan = make_plan(circuit, k)
    build, apply = plan_cost(plan, columns, wires=wires, basis=True)
    once = build + apply
    if engine == "operator":
        return plan, once, product_cost(2 * dim, size, samples, machine) + measured
    forms = product_cost(n_values * size, 2 * dim, size, machine)
    batch = product_cost(n_values * size, size, samples, machine)
    return plan, once + forms, batch + product_cost(n_values, size, samples, machine)


def make_propagator(
    circuit: Circuit,
    angles: Float[Array, " n_params"],
    size: int,
    *,
    complex_input: bool,
    engine: Engine,
    block_size: int | None,
    n_values: int,
    samples: int,
    gradient: Gradient = "stored",
) -> AbstractPropagator:
    """The circuit as a real-linear map on vectors of length `size`, by the given engine."""
    layer = plan_layer(
        circuit,
        size,
        n_values,
        samples,
        complex_input=complex_input,
        engine=engine,
        block_size=block_size,
    )
    if layer.engine == "statevector":
        return gate_propagator(layer.plan, angles, complex_input=complex_input, gradient=gradient)
    return matrix_propagator(layer.plan, angles, size, complex_input=complex_input)
