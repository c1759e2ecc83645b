"""Noise models of Qiskit Aer."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ._channels import KrausChannel
from ._model import GateNoise, NoiseModel
from ._readout import ReadoutError
from ._steps import swapped_wires

# Qiskit's names of our gates.
_NAMES = {
    **{name.lower(): name for name in "X Y Z H S T SX Rx Ry Rz U1 U2 U3 CX CY CZ CH".split()},
    **{name.lower(): name for name in "CSX ECR SWAP CRx CRy CRz CU1".split()},
    **{"id": "I", "sdg": "Sdg", "tdg": "Tdg", "sxdg": "SXdg", "u": "U3", "p": "U1", "cp": "CU1"},
    **{"rxx": "XXPhase", "ryy": "YYPhase", "rzz": "ZZPhase", "r": "PhasedX"},
}


def from_aer(model: Any, qubits: Sequence[int] | None = None) -> NoiseModel:
    """A noise model from one of Qiskit Aer: the errors after gates and the readout errors.

    **Arguments:**

    - `model`: a `qiskit_aer.noise.NoiseModel`, e.g. `NoiseModel.from_backend(backend)`.
    - `qubits`: the qubit of Aer's model that each of our wires is; needed if the model tells
        qubits apart.

    **Returns:**

    A [`eqx_qdeq.noise.NoiseModel`][] with fixed channels. Errors of gates that are unknown here,
    such as resets, are left out.

    **Raises:** `ImportError` without Qiskit Aer, `TypeError` for something else than its noise
    model, `ValueError` if `qubits` is missing, or for errors on more than two qubits.
    """
    try:
        from qiskit_aer.noise import NoiseModel as AerModel
    except ImportError as error:
        raise ImportError(
            'reading a noise model of Aer needs qiskit-aer: pip install "eqx-qdeq[qiskit]".'
        ) from error
    if not isinstance(model, AerModel):
        raise TypeError(f"`model` must be a qiskit_aer.noise.NoiseModel; got {type(model)}.")
    local, local_readout = model._local_quantum_errors, model._local_readout_errors
    if qubits is None and (local or local_readout):
        raise ValueError(
            "`model` tells qubits apart: name the one that each wire is, e.g. qubits=[0, 1, 2, 3]."
        )
    wire_of = {qubit: wire for wire, qubit in enumerate(qubits or ())}
    # Aer takes the error of a gate on these very qubits before that of the gate on any: ours is the
    # first that matches, so the particular ones come first.
    found = [
        (name, error, tuple(wire_of[qubit] for qubit in key))
        for name, errors in local.items()
        for key, error in errors.items()
        if all(qubit in wire_of for qubit in key)
    ]
    found += [(name, error, None) for name, error in model._default_quantum_errors.items()]
    overrides = [
        GateNoise((_channel(error, name),), _NAMES[name], wires)
        for name, error, wires in found
        if name in _NAMES
    ]
    return NoiseModel(overrides=tuple(overrides), readout=_readout(model, qubits))


def _channel(error: Any, name: str) -> KrausChannel:
    from qiskit.quantum_info import Kraus

    operators = np.array(Kraus(error).data)
    if operators.shape[1] > 4:
        raise ValueError(
            f"the error of {name!r} acts on more than two qubits; give it as errors on fewer."
        )
    # Qiskit's first qubit is the least significant bit, our first wire the most significant one.
    return KrausChannel(operators if operators.shape[1] == 2 else swapped_wires(operators))


def _readout(model: Any, qubits: Sequence[int] | None) -> ReadoutError | None:
    local, default = model._local_readout_errors, model._default_readout_error
    if not local:
        return None if default is None else ReadoutError(*_rates(default))
    # Qubits that the model does not name are read as all others, or perfectly.
    p01, p10 = zip(*(_rates(local.get((q,), default)) for q in qubits or ()), strict=True)
    return ReadoutError(p01, p10)


def _rates(error: Any) -> tuple[float, float]:
    """The probabilities to read 1 in |0⟩ and 0 in |1⟩."""
    if error is None:
        return 0.0, 0.0
    probabilities = np.asarray(error.probabilities)
    if probabilities.shape != (2, 2):
        raise ValueError("only readout errors of single qubits are known.")
    return float(probabilities[0, 1]), float(probabilities[1, 0])
