"""Noise models of Qiskit Aer."""

import functools as ft
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .._checks import need
from ..circuits import GATES, QISKIT_NAMES
from ._channels import KrausChannel
from ._model import GateNoise, NoiseModel
from ._readout import ReadoutError

# Circuits here neither reset nor wait by an instruction: errors on these can never happen.
_NEVER = ("reset", "delay")

Qubits = tuple[int, ...]
Errors = dict[Qubits | None, Any]
"""Errors by the qubits of the gate; `None` is the error on all others."""


def from_aer(model: Any, qubits: Sequence[int] | None = None, *, strict: bool = True) -> NoiseModel:
    """A noise model from one of Qiskit Aer: the errors after gates and the readout errors.

    A gate has the error that Aer gives to the gate which [`eqx_qdeq.circuits.to_qiskit`][] writes,
    or to an older name of it: V that of `rx`, U3 that of `u` or `u3`. A readout error of several
    qubits is taken if it is one of each by itself. Errors on `reset` and `delay`, and those of
    qubits that no wire is, can never happen in a circuit here.

    !!! example

        <!-- skip: needs the extra "qiskit" -->
        ```python
        from qiskit_aer.noise import NoiseModel, depolarizing_error
        import eqx_qdeq as qdeq

        theirs = NoiseModel()
        theirs.add_all_qubit_quantum_error(depolarizing_error(0.01, 2), ["cx"])
        model = qdeq.noise.from_aer(theirs)
        model.after("CX", (0, 1))[0].probability  # 0.009375
        ```

    **Arguments:**

    - `model`: a `qiskit_aer.noise.NoiseModel`, e.g. `NoiseModel.from_backend(backend)`.
    - `qubits`: the qubit of Aer's model that each of our wires is; needed if the model tells
        qubits apart.
    - `strict`: whether parts without a counterpart are an error. If not, they are left out, with a
        warning that lists them.

    **Returns:**

    A [`eqx_qdeq.noise.NoiseModel`][] with fixed channels.

    **Raises:** `ImportError` without Qiskit Aer, `TypeError` for something else than its noise
    model, `ValueError` if `qubits` is missing or no list of different qubits, or if parts of the
    model have no counterpart; it lists them all.
    """
    aer = need("qiskit_aer.noise", "qiskit", "reading a noise model of Aer")
    if not isinstance(model, aer.NoiseModel):
        raise TypeError(f"`model` must be a qiskit_aer.noise.NoiseModel; got {type(model)}.")
    local, local_readout = model._local_quantum_errors, model._local_readout_errors
    if qubits is None and (local or local_readout):
        raise ValueError(
            "`model` tells qubits apart: name the one that each wire is, e.g. qubits=[0, 1, 2, 3]."
        )
    wire_of = {qubit: wire for wire, qubit in enumerate(qubits or ())}
    if len(wire_of) < len(qubits or ()) or any(qubit < 0 for qubit in wire_of):
        raise ValueError(f"`qubits` must be different qubits, one for each wire; got {qubits}.")

    lost = [f"the noise pass {type(each).__name__}" for each in _passes(model)]
    overrides = _overrides(_tables(model, wire_of), wire_of, lost)
    readout = _readout(local_readout, model._default_readout_error, wire_of, lost)
    if lost:
        listed = f"`model` has parts without a counterpart here: {'; '.join(lost)}."
        if strict:
            raise ValueError(f"{listed} Take them out, or leave them out here by strict=False.")
        warnings.warn(f"{listed} They are left out.", stacklevel=2)
    return NoiseModel(overrides=tuple(overrides), readout=readout)


def _passes(model: Any) -> list[Any]:
    """What adds errors to a whole circuit, unless to its delays alone, as `from_backend` has it."""
    return [
        each
        for each in model._custom_noise_passes
        if {kind.__name__.lower() for kind in getattr(each, "_ops", None) or [object]} - {*_NEVER}
    ]


def _tables(model: Any, wire_of: Mapping[int, int]) -> dict[str, Errors]:
    """The errors by the names of gates, those on certain qubits first."""
    tables: dict[str, Errors] = {}
    for name, errors in model._local_quantum_errors.items():
        ours = {key: error for key, error in errors.items() if all(q in wire_of for q in key)}
        if ours:
            tables[name] = ours
    for name, error in model._default_quantum_errors.items():
        tables.setdefault(name, {})[None] = error
    return {name: errors for name, errors in tables.items() if name not in _NEVER}


def _overrides(
    tables: Mapping[str, Errors], wire_of: Mapping[int, int], lost: list[str]
) -> list[GateNoise]:
    known = {name for names in QISKIT_NAMES.values() for name in names}
    lost += [f"errors on {name!r}" for name in tables if name not in known]
    out = []
    for gate, names in QISKIT_NAMES.items():
        named = [name for name in names if name in tables]
        for name in named[1:]:
            if tables[name] != tables[named[0]]:
                lost.append(f"errors on {name!r} that {named[0]!r} does not have: both are {gate}")
        # Aer takes the error of a gate on these very qubits before that of the gate on any, and so
        # does a table; ours is the first that matches.
        for key, error in tables[named[0]].items() if named else ():
            found = _channel(error, GATES[gate].n_wires)
            if isinstance(found, str):
                where = "" if key is None else f" of qubits {key}"
                lost.append(f"the error on {named[0]!r}{where}, {found}")
                continue
            wires = None if key is None else tuple(wire_of[qubit] for qubit in key)
            out.append(GateNoise((found,), gate, wires))
    return out


def _channel(error: Any, n_wires: int) -> KrausChannel | str:
    """The channel, or why there is none."""
    from qiskit.exceptions import QiskitError
    from qiskit.quantum_info import Kraus

    if error.num_qubits != n_wires:
        return f"which acts on {error.num_qubits} qubits, and the gate on {n_wires}"
    try:
        operators = np.array(Kraus(error).data)
        # Qiskit's first qubit is the least significant bit, our first wire the most significant.
        axes = [0, *range(n_wires, 0, -1), *range(2 * n_wires, n_wires, -1)]
        tensor = operators.reshape((-1,) + (2,) * (2 * n_wires)).transpose(axes)
        return KrausChannel(tensor.reshape(operators.shape))
    except (QiskitError, ValueError) as problem:
        return f"which is no channel ({problem})"


def _readout(
    local: Mapping[Qubits, Any], default: Any, wire_of: Mapping[int, int], lost: list[str]
) -> ReadoutError | None:
    found: dict[int, tuple[float, float]] = {}
    for key, error in local.items():
        if not wire_of.keys() & set(key):
            continue
        rates = _rates(error)
        if rates is None:
            lost.append(f"the readout error of qubits {key}, which depends on several of them")
        elif wire_of.keys() & set(key) & found.keys():
            lost.append(f"the readout error of qubits {key}, one of several of the same qubit")
        else:
            found |= dict(zip(key, rates, strict=True))
    usual = None if default is None else (_rates(default) or [None])[0]  # of one qubit, says Aer
    if not found:
        return None if usual is None else ReadoutError(*usual)
    # Qubits that the model does not name are read as all others, or perfectly.
    p01, p10 = zip(*(found.get(qubit, usual or (0.0, 0.0)) for qubit in wire_of), strict=True)
    return ReadoutError(p01, p10)


def _rates(error: Any) -> list[tuple[float, float]] | None:
    """The probabilities to read 1 in |0⟩ and 0 in |1⟩ on every qubit, if those of several are
    products of them."""
    # Row m and column n are what is and what is read, and bit j of both is qubit j, so that a
    # product is P_{k-1} ⊗ … ⊗ P_0. Its factors are what is left when the other qubits are summed
    # over what is read, whatever they are.
    matrix, k = np.asarray(error.probabilities), error.number_of_qubits
    tensor = matrix.reshape((2,) * (2 * k))
    factors = []
    for axis in range(k):
        others = [other for other in range(k) if other != axis]
        factors.append(tensor.sum(tuple(k + o for o in others)).mean(tuple(others)))
    if np.abs(ft.reduce(np.kron, factors) - matrix).max() > 1e-8:
        return None
    return [(float(factor[0, 1]), float(factor[1, 0])) for factor in factors[::-1]]
