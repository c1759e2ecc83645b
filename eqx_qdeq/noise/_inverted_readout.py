"""Readout inversion: observables that are measured as others are meant."""

import functools as ft

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from ..measurements import AbstractMeasurement, PauliStrings
from ._readout import Rates, ReadoutError


class InvertedReadout(AbstractMeasurement):
    r"""A measurement whose values are corrected for readout error.

    The inverse of the wires' confusion matrices $A_w$ is applied to the eigenvalues of each
    observable, $\lambda' = \lambda\,(A_0\otimes A_1\otimes\dots)^{-1}$, so that $\lambda'$ has
    under the distribution that is read the mean that $\lambda$ has under the true one. On products
    of Paulis this replaces each factor P by $(P - p_{10} + p_{01})/(1 - p_{01} - p_{10})$.

    It takes the place of the measurement in a layer, so it acts inside a solve, in gradients and
    on shots, whose variance grows as the eigenvalues do
    ([`shot_overhead`][eqx_qdeq.mitigation.InvertedReadout.shot_overhead]).

    !!! example

        ```python
        import jax
        import eqx_qdeq as qdeq

        error = qdeq.noise.ReadoutError(0.02, 0.05)
        layer = qdeq.QuantumLayer(
            qdeq.circuits.hardware_efficient(n_qubits=2, depth=1),
            qdeq.AmplitudeEncoding(),
            qdeq.mitigation.InvertedReadout(qdeq.PauliZ(), error),
            noise=qdeq.noise.NoiseModel(readout=error),
            key=jax.random.key(0),
        )
        ```

    ??? cite "Reference"

        S. Bravyi, S. Sheldon, A. Kandala, D. C. McKay and J. M. Gambetta, "Mitigating measurement
        errors in multiqubit experiments", Phys. Rev. A 103, 042605 (2021).
    """

    measurement: AbstractMeasurement
    p01: float | tuple[float, ...] = eqx.field(static=True)
    p10: float | tuple[float, ...] = eqx.field(static=True)

    def __init__(self, measurement: AbstractMeasurement, error: ReadoutError):
        self.measurement = measurement
        # Numbers: what a calibration found is not trained.
        self.p01, self.p10 = _numbers(error.p01), _numbers(error.p10)
        if np.any(np.add(self.p01, self.p10) > 1 - 1e-6):
            raise ValueError(
                f"`error` cannot be inverted: p01 + p10 must be below 1 on each wire; got "
                f"p01 = {self.p01} and p10 = {self.p10}."
            )

    def size(self, n_qubits: int) -> int:
        self._rates(n_qubits)
        size = self.measurement.size(n_qubits)
        if self.measurement.diagonals(n_qubits) is None and not isinstance(
            self.measurement, PauliStrings
        ):
            raise ValueError(
                "readout inversion is known for PauliStrings and diagonal observables; got "
                f"{type(self.measurement).__name__}. Write it as PauliStrings."
            )
        return size

    def diagonals(self, n_qubits: int) -> np.ndarray | None:
        plain = self.measurement.diagonals(n_qubits)
        return None if plain is None else self.on_eigenvalues(plain)

    def on_eigenvalues(self, eigenvalues: np.ndarray) -> np.ndarray:
        """The eigenvalues λ' for λ, in the basis in which bits are read, shape `(m, 2**n)`."""
        n = eigenvalues.shape[1].bit_length() - 1
        tensor = eigenvalues.astype(float).reshape((-1,) + (2,) * n)
        for wire, (p01, p10) in enumerate(zip(*self._rates(n), strict=True)):
            inverse = np.linalg.inv([[1 - p01, p10], [p01, 1 - p10]])
            tensor = np.moveaxis(np.tensordot(tensor, inverse, (wire + 1, 0)), -1, wire + 1)
        return tensor.reshape(eigenvalues.shape)

    def values(self, state: Complex[Array, " dim"]) -> Float[Array, " m"]:
        n = state.shape[0].bit_length() - 1
        diagonals = self.diagonals(n)
        if diagonals is not None:
            probabilities = state.real**2 + state.imag**2
            return _dot(diagonals, probabilities)
        parts, matrix = self._expanded(n)
        return _dot(matrix, parts.values(state))

    def apply(self, states: Complex[Array, "dim cols"]) -> Complex[Array, "m dim cols"]:
        n = states.shape[0].bit_length() - 1
        diagonals = self.diagonals(n)
        if diagonals is not None:
            return jnp.asarray(diagonals, states.real.dtype)[:, :, None] * states
        parts, matrix = self._expanded(n)
        applied = parts.apply(states)
        return _dot(matrix, applied.reshape(len(parts), -1)).reshape(-1, *states.shape)

    def norms(self, n_qubits: int) -> np.ndarray:
        diagonals = self.diagonals(n_qubits)
        if diagonals is not None:
            return np.abs(diagonals).max(axis=1)
        assert isinstance(self.measurement, PauliStrings)
        p01, p10 = self._rates(n_qubits)
        largest = (1 + np.abs(p10 - p01)) / (1 - p01 - p10)
        strings = self.measurement.strings
        return np.array([np.prod([largest[w] for w, _ in string]) for string in strings])

    def shot_overhead(self, n_qubits: int) -> np.ndarray:
        """By what factor the largest variance of each value grows, and with it the shots for the
        same accuracy, shape `(m,)`."""
        if (plain := self.measurement.diagonals(n_qubits)) is None:
            assert isinstance(self.measurement, PauliStrings)
            strings = self.measurement.strings
            plain = PauliStrings(
                [" ".join(f"Z{w}" for w, _ in s) or "I" for s in strings]
            ).diagonals(n_qubits)
            assert plain is not None
        before, after = np.ptp(plain, axis=1), np.ptp(self.on_eigenvalues(plain), axis=1)
        return np.where(before > 0, (after / np.where(before > 0, before, 1)) ** 2, 1.0)

    def _rates(self, n_qubits: int) -> tuple[np.ndarray, np.ndarray]:
        for name in ("p01", "p10"):
            if np.ndim(getattr(self, name)) and len(getattr(self, name)) != n_qubits:
                raise ValueError(
                    f"`{name}` of the readout error has {len(getattr(self, name))} rates, but the "
                    f"circuit has {n_qubits} wires; give one for each, or one for all."
                )
        return np.broadcast_to(self.p01, n_qubits), np.broadcast_to(self.p10, n_qubits)

    def _expanded(self, n_qubits: int) -> tuple[PauliStrings, np.ndarray]:
        """The Pauli strings into which the products expand, and the coefficients."""
        assert isinstance(self.measurement, PauliStrings)
        p01, p10 = self._rates(n_qubits)
        scale, shift = 1 / (1 - p01 - p10), (p01 - p10) / (1 - p01 - p10)
        return _expand(self.measurement, tuple(scale.tolist()), tuple(shift.tolist()))


InvertedReadout.__init__.__doc__ = """**Arguments:**

- `measurement`: what is meant: diagonal observables, or [`eqx_qdeq.PauliStrings`][].
- `error`: the readout error, as calibrated. Its rates are taken as fixed numbers.

**Raises:** `ValueError` if it cannot be inverted.
"""


def _numbers(rates: Rates) -> float | tuple[float, ...]:
    array = np.asarray(rates)
    return float(array) if array.ndim == 0 else tuple(map(float, array))


def _dot(matrix: np.ndarray, values: Array) -> Array:
    return jnp.dot(jnp.asarray(matrix, values.dtype), values, precision="highest")


@ft.lru_cache(maxsize=64)
def _expand(
    measurement: PauliStrings, scale: tuple[float, ...], shift: tuple[float, ...]
) -> tuple[PauliStrings, np.ndarray]:
    index: dict[str, int] = {}
    rows = []
    for string in measurement.strings:
        terms = [("", 1.0)]
        for wire, letter in string:
            terms = [
                term
                for name, factor in terms
                for term in (
                    (f"{name} {letter}{wire}", factor * scale[wire]),
                    (name, factor * shift[wire]),
                )
            ]
        rows.append({index.setdefault(name.strip() or "I", len(index)): f for name, f in terms})
    matrix = np.zeros((len(rows), len(index)))
    for row, terms in zip(matrix, rows, strict=True):
        row[list(terms)] = list(terms.values())
    return PauliStrings(list(index)), matrix
