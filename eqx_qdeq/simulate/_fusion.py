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
from jaxtyping import Array, Complex, Float

from ..circuits import Circuit
from ._product import Block, block_products
from ._qujax import gate_entries


@dataclasses.dataclass(frozen=True)
class Plan:
    """How a circuit is applied: `blocks` of `section`, `n_sections` times in a row.

    The circuit equals `section.repeat(n_sections)`; section s uses the angles
    `s * section.n_params` onwards.
    """

    section: Circuit
    n_sections: int
    blocks: tuple[Block, ...]

    @property
    def n_qubits(self) -> int:
        return self.section.n_qubits

    def block_unitaries(self, angles: Float[Array, " n_params"]) -> list[Complex[Array, "..."]]:
        """The unitary of every block, for all sections at once.

        **Returns:**

        One array of shape `(n_sections, 2**k, 2**k)` for each block on k wires.
        """
        per_section = angles.reshape(self.n_sections, self.section.n_params)
        entries = jax.vmap(ft.partial(gate_entries, self.section))(per_section)
        return block_products(self.section, self.blocks, entries)


def _fuse_greedily(circuit: Circuit, block_size: int) -> tuple[Block, ...]:
    """Each gate joins the block that grows least, among those it may still join.

    A gate may move to any block that is not followed by a block sharing one of its wires:
    those after the latest such block, and that block itself.
    """
    wires: list[set[int]] = []
    gates: list[list[int]] = []
    for g, gate_wires in enumerate(circuit.wires):
        new = set(gate_wires)
        limit = max(block_size, len(new))
        sharing = [b for b, w in enumerate(wires) if w & new]
        earliest = sharing[-1] if sharing else 0
        candidates = [b for b in range(earliest, len(wires)) if len(wires[b] | new) <= limit]
        if candidates:
            best = min(candidates, key=lambda b: (len(wires[b] | new) - len(wires[b]), b))
            wires[best] |= new
            gates[best].append(g)
        else:
            wires.append(new)
            gates.append([g])
    return tuple(Block(tuple(sorted(w)), tuple(g)) for w, g in zip(wires, gates, strict=True))


@ft.lru_cache(maxsize=256)
def make_plan(circuit: Circuit, block_size: int = 5, section_gates: int = 96) -> Plan:
    """Plans the fused application of a circuit. Cached: circuits are hashable.

    **Arguments:**

    - `circuit`: the circuit.
    - `block_size`: the largest number of wires of a block (a single gate on more wires is a
        block of its own). 5 was measured fastest on two CPU cores at 10 wires.
    - `section_gates`: a periodic circuit is scanned in sections of at most this many gates
        (at least one period), which bounds the compile time.

    **Returns:**

    A [`Plan`][].
    """
    if block_size < 1:
        raise ValueError(f"`block_size` must be at least 1 wire; got {block_size}.")
    period, repeats = circuit.repetition()
    divisors = [d for d in range(1, repeats + 1) if repeats % d == 0]
    fitting = [d for d in divisors if d * len(period) <= section_gates]
    periods_per_section = max(fitting, default=1)
    if periods_per_section == repeats:
        section, n_sections = circuit, 1
    else:
        section, n_sections = period.repeat(periods_per_section), repeats // periods_per_section
    return Plan(section, n_sections, _fuse_greedily(section, min(block_size, circuit.n_qubits)))
