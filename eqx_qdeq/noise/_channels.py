r"""The channels: Pauli errors, losses to the environment, rotations, any Kraus operators.

One qubit's state is $\rho=(1+x\,X+y\,Y+z\,Z)/2$ with $x=\langle X\rangle$ and so on. A transfer
matrix acts on the column $(1,x,y,z)$, so its first row is $(1,0,0,0)$ where the trace is kept.
"""

import functools as ft
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float

from .._precise import dot
from ._channel import (
    AbstractChannel,
    as_array,
    Branches,
    check_rate,
    complex_array,
    Rate,
    rate,
    rate_in_01,
)
from ._paulis import pauli_matrices, PAULIS, transfer_of_operators

# Depolarizing noise in the three conventions in use. With d = 2^k for k wires the channel is
# ρ ↦ (1-λ) ρ + λ 1/d (λ: Qiskit Aer's), or a Pauli other than the identity with probability p
# (PennyLane's). As Σ_P P ρ P = d 1 over all d² Paulis for a state ρ, "all Paulis equally likely"
# with probability λ is the first form; of these d² one is the identity, so p = λ (d²-1)/d².
# Nielsen: the mean fidelity over states is F̄ = (d F + 1)/(d + 1) with the process fidelity F = 1-p,
# so 1-F̄ = p d/(d+1).


def depolarizing_parameter(probability: Rate, n_wires: int = 1) -> Rate:
    r"""Aer's $\lambda = p\,d^2/(d^2-1)$ from the Pauli probability p.

    !!! example

        ```python
        import eqx_qdeq as qdeq

        qdeq.noise.depolarizing_parameter(0.03)  # 0.04
        ```

    **Arguments:**

    - `probability`: p, the probability of a Pauli other than the identity.
    - `n_wires`: k, with d = 2ᵏ.

    **Returns:** λ, as in $\rho\mapsto(1-\lambda)\rho+\lambda\,1/d$.
    """
    return probability * (4**n_wires / (4**n_wires - 1))


def probability_from_parameter(parameter: Rate, n_wires: int = 1) -> Rate:
    r"""The Pauli probability $p = \lambda\,(d^2-1)/d^2$ from Aer's λ.

    !!! example

        ```python
        import eqx_qdeq as qdeq

        qdeq.noise.probability_from_parameter(0.04)  # 0.03
        ```

    **Arguments:**

    - `parameter`: λ, as in $\rho\mapsto(1-\lambda)\rho+\lambda\,1/d$.
    - `n_wires`: k, with d = 2ᵏ.

    **Returns:** p, the probability of a Pauli other than the identity.
    """
    return parameter * ((4**n_wires - 1) / 4**n_wires)


def average_infidelity(probability: Rate, n_wires: int = 1) -> Rate:
    r"""The average gate infidelity $1-\bar F = p\,d/(d+1)$ from the Pauli probability p.

    !!! example

        ```python
        import eqx_qdeq as qdeq

        qdeq.noise.average_infidelity(0.01, n_wires=2)  # 0.008
        ```

    **Arguments:**

    - `probability`: p, the probability of a Pauli other than the identity.
    - `n_wires`: k, with d = 2ᵏ.

    **Returns:** $1-\bar F$, the mean over all pure states that the gate acts on.

    ??? cite "Reference"

        M. A. Nielsen, "A simple formula for the average gate fidelity of a quantum dynamical
        operation", Phys. Lett. A 303, 249 (2002).
    """
    return probability * (2**n_wires / (2**n_wires + 1))


def probability_from_infidelity(infidelity: Rate, n_wires: int = 1) -> Rate:
    r"""The Pauli probability $p = (1-\bar F)(d+1)/d$ from the average gate infidelity.

    !!! example

        ```python
        import eqx_qdeq as qdeq

        # A two-wire gate that is published with an average fidelity of 0.992.
        p = qdeq.noise.probability_from_infidelity(0.008, n_wires=2)  # 0.01
        channel = qdeq.noise.Depolarizing(p, n_wires=2)
        ```

    **Arguments:**

    - `infidelity`: $1-\bar F$, as devices publish it.
    - `n_wires`: k, with d = 2ᵏ.

    **Returns:** p, the probability of a Pauli other than the identity.
    """
    return infidelity * ((2**n_wires + 1) / 2**n_wires)


def _scaled(x: Any, y: Any, z: Any, shift: Any = 0.0) -> Array:
    """The matrix that scales ⟨X⟩, ⟨Y⟩, ⟨Z⟩ and then adds `shift` to ⟨Z⟩."""
    return jnp.diag(jnp.stack([as_array(a) for a in (1.0, x, y, z)])).at[3, 0].set(shift)


# Derivatives at the ends. √(1-p) falls vertically at p = 1, and exp(-t/T) is flat at t = ∞, where
# the chain rule sees 0 · ∞ in d exp(-t/T)/dT = exp(-t/T) t/T². Both would be NaN in sums in which
# these terms have no part, such as ⟨Z⟩ of a decayed wire.


@jax.custom_jvp
def _root(kept: Float[Array, ""]) -> Float[Array, ""]:
    """√(1-p), whose slope at p = 1 is the difference quotient to the next smaller p."""
    return jnp.sqrt(kept)


@_root.defjvp
def _root_jvp(primals, tangents):
    (kept,), (tangent,) = primals, tangents
    left = kept > 0
    # With p one unit in the last place below 1, √h over h.
    at_end = 1 / jnp.sqrt(jnp.finfo(kept.dtype).epsneg)
    slope = jnp.where(left, 0.5 / jnp.sqrt(jnp.where(left, kept, 1)), at_end)
    return _root(kept), slope * tangent


def _elapsed(time: Float[Array, ""], rate: Float[Array, ""]) -> Float[Array, ""]:
    """The exponent x = t/T of exp(-x); constant where nothing is left, and infinite for ∞ · 0."""
    x = time * rate
    over = ~(jnp.exp(-x) > 0)
    end = jax.lax.stop_gradient(jnp.where(jnp.isnan(x), jnp.inf, x))
    return jnp.where(over, end, jnp.where(over, 0, time) * jnp.where(over, 0, rate))


class Depolarizing(AbstractChannel):
    r"""A Pauli other than the identity, all of them equally likely, with probability p in all.

    This is PennyLane's `DepolarizingChannel(p)`; Aer's λ and the average gate infidelity convert
    by [`eqx_qdeq.noise.probability_from_parameter`][] and
    [`eqx_qdeq.noise.probability_from_infidelity`][].

    !!! example

        ```python
        import eqx_qdeq as qdeq

        qdeq.noise.Depolarizing(0.03).transfer().diagonal()  # [1. 0.96 0.96 0.96]
        after_cx = qdeq.noise.Depolarizing(0.01, n_wires=2)
        model = qdeq.noise.NoiseModel(two_wire=(after_cx,))
        ```
    """

    probability: Rate = eqx.field(converter=rate_in_01("probability"))
    n_wires: int = eqx.field(static=True, default=1)

    def __check_init__(self) -> None:
        if self.n_wires not in (1, 2):
            raise ValueError(f"`n_wires` must be 1 or 2; got {self.n_wires}.")

    def transfer(self) -> Float[Array, "paulis paulis"]:
        # 1/d has no expectation value but that of the identity: all others shrink by 1 - λ.
        kept = 1 - as_array(depolarizing_parameter(self.probability, self.n_wires))
        return jnp.diag(jnp.full(4**self.n_wires, kept).at[0].set(1))

    def branches(self) -> Branches:
        p, others = as_array(self.probability), 4**self.n_wires - 1
        weights = jnp.full(others + 1, p / others).at[0].set(1 - p)
        return Branches(weights, complex_array(pauli_matrices(self.n_wires)))


Depolarizing.__init__.__doc__ = """**Arguments:**

- `probability`: p, in [0, 1]. A number is fixed, a JAX array trained.
- `n_wires`: 1 or 2; on two wires, 15 errors are equally likely.

**Raises:** `ValueError` for a probability that is none, or another number of wires.
"""


class PauliChannel(AbstractChannel):
    """X, Y and Z with the given probabilities.

    !!! example

        ```python
        import eqx_qdeq as qdeq

        qdeq.noise.PauliChannel(x=0.01, y=0.0, z=0.05).transfer().diagonal()
        # [1. 0.9 0.88 0.98]
        ```
    """

    x: Rate = eqx.field(converter=rate_in_01("x"))
    y: Rate = eqx.field(converter=rate_in_01("y"))
    z: Rate = eqx.field(converter=rate_in_01("z"))
    n_wires: int = eqx.field(static=True, default=1, init=False)

    def __check_init__(self) -> None:
        # Rounding may carry probabilities that add up to one slightly beyond it.
        check_rate(self.x + self.y + self.z, "x + y + z", high=1 + 1e-6)

    def transfer(self) -> Float[Array, "paulis paulis"]:
        # An error Q turns ⟨P⟩ into its negative where Q and P anticommute.
        x, y, z = self.x, self.y, self.z
        return _scaled(1 - 2 * (y + z), 1 - 2 * (x + z), 1 - 2 * (x + y))

    def branches(self) -> Branches:
        x, y, z = map(as_array, (self.x, self.y, self.z))
        return Branches(jnp.stack([1 - x - y - z, x, y, z]), complex_array(PAULIS))


PauliChannel.__init__.__doc__ = """**Arguments:**

- `x`, `y`, `z`: the probabilities, in [0, 1]. Numbers are fixed, JAX arrays trained.

**Raises:** `ValueError` for what are no probabilities, or if they add up to more than 1.
"""


class _AbstractOneRate(AbstractChannel):
    """The fields of a channel on one wire with one probability."""

    probability: Rate = eqx.field(converter=rate_in_01("probability"))
    n_wires: int = eqx.field(static=True, default=1, init=False)


class BitFlip(_AbstractOneRate):
    """X with the given probability.

    !!! example

        ```python
        import eqx_qdeq as qdeq

        qdeq.noise.BitFlip(0.1).transfer().diagonal()  # [1. 1. 0.8 0.8]
        ```
    """

    def transfer(self) -> Float[Array, "paulis paulis"]:
        kept = 1 - 2 * self.probability
        return _scaled(1.0, kept, kept)

    def branches(self) -> Branches:
        p = as_array(self.probability)
        return Branches(jnp.stack([1 - p, p]), complex_array(PAULIS[:2]))


BitFlip.__init__.__doc__ = """**Arguments:**

- `probability`: of the flip, in [0, 1]. A number is fixed, a JAX array trained.

**Raises:** `ValueError` for a probability that is none.
"""


class PhaseFlip(_AbstractOneRate):
    """Z with the given probability.

    !!! example

        ```python
        import eqx_qdeq as qdeq

        qdeq.noise.PhaseFlip(0.1).transfer().diagonal()  # [1. 0.8 0.8 1. ]
        ```
    """

    def transfer(self) -> Float[Array, "paulis paulis"]:
        kept = 1 - 2 * self.probability
        return _scaled(kept, kept, 1.0)

    def branches(self) -> Branches:
        p = as_array(self.probability)
        return Branches(jnp.stack([1 - p, p]), complex_array(PAULIS[::3]))


PhaseFlip.__init__.__doc__ = """**Arguments:**

- `probability`: of the flip, in [0, 1]. A number is fixed, a JAX array trained.

**Raises:** `ValueError` for a probability that is none.
"""


# |0⟩⟨0| and |0⟩⟨1|: to |0⟩ from |0⟩ and from |1⟩.
_TO_ZERO = np.array([[[1, 0], [0, 0]], [[0, 1], [0, 0]]], complex)


def _no_decay(amplitude: Array) -> Array:
    """diag(1, amplitude). That a wire did not decay is news as well: it makes |0⟩ more likely."""
    return complex_array(jnp.diag(jnp.stack([jnp.ones_like(amplitude), amplitude])))


class AmplitudeDamping(_AbstractOneRate):
    """Decay from |1⟩ to |0⟩ with the given probability.

    !!! example

        ```python
        import eqx_qdeq as qdeq

        qdeq.noise.AmplitudeDamping(0.36).transfer()
        # [[1. 0. 0. 0. ]
        #  [0. 0.8 0. 0. ]
        #  [0. 0. 0.8 0. ]
        #  [0.36 0. 0. 0.64]]
        ```
    """

    def transfer(self) -> Float[Array, "paulis paulis"]:
        # The population of |1⟩, (1-z)/2, shrinks by 1-p, so z ↦ (1-p) z + p, and ⟨0|ρ|1⟩ by √(1-p).
        kept = 1 - as_array(self.probability)
        return _scaled(_root(kept), _root(kept), kept, self.probability)

    def branches(self) -> Branches:
        p = as_array(self.probability)
        operators = jnp.stack([_no_decay(_root(1 - p)), complex_array(_TO_ZERO[1])])
        return Branches(jnp.stack([jnp.ones_like(p), p]), operators)


AmplitudeDamping.__init__.__doc__ = """**Arguments:**

- `probability`: of the decay, in [0, 1]. A number is fixed, a JAX array trained.

**Raises:** `ValueError` for a probability that is none.
"""


class PhaseDamping(_AbstractOneRate):
    r"""Loss of phase: off-diagonal elements shrink by $\sqrt{1-\gamma}$.

    !!! example

        ```python
        import eqx_qdeq as qdeq

        qdeq.noise.PhaseDamping(0.36).transfer().diagonal()  # [1. 0.8 0.8 1. ]
        ```
    """

    def transfer(self) -> Float[Array, "paulis paulis"]:
        kept = _root(1 - as_array(self.probability))
        return _scaled(kept, kept, 1.0)

    def branches(self) -> Branches:
        # As phase flips with probability q, for which the same elements shrink by 1 - 2q.
        kept = _root(1 - as_array(self.probability))
        return Branches(jnp.stack([1 + kept, 1 - kept]) / 2, complex_array(PAULIS[::3]))


PhaseDamping.__init__.__doc__ = """**Arguments:**

- `probability`: γ, in [0, 1]. A number is fixed, a JAX array trained.

**Raises:** `ValueError` for a probability that is none.
"""


class Reset(_AbstractOneRate):
    """The wire is replaced by |0⟩ with the given probability.

    !!! example

        ```python
        import eqx_qdeq as qdeq

        qdeq.noise.Reset(0.1).transfer()
        # [[1. 0. 0. 0. ]
        #  [0. 0.9 0. 0. ]
        #  [0. 0. 0.9 0. ]
        #  [0.1 0. 0. 0.9]]
        ```
    """

    def transfer(self) -> Float[Array, "paulis paulis"]:
        kept = 1 - self.probability
        return _scaled(kept, kept, kept, self.probability)

    def branches(self) -> Branches:
        p = as_array(self.probability)
        operators = np.concatenate([PAULIS[:1], _TO_ZERO])
        return Branches(jnp.stack([1 - p, p, p]), complex_array(operators))


Reset.__init__.__doc__ = """**Arguments:**

- `probability`: of the reset, in [0, 1]. A number is fixed, a JAX array trained.

**Raises:** `ValueError` for a probability that is none.
"""


class ThermalRelaxation(AbstractChannel):
    r"""Relaxation to |0⟩ in a time t: ⟨X⟩ and ⟨Y⟩ shrink by $e^{-t/T_2}$, and ⟨Z⟩ approaches 1
    with $e^{-t/T_1}$. All times in the same unit.

    !!! example

        ```python
        import eqx_qdeq as qdeq

        # A gate of 0.07 µs on a qubit with T1 = 180 µs and T2 = 140 µs.
        channel = qdeq.noise.ThermalRelaxation(t1=180.0, t2=140.0, time=0.07)
        1 - channel.transfer()[1, 1]  # 0.0005
        ```
    """

    t1: Rate = eqx.field(converter=rate("t1"))
    t2: Rate = eqx.field(converter=rate("t2"))
    time: Rate = eqx.field(converter=rate("time"))
    n_wires: int = eqx.field(static=True, default=1, init=False)

    # Decay of populations by 1-p = exp(-t/T1) costs the off-diagonal elements √(1-p) = exp(-t/2T1)
    # by itself. What is lost of them beyond that is pure dephasing, 1/Tφ = 1/T2 - 1/(2 T1) ≥ 0:
    # hence T2 ≤ 2 T1. The channel is amplitude damping, and then phase flips with probability
    # (1-k)/2 where k = exp(-t/Tφ).

    def __check_init__(self) -> None:
        for name in ("t1", "t2"):
            value = getattr(self, name)
            if not isinstance(value, Tracer) and not value > 0:
                raise ValueError(f"`{name}` must be positive; got {value}.")
        check_rate(self.time, "time", high=np.inf)
        if not any(isinstance(t, Tracer) for t in (self.time, self.t1)):
            if np.isinf(self.time) and np.isinf(self.t1):
                raise ValueError(
                    "`time` and `t1` are both infinite, and what is left after that time is not "
                    "defined; give `t1` a number, or use PhaseDamping(1.0) for pure dephasing."
                )
        ratio = self.t2 / self.t1
        if not isinstance(ratio, Tracer) and ratio > 2 * (1 + 1e-6):
            raise ValueError(
                f"`t2` must not exceed 2 * t1, or the channel is not physical; got t1 = {self.t1} "
                f"and t2 = {self.t2}."
            )

    def transfer(self) -> Float[Array, "paulis paulis"]:
        time, decays, dephases = map(as_array, (self.time, 1 / self.t1, 1 / self.t2))
        phase, decay = jnp.exp(-_elapsed(time, dephases)), jnp.exp(-_elapsed(time, decays))
        return _scaled(phase, phase, decay, 1 - decay)

    def branches(self) -> Branches:
        time, decays, dephases = map(as_array, (self.time, 1 / self.t1, 1 / self.t2))
        kept = jnp.exp(-_elapsed(time, dephases - decays / 2))
        age = _elapsed(time, decays)
        stays = _no_decay(jnp.exp(-age / 2))
        flipped = dot(complex_array(PAULIS[3]), stays)
        # A flip after a decay changes nothing: Z|0⟩ = |0⟩.
        weights = jnp.stack([(1 + kept) / 2, (1 - kept) / 2, -jnp.expm1(-age)])
        return Branches(weights, jnp.stack([stays, flipped, complex_array(_TO_ZERO[1])]))


ThermalRelaxation.__init__.__doc__ = """**Arguments:**

- `t1`: the time in which the population of |1⟩ falls to 1/e.
- `t2`: the time in which coherence does; at most 2·T₁.
- `time`: how long the wire relaxes. Numbers are fixed, JAX arrays trained.

**Raises:** `ValueError` for times that are not positive, for `t2` above 2·`t1`, or if `time`
and `t1` are both infinite.
"""


class CoherentRotation(AbstractChannel):
    r"""The rotation $\exp(-i\,\alpha P/2)$ about a product P of Pauli operators: an error that is
    the same each time, such as crosstalk. For errors in proportion to a gate's angle see
    [`eqx_qdeq.noise.OverRotation`][].

    !!! example

        ```python
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        # A quarter turn about Z takes X to Y.
        turn = qdeq.noise.CoherentRotation("Z", jnp.pi / 2)
        turn.transfer().round(3)
        # [[1. 0. 0. 0.]
        #  [0. 0. -1. 0.]
        #  [0. 1. 0. 0.]
        #  [0. 0. 0. 1.]]
        ```
    """

    paulis: str = eqx.field(static=True)
    angle: Rate = eqx.field(converter=rate("angle"))

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
        # P² = 1, so the exponential series is that of a cosine and a sine.
        product = ft.reduce(np.kron, [PAULIS["IXYZ".index(letter)] for letter in self.paulis])
        half = as_array(self.angle) / 2
        cosine, sine = complex_array(jnp.cos(half)), complex_array(jnp.sin(half))
        eye = complex_array(np.eye(len(product)))
        unitary = cosine * eye + sine * complex_array(-1j * product)
        return Branches(jnp.ones(1, half.dtype), unitary[None])


CoherentRotation.__init__.__doc__ = """**Arguments:**

- `paulis`: one letter of I, X, Y, Z for each of one or two wires, e.g. `"X"` or `"ZZ"`.
- `angle`: in radians.

**Raises:** `ValueError` for other letters or more wires.
"""


class KrausChannel(AbstractChannel):
    r"""Any channel $\Lambda(\rho)=\sum_i K_i\rho K_i^\dagger$ on one, two or three wires, with
    fixed operators.

    !!! example

        ```python
        import numpy as np
        import eqx_qdeq as qdeq

        x = np.array([[0, 1], [1, 0]])
        operators = [0.9**0.5 * np.eye(2), 0.1**0.5 * x]  # a bit flip
        channel = qdeq.noise.KrausChannel(operators)
        channel.transfer().diagonal()  # [1. 1. 0.8 0.8]
        ```
    """

    # Nested tuples and not an array: fixed numbers must not be trained.
    entries: tuple[tuple[tuple[complex, ...], ...], ...] = eqx.field(static=True)

    def __init__(self, operators: ArrayLike):
        operators = np.asarray(operators, complex)
        if operators.ndim != 3 or operators.shape[1:] not in ((2, 2), (4, 4), (8, 8)):
            raise ValueError(
                "`operators` must have shape (k, 2, 2), (k, 4, 4) or (k, 8, 8); got "
                f"{operators.shape}. Write a channel on more wires as several ones."
            )
        # Tr Λ(ρ) = Tr (Σ K†K) ρ.
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
        # With weights of one, as no rate is differentiated here.
        return Branches(as_array(np.ones(len(self.entries))), complex_array(self.entries))


KrausChannel.__init__.__doc__ = """**Arguments:**

- `operators`: the $K_i$, shape `(k, 2, 2)`, `(k, 4, 4)` or `(k, 8, 8)`, the first wire the most
    significant bit.

**Raises:** `ValueError` for another shape, or if $\\sum_i K_i^\\dagger K_i\\neq1$.
"""
