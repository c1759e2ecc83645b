"""Channels that apply a Pauli operator with some probability."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._channel import (
    AbstractChannel,
    as_array,
    Branches,
    check_rate,
    complex_array,
    diagonal_and_shift,
    Rate,
    rate_in_01,
)
from ._convert import depolarising_parameter
from ._paulis import pauli_matrices, PAULIS


class Depolarising(AbstractChannel):
    r"""A Pauli other than the identity, all of them equally likely, with probability p in all.

    This is PennyLane's `DepolarizingChannel(p)`; Aer's λ and the average gate infidelity convert
    by [`eqx_qdeq.noise.probability_from_parameter`][] and
    [`eqx_qdeq.noise.probability_from_infidelity`][].
    """

    probability: Rate = eqx.field(converter=rate_in_01("probability"))
    n_wires: int = eqx.field(static=True, default=1)

    def __check_init__(self) -> None:
        if self.n_wires not in (1, 2):
            raise ValueError(f"`n_wires` must be 1 or 2; got {self.n_wires}.")

    def transfer(self) -> Float[Array, "paulis paulis"]:
        kept = 1 - as_array(depolarising_parameter(self.probability, self.n_wires))
        rest = jnp.full(4**self.n_wires - 1, kept)
        return jnp.diag(jnp.concatenate([jnp.ones(1, rest.dtype), rest]))

    def branches(self) -> Branches:
        p, others = as_array(self.probability), 4**self.n_wires - 1
        weights = jnp.concatenate([(1 - p)[None], jnp.full(others, p / others)])
        return Branches(weights, complex_array(pauli_matrices(self.n_wires)))


class PauliChannel(AbstractChannel):
    """X, Y and Z with the given probabilities."""

    x: Rate = eqx.field(converter=rate_in_01("x"))
    y: Rate = eqx.field(converter=rate_in_01("y"))
    z: Rate = eqx.field(converter=rate_in_01("z"))
    n_wires: int = eqx.field(static=True, default=1, init=False)

    def __check_init__(self) -> None:
        # Rounding may carry probabilities that add up to one slightly beyond it.
        check_rate(self.x + self.y + self.z, "x + y + z", high=1 + 1e-6)

    def transfer(self) -> Float[Array, "paulis paulis"]:
        x, y, z = self.x, self.y, self.z
        return diagonal_and_shift(1 - 2 * (y + z), 1 - 2 * (x + z), 1 - 2 * (x + y))

    def branches(self) -> Branches:
        x, y, z = map(as_array, (self.x, self.y, self.z))
        return Branches(jnp.stack([1 - x - y - z, x, y, z]), complex_array(PAULIS))


class BitFlip(AbstractChannel):
    """X with the given probability."""

    probability: Rate = eqx.field(converter=rate_in_01("probability"))
    n_wires: int = eqx.field(static=True, default=1, init=False)

    def transfer(self) -> Float[Array, "paulis paulis"]:
        kept = 1 - 2 * self.probability
        return diagonal_and_shift(1.0, kept, kept)

    def branches(self) -> Branches:
        p = as_array(self.probability)
        return Branches(jnp.stack([1 - p, p]), complex_array(PAULIS[:2]))


class PhaseFlip(AbstractChannel):
    """Z with the given probability."""

    probability: Rate = eqx.field(converter=rate_in_01("probability"))
    n_wires: int = eqx.field(static=True, default=1, init=False)

    def transfer(self) -> Float[Array, "paulis paulis"]:
        kept = 1 - 2 * self.probability
        return diagonal_and_shift(kept, kept, 1.0)

    def branches(self) -> Branches:
        p = as_array(self.probability)
        return Branches(jnp.stack([1 - p, p]), complex_array(PAULIS[::3]))
