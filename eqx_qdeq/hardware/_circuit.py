"""Layers and observables in Qiskit. Wire w is Qiskit's qubit w."""

from typing import Any

import numpy as np
from jaxtyping import Array

from .._checks import need
from ..circuits import append_gate, Circuit
from ..encodings import AngleEncoding, DataReuploading
from ..layers import QuantumLayer
from ..measurements import Hermitian, PauliStrings, PauliSum, PauliZ
from ..noise import as_strings


def need_qiskit() -> Any:
    """The package.

    **Raises:** `ImportError` without it.
    """
    return need("qiskit", "qiskit", "evaluation by an estimator")


def layer_circuit(layer: QuantumLayer, gates: Circuit, in_size: int, vector: Any = None) -> Any:
    """The layer's circuit with an angle for each gate, and after them one for each of `in_size`
    features that are angles; where none are, `vector` is prepared."""
    qiskit, n, encoding = need_qiskit(), layer.n_qubits, layer.encoding
    out = qiskit.QuantumCircuit(n)
    # The features enter before these gates.
    cuts: tuple[int, ...] = (0,)
    if isinstance(encoding, DataReuploading):
        cuts, encoding = tuple(encoding.cuts(len(gates))), encoding.encoding
    layout = encoding.resolve(in_size, n) if isinstance(encoding, AngleEncoding) else ()
    # One vector for all angles: Qiskit binds values in the order of the parameters' names.
    angles = qiskit.circuit.ParameterVector("angles", gates.n_params + in_size)
    if vector is not None:
        # Wire 0 is our most significant bit, and Qiskit's least significant one.
        out.prepare_state(qiskit.quantum_info.Statevector(vector), list(reversed(range(n))))
    for g in range(len(gates) + 1):
        for _ in range(cuts.count(g)):
            for i, (axis, wire) in enumerate(layout):
                getattr(out, f"r{axis.lower()}")(angles[gates.n_params + i], wire)
        if g < len(gates):
            append_gate(out, gates, g, angles)
    return out


def observables(layer: QuantumLayer) -> tuple[list[Any], np.ndarray | Array]:
    """Pauli operators, and the matrix from their values to those of the measurement."""
    need_qiskit()
    from qiskit.quantum_info import SparsePauliOp

    if not isinstance(layer.measurement, PauliZ | PauliStrings | PauliSum | Hermitian):
        raise ValueError(
            "estimators measure PauliZ, PauliStrings, PauliSum and Hermitian; got "
            f"{type(layer.measurement).__name__}. Write the observables as one of those."
        )
    n = layer.n_qubits
    strings, matrix = as_strings(layer.measurement, n)
    sparse = [("".join(p for _, p in string), [w for w, _ in string], 1.0) for string in strings]
    return [SparsePauliOp.from_sparse_list([term], num_qubits=n) for term in sparse], matrix
