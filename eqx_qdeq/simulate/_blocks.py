"""Blocks: neighbouring gates that are multiplied together before they touch a state."""

import dataclasses
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Block:
    """Gates that are fused: their positions in the circuit and the wires they act on."""

    wires: tuple[int, ...]
    gates: tuple[int, ...]


def fuse(gate_wires: Sequence[tuple[int, ...]], block_size: int) -> tuple[Block, ...]:
    """Each gate joins the block that grows least, among those it may still join.

    A gate may move to any block that is not followed by a block sharing one of its wires:
    those after the latest such block, and that block itself. A gate on more than `block_size`
    wires is a block of its own.
    """
    wires: list[set[int]] = []
    gates: list[list[int]] = []
    for g, its_wires in enumerate(gate_wires):
        new = set(its_wires)
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
