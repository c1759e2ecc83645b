"""Circuits that the field uses, and the paper's."""

from collections.abc import Sequence

import numpy as np

from .._checks import check_at_least
from ._circuit import Circuit
from ._gates import GATES


class _Builder:
    """Collects gates with fresh parameters."""

    def __init__(self, n_qubits: int):
        check_at_least("n_qubits", n_qubits, 1)
        self.n_qubits = n_qubits
        self.gates: list[str] = []
        self.wires: list[tuple[int, ...]] = []
        self.params: list[tuple[int, ...]] = []
        self.used = 0

    def add(self, gate: str, *wires: int) -> None:
        n = GATES[gate].n_params
        self.gates.append(gate)
        self.wires.append(wires)
        self.params.append(tuple(range(self.used, self.used + n)))
        self.used += n

    def strongly_entangle(self, wires: Sequence[int], ranges: Sequence[int]) -> None:
        """RZ RY RZ on each of the wires and CX from the i-th to the (i + r)-th, for each range."""
        for r in ranges:
            for wire in wires:
                for gate in ("Rz", "Ry", "Rz"):
                    self.add(gate, wire)
            if len(wires) > 1:
                for i, wire in enumerate(wires):
                    self.add("CX", wire, wires[(i + r) % len(wires)])

    def circuit(self) -> Circuit:
        return Circuit(self.gates, self.wires, self.params, self.n_qubits)


def _pairs(n_qubits: int, pattern: str) -> list[tuple[int, int]]:
    line = [(i, i + 1) for i in range(n_qubits - 1)]
    if pattern == "line":
        return line
    if pattern == "ring":
        # On two wires the closing pair would be the line's pair once more, the other way round.
        return [*line, (n_qubits - 1, 0)] if n_qubits > 2 else line
    if pattern == "brick":
        return line[::2] + line[1::2]
    if pattern == "all":
        return [(i, j) for i in range(n_qubits) for j in range(i + 1, n_qubits)]
    raise ValueError(f"`pattern` must be 'ring', 'line', 'brick' or 'all'; got {pattern!r}.")


def _check_gate(gate: str, n_wires: int, argument: str) -> None:
    known = [name for name, info in GATES.items() if info.n_wires == n_wires]
    if gate not in known:
        raise ValueError(
            f"`{argument}` takes gates on {n_wires} wire{'s' * (n_wires > 1)}: "
            f"{', '.join(known)}; got {gate!r}."
        )


def hardware_efficient(
    n_qubits: int,
    depth: int,
    *,
    rotations: str | Sequence[str] = ("Ry", "Rz"),
    entangler: str = "CX",
    pattern: str = "ring",
    final_rotations: bool = False,
) -> Circuit:
    """Layers of single-wire rotations on every wire followed by entangling gates.

    !!! example

        ```python
        import eqx_qdeq as qdeq

        circuit = qdeq.circuits.hardware_efficient(n_qubits=3, depth=1, rotations="Ry")
        print(circuit.draw())
        # 0: ─Ry(θ0)──●─────⊕─
        #             │     │
        # 1: ─Ry(θ1)──⊕──●──┼─
        #                │  │
        # 2: ─Ry(θ2)─────⊕──●─
        ```

    **Arguments:**

    - `n_qubits`: the number of wires.
    - `depth`: the number of layers.
    - `rotations`: the gates of a layer: the first on every wire, then the second on every wire, …
    - `entangler`: the two-wire gate; one with angles gets its own parameters each time.
    - `pattern`: which pairs are entangled: "line" (i, i+1), "ring" (the line and the pair of the
        last wire and wire 0, from three wires on), "brick" (the pairs of the line that begin on an
        even wire, then the others) or "all" (every i < j).
    - `final_rotations`: whether to close with one more layer of rotations. The circuit is no
        longer periodic then, and compiles more slowly when it is deep.

    **Returns:**

    The circuit; its parameters are numbered in the order of the gates.

    **Raises:** `ValueError` for less than one wire or layer, for gates on another number of wires,
    or for an unknown pattern.

    ??? cite "Reference"

        A. Kandala et al., "Hardware-efficient variational quantum eigensolver for small molecules
        and quantum magnets", Nature 549, 242 (2017).
    """
    check_at_least("depth", depth, 1)
    rotations = (rotations,) if isinstance(rotations, str) else rotations
    for gate in rotations:
        _check_gate(gate, 1, "rotations")
    _check_gate(entangler, 2, "entangler")
    builder = _Builder(n_qubits)
    pairs = _pairs(n_qubits, pattern)
    for layer in range(depth + final_rotations):
        for gate in rotations:
            for wire in range(n_qubits):
                builder.add(gate, wire)
        for pair in pairs if layer < depth else ():
            builder.add(entangler, *pair)
    return builder.circuit()


def strongly_entangling(n_qubits: int, depth: int, ranges: Sequence[int] | None = None) -> Circuit:
    """Rotations RZ RY RZ on every wire, then CX from wire i to wire i + r; PennyLane's
    `StronglyEntanglingLayers`, with the parameters in the same order.

    !!! example

        ```python
        import eqx_qdeq as qdeq

        qdeq.circuits.strongly_entangling(n_qubits=3, depth=2)
        # <Circuit: 3 wires, 24 gates, 18 parameters, depth 12>
        ```

    **Arguments:**

    - `n_qubits`: the number of wires.
    - `depth`: the number of layers.
    - `ranges`: the distance r in each layer; 1, 2, …, n-1, 1, … if left out.

    **Returns:** the circuit, of `3 * n_qubits * depth` parameters.

    **Raises:** `ValueError` for less than one wire or layer, for ranges of another number than
    `depth`, or for a multiple of `n_qubits` among them.

    ??? cite "Reference"

        M. Schuld, A. Bocharov, K. M. Svore and N. Wiebe, "Circuit-centric quantum classifiers",
        Phys. Rev. A 101, 032308 (2020).
    """
    check_at_least("depth", depth, 1)
    if ranges is None:
        # A range r connects wire i to i + r; over n - 1 layers each pair is met directly.
        ranges = [1 + layer % max(n_qubits - 1, 1) for layer in range(depth)]
    if len(ranges) != depth:
        raise ValueError(f"`ranges` needs {depth} entries, one a layer; got {len(ranges)}.")
    if n_qubits > 1 and any(r % n_qubits == 0 for r in ranges):
        raise ValueError(f"a range must not be a multiple of the {n_qubits} wires; got {ranges}.")
    builder = _Builder(n_qubits)
    builder.strongly_entangle(range(n_qubits), ranges)
    return builder.circuit()


def brickwork(n_qubits: int, depth: int, *, width: int = 5, layers: int = 3) -> Circuit:
    """Layers of bricks: strongly entangling circuits on `width` neighboring wires each.

    A layer has as many bricks as there is room for. The first layer begins on wire 0, the second
    half a width further on, the third on wire 0 again, …; the wires are a ring. A brick is
    simulated as one small unitary, so that many parameters cost little: 10 wires and a depth of 10
    make 900 parameters and 20 unitaries on 5 wires.

    !!! example

        ```python
        import eqx_qdeq as qdeq

        qdeq.circuits.brickwork(n_qubits=4, depth=2, width=2, layers=1)
        # <Circuit: 4 wires, 32 gates, 24 parameters, depth 10>
        ```

    **Arguments:**

    - `n_qubits`: the number of wires.
    - `depth`: the number of layers of bricks.
    - `width`: the wires of a brick, or all of them if there are fewer.
    - `layers`: the strongly entangling layers in a brick; entangler ranges 1, 2, …

    **Returns:** the circuit, of `3 * width * layers` parameters for each brick.

    **Raises:** `ValueError` if any of the arguments is less than 1.
    """
    for name, value in (("depth", depth), ("width", width), ("layers", layers)):
        check_at_least(name, value, 1)
    builder = _Builder(n_qubits)
    width = min(width, n_qubits)
    for layer in range(depth):
        # Half a width of shift puts the borders of one layer into the middle of the next one's
        # bricks: what a layer leaves apart the next one ties together.
        start = layer % 2 * (width // 2)
        for first in range(start, start + n_qubits - width + 1, width):
            wires = [(first + i) % n_qubits for i in range(width)]
            builder.strongly_entangle(wires, [1 + j % max(width - 1, 1) for j in range(layers)])
    return builder.circuit()


def basic_entangler(n_qubits: int, depth: int, rotation: str = "Rx") -> Circuit:
    """One rotation on every wire, then a ring of CX; PennyLane's `BasicEntanglerLayers`.

    !!! example

        ```python
        import eqx_qdeq as qdeq

        print(qdeq.circuits.basic_entangler(n_qubits=2, depth=1).draw())
        # 0: ─Rx(θ0)──●─
        #             │
        # 1: ─Rx(θ1)──⊕─
        ```

    **Arguments:**

    - `n_qubits`: the number of wires.
    - `depth`: the number of layers.
    - `rotation`: the gate on each wire.

    **Returns:** the circuit, of `n_qubits * depth` parameters if the rotation takes one angle.

    **Raises:** `ValueError` for less than one wire or layer, or for a gate that does not act on one
    wire.
    """
    return hardware_efficient(n_qubits, depth, rotations=(rotation,))


def random_layer(n_qubits: int, n_ops: int = 50, seed: int = 1111) -> Circuit:
    """TorchQuantum's `RandomLayer`: gates RX, RY, RZ, CX with equal odds on random wires.

    Drawn with NumPy's legacy generator, as there, so that the paper's seed gives the paper's
    circuit.

    !!! example

        ```python
        import eqx_qdeq as qdeq

        qdeq.circuits.random_layer(n_qubits=3, n_ops=10, seed=0)
        # <Circuit: 3 wires, 10 gates, 7 parameters, depth 7>
        ```

    **Arguments:**

    - `n_qubits`: the number of wires.
    - `n_ops`: the number of gates.
    - `seed`: the seed.

    **Returns:** the circuit; its parameters are numbered in the order of the gates.

    **Raises:** `ValueError` for less than one wire or gate.

    ??? cite "Reference"

        H. Wang et al., "QuantumNAS: noise-adaptive search for robust quantum circuits", HPCA 2022,
        arXiv:2107.10845 (TorchQuantum).
    """
    check_at_least("n_ops", n_ops, 1)
    random = np.random.RandomState(seed)
    builder = _Builder(n_qubits)
    # The same draws in the same order as there, also of gates that are then passed over: any other
    # call would leave the generator in another state, and all later gates would differ.
    names = np.array(["Rx", "Ry", "Rz", "CX"])
    while len(builder.gates) < n_ops:
        gate = str(random.choice(names, p=np.full(4, 0.25)))
        n_wires = GATES[gate].n_wires
        if n_wires > n_qubits:
            continue
        wires = random.choice(np.arange(n_qubits), size=n_wires, replace=False)
        builder.add(gate, *(int(w) for w in wires))
    return builder.circuit()


def paper(n_qubits: int) -> Circuit:
    """The circuit of the QDEQ paper, for 4 wires (39 parameters) or 10 wires (56 parameters).

    A random layer of 50 gates (seed 1111), then one set of gates at 4 wires and four at 10: for
    each i RX(2i), RY(1+2i), RZ(3+2i), CRX(2i → 2+2i); then for each i H(3+2i), SX(2+2i),
    CX(3+2i → 2i). All rotations are trainable, as the paper says; the authors' code leaves the
    RX, RY, RZ and CRX of the sets untrained.

    !!! example

        ```python
        import eqx_qdeq as qdeq

        qdeq.circuits.paper(4)  # <Circuit: 4 wires, 57 gates, 39 parameters, depth 27>
        ```

    **Arguments:**

    - `n_qubits`: 4 or 10.

    **Returns:** the circuit; its parameters are numbered in the order of the gates.

    **Raises:** `ValueError` for another number of wires.

    ??? cite "Reference"

        P. Schleich et al., "Quantum deep equilibrium models", NeurIPS 2024, arXiv:2410.23940.
    """
    if n_qubits not in (4, 10):
        raise ValueError(
            f"the paper's circuit is defined on 4 or 10 wires; got n_qubits={n_qubits}. Use "
            "hardware_efficient(n_qubits, depth) for other sizes."
        )
    n_sets = 1 if n_qubits == 4 else 4
    builder = _Builder(n_qubits)
    for i in range(n_sets):
        builder.add("Rx", 2 * i)
        builder.add("Ry", 1 + 2 * i)
        builder.add("Rz", 3 + 2 * i)
        builder.add("CRx", 2 * i, 2 + 2 * i)
    for i in range(n_sets):
        builder.add("H", 3 + 2 * i)
        builder.add("SX", 2 + 2 * i)
        builder.add("CX", 3 + 2 * i, 2 * i)
    return random_layer(n_qubits) + builder.circuit()
