"""What is run on the host: circuits at many angles, as one job of an estimator."""

from typing import Any

import jax
import numpy as np
from jaxtyping import Array

from ..circuits import one_angle_each, to_qiskit
from ..encodings import AmplitudeEncoding, AngleEncoding, DataReuploading
from ..layers import QuantumLayer
from ._circuit import layer_circuit, need_qiskit, observables

# What Aer's estimator runs as it is, with angles that are parameters.
_ALWAYS = ("rx", "ry", "rz", "u", "cx")
_KEPT = "id x y z h s sdg t tdg sx sxdg cy cz csx ecr swap ccx cswap unitary".split()


class Program:
    """A layer's circuit for an estimator. Compared by identity, so a static field of modules."""

    def __init__(self, layer: QuantumLayer, estimator: Any, backend: Any, precision: float | None):
        qiskit = need_qiskit()
        encoding = layer.encoding
        if not isinstance(encoding, AmplitudeEncoding | AngleEncoding | DataReuploading):
            raise ValueError(
                "estimators are given AmplitudeEncoding, AngleEncoding or DataReuploading; got "
                f"{type(encoding).__name__}."
            )
        if precision is not None and not precision >= 0:
            raise ValueError(f"`precision` must be at least 0; got {precision}.")
        self.layer, self.estimator, self.precision = layer, estimator, precision
        self.gates = one_angle_each(layer.circuit)[0]
        self.operators, self.matrix = observables(layer)
        self.prepares = isinstance(encoding, AmplitudeEncoding)
        # Without a backend the prepared states are still to be written as gates. Named gates stay,
        # because noise models know them by name, but not controlled rotations and what else is
        # turned and holds two wires: Aer's estimator (0.18) leaves their angles at zero.
        names = {*to_qiskit(self.gates).count_ops(), *_ALWAYS}
        basis = None if backend is not None else sorted(names & {*_ALWAYS, *_KEPT})
        self.passes = qiskit.transpiler.generate_preset_pass_manager(
            optimization_level=0 if backend is None else 1, backend=backend, basis_gates=basis
        )
        self.compiled: dict[int, Any] = {}
        self.n_jobs = 0

    def __call__(self, angles: Array, vectors: Array) -> Array:
        """The values at angles of shape `(k, p)` and amplitudes of shape `(k, d)` (d = 0 where
        there are none), shape `(k, m)`. Batches are one job."""
        shape = jax.ShapeDtypeStruct((angles.shape[0], len(self.matrix)), angles.dtype)
        return jax.pure_callback(self._run, shape, angles, vectors, vmap_method="broadcast_all")

    def _run(self, angles: Any, vectors: Any) -> np.ndarray:
        angles, vectors = np.asarray(angles), np.asarray(vectors)
        dtype, batch = angles.dtype, angles.shape[:-1]
        angles = angles.reshape(-1, angles.shape[-1]).astype(float)
        vectors = vectors.reshape(len(angles), vectors.shape[-1]).astype(float)
        # A sample that diverged must not stop the others: it is run at zero, and answered NaN.
        finite = np.isfinite(angles).all(axis=1) & np.isfinite(vectors).all(axis=1)
        angles, vectors = (np.where(finite[:, None], a, 0) for a in (angles, vectors))
        # An estimator takes a circuit with its values for parameters. Prepared amplitudes are no
        # parameters: each state is a circuit of its own, compiled once for all rows that share it.
        if self.prepares:
            unique, which = np.unique(vectors, axis=0, return_inverse=True)
            which = which.reshape(-1)
            circuits = [self._compile(0, _unit(v, self.layer.n_qubits)) for v in unique]
        else:
            in_size = angles.shape[1] - self.gates.n_params
            if in_size not in self.compiled:
                self.compiled[in_size] = self._compile(in_size)
            circuits, which = [self.compiled[in_size]], np.zeros(len(angles), int)
        places = [np.flatnonzero(which == i) for i in range(len(circuits))]
        pubs = []
        for circuit, rows in zip(circuits, places, strict=True):
            # Compilation may have moved wires to other qubits of the device.
            operators = [[o.apply_layout(circuit.layout)] for o in self.operators]
            pubs.append((circuit, operators, angles[rows]))
        self.n_jobs += 1
        results = self.estimator.run(pubs, precision=self.precision).result()
        # Operators lie along the first axis, rows along the second.
        values = np.empty((len(angles), len(self.operators)))
        for rows, result in zip(places, results, strict=True):
            values[rows] = np.asarray(result.data.evs).T
        values[~finite] = np.nan
        return (values @ self.matrix.T).reshape(*batch, -1).astype(dtype)

    def _compile(self, in_size: int, vector: np.ndarray | None = None) -> Any:
        return self.passes.run(layer_circuit(self.layer, self.gates, in_size, vector))


def _unit(vector: np.ndarray, n_qubits: int) -> np.ndarray:
    """The encoded state: |0…0⟩ for the zero vector, as in `AmplitudeEncoding`."""
    out = np.zeros(2**n_qubits)
    out[: len(vector)] = vector
    norm = np.linalg.norm(out)
    return np.eye(2**n_qubits)[0] if norm == 0 else out / norm
