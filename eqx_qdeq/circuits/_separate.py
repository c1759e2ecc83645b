"""The same gates with angles that no two of them share."""

import functools as ft
from typing import NamedTuple

import numpy as np

from ._circuit import Circuit


class Separate(NamedTuple):
    """A circuit in which every place of every gate has a parameter of its own, and where these
    come from: the angle in place i is `scales[i] * angles[index[i]] + offsets[i]`."""

    circuit: Circuit
    index: np.ndarray
    scales: np.ndarray
    offsets: np.ndarray


@ft.lru_cache(maxsize=256)
def one_angle_each(circuit: Circuit) -> Separate:
    """The circuit with a parameter for each angle of each gate."""
    params, start = [], 0
    for used in circuit.params:
        params.append(tuple(range(start, start + len(used))))
        start += len(used)
    own = Circuit(circuit.gates, circuit.wires, params, circuit.n_qubits)
    index = np.array([p for used in circuit.params for p in used], int)
    scales, offsets = (
        np.array([e for row in rows for e in row]) for rows in (circuit.scales, circuit.offsets)
    )
    return Separate(own, index, scales, offsets)
