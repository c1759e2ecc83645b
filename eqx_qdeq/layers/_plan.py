"""Which engine evaluates a layer, and what that costs.

Without noise:

- `statevector` applies the fused gates to the state of each sample.
- `operator` computes the circuit's matrix once for the angles and multiplies.
- `heisenberg` pulls the observables back through the circuit once, to quadratic forms in the
  encoded amplitudes.

The last two pay once for the angles and then less for each sample, so the choice depends on how
many samples share the angles.

Under noise:

- `heisenberg` pulls the observables back through the circuit and its channels once;
- `density` carries a density matrix for every sample;
- `trajectories` takes the mean over state vectors with errors drawn for each.
"""

import dataclasses
import functools as ft
from typing import get_args, Literal

from jaxtyping import Array, Float

from .._checks import check_choice
from .._peak import Memory
from ..circuits import Circuit
from ..encodings import AbstractEncoding, AbstractStateEncoding, DataReuploading
from ..simulate import (
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
"""How a layer's circuit is simulated; [Concepts](../concepts.md#engines) has the exact ones,
[Noise](../noise.md#engines) those of noisy layers."""
_PURE_ENGINES = ("statevector", "operator", "heisenberg")
_NOISY_ENGINES = ("heisenberg", "density", "trajectories")

# A matrix, a set of forms, a density matrix larger than this is not considered, whatever time it
# would save.
_MEMORY = 2**30


def check_engine(engine: str, encoding: AbstractEncoding, *, noisy: bool) -> None:
    """Raises a `ValueError` for an engine that does not exist, or cannot do what is asked."""
    check_choice("engine", engine, get_args(Engine))
    if not noisy and engine not in ("auto", *_PURE_ENGINES):
        raise ValueError(
            f"engine {engine!r} is for circuits with noise; give `noise`, e.g. noise=NoiseModel(), "
            "or use another engine."
        )
    if noisy and engine not in ("auto", *_NOISY_ENGINES):
        raise ValueError(
            f"engine {engine!r} computes pure states, which noise does not leave; use one of "
            f"auto, {', '.join(_NOISY_ENGINES)}."
        )
    if isinstance(encoding, DataReuploading) and engine in ("operator", "heisenberg"):
        others = "'density' or 'trajectories'" if noisy else "'statevector'"
        raise ValueError(
            f"data re-uploading puts the data between the gates, so engine {engine!r} cannot "
            f"apply; use {others}, or 'auto'."
        )


def serves_noise(engine: str, encoding: AbstractEncoding) -> bool:
    """Whether an engine can evaluate a layer with this encoding under noise."""
    try:
        check_engine(engine, encoding, noisy=True)
    except ValueError:
        return False
    return True


def choose_noisy_engine(
    engine: str, encoding: AbstractEncoding, n_qubits: int, n_values: int
) -> str:
    """The engine that was asked for, or the one that suits.

    **Raises:** `ValueError` if density matrices would not fit.
    """
    if engine != "auto":
        return engine
    bytes_of_matrix = 8 * 4**n_qubits
    if isinstance(encoding, AbstractStateEncoding) and bytes_of_matrix * n_values <= _MEMORY:
        return "heisenberg"
    if bytes_of_matrix <= _MEMORY:
        return "density"
    raise ValueError(
        f"a density matrix on {n_qubits} wires has {4**n_qubits} entries, too many; use "
        "engine='trajectories', which averages over state vectors."
    )


@dataclasses.dataclass(frozen=True)
class LayerPlan:
    """How a layer is evaluated, and what it costs: one forward pass over a batch in operations and
    time, a training step in memory.

    !!! example

        ```python
        import jax
        import eqx_qdeq as qdeq

        layer = qdeq.QuantumLayer(
            qdeq.circuits.hardware_efficient(n_qubits=2, depth=1),
            qdeq.AmplitudeEncoding(),
            qdeq.PauliZ(),
            key=jax.random.key(0),
        )
        plan = layer.plan(4)  # for samples of 4 features
        plan.engine, plan.plan.n_sections, plan.block_size  # ('heisenberg', 1, 2)
        ```

    **Attributes:**

    - `engine`: the engine.
    - `plan`: how the circuit is fused: `plan.blocks`, applied `plan.n_sections` times.
    - `once`: the cost of what depends on the angles alone.
    - `batch`: the cost of the samples, all together.
    - `others`: estimated seconds of the engines that could have been chosen instead, the chosen
        one among them.
    - `memory`: the bytes of a training step, an [`eqx_qdeq.Memory`][].

    Costs count operations and bytes in float32; seconds are an estimate for ranking.
    """

    engine: Engine
    plan: Plan
    once: Cost
    batch: Cost
    others: dict[str, float]
    memory: Memory | None = None

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
        lines.append(f"estimates    {times}")
        return "\n".join(lines if self.memory is None else [*lines, f"memory       {self.memory}"])


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
    # Each engine with the blocks that suit it best, and what that costs; the cheapest is taken.
    names = _PURE_ENGINES if engine == "auto" else (engine,)
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
    # ⟨O_q⟩ of a state: one product with the eigenvalues, 2 · 2ⁿ numbers for each value.
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
    # A_q = Mᵀ O_q M for all q at once, then uᵀ A_q u for each sample.
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
