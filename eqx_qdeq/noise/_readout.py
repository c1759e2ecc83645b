r"""Readout error: a classical confusion of measured bits, wire by wire.

With $p_{01}$ the probability to read 1 where the wire is in |0⟩ and $p_{10}$ the reverse, an
observable Z is measured as $(1-p_{01}-p_{10})\,Z+(p_{10}-p_{01})$. X and Y are measured as Z after
a rotation, so the same holds for them, and for products factor by factor.
"""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ._channel import as_array, as_rate, check_rate, Rate
from ._paulis import on_each_wire

Rates = Rate | Float[Array, " n"] | tuple[float, ...]


def _rates_field(name: str) -> Any:
    def convert(value: Any) -> Rates:
        if isinstance(value, tuple | list):
            value = tuple(float(v) for v in value)
            check_rate(value, name)
            return value
        value = as_rate(value)
        check_rate(value, name)
        return value

    return eqx.field(converter=convert)


class ReadoutError(eqx.Module):
    r"""The confusion of measured bits: reading 1 in |0⟩ with probability $p_{01}$ and 0 in |1⟩ with
    probability $p_{10}$, on each wire by itself.

    It acts exactly on the probabilities of outcomes and on each product of Pauli operators. An
    observable that is a sum of products is measured product by product.
    """

    p01: Rates = _rates_field("p01")
    p10: Rates = _rates_field("p10")

    def __check_init__(self) -> None:
        for name in ("p01", "p10"):
            if np.ndim(getattr(self, name)) > 1:
                raise ValueError(
                    f"`{name}` must be one rate or one for each wire; got shape "
                    f"{np.shape(getattr(self, name))}."
                )

    def rates(self, n_qubits: int) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
        """p01 and p10 on every wire.

        **Raises:** `ValueError` if they were given for another number of wires.
        """
        out = []
        for name in ("p01", "p10"):
            value = as_array(getattr(self, name))
            if value.ndim == 1 and value.shape[0] != n_qubits:
                raise ValueError(
                    f"`{name}` of ReadoutError has {value.shape[0]} rates, but the circuit has "
                    f"{n_qubits} wires; give one for each, or one for all."
                )
            out.append(jnp.broadcast_to(value, (n_qubits,)))
        return out[0], out[1]

    def confusion(self, n_qubits: int) -> Float[Array, "n 2 2"]:
        """On each wire the matrix of the probabilities to read i in |j⟩."""
        p01, p10 = self.rates(n_qubits)
        rows = [jnp.stack([1 - p01, p10], axis=-1), jnp.stack([p01, 1 - p10], axis=-1)]
        return jnp.stack(rows, axis=-2)

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
        matrices = []
        for scale, shift in zip(*self.pauli_map(n), strict=True):
            matrix = jnp.diag(jnp.concatenate([jnp.ones(1), jnp.full(base - 1, scale)]))
            matrices.append(matrix.at[0, 1:].set(shift).astype(coefficients.dtype))
        return on_each_wire(jnp.stack(matrices), coefficients)


ReadoutError.__init__.__doc__ = """**Arguments:**

- `p01`: the probability to read 1 where the wire is in |0⟩: one for all wires, or one for each (a
    tuple, which is fixed, or an array, which can be trained).
- `p10`: the probability to read 0 where the wire is in |1⟩, likewise.

**Raises:** `ValueError` for a rate that is no probability.
"""
