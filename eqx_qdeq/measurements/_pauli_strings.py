"""Expectation values of products of Pauli operators."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import wadler_lindig as wl
from jaxtyping import Array, Complex, Float

from .._checks import describe
from .._precise import dot
from ._measurement import (
    AbstractMeasurement,
    as_state,
    check_distinct,
    check_wires,
    count_wires,
    MATRIX_WIRES,
    parity_signs,
    probabilities,
)
from ._rows import apply_in_rows, masks_of, String, values_in_rows

# Up to so many strings each is compiled by itself, which is faster; more of them go through a loop,
# which compiles as fast however many there are.
_FEW = 16


class PauliStrings(AbstractMeasurement):
    r"""Expectation values of products of Pauli operators.

    `PauliStrings(["Z0", "Z0 Z1", "X2 Y3"])` measures $\langle Z_0\rangle$,
    $\langle Z_0Z_1\rangle$ and $\langle X_2Y_3\rangle$. Strings of Z alone are diagonal and
    share one pass over the probabilities.

    !!! example

        ```python
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        bell = jnp.array([1.0, 0.0, 0.0, 1.0]) / 2**0.5
        measurement = qdeq.PauliStrings(["Z0", "Z0 Z1", "X0 X1", "Y0 Y1"])
        measurement.values(bell)  # [0. 1. 1. -1.]
        ```
    """

    strings: tuple[String, ...] = eqx.field(static=True)

    def __init__(self, strings: Sequence[str]):
        if isinstance(strings, str) or len(strings) == 0:
            raise ValueError(
                f"`strings` must be a non-empty list such as ['Z0', 'Z0 Z1']; got {strings!r}."
            )
        self.strings = tuple(_parse_pauli_string(i, s) for i, s in enumerate(strings))

    def __pdoc__(self, **kwargs: Any) -> wl.AbstractDoc:
        names = [show(string) for string in self.strings]
        # Both ends of many: there may be hundreds.
        names = [*names[:4], "…", names[-1]] if len(names) > 8 else names
        return wl.TextDoc(f"PauliStrings({', '.join(names)}; {len(self)} values)")

    def __len__(self) -> int:
        return len(self.strings)

    def size(self, n_qubits: int) -> int:
        for string in self.strings:
            check_wires([w for w, _ in string], n_qubits, f"Pauli string {show(string)!r}")
        return len(self.strings)

    def _groups(self) -> tuple[list[int], list[int]]:
        """Positions of the diagonal strings and of the others."""
        diagonal = [all(letter == "Z" for _, letter in s) for s in self.strings]
        return (
            [i for i, d in enumerate(diagonal) if d],
            [i for i, d in enumerate(diagonal) if not d],
        )

    def values(self, state: Complex[Array, " dim"]) -> Float[Array, " m"]:
        state = as_state(state)
        n = count_wires(state)
        self.size(n)
        diagonal, others = self._groups()
        parts = []
        if diagonal:
            masks = masks_of([self.strings[i] for i in diagonal], "Z", n)
            p = probabilities(state)
            if n <= MATRIX_WIRES:
                signs = jnp.asarray(parity_signs(masks, n), p.dtype)
                parts.append(dot(signs, p))
            else:
                parts.append(_walsh_hadamard(p)[masks])
        if others:
            parts.append(_values_of_others([self.strings[i] for i in others], state))
        # The inverse of the permutation that put the diagonal strings first.
        order = np.argsort(np.array(diagonal + others))
        return jnp.concatenate(parts)[order]

    def apply(self, states: Complex[Array, "dim cols"]) -> Complex[Array, "m dim cols"]:
        self.size(count_wires(states))
        if len(self) > _FEW:
            return apply_in_rows(self.strings, states)
        return jnp.stack([apply_string(s, states) for s in self.strings])

    def norms(self, n_qubits: int) -> np.ndarray:
        return np.ones(self.size(n_qubits))

    def diagonals(self, n_qubits: int) -> np.ndarray | None:
        self.size(n_qubits)
        if self._groups()[1]:
            return None
        return parity_signs(masks_of(self.strings, "Z", n_qubits), n_qubits)


PauliStrings.__init__.__doc__ = """**Arguments:**

- `strings`: the observables, each a product such as `"X0 Z3"`: a Pauli letter and a wire, parted
    by spaces. `"I"` is the identity.

**Raises:** `ValueError` for an unknown letter, a wire named twice in one string, or no strings.
"""


def _parse_pauli_string(position: int, string: str) -> String:
    if not isinstance(string, str):
        raise TypeError(
            f"Pauli string {position} must be text such as 'X0 Z3'; got {describe(string)}."
        )
    factors = []
    for factor in string.split():
        if factor == "I":
            continue
        letter, digits = factor[0], factor[1:]
        if letter not in "XYZ" or not digits.isdecimal():
            raise ValueError(
                f"Pauli string {position} ({string!r}): cannot read {factor!r}; write a letter "
                "X, Y or Z followed by a wire, e.g. 'X0 Z3', or I alone for the identity."
            )
        factors.append((int(digits), letter))
    if not string.split():
        raise ValueError(f"Pauli string {position} is empty; write 'I' for the identity.")
    check_distinct([w for w, _ in factors], f"Pauli string {position} ({string!r})")
    return tuple(sorted(factors))


def _values_of_others(strings: list[String], state: Complex[Array, " dim"]) -> Float[Array, " m"]:
    """Expectation values of strings with an X or a Y."""
    if len(strings) > _FEW:
        return values_in_rows(strings, state)
    applied = [apply_string(string, state[:, None])[:, 0] for string in strings]
    return jnp.stack([jnp.sum(state.real * a.real + state.imag * a.imag) for a in applied])


def show(string: String) -> str:
    return " ".join(f"{letter}{wire}" for wire, letter in string) or "I"


def apply_string(string: String, states: Array) -> Array:
    # A Pauli string permutes the amplitudes and multiplies them by phases, no matrix is needed: X
    # swaps the two halves of a wire, Z changes the sign of the second one, and Y, which is
    # [[0, -i], [i, 0]], swaps them and then multiplies the first by -i, the second by i.
    n, cols = count_wires(states), states.shape[1]
    tensor = states.reshape((2,) * n + (cols,))
    for wire, letter in string:
        if letter in "XY":
            tensor = jnp.flip(tensor, axis=wire)
        if letter in "YZ":
            signs = np.array([1, -1]) if letter == "Z" else np.array([-1j, 1j])
            shape = [1] * (n + 1)
            shape[wire] = 2
            tensor = tensor * jnp.asarray(signs, states.dtype).reshape(shape)
    return tensor.reshape(-1, cols)


def _walsh_hadamard(p: Float[Array, " dim"]) -> Float[Array, " dim"]:
    """Sums of p with the signs of every parity, in n·2ⁿ additions."""
    # Σ_k (-1)^{k·m} p_k for every mask m. The sign is a product over wires, so the sum is taken
    # wire by wire: then index 0 of a wire holds the sum without its sign, index 1 that with it.
    n = count_wires(p)
    p = p.reshape((2,) * n)
    for wire in range(n):
        a, b = jnp.split(p, 2, axis=wire)
        p = jnp.concatenate([a + b, a - b], axis=wire)
    return p.reshape(-1)
