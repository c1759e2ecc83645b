"""The bases in which outcomes are drawn, and which observables each of them serves.

Observables that are diagonal in one basis are read off the same bitstrings. So the measurement is
parted into groups, each with the rotations of wires that make its observables diagonal.
"""

import functools as ft
from collections.abc import Callable, Iterable
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from .._precise import dot, tensordot
from ..measurements import AbstractMeasurement, Hermitian, PauliStrings, PauliSum
from ..noise import InvertedReadout

Entries = tuple[tuple[complex, ...], ...]
Rotation = tuple[tuple[int, ...], Entries]

# The rotation V with V P V† = Z for P = X or Y: its rows are the eigenvectors of P, that of +1
# first, conjugated. After V, the bit 0 means the eigenvalue +1, as Z has it.
_H = complex(0.5**0.5)
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
        # Outcome b is the projector O_b = V†|b⟩⟨b|V, so O_b|ψ⟩ = (V†|b⟩) ⟨b|V|ψ⟩: a column of V†,
        # which is a row of V conjugated, times a number.
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
    # An axis of two for each wire. `tensordot` leaves the axes that it made in front, `moveaxis`
    # takes them back to their wires: V acts without ever being a matrix of 2ⁿ rows.
    n = states.shape[0].bit_length() - 1
    tensor = states.reshape((2,) * n + (-1,))
    for wires, entries in rotations:
        k = len(wires)
        matrix = jnp.asarray(np.array(entries).reshape((2,) * (2 * k)), states.dtype)
        tensor = tensordot(matrix, tensor, (tuple(range(k, 2 * k)), wires))
        tensor = jnp.moveaxis(tensor, tuple(range(k)), wires)
    return tensor.reshape(states.shape)


class Group(NamedTuple):
    """Observables that share their bitstrings: their places in the measurement, the basis, and
    their eigenvalues for every bitstring, shape `(len(members), 2**n)`. An observable that is a sum
    may be in several groups, with a part of it in each."""

    members: tuple[int, ...]
    basis: BasisOutcomes
    eigenvalues: np.ndarray | Array

    def moments(
        self, probabilities: Float[Array, " dim"]
    ) -> tuple[Float[Array, " values"], Float[Array, " values"]]:
        """Means and variances of the observables under a distribution of bitstrings."""
        eigenvalues = jnp.asarray(self.eigenvalues, probabilities.dtype)
        mean = dot(eigenvalues, probabilities)
        # Not ⟨O²⟩ - ⟨O⟩², which cancels where the variance is small: near an eigenstate, the
        # difference of two ones would be nothing but rounding, and could be negative.
        squares = (eigenvalues - mean[:, None]) ** 2
        return mean, jnp.sum(squares * probabilities[None], axis=1)

    def largest_variances(self) -> np.ndarray | Array:
        """The largest variance that each observable can have: a quarter of its range, squared
        (Popoviciu). Half of the weight at each end has it."""
        if isinstance(self.eigenvalues, Array):
            return jnp.ptp(self.eigenvalues, axis=1) ** 2 / 4
        return np.ptp(self.eigenvalues.astype(float), axis=1) ** 2 / 4


def group_observables(measurement: AbstractMeasurement, n_qubits: int) -> tuple[Group, ...]:
    """Parts a measurement into groups that are sampled together.

    Diagonal observables are one group. Pauli strings are parted into groups that commute on each
    wire, by greedy coloring with the strings first that clash with most others. Hermitian
    matrices are sampled in the eigenbasis of the first of a group.

    **Raises:** `ValueError` for a measurement of another kind.
    """
    size = measurement.size(n_qubits)  # raises for a wire that does not exist
    diagonals = measurement.diagonals(n_qubits)
    if diagonals is not None:
        return (Group(tuple(range(size)), BasisOutcomes(), diagonals),)
    if isinstance(measurement, InvertedReadout):
        # What is read is corrected afterwards: the same bitstrings, with other values for them.
        return tuple(
            group._replace(eigenvalues=measurement.on_eigenvalues(np.asarray(group.eigenvalues)))
            for group in group_observables(measurement.measurement, n_qubits)
        )
    if isinstance(measurement, PauliStrings):
        return _pauli_groups(measurement, n_qubits)
    if isinstance(measurement, Hermitian):
        return _eigenbases(measurement, n_qubits)
    if isinstance(measurement, PauliSum):
        # Every group of strings contributes a part to every sum.
        return tuple(
            group._replace(
                members=tuple(range(size)),
                eigenvalues=measurement.combined(np.asarray(group.eigenvalues), group.members),
            )
            for group in group_observables(measurement.strings, n_qubits)
        )
    raise ValueError(
        f"no basis is known in which to sample {type(measurement).__name__}: give it a method "
        "`diagonals`, or measure PauliStrings, a PauliSum or Hermitian instead."
    )


def _greedily(
    order: Iterable[int], fits: Callable[[int, list[int]], bool]
) -> list[tuple[int, ...]]:
    """Each goes into the first group that it fits, or begins one."""
    groups: list[list[int]] = []
    for i in order:
        home = next((group for group in groups if fits(i, group)), None)
        if home is None:
            groups.append([i])
        else:
            home.append(i)
    return [tuple(sorted(group)) for group in groups]


def _pauli_groups(measurement: PauliStrings, n_qubits: int) -> tuple[Group, ...]:
    letters = [dict(string) for string in measurement.strings]

    # The fewest groups are the fewest colors of the graph of clashes, which is hard to find
    # (NP-complete). Greedy in order of falling degree (Welsh and Powell) comes close: a string that
    # clashes with many is placed while there still is a choice.
    def clash(a: int, b: int) -> bool:
        return any(letters[b].get(w, letter) != letter for w, letter in letters[a].items())

    indices = range(len(letters))
    clashes = [sum(clash(a, b) for b in indices) for a in indices]
    order = sorted(indices, key=lambda i: -clashes[i])
    groups = []
    for members in _greedily(order, lambda i, group: not any(clash(i, j) for j in group)):
        turned = {w: letter for i in members for w, letter in letters[i].items() if letter != "Z"}
        rotations = tuple(((w,), _TO_Z[letter]) for w, letter in sorted(turned.items()))
        # Once rotated, every factor is a Z.
        strings = [" ".join(f"Z{w}" for w in letters[i]) or "I" for i in members]
        eigenvalues = PauliStrings(strings).diagonals(n_qubits)
        assert eigenvalues is not None
        groups.append(Group(members, BasisOutcomes(rotations), eigenvalues))
    return tuple(groups)


def _eigenbases(measurement: Hermitian, n_qubits: int) -> tuple[Group, ...]:
    matrices, wires = measurement.matrices, np.array(measurement.wires)
    eigenvectors = ft.cache(lambda i: np.linalg.eigh(matrices[i])[1])

    def fits(i: int, group: list[int]) -> bool:
        """Whether the basis of the group's first matrix makes this one diagonal, too. Commuting is
        not enough: where the first one is degenerate, its eigenvectors are only some of many."""
        turned = eigenvectors(group[0]).conj().T @ matrices[i] @ eigenvectors(group[0])
        gap = np.max(np.abs(turned - np.diag(np.diag(turned))))
        return bool(gap <= 1e-9 * max(1.0, float(np.max(np.abs(matrices[i])))))

    # Which eigenvector each of the 2ⁿ bitstrings stands for: its bits on these wires, as a number.
    bits = (np.arange(2**n_qubits)[:, None] >> (n_qubits - 1 - wires)) & 1
    outcome = bits @ 2 ** np.arange(len(wires))[::-1]
    groups = []
    for members in _greedily(range(len(matrices)), fits):
        vectors = eigenvectors(members[0])
        adjoint = vectors.conj().T
        basis = BasisOutcomes(((measurement.wires, tuple(map(tuple, adjoint.tolist()))),))
        diagonal = [np.real(np.diag(adjoint @ matrices[i] @ vectors)) for i in members]
        groups.append(Group(members, basis, np.stack(diagonal)[:, outcome]))
    return tuple(groups)
