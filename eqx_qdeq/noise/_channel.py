"""What a channel is, and the rates it depends on."""

import abc
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Complex, Float

Rate = float | Float[Array, ""]


class Branches(NamedTuple):
    r"""A channel as a sum $\Lambda(\rho)=\sum_i w_i\,B_i\rho B_i^\dagger$.

    Rates stand in the weights, not in square roots of them: both have finite derivatives at a rate
    of zero.

    **Attributes:**

    - `weights`: the $w_i \geq 0$, shape `(b,)`.
    - `operators`: the $B_i$, shape `(b, 2**k, 2**k)`.
    """

    weights: Float[Array, " b"]
    operators: Complex[Array, "b dim dim"]


class AbstractChannel(eqx.Module):
    """The abstract base class of all channels.

    A rate that is a number is fixed; one that is a JAX array is a leaf that can be trained.
    """

    n_wires: eqx.AbstractVar[int]

    @abc.abstractmethod
    def transfer(self) -> Float[Array, "paulis paulis"]:
        r"""The Pauli transfer matrix $R_{ij}=2^{-k}\,\mathrm{Tr}\,P_i\Lambda(P_j)$, Paulis in the
        order I, X, Y, Z (the first wire varies slowest), shape `(4**k, 4**k)`."""

    @abc.abstractmethod
    def branches(self) -> Branches:
        """The channel as a weighted sum of operators, as trajectories sample it."""


def as_rate(value: Any) -> Rate:
    """A number stays a number, which nobody trains; the rest becomes a JAX array."""
    if isinstance(value, int | float | np.number):
        return float(value)
    return jnp.asarray(value, jnp.result_type(float))


def as_array(value: Any) -> Array:
    return jnp.asarray(value, jnp.result_type(float))


def check_rate(value: Any, name: str, low: float = 0.0, high: float = 1.0) -> None:
    if isinstance(value, Tracer):
        return  # its value is not known while tracing
    if not np.all((np.asarray(value) >= low) & (np.asarray(value) <= high)):
        raise ValueError(f"`{name}` must lie in [{low}, {high}]; got {value}.")


def rate_in_01(name: str) -> Callable[[Any], Rate]:
    """The converter of a field that is a rate in [0, 1], which its error calls `name`."""

    def convert(value: Any) -> Rate:
        rate = as_rate(value)
        check_rate(rate, name)
        return rate

    return convert


def complex_array(value: Any) -> Array:
    """An array of the complex dtype of the precision that is set."""
    return jnp.asarray(value, jnp.result_type(complex))


def diagonal_and_shift(x: Any, y: Any, z: Any, shift: Any = 0.0) -> Array:
    """The matrix that scales ⟨X⟩, ⟨Y⟩, ⟨Z⟩ and then adds `shift` to ⟨Z⟩."""
    diagonal = jnp.stack([jnp.ones((), as_array(x).dtype), *map(as_array, (x, y, z))])
    return jnp.diag(diagonal).at[3, 0].set(shift)
