"""Weighted sums of Pauli strings: Hamiltonians, and other observables with coefficients."""

from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import wadler_lindig as wl
from jax import lax
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Complex, Float

from .._checks import check_at_least, describe
from .._inputs import numbers
from .._precise import dot
from ._elsewhere import (
    from_openfermion,
    from_pennylane,
    from_qiskit,
    Terms,
    to_openfermion,
    to_pennylane,
    to_qiskit,
)
from ._measurement import AbstractMeasurement, count_wires
from ._pauli_strings import PauliStrings, show
from ._rows import apply_sums_in_rows

# Eight gigabytes in single precision.
_LARGEST_MATRIX = 15


class PauliSum(AbstractMeasurement):
    r"""Expectation values of weighted sums of Pauli strings, $O_q = \sum_k c_{qk} P_k$.

    One sum is a Hamiltonian, and a layer that measures it gives an energy, shape `(1,)`. Several
    sums over the same strings, with coefficients of shape `(m, k)`, share the work of the strings.
    Thousands of strings compile in seconds, and time grows with their number linearly.

    **Coefficients that are a JAX array are a leaf**: differentiated, and trained where all arrays
    are. Python numbers and NumPy arrays are fixed.

    !!! example

        ```python
        import eqx_qdeq as qdeq, jax

        # The transverse-field Ising model on three wires.
        energy = qdeq.PauliSum(
            {"Z0 Z1": -1.0, "Z1 Z2": -1.0, "X0": -0.5, "X1": -0.5, "X2": -0.5}
        )
        circuit = qdeq.circuits.hardware_efficient(n_qubits=3, depth=2)
        layer = qdeq.QuantumLayer(
            circuit, qdeq.AngleEncoding(), energy, key=jax.random.key(0)
        )
        assert layer(jax.numpy.array([0.1, 0.2, 0.3])).shape == (1,)
        ```
    """

    strings: PauliStrings
    # One of the two. Tuples and not an array: static fields are hashed under `jit`.
    trained: Float[Array, "m strings"] | None
    fixed: tuple[tuple[float, ...], ...] | None = eqx.field(static=True)

    def __init__(
        self,
        strings: Sequence[str] | PauliStrings | Mapping[str, Any],
        coefficients: ArrayLike | Sequence[Any] | None = None,
    ):
        if isinstance(strings, Mapping):
            if coefficients is not None:
                raise TypeError(
                    "`coefficients` are the values of the dictionary `strings`; give them once."
                )
            strings, coefficients = list(strings), list(strings.values())
        elif coefficients is None:
            raise TypeError(
                "`coefficients` is missing: one number for each string, e.g. "
                "`PauliSum(['Z0 Z1', 'X0'], [-1.0, -0.5])` or `PauliSum({'Z0 Z1': -1.0, 'X0': "
                f"-0.5}})`; got {describe(strings)} alone."
            )
        self.strings = strings if isinstance(strings, PauliStrings) else PauliStrings(strings)
        leaf = isinstance(coefficients, Array) or (
            isinstance(coefficients, list | tuple)
            and any(isinstance(c, Array) for c in coefficients)
        )
        if leaf and not isinstance(coefficients, Array):
            shapes = {np.shape(c) for c in coefficients}  # pyright: ignore[reportGeneralTypeIssues]
            if len(shapes) > 1:
                raise ValueError(
                    f"`coefficients` must be of one shape; got {sorted(shapes)}. In an energy that "
                    "is given a batch where it takes one sample, write `jax.vmap(deq)(x)`."
                )
        array = numbers(coefficients, name="coefficients") if leaf else _fixed(coefficients)
        if array.ndim not in (1, 2) or array.shape[-1] != len(self.strings) or array.size == 0:
            raise ValueError(
                f"`coefficients` must have one number for each of {len(self.strings)} strings, "
                f"shape ({len(self.strings)},), or (m, {len(self.strings)}) for m sums; got the "
                f"shape {array.shape}."
            )
        if not isinstance(array, Tracer) and not np.all(np.isfinite(array)):
            raise ValueError(f"`coefficients` must be finite; got {array}.")
        array = array.reshape(-1, len(self.strings))
        self.trained = array if isinstance(array, Array) else None
        self.fixed = None if isinstance(array, Array) else tuple(map(tuple, array.tolist()))

    def __pdoc__(self, **kwargs: Any) -> wl.AbstractDoc:
        sums = "" if len(self) == 1 else f"{len(self)} sums of "
        kind = "trained" if self.fixed is None else "fixed"
        first = ", ".join(show(string) for string in self.strings.strings[:3])
        more = ", …" if len(self.strings) > 3 else ""
        return wl.TextDoc(f"PauliSum({sums}{len(self.strings)} strings: {first}{more}; {kind})")

    def __len__(self) -> int:
        """The number m of sums."""
        return self.coefficients.shape[0]

    @property
    def coefficients(self) -> Float[Array, "m strings"] | Float[np.ndarray, "m strings"]:
        """The coefficients, shape `(m, len(strings))`."""
        return np.array(self.fixed) if self.trained is None else self.trained

    def _weights(self, dtype: Any) -> Float[Array, "m strings"]:
        return numbers(self.coefficients, dtype, name="coefficients")

    def size(self, n_qubits: int) -> int:
        self.strings.size(n_qubits)
        return len(self)

    def values(self, state: Complex[Array, " dim"]) -> Float[Array, " m"]:
        values = self.strings.values(state)
        return dot(self._weights(values.dtype), values)

    def apply(self, states: Complex[Array, "dim cols"]) -> Complex[Array, "m dim cols"]:
        self.size(count_wires(states))
        weights = self._weights(states.real.dtype)
        return apply_sums_in_rows(self.strings.strings, weights, states)

    def norms(self, n_qubits: int) -> np.ndarray:
        # The triangle inequality: an upper bound.
        self.size(n_qubits)
        if isinstance(self.coefficients, Tracer):
            raise ValueError(
                "bounds on a PauliSum need its coefficients as fixed numbers: "
                "`PauliSum(s.strings, np.asarray(s.coefficients))`."
            )
        return np.sum(np.abs(np.asarray(self.coefficients)), axis=1)

    def combined(self, of_strings: np.ndarray, places: Sequence[int]) -> np.ndarray | Array:
        """The sums of what stands in the rows of `of_strings`, for the strings at these places."""
        weights = self.coefficients[:, np.array(places)]
        if isinstance(weights, Array):
            return dot(weights, jnp.asarray(of_strings, weights.dtype))
        return weights @ of_strings

    def matrix(self, n_qubits: int) -> Complex[Array, "m dim dim"]:
        """The observables as matrices, shape `(m, 2**n, 2**n)`, e.g. to diagonalize them.

        **Raises:** `ValueError` for fewer than one wire, or more than can be stored.
        """
        check_at_least("n_qubits", n_qubits, 1)
        if n_qubits > _LARGEST_MATRIX:
            size = 2 ** (2 * n_qubits + 3) * len(self)
            raise ValueError(
                f"`n_qubits` must be at most {_LARGEST_MATRIX}, for matrices that are stored; got "
                f"{n_qubits}: {size:.1e} bytes. `apply` needs the states alone."
            )
        real = jnp.result_type(float) if self.trained is None else self.trained.dtype
        eye = jnp.eye(2**n_qubits, dtype=real)
        return self.apply(lax.complex(eye, jnp.zeros_like(eye)))

    # --- Elsewhere -----------------------------------------------------------------------------

    def _term(self) -> Terms:
        """The strings and coefficients of one sum.

        **Raises:** `ValueError` if there are several.
        """
        if len(self) != 1:
            raise ValueError(
                f"only one sum can be written as an operator; this has {len(self)}. Write them one "
                "by one: `PauliSum(s.strings, s.coefficients[q])`."
            )
        return list(zip(self.strings.strings, map(float, self.coefficients[0]), strict=True))

    @classmethod
    def _of(cls, terms: Terms) -> "PauliSum":
        """Of terms that may repeat a string: their coefficients add."""
        total: dict[str, float] = {}
        for string, coefficient in terms:
            name = show(string)
            total[name] = total.get(name, 0.0) + coefficient
        return cls(total)

    @classmethod
    def from_qiskit(cls, operator: Any) -> "PauliSum":
        """From Qiskit's `SparsePauliOp`. Qiskit's qubit w is wire w.

        **Raises:** `ImportError` without Qiskit; `TypeError` for another kind of operator;
        `ValueError` for coefficients that are not real numbers (those of a Hermitian operator are).
        """
        return cls._of(from_qiskit(operator))

    def to_qiskit(self, n_qubits: int) -> Any:
        """This sum as Qiskit's `SparsePauliOp` on so many qubits.

        **Raises:** `ImportError` without Qiskit; `ValueError` for several sums, or for a wire that
        does not exist.
        """
        self.size(n_qubits)
        return to_qiskit(self._term(), n_qubits)

    @classmethod
    def from_pennylane(cls, operator: Any) -> "PauliSum":
        """From any operator of PennyLane that is made of Pauli words, e.g. `qml.Hamiltonian`, or
        `qml.X(0) @ qml.X(1)`. Its wires must be numbers.

        **Raises:** `ImportError` without PennyLane; `TypeError` for what is no sum of Pauli words;
        `ValueError` for coefficients that are not real numbers, or for wires that are no numbers.
        """
        return cls._of(from_pennylane(operator))

    def to_pennylane(self) -> Any:
        """This sum as an operator of PennyLane.

        **Raises:** `ImportError` without PennyLane; `ValueError` for several sums.
        """
        return to_pennylane(self._term())

    @classmethod
    def from_openfermion(cls, operator: Any, mapping: str = "jordan_wigner") -> "PauliSum":
        """From OpenFermion's `QubitOperator`; or from its `FermionOperator`, `InteractionOperator`
        and others, by a mapping of fermions to qubits.

        **Arguments:**

        - `operator`: the operator.
        - `mapping`: `"jordan_wigner"` or `"bravyi_kitaev"`; not used for a `QubitOperator`.

        **Raises:** `ImportError` without OpenFermion; `ValueError` for an unknown mapping, or for
        coefficients that are not real numbers.
        """
        return cls._of(from_openfermion(operator, mapping))

    def to_openfermion(self) -> Any:
        """This sum as OpenFermion's `QubitOperator`.

        **Raises:** `ImportError` without OpenFermion; `ValueError` for several sums.
        """
        return to_openfermion(self._term())


PauliSum.__init__.__doc__ = """**Arguments:**

- `strings`: the strings, as of [`eqx_qdeq.PauliStrings`][]; or a dictionary from strings to their
    coefficients.
- `coefficients`: real numbers, shape `(k,)` for one sum of k strings, `(m, k)` for m sums. A JAX
    array is a leaf; anything else is fixed.

**Raises:** `ValueError` for strings that cannot be read, or coefficients of another shape or that
are not finite; `TypeError` for coefficients that are not real.
"""


def _fixed(coefficients: Any) -> np.ndarray:
    # In double precision whatever JAX's is: they are fixed numbers, and are rounded where they are
    # used.
    try:
        array = np.asarray(coefficients)
    except ValueError:
        array = np.asarray(None)
    if array.dtype.kind not in "fiub":
        raise TypeError(
            "`coefficients` must be real numbers, as those of a Hermitian operator are; got "
            f"{coefficients!r}."
        )
    return array.astype(float)
