"""Channels that lose energy or phase to the environment."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from ._channel import (
    AbstractChannel,
    as_array,
    as_rate,
    Branches,
    check_rate,
    complex_array,
    diagonal_and_shift,
    Rate,
    rate_in_01,
)
from ._paulis import PAULIS

# To |0⟩ from |0⟩ and from |1⟩.
_TO_ZERO = np.array([[[1, 0], [0, 0]], [[0, 1], [0, 0]]], complex)


def _kept(amplitude: Array) -> Array:
    """diag(1, amplitude): what the absence of a decay does to a state."""
    projectors = complex_array(np.stack([np.diag([1, 0]), np.diag([0, 1])]))
    return projectors[0] + amplitude * projectors[1]


class AmplitudeDamping(AbstractChannel):
    """Decay from |1⟩ to |0⟩ with the given probability."""

    probability: Rate = eqx.field(converter=rate_in_01("probability"))
    n_wires: int = eqx.field(static=True, default=1, init=False)

    def transfer(self) -> Float[Array, "paulis paulis"]:
        kept = 1 - as_array(self.probability)
        return diagonal_and_shift(jnp.sqrt(kept), jnp.sqrt(kept), kept, self.probability)

    def branches(self) -> Branches:
        p = as_array(self.probability)
        operators = jnp.stack([_kept(jnp.sqrt(1 - p)), complex_array(_TO_ZERO[1])])
        return Branches(jnp.stack([jnp.ones_like(p), p]), operators)


class PhaseDamping(AbstractChannel):
    r"""Loss of phase: off-diagonal elements shrink by $\sqrt{1-\gamma}$."""

    probability: Rate = eqx.field(converter=rate_in_01("probability"))
    n_wires: int = eqx.field(static=True, default=1, init=False)

    def transfer(self) -> Float[Array, "paulis paulis"]:
        kept = jnp.sqrt(1 - as_array(self.probability))
        return diagonal_and_shift(kept, kept, 1.0)

    def branches(self) -> Branches:
        kept = jnp.sqrt(1 - as_array(self.probability))
        return Branches(jnp.stack([1 + kept, 1 - kept]) / 2, complex_array(PAULIS[::3]))


class Reset(AbstractChannel):
    """The wire is replaced by |0⟩ with the given probability."""

    probability: Rate = eqx.field(converter=rate_in_01("probability"))
    n_wires: int = eqx.field(static=True, default=1, init=False)

    def transfer(self) -> Float[Array, "paulis paulis"]:
        kept = 1 - self.probability
        return diagonal_and_shift(kept, kept, kept, self.probability)

    def branches(self) -> Branches:
        p = as_array(self.probability)
        operators = np.concatenate([PAULIS[:1], _TO_ZERO])
        return Branches(jnp.stack([1 - p, p, p]), complex_array(operators))


class ThermalRelaxation(AbstractChannel):
    r"""Relaxation to |0⟩ in a time t: ⟨X⟩ and ⟨Y⟩ shrink by $e^{-t/T_2}$, and ⟨Z⟩ approaches 1
    with $e^{-t/T_1}$. All times in the same unit."""

    t1: Rate = eqx.field(converter=as_rate)
    t2: Rate = eqx.field(converter=as_rate)
    time: Rate = eqx.field(converter=as_rate)
    n_wires: int = eqx.field(static=True, default=1, init=False)

    def __check_init__(self) -> None:
        for name in ("t1", "t2"):
            value = getattr(self, name)
            if not isinstance(value, Tracer) and not value > 0:
                raise ValueError(f"`{name}` must be positive; got {value}.")
        check_rate(self.time, "time", high=np.inf)
        ratio = self.t2 / self.t1
        if not isinstance(ratio, Tracer) and ratio > 2 * (1 + 1e-6):
            raise ValueError(
                f"`t2` must not exceed 2 * t1, or the channel is not physical; got t1 = {self.t1} "
                f"and t2 = {self.t2}."
            )

    def transfer(self) -> Float[Array, "paulis paulis"]:
        time = as_array(self.time)
        phase, decay = jnp.exp(-time / self.t2), jnp.exp(-time / self.t1)
        return diagonal_and_shift(phase, phase, decay, 1 - decay)

    def branches(self) -> Branches:
        time = as_array(self.time)
        # Damping shrinks the off-diagonal elements by exp(-t / 2 T1); phase flips do the rest.
        kept = jnp.exp(time * (0.5 / self.t1 - 1 / self.t2))
        no_decay = _kept(jnp.exp(-0.5 * time / self.t1))
        flipped = jnp.dot(complex_array(PAULIS[3]), no_decay, precision="highest")
        weights = jnp.stack([(1 + kept) / 2, (1 - kept) / 2, -jnp.expm1(-time / self.t1)])
        return Branches(weights, jnp.stack([no_decay, flipped, complex_array(_TO_ZERO[1])]))
