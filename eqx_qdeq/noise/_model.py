"""NoiseModel: which channels follow which gates."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._channels import AbstractChannel


class NoiseModel(eqx.Module):
    """Channels that follow every gate, by the number of the gate's wires.

    A channel on one wire acts on each wire of the gate, one on two wires on both. Channels act in
    the order given. A model without channels is the noiseless circuit.
    """

    one_wire: tuple[AbstractChannel, ...] = ()
    two_wire: tuple[AbstractChannel, ...] = ()

    def __check_init__(self) -> None:
        for channel in self.one_wire:
            if channel.n_wires != 1:
                raise ValueError(
                    f"`one_wire` takes channels on one wire; got {type(channel).__name__} on "
                    f"{channel.n_wires}. Give it as `two_wire`."
                )

    def transfer(self, n_wires: int) -> Float[Array, "paulis paulis"] | None:
        """The Pauli transfer matrix of all that follows a gate on so many wires, or `None`.

        **Raises:** `ValueError` for a gate on three wires or more, if there is noise on two.
        """
        channels = self.one_wire if n_wires == 1 else self.two_wire
        if not channels:
            return None
        if n_wires > 2:
            raise ValueError(
                f"no noise is defined for a gate on {n_wires} wires; write it as gates on one and "
                "two wires."
            )
        total = jnp.eye(4**n_wires)
        for channel in channels:
            matrix = channel.transfer()
            if channel.n_wires < n_wires:
                matrix = jnp.kron(matrix, matrix)
            total = jnp.dot(matrix, total, precision="highest")
        return total


NoiseModel.__init__.__doc__ = """**Arguments:**

- `one_wire`: channels after each gate on one wire.
- `two_wire`: channels after each gate on two wires.

**Raises:** `ValueError` if a channel on two wires is given for gates on one.
"""
