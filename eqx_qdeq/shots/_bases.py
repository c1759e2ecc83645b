"""The bases in which outcomes are drawn, and which observables each of them serves.

Observables that are diagonal in one basis are read off the same bitstrings. So the measurement is
parted into groups, each with the rotations of wires that make its observables diagonal.
"""

from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Complex, Float

from ..measurements import AbstractMeasurement, Hermitian, PauliStrings
from ..noise import InvertedReadout

Entries = tuple[tuple[complex, ...], ...]
Rotation = tuple[tuple[int, ...], Entries]

_H = complex(0.5**0.5)
# V P V† = Z for the Pauli operator P that is meant.
_TO_Z: dict[str, Entries] = {
    "X": ((_H, _H), (_H, -_H)),
    "Y": ((_H, -1j * _H), (_H, 1j * _H)),
}


class BasisOutcomes(AbstractMeasurement):
    """The probabilities of all 2ⁿ bitstrings after rotations that choose the basis."""

    rotations: tuple[Rotation, ...] = eqx.field(static=True, default=())

    def size(self, n_qubits: int) -> int:
        return 2**n_qubits

    def values(self, state: Complex[Array, " dim"]) -> Float[Array, " dim"]:
        rotated = _rotate(state[:, None], self.rotations)[:, 0]
        return rotated.real**2 + rotated.imag**2

    def apply(self, states: Complex[Array, "dim cols"]) -> Complex[Array, "dim dim cols"]:
        rotated = _rotate(states, self.rotations)
        bras = _rotate(jnp.eye(states.shape[0], dtype=states.dtype), self.rotations)
        return bras.conj()[:, :, None] * rotated[:, None, :]

    def norms(self, n_qubits: int) -> np.ndarray:
        return np.ones(2**n_qubits)

    def diagonals(self, n_qubits: int) -> np.ndarray | None:
        return None if self.rotations else np.eye(2**n_qubits, dtype=np.int8)


def _rotate(
    states: Complex[Array, "dim cols"], rotations: tuple[Rotation, ...]
) -> Complex[Array, "dim cols"]:
    n = states.shape[0].bit_length() - 1
    tensor = states.reshape((2,) * n + (-1,))
    for wires, entries in rotations:
        k = len(wires)
        matrix = jnp.asarray(np.array(entries).reshape((2,) * (2 * k)), states.dtype)
        tensor = jnp.tensordot(
            matrix, tensor, (tuple(range(k, 2 * k)), wires), precision=lax.Precision.HIGHEST
        )
        tensor = jnp.moveaxis(tensor, tuple(range(k)), wires)
    return tensor.reshape(states.shape)


class Group(NamedTuple):
    """Observables that share their bitstrings: their places in the measurement, the basis, and
    their eigenvalues for every bitstring, shape `(len(members), 2**n)`."""

    members: tuple[int, ...]
    basis: BasisOutcomes
    eigenvalues: np.ndarray


def group_observables(measurement: AbstractMeasurement, n_qubits: int) -> tuple[Group, ...]:
    """Parts a measurement into groups that are sampled together.

    Diagonal observables are one group. Pauli strings are parted into groups that commute on each
    wire, by greedy colouring with the strings first that clash with most others. Hermitian
    matrices are sampled in the eigenbasis of the first of a group.

    **Raises:** `ValueError` for a measurement of another kind.
    """
    size = measurement.size(n_qubits)
    diagonals = measurement.diagonals(n_qubits)
    if diagonals is not None:
        return (Group(tuple(range(size)), BasisOutcomes(), diagonals),)
    if isinstance(measurement, InvertedReadout):
        return tuple(
            group._replace(eigenvalues=measurement.on_eigenvalues(group.eigenvalues))
            for group in group_observables(measurement.measurement, n_qubits)
        )
    if isinstance(measurement, PauliStrings):
        return tuple(
            _pauli_group(measurement, members, n_qubits)
            for members in _commuting_on_each_wire(measurement.strings)
        )
    if isinstance(measurement, Hermitian):
        return _eigenbases(measurement, n_qubits)
    raise ValueError(
        f"no basis is known in which to sample {type(measurement).__name__}: give it a method "
        "`diagonals`, or measure PauliStrings or Hermitian instead."
    )


def _commuting_on_each_wire(
    strings: Sequence[tuple[tuple[int, str], ...]],
) -> list[tuple[int, ...]]:
    letters = [dict(string) for string in strings]

    def clash(a: int, b: int) -> bool:
        return any(letters[b].get(w, letter) != letter for w, letter in letters[a].items())

    indices = range(len(strings))
    clashes = [sum(clash(a, b) for b in indices) for a in indices]
    groups: list[list[int]] = []
    for i in sorted(indices, key=lambda i: -clashes[i]):
        home = next((g for g in groups if not any(clash(i, j) for j in g)), None)
        if home is None:
            groups.append([i])
        else:
            home.append(i)
    return [tuple(sorted(g)) for g in groups]


def _pauli_group(measurement: PauliStrings, members: tuple[int, ...], n_qubits: int) -> Group:
    letters = {w: letter for i in members for w, letter in measurement.strings[i]}
    rotations = tuple(((w,), _TO_Z[a]) for w, a in sorted(letters.items()) if a != "Z")
    # Once rotated, every factor is a Z.
    strings = [" ".join(f"Z{w}" for w, _ in measurement.strings[i]) or "I" for i in members]
    eigenvalues = PauliStrings(strings).diagonals(n_qubits)
    assert eigenvalues is not None
    return Group(members, BasisOutcomes(rotations), eigenvalues)


def _eigenbases(measurement: Hermitian, n_qubits: int) -> tuple[Group, ...]:
    places, columns = [], []  # for each basis, its observables and its eigenvectors
    for i, matrix in enumerate(measurement.matrices):
        for members, vectors in zip(places, columns, strict=True):
            turned = vectors.conj().T @ matrix @ vectors
            gap = np.max(np.abs(turned - np.diag(np.diag(turned))))
            if gap <= 1e-9 * max(1.0, float(np.max(np.abs(matrix)))):
                members.append(i)
                break
        else:
            places.append([i])
            columns.append(np.linalg.eigh(matrix)[1])
    k = np.arange(2**n_qubits)
    outcome = np.zeros_like(k)
    for wire in measurement.wires:
        outcome = 2 * outcome + ((k >> (n_qubits - 1 - wire)) & 1)
    groups = []
    for members, vectors in zip(places, columns, strict=True):
        adjoint = vectors.conj().T
        entries = tuple(tuple(complex(e) for e in row) for row in adjoint)
        diagonal = [np.real(np.diag(adjoint @ measurement.matrices[i] @ vectors)) for i in members]
        basis = BasisOutcomes(((measurement.wires, entries),))
        groups.append(Group(tuple(members), basis, np.stack(diagonal)[:, outcome]))
    return tuple(groups)
