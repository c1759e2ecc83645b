r"""Readout error: a classical confusion of measured bits, wire by wire, and its inverse.

With $p_{01}$ the probability to read 1 where the wire is in |0⟩ and $p_{10}$ the reverse, an
observable Z is measured as $(1-p_{01}-p_{10})\,Z+(p_{10}-p_{01})$. X and Y are measured as Z after
a rotation, so the same holds for them, and for products factor by factor.
"""

import functools as ft
import itertools
from collections.abc import Callable, Iterable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from .._precise import dot, tensordot
from ..measurements import AbstractMeasurement, Hermitian, PauliStrings, PauliSum, PauliZ
from ._channel import as_array, Rate, rate_in_01
from ._paulis import on_each_wire, pauli_matrices

Rates = Rate | Float[Array, " n"] | tuple[float, ...]
"""One rate for all wires, or one for each."""
String = tuple[tuple[int, str], ...]

# The confusion of one wire, in two languages. On the column of probabilities (of |0⟩, of |1⟩) it is
#     A = [[1 - p01, p10], [p01, 1 - p10]].
# The row of eigenvalues (1, -1) of Z is then read as (1, -1) A = (1 - 2 p01, 2 p10 - 1), which is
# s (1, -1) + t (1, 1) with s = 1 - p01 - p10 and t = p10 - p01: Z is measured as s Z + t. The
# inverse is of the same form, with 1/s and -t/s: where s > 0, bits can be corrected on average.


def _rates_in_01(name: str) -> Callable[[Any], Rates]:
    """The converter of a field that is one rate in [0, 1], or one for each wire."""
    one = rate_in_01(name, axes=1)

    def convert(value: Any) -> Rates:
        # (Of a tuple whose numbers are traced NumPy would not tell the dimension.)
        if not isinstance(value, tuple | list) and np.ndim(value) > 1:
            raise ValueError(
                f"`{name}` must be one rate or one for each wire; got shape {np.shape(value)}."
            )
        # A tuple of numbers is fixed, as a number is; an array, one for each wire, is trained.
        many = isinstance(value, tuple | list)
        return tuple(float(one(v)) for v in value) if many else one(value)

    return convert


def _check_wires(error: "ReadoutError | InvertedReadout", n_qubits: int) -> None:
    for name in ("p01", "p10"):
        value = getattr(error, name)
        # (Of a tuple whose numbers are traced NumPy would not tell the dimension.)
        many = isinstance(value, tuple) or np.ndim(value) > 0
        if many and len(value) != n_qubits:
            raise ValueError(
                f"`{name}` of the readout error has {len(value)} rates, but the circuit has "
                f"{n_qubits} wires; give one for each, or one for all."
            )


class ReadoutError(eqx.Module):
    r"""The confusion of measured bits: reading 1 in |0⟩ with probability $p_{01}$ and 0 in |1⟩ with
    probability $p_{10}$, on each wire by itself.

    It acts exactly on the probabilities of outcomes and on each product of Pauli operators. An
    observable that is a sum of products is measured product by product.

    !!! example

        ```python
        import eqx_qdeq as qdeq

        error = qdeq.noise.ReadoutError(p01=0.02, p10=0.05)
        error.confusion(n_qubits=1)[0]
        # [[0.98 0.05]
        #  [0.02 0.95]]
        per_wire = qdeq.noise.ReadoutError(p01=(0.02, 0.01), p10=(0.05, 0.03))
        ```
    """

    p01: Rates = eqx.field(converter=_rates_in_01("p01"))
    p10: Rates = eqx.field(converter=_rates_in_01("p10"))

    def check(self, n_qubits: int) -> None:
        """Raises a `ValueError` for rates of another number of wires."""
        _check_wires(self, n_qubits)

    def rates(self, n_qubits: int) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
        """p01 and p10 on every wire.

        **Raises:** `ValueError` if they were given for another number of wires.
        """
        _check_wires(self, n_qubits)
        wide = lambda rates: jnp.broadcast_to(as_array(rates), (n_qubits,))
        return wide(self.p01), wide(self.p10)

    def confusion(self, n_qubits: int) -> Float[Array, "n 2 2"]:
        """On each wire the matrix of the probabilities to read i in |j⟩."""
        p01, p10 = self.rates(n_qubits)
        return jnp.array([[1 - p01, p10], [p01, 1 - p10]]).transpose(2, 0, 1)

    def on_probabilities(self, probabilities: Float[Array, " dim"]) -> Float[Array, " dim"]:
        """The probabilities of what is read, from those of the outcomes, shape `(2**n,)`."""
        n = probabilities.shape[0].bit_length() - 1
        confusion = self.confusion(n).astype(probabilities.dtype)
        return on_each_wire(confusion, probabilities.reshape((2,) * n)).reshape(-1)

    def pauli_map(self, n_qubits: int) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
        """Scale and shift of a measured Pauli operator on every wire."""
        p01, p10 = self.rates(n_qubits)
        return 1 - p01 - p10, p10 - p01

    def on_coefficients(self, coefficients: Float[Array, "..."]) -> Float[Array, "..."]:
        """The observables that are measured in place of those with these coefficients.

        **Arguments:**

        - `coefficients`: of products of I and Z, shape `(2,) * n + (m,)`, or of all Paulis, shape
            `(4,) * n + (m,)`.
        """
        n, base = coefficients.ndim - 1, coefficients.shape[0]
        # The transpose of the map on expectation values: s P + t 1 adds to the coefficient of 1.
        parts = np.zeros((3, base, base))
        parts[0, 0, 0] = parts[2, 0, 1:] = 1
        parts[1] = np.diag(np.arange(base) > 0)
        scale, shift = self.pauli_map(n)
        factors = jnp.stack([jnp.ones_like(scale), scale, shift], axis=1)
        matrices = tensordot(factors, jnp.asarray(parts, factors.dtype), 1)
        return on_each_wire(matrices.astype(coefficients.dtype), coefficients)


ReadoutError.__init__.__doc__ = """**Arguments:**

- `p01`: the probability to read 1 where the wire is in |0⟩: one for all wires, or one for each (a
    tuple, which is fixed, or an array, which can be trained).
- `p10`: the probability to read 0 where the wire is in |1⟩, likewise.

**Raises:** `ValueError` for a rate that is no probability.
"""


def as_strings(measurement: AbstractMeasurement, n: int) -> tuple[list[String], np.ndarray | Array]:
    """Pauli strings, and the matrix from their values to those of the measurement.

    **Raises:** `TypeError` for a measurement that is not known to be made of Pauli strings.
    """
    if isinstance(measurement, PauliStrings):
        return list(measurement.strings), np.eye(len(measurement))
    if isinstance(measurement, PauliSum):
        return list(measurement.strings.strings), measurement.coefficients
    if isinstance(measurement, PauliZ):
        wires = range(n) if measurement.wires is None else measurement.wires
        return [((w, "Z"),) for w in wires], np.eye(len(wires))
    if isinstance(measurement, Hermitian):
        # M = Σ_P c_P P with c_P = Tr(P M) / 2^k, as Tr P Q = 2^k if P = Q and 0 otherwise.
        k = len(measurement.wires)
        weights = np.einsum("pij,mji->mp", pauli_matrices(k), np.asarray(measurement.matrices))
        strings = [
            tuple((w, p) for w, p in zip(measurement.wires, letters, strict=True) if p != "I")
            for letters in itertools.product("IXYZ", repeat=k)
        ]
        return strings, weights.real / 2**k
    if isinstance(measurement, InvertedReadout) and isinstance(
        measurement.measurement, PauliStrings | PauliZ
    ):
        strings, matrix = as_strings(measurement.measurement, n)
        parts, mixed = expanded(strings, *measurement._pauli_map(n))
        return list(parts.strings), matrix @ np.asarray(mixed)
    raise TypeError(
        "with readout error, trajectories know PauliZ, PauliStrings, PauliSum, Probabilities and "
        f"Hermitian; got {type(measurement).__name__}. Write the observables as one of those, "
        "or use another engine."
    )


def expanded(
    strings: list[String], scale: Array | np.ndarray, shift: Array | np.ndarray
) -> tuple[PauliStrings, Array | np.ndarray]:
    r"""Strings in which every factor P is replaced by `scale * P + shift` of its wire.

    **Returns:**

    All strings that are left when factors are dropped, and the matrix from their values to those
    of the replaced strings.
    """
    parts, choices, places = _terms(tuple(strings), len(scale))
    numpy = np if isinstance(scale, np.ndarray) else jnp
    # Each term is a product over wires of 1 (not in the string), the scale or the shift.
    factors = numpy.stack([numpy.ones_like(scale), scale, shift])
    terms = numpy.prod(factors[choices, np.arange(len(scale))], axis=1)
    return parts, numpy.concatenate([terms, numpy.zeros_like(scale[:1])])[places]


@ft.lru_cache(maxsize=64)
def _terms(strings: tuple[String, ...], n: int) -> tuple[PauliStrings, np.ndarray, np.ndarray]:
    """The products that Π (scale P + shift) expands into: the strings P that are left, what each
    wire contributes to each product (1, scale or shift, by number), and which product stands where
    in the matrix (the last one, a zero, where there is none)."""
    index: dict[String, int] = {}
    choices, at = [], []
    for row, string in enumerate(strings):
        for picked in itertools.product((1, 2), repeat=len(string)):
            kept = tuple(itertools.compress(string, [number == 1 for number in picked]))
            choices.append(np.zeros(n, int))
            choices[-1][[w for w, _ in string]] = picked
            at.append((row, index.setdefault(kept, len(index))))
    places = np.full((len(strings), len(index)), -1)
    places[tuple(np.transpose(at))] = np.arange(len(at))
    return _written(index), np.array(choices), places


def _written(strings: Iterable[String]) -> PauliStrings:
    return PauliStrings([" ".join(f"{p}{w}" for w, p in s) or "I" for s in strings])


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
        if (diagonals := self.diagonals(n)) is not None:
            return _dot(diagonals, state.real**2 + state.imag**2)
        parts, matrix = self._expanded(n)
        return _dot(matrix, parts.values(state))

    def apply(self, states: Complex[Array, "dim cols"]) -> Complex[Array, "m dim cols"]:
        n = states.shape[0].bit_length() - 1
        if (diagonals := self.diagonals(n)) is not None:
            return jnp.asarray(diagonals, states.dtype)[:, :, None] * states[None]
        parts, matrix = self._expanded(n)
        applied = parts.apply(states)
        return _dot(matrix, applied.reshape(len(parts), -1)).reshape(-1, *states.shape)

    def norms(self, n_qubits: int) -> np.ndarray:
        if (diagonals := self.diagonals(n_qubits)) is not None:
            return np.abs(diagonals).max(axis=1)
        assert isinstance(self.measurement, PauliStrings)
        scale, shift = self._pauli_map(n_qubits)
        largest, strings = scale + np.abs(shift), self.measurement.strings
        return np.array([np.prod([largest[w] for w, _ in string]) for string in strings])

    def shot_overhead(self, n_qubits: int) -> np.ndarray:
        """By what factor the largest variance of each value grows, and with it the shots for the
        same accuracy, shape `(m,)`."""
        if (plain := self.measurement.diagonals(n_qubits)) is None:
            # In the basis in which a string is read, all its letters are Z.
            assert isinstance(self.measurement, PauliStrings)
            in_z = [tuple((w, "Z") for w, _ in string) for string in self.measurement.strings]
            plain = _written(in_z).diagonals(n_qubits)
            assert plain is not None
        # A value between a and b has a variance of at most (b - a)²/4.
        before, after = np.ptp(plain, axis=1), np.ptp(self.on_eigenvalues(plain), axis=1)
        return np.where(before > 0, (after / np.where(before > 0, before, 1)) ** 2, 1.0)

    def _rates(self, n_qubits: int) -> tuple[np.ndarray, np.ndarray]:
        _check_wires(self, n_qubits)
        return np.broadcast_to(self.p01, n_qubits), np.broadcast_to(self.p10, n_qubits)

    def _pauli_map(self, n_qubits: int) -> tuple[np.ndarray, np.ndarray]:
        """Scale and shift that undo those of [`eqx_qdeq.noise.ReadoutError`][]."""
        p01, p10 = self._rates(n_qubits)
        return 1 / (1 - p01 - p10), (p01 - p10) / (1 - p01 - p10)

    def _expanded(self, n_qubits: int) -> tuple[PauliStrings, np.ndarray | Array]:
        assert isinstance(self.measurement, PauliStrings)
        return expanded(list(self.measurement.strings), *self._pauli_map(n_qubits))


InvertedReadout.__init__.__doc__ = """**Arguments:**

- `measurement`: what is meant: diagonal observables, or [`eqx_qdeq.PauliStrings`][].
- `error`: the readout error, as calibrated. Its rates are taken as fixed numbers.

**Raises:** `ValueError` if it cannot be inverted.
"""


def _numbers(rates: Rates) -> float | tuple[float, ...]:
    array = np.asarray(rates)
    return float(array) if array.ndim == 0 else tuple(map(float, array))


def _dot(matrix: np.ndarray | Array, values: Array) -> Array:
    return dot(jnp.asarray(matrix, values.dtype), values)
