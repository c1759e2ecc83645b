"""Gate fusion: which gates are multiplied together before they touch a state.

A gate-by-gate simulation moves the whole state through memory once for every gate. A *plan*
collects neighbouring gates into blocks on at most `block_size` wires; a block's small unitary
is built once per set of angles, and the state is moved once per block, as a matrix product.

A circuit that repeats a block of gates with fresh parameters (every template does) is planned
once for the repeated part and scanned, so that compile time does not grow with depth.
"""

import dataclasses
import functools as ft

import jax
from jaxtyping import Array, Float

from ..circuits import Circuit
from ._blocks import Block, fuse
from ._product import block_unitaries
from ._qujax import gate_entries


@dataclasses.dataclass(frozen=True)
class Plan:
    """How a circuit is applied: `blocks` of `section`, `n_sections` times in a row.

    The circuit equals `section.repeat(n_sections)`; section s uses the angles
    `s * section.n_params` onwards. Every wire is in a block, which has no gates if the wire has
    none.
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
        """
        per_section = angles.reshape(self.n_sections, self.section.n_params)
        entries = jax.vmap(ft.partial(gate_entries, self.section))(per_section)
        return block_unitaries(self.section, self.blocks, entries)


@ft.lru_cache(maxsize=256)
def make_plan(circuit: Circuit, block_size: int = 5, section_gates: int | None = None) -> Plan:
    """Plans the fused application of a circuit. Cached: circuits are hashable.

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
