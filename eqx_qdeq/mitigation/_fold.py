"""Folding: a circuit that does the same with more gates."""

from ..circuits import Circuit


def fold(circuit: Circuit, scale: float | int) -> Circuit:
    r"""Replaces gates G by $G\,(G^\dagger G)^k$, so that there are `scale` times as many.

    All gates are folded equally often, and for a scale between odd numbers the first ones once
    more. The folded circuit has the same parameters. Noise is scaled as far as the inverse of a
    gate has the same noise as the gate.

    **Arguments:**

    - `circuit`: the circuit.
    - `scale`: how many times as many gates, at least 1; met to two gates.

    **Returns:** an [`eqx_qdeq.Circuit`][].

    **Raises:** `ValueError` for a scale below 1.

    ??? cite "Reference"

        T. Giurgica-Tiron, Y. Hindy, R. LaRose, A. Mari and W. J. Zeng, "Digital zero noise
        extrapolation for quantum error mitigation", IEEE International Conference on Quantum
        Computing and Engineering (2020).
    """
    if not scale >= 1:
        raise ValueError(f"`scale` must be at least 1, since folding adds gates; got {scale}.")
    whole, more = divmod(round((scale - 1) * len(circuit) / 2), max(1, len(circuit)))
    inverse, size = circuit.inverse(), len(circuit)
    columns: list[list] = [[], [], [], [], []]
    for g in range(size):
        folds = whole + (g < more)
        for source, place in [(circuit, g), *[(inverse, size - 1 - g), (circuit, g)] * folds]:
            row = (source.gates, source.wires, source.params, source.scales, source.offsets)
            for column, entries in zip(columns, row, strict=True):
                column.append(entries[place])
    gates, wires, params, scales, offsets = columns
    return Circuit(gates, wires, params, circuit.n_qubits, scales=scales, offsets=offsets)
