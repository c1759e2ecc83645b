"""What a channel is, and the rates it depends on."""

import abc
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Complex, Float

from .._inputs import numbers

Rate = float | Float[Array, ""]
"""A rate or another number of a channel: a Python number is fixed, a JAX array of no axes is a leaf
that can be trained."""

# Why channels are weighted sums and not lists of Kraus operators. The operators of the textbooks
# hold square roots of rates, K = √p P, and d√p/dp is infinite at p = 0. What depends on K K† is
# smooth there, but the chain rule multiplies that infinity by the zero in K: NaN, at the very rate
# from which one starts to learn. A sum Σ w B ρ B† with p in the weight w never takes the root.
# (√(1-p) is taken, in damping: its derivative is infinite at p = 1, where nothing is left anyway.)


class Branches(NamedTuple):
    r"""A channel as a sum $\Lambda(\rho)=\sum_i w_i\,B_i\rho B_i^\dagger$.

    Rates stand in the weights, not in square roots of them: both have finite derivatives at a rate
    of zero.

    !!! example

        ```python
        import eqx_qdeq as qdeq

        branches = qdeq.noise.BitFlip(0.1).branches()
        branches.weights  # [0.9 0.1]
        branches.operators.shape  # (2, 2, 2)
        ```

    **Attributes:**

    - `weights`: the $w_i \geq 0$, shape `(b,)`.
    - `operators`: the $B_i$, shape `(b, 2**k, 2**k)`.
    """

    weights: Float[Array, " b"]
    operators: Complex[Array, "b dim dim"]


class AbstractChannel(eqx.Module):
    """The abstract base class of all channels.

    A rate that is a number is fixed; one that is a JAX array is a leaf that can be trained.

    !!! example

        ```python
        import equinox as eqx
        import jax.numpy as jnp
        import eqx_qdeq as qdeq


        # The gate S with probability p.
        class PhaseKick(qdeq.noise.AbstractChannel):
            p: float
            n_wires: int = eqx.field(static=True, default=1, init=False)

            def branches(self):
                operators = jnp.array([jnp.eye(2), jnp.diag(jnp.array([1, 1j]))])
                return qdeq.noise.Branches(jnp.array([1 - self.p, self.p]), operators)

            def transfer(self):  # S takes X to Y, and Y to -X
                turn = jnp.array([[0.0, -1.0], [1.0, 0.0]])
                turned = (1 - self.p) * jnp.eye(2) + self.p * turn
                return jnp.eye(4).at[1:3, 1:3].set(turned)


        model = qdeq.noise.NoiseModel(one_wire=(PhaseKick(0.1),))
        ```
    """

    n_wires: eqx.AbstractVar[int]

    # The two forms serve two ways of evaluation. Both could be derived from `branches`, but a
    # transfer matrix written down has exact zeros and ones where sums leave rounding errors.

    @abc.abstractmethod
    def transfer(self) -> Float[Array, "paulis paulis"]:
        r"""The Pauli transfer matrix $R_{ij}=2^{-k}\,\mathrm{Tr}\,P_i\Lambda(P_j)$, Paulis in the
        order I, X, Y, Z (the first wire varies slowest), shape `(4**k, 4**k)`."""

    @abc.abstractmethod
    def branches(self) -> Branches:
        """The channel as a weighted sum of operators, as trajectories sample it."""


def as_rate(value: Any, name: str, axes: int = 0) -> Rate:
    """A number stays a number, which nobody trains; the rest becomes a JAX array, of at most so
    many axes."""
    if isinstance(value, int | float | np.floating | np.integer):
        return float(value)
    array = numbers(value, jnp.result_type(float), name=name)
    if array.ndim > axes:
        raise ValueError(
            f"`{name}` must be one number; got an array of shape {array.shape}. A channel is that "
            "of one gate: give others to other gates with `GateNoise`, and make several models by "
            "`equinox.filter_vmap`."
        )
    return array


def rate(name: str) -> Callable[[Any], Rate]:
    """The converter of a field that is a number, which its error calls `name`."""
    return lambda value: as_rate(value, name)


def as_array(value: Any) -> Array:
    """An array of the real dtype of the precision that is set."""
    return jnp.asarray(value, jnp.result_type(float))


def complex_array(value: Any) -> Array:
    """An array of the complex dtype of the precision that is set."""
    return jnp.asarray(value, jnp.result_type(complex))


def check_rate(value: Any, name: str, high: float = 1.0) -> None:
    if isinstance(value, Tracer):
        return  # its value is not known while tracing
    # By NumPy: under `jit`, JAX would trace the comparison even of a known array.
    if not np.all((np.asarray(value) >= 0) & (np.asarray(value) <= high)):
        raise ValueError(f"`{name}` must lie in [0.0, {high}]; got {value}.")


def rate_in_01(name: str, axes: int = 0) -> Callable[[Any], Rate]:
    """The converter of a field that is a rate in [0, 1], which its error calls `name`."""

    def convert(value: Any) -> Rate:
        rate = as_rate(value, name, axes)
        check_rate(rate, name)
        return rate

    return convert
