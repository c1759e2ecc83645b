"""Channels as real matrices in the Pauli basis, with rates that can be differentiated."""

import abc
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from ._convert import depolarising_parameter


def _rate(value: Any) -> Array:
    return jnp.asarray(value, jnp.result_type(float))


def _check(value: Array, name: str, low: float = 0.0, high: float = 1.0) -> None:
    if isinstance(value, Tracer):
        return  # its value is not known while tracing
    if not np.all((np.asarray(value) >= low) & (np.asarray(value) <= high)):
        raise ValueError(f"`{name}` must lie in [{low}, {high}]; got {value}.")


def _probability(name: str) -> Any:
    """The field of a rate in [0, 1], which its error calls `name`."""

    def convert(value: Any) -> Array:
        rate = _rate(value)
        _check(rate, name)
        return rate

    return eqx.field(converter=convert)


def _diagonal_and_shift(x: Any, y: Any, z: Any, shift: Any = 0.0) -> Array:
    """The matrix that scales ⟨X⟩, ⟨Y⟩, ⟨Z⟩ and then adds `shift` to ⟨Z⟩."""
    diagonal = jnp.stack([jnp.ones_like(_rate(x)), _rate(x), _rate(y), _rate(z)])
    return jnp.diag(diagonal).at[3, 0].set(shift)


class AbstractChannel(eqx.Module):
    """The abstract base class of all channels. Rates are leaves: they can be trained."""

    n_wires: eqx.AbstractVar[int]

    @abc.abstractmethod
    def transfer(self) -> Float[Array, "paulis paulis"]:
        r"""The Pauli transfer matrix $R_{ij}=2^{-k}\,\mathrm{Tr}\,P_i\Lambda(P_j)$, Paulis in the
        order I, X, Y, Z (the first wire varies slowest), shape `(4**k, 4**k)`."""


class Depolarising(AbstractChannel):
    r"""A Pauli other than the identity, all of them equally likely, with probability p in all.

    This is PennyLane's `DepolarizingChannel(p)`; Aer's λ and the average gate infidelity convert
    by [`eqx_qdeq.noise.probability_from_parameter`][] and
    [`eqx_qdeq.noise.probability_from_infidelity`][].
    """

    probability: Float[Array, ""] = _probability("probability")
    n_wires: int = eqx.field(static=True, default=1)

    def __check_init__(self) -> None:
        if self.n_wires not in (1, 2):
            raise ValueError(f"`n_wires` must be 1 or 2; got {self.n_wires}.")

    def transfer(self) -> Float[Array, "paulis paulis"]:
        kept = 1 - depolarising_parameter(self.probability, self.n_wires)
        rest = jnp.full(4**self.n_wires - 1, kept)
        return jnp.diag(jnp.concatenate([jnp.ones(1, rest.dtype), rest]))


class AmplitudeDamping(AbstractChannel):
    """Decay from |1⟩ to |0⟩ with the given probability."""

    probability: Float[Array, ""] = _probability("probability")
    n_wires: int = eqx.field(static=True, default=1, init=False)

    def transfer(self) -> Float[Array, "paulis paulis"]:
        kept = 1 - self.probability
        return _diagonal_and_shift(jnp.sqrt(kept), jnp.sqrt(kept), kept, self.probability)


class PhaseDamping(AbstractChannel):
    r"""Loss of phase: off-diagonal elements shrink by $\sqrt{1-\gamma}$."""

    probability: Float[Array, ""] = _probability("probability")
    n_wires: int = eqx.field(static=True, default=1, init=False)

    def transfer(self) -> Float[Array, "paulis paulis"]:
        kept = jnp.sqrt(1 - self.probability)
        return _diagonal_and_shift(kept, kept, 1.0)


class PauliChannel(AbstractChannel):
    """X, Y and Z with the given probabilities."""

    x: Float[Array, ""] = _probability("x")
    y: Float[Array, ""] = _probability("y")
    z: Float[Array, ""] = _probability("z")
    n_wires: int = eqx.field(static=True, default=1, init=False)

    def __check_init__(self) -> None:
        # Rounding may carry probabilities that add up to one slightly beyond it.
        _check(self.x + self.y + self.z, "x + y + z", high=1 + 1e-6)

    def transfer(self) -> Float[Array, "paulis paulis"]:
        x, y, z = self.x, self.y, self.z
        return _diagonal_and_shift(1 - 2 * (y + z), 1 - 2 * (x + z), 1 - 2 * (x + y))


class BitFlip(AbstractChannel):
    """X with the given probability."""

    probability: Float[Array, ""] = _probability("probability")
    n_wires: int = eqx.field(static=True, default=1, init=False)

    def transfer(self) -> Float[Array, "paulis paulis"]:
        kept = 1 - 2 * self.probability
        return _diagonal_and_shift(1.0, kept, kept)


class PhaseFlip(AbstractChannel):
    """Z with the given probability."""

    probability: Float[Array, ""] = _probability("probability")
    n_wires: int = eqx.field(static=True, default=1, init=False)

    def transfer(self) -> Float[Array, "paulis paulis"]:
        kept = 1 - 2 * self.probability
        return _diagonal_and_shift(kept, kept, 1.0)


class Reset(AbstractChannel):
    """The wire is replaced by |0⟩ with the given probability."""

    probability: Float[Array, ""] = _probability("probability")
    n_wires: int = eqx.field(static=True, default=1, init=False)

    def transfer(self) -> Float[Array, "paulis paulis"]:
        kept = 1 - self.probability
        return _diagonal_and_shift(kept, kept, kept, self.probability)


class ThermalRelaxation(AbstractChannel):
    r"""Relaxation to |0⟩ in a time t: ⟨X⟩ and ⟨Y⟩ shrink by $e^{-t/T_2}$, and ⟨Z⟩ approaches 1
    with $e^{-t/T_1}$. All times in the same unit."""

    t1: Float[Array, ""] = eqx.field(converter=_rate)
    t2: Float[Array, ""] = eqx.field(converter=_rate)
    time: Float[Array, ""] = eqx.field(converter=_rate)
    n_wires: int = eqx.field(static=True, default=1, init=False)

    def __check_init__(self) -> None:
        for name in ("t1", "t2"):
            value = getattr(self, name)
            if not isinstance(value, Tracer) and not value > 0:
                raise ValueError(f"`{name}` must be positive; got {value}.")
        _check(self.time, "time", high=np.inf)
        ratio = self.t2 / self.t1
        if not isinstance(ratio, Tracer) and ratio > 2 * (1 + 1e-6):
            raise ValueError(
                f"`t2` must not exceed 2 * t1, or the channel is not physical; got t1 = {self.t1} "
                f"and t2 = {self.t2}."
            )

    def transfer(self) -> Float[Array, "paulis paulis"]:
        phase, decay = jnp.exp(-self.time / self.t2), jnp.exp(-self.time / self.t1)
        return _diagonal_and_shift(phase, phase, decay, 1 - decay)
