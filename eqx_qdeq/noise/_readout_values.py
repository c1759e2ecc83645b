"""Measured values of a state vector with readout error."""

import itertools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from ..measurements import AbstractMeasurement, Hermitian, PauliStrings, PauliZ, Probabilities
from ._paulis import on_each_wire, pauli_matrices
from ._readout import ReadoutError

# Up to this many wires the signs of diagonal observables are a constant matrix.
_MATRIX_WIRES = 11

_String = tuple[tuple[int, str], ...]


def values_with_readout(
    measurement: AbstractMeasurement, readout: ReadoutError | None, state: Complex[Array, " dim"]
) -> Float[Array, " m"]:
    """The measured values of a state that need not be normalised.

    **Raises:** `TypeError` for a measurement of a kind not known, on many wires.
    """
    if readout is None:
        return measurement.values(state)
    n = state.shape[0].bit_length() - 1
    if isinstance(measurement, Probabilities):
        return _read(measurement.values(state), readout, n, measurement.wires)
    diagonals = measurement.diagonals(n) if n <= _MATRIX_WIRES else None
    if diagonals is not None:
        read = readout.on_probabilities(state.real**2 + state.imag**2)
        return jnp.dot(jnp.asarray(diagonals, read.dtype), read, precision="highest")
    strings, matrix = as_strings(measurement, n)
    found, index = _with_parts(strings)
    values = PauliStrings([" ".join(f"{p}{w}" for w, p in s) or "I" for s in found]).values(state)
    scale, shift = (a.astype(values.dtype) for a in readout.pauli_map(n))
    read = []
    for string in strings:
        total = jnp.zeros((), values.dtype)
        for kept in _subsets(string):
            factor = jnp.ones((), values.dtype)
            for letter in string:
                factor = factor * (scale if letter in kept else shift)[letter[0]]
            total = total + factor * values[index[kept]]
        read.append(total)
    return jnp.dot(jnp.asarray(matrix, values.dtype), jnp.stack(read), precision="highest")


def _read(
    probabilities: Array, readout: ReadoutError, n: int, wires: tuple[int, ...] | None
) -> Array:
    wires = tuple(range(n)) if wires is None else wires
    confusion = readout.confusion(n)[np.array(wires)].astype(probabilities.dtype)
    return on_each_wire(confusion, probabilities.reshape((2,) * len(wires))).reshape(-1)


def as_strings(measurement: AbstractMeasurement, n: int) -> tuple[list[_String], np.ndarray]:
    """Pauli strings, and the matrix from their values to those of the measurement."""
    if isinstance(measurement, PauliStrings):
        return list(measurement.strings), np.eye(len(measurement))
    if isinstance(measurement, PauliZ):
        wires = range(n) if measurement.wires is None else measurement.wires
        return [((w, "Z"),) for w in wires], np.eye(len(wires))
    if isinstance(measurement, Hermitian):
        k = len(measurement.wires)
        matrices = np.asarray(measurement.matrices)
        weights = np.einsum("pij,mji->mp", pauli_matrices(k), matrices).real / 2**k
        strings = [
            tuple((w, p) for w, p in zip(measurement.wires, letters, strict=True) if p != "I")
            for letters in itertools.product("IXYZ", repeat=k)
        ]
        return strings, weights
    raise TypeError(
        f"trajectories with readout error on more than {_MATRIX_WIRES} wires know PauliZ, "
        f"PauliStrings, Probabilities and Hermitian; got {type(measurement).__name__}. Write the "
        "observables as one of those, or use another engine."
    )


def _subsets(string: _String) -> list[_String]:
    return [
        kept for size in range(len(string) + 1) for kept in itertools.combinations(string, size)
    ]


def _with_parts(strings: list[_String]) -> tuple[list[_String], dict[_String, int]]:
    """All strings that are left when factors of the given ones are dropped."""
    index: dict[_String, int] = {}
    for string in strings:
        for kept in _subsets(string):
            index.setdefault(kept, len(index))
    return list(index), index
