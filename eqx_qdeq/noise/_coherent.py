"""Errors that are rotations, and channels given by their operators."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from ._channel import AbstractChannel, as_array, as_rate, Branches, complex_array, Rate
from ._paulis import PAULIS, transfer_of_operators


class CoherentRotation(AbstractChannel):
    r"""The rotation $\exp(-i\,\alpha P/2)$ about a product P of Pauli operators: an error that is
    the same each time, such as crosstalk. For errors in proportion to a gate's angle see
    [`eqx_qdeq.noise.OverRotation`][]."""

    paulis: str = eqx.field(static=True)
    angle: Rate = eqx.field(converter=as_rate)

    def __check_init__(self) -> None:
        if len(self.paulis) not in (1, 2) or set(self.paulis) - set("IXYZ"):
            raise ValueError(
                f"`paulis` must be one or two letters of I, X, Y, Z, e.g. 'ZX'; got "
                f"{self.paulis!r}."
            )

    @property
    def n_wires(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return len(self.paulis)

    def transfer(self) -> Float[Array, "paulis paulis"]:
        return transfer_of_operators(self.branches().operators)[0]

    def branches(self) -> Branches:
        product = np.eye(1)
        for letter in self.paulis:
            product = np.kron(product, PAULIS["IXYZ".index(letter)])
        half = as_array(self.angle) / 2
        eye = complex_array(np.eye(len(product)))
        unitary = jnp.cos(half) * eye + jnp.sin(half) * complex_array(-1j * product)
        return Branches(jnp.ones(1, half.dtype), unitary[None])


CoherentRotation.__init__.__doc__ = """**Arguments:**

- `paulis`: one letter of I, X, Y, Z for each of one or two wires, e.g. `"X"` or `"ZZ"`.
- `angle`: in radians.

**Raises:** `ValueError` for other letters or more wires.
"""


class KrausChannel(AbstractChannel):
    r"""Any channel $\Lambda(\rho)=\sum_i K_i\rho K_i^\dagger$ on one or two wires, with fixed
    operators."""

    # Nested tuples and not an array: fixed numbers must not be trained.
    entries: tuple[tuple[tuple[complex, ...], ...], ...] = eqx.field(static=True)

    def __init__(self, operators: ArrayLike):
        operators = np.asarray(operators, complex)
        if operators.ndim != 3 or operators.shape[1:] not in ((2, 2), (4, 4)):
            raise ValueError(
                "`operators` must have shape (k, 2, 2) or (k, 4, 4); got "
                f"{operators.shape}. Write a channel on more wires as several ones."
            )
        total = np.einsum("kba,kbc->ac", operators.conj(), operators)
        gap = np.abs(total - np.eye(len(total))).max()
        if not gap < 1e-5:
            raise ValueError(
                f"`operators` do not keep the trace: the sum of K†K differs from 1 by {gap:.2g}."
            )
        self.entries = tuple(tuple(tuple(row) for row in k) for k in operators.tolist())

    @property
    def n_wires(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return len(self.entries[0]).bit_length() - 1

    def transfer(self) -> Float[Array, "paulis paulis"]:
        return jnp.sum(transfer_of_operators(complex_array(self.entries)), axis=0)

    def branches(self) -> Branches:
        return Branches(as_array(np.ones(len(self.entries))), complex_array(self.entries))


KrausChannel.__init__.__doc__ = """**Arguments:**

- `operators`: the $K_i$, shape `(k, 2, 2)` or `(k, 4, 4)`, the first wire the most significant
    bit.

**Raises:** `ValueError` for another shape, or if $\\sum_i K_i^\\dagger K_i\\neq1$.
"""


class OverRotation(eqx.Module):
    r"""Every rotation turns by too much: by $(1+r)\,\alpha+a$ instead of α.

    It concerns gates that rotate by an angle of their own (Rx, CRz, ZZPhase and the like; of U3,
    PhasedX and CU3 the angle of the rotation, not that of its axis). Gates without an angle, U2
    and functions stay as they are: give them a [`eqx_qdeq.noise.CoherentRotation`][].
    """

    relative: Rate = eqx.field(converter=as_rate, default=0.0)
    absolute: Rate = eqx.field(converter=as_rate, default=0.0)


OverRotation.__init__.__doc__ = """**Arguments:**

- `relative`: r, without unit.
- `absolute`: a in radians.
"""

# For each gate with an angle of rotation, which of its angles that is.
_OWN_ANGLE = {
    **dict.fromkeys("Rx Ry Rz U1 CRx CRy CRz CU1 ISWAP XXPhase YYPhase ZZPhase".split(), 0),
    **dict.fromkeys("U3 CU3 PhasedX".split(), 0),
    "PhasedISWAP": 1,
}


def own_angle(gate: object) -> int | None:
    """The position of the gate's angle of rotation among its angles."""
    return _OWN_ANGLE.get(gate) if isinstance(gate, str) else None


def turned(error: OverRotation, angles: Array, rotates: np.ndarray) -> Array:
    """The angles that are carried out, where `rotates` says which are angles of rotation."""
    more = angles * (1 + error.relative) + error.absolute
    return jnp.where(rotates, more, angles).astype(angles.dtype)
