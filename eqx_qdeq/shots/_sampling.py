"""Drawing bitstrings, and estimates from how often each was seen."""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jaxtyping import Array, Float, Int, PRNGKeyArray

from .._checks import check_at_least, describe
from .._inputs import numbers
from ..layers import AbstractPrepared, QuantumLayer
from ._bases import Group

Shots = int | Int[Array, ""]
"""A number of shots. An array may be traced: one compiled function serves any number."""


class Estimate(eqx.Module):
    """Estimated expectation values.

    !!! example

        ```python
        import jax
        import eqx_qdeq as qdeq

        layer = qdeq.QuantumLayer(
            qdeq.Circuit(["Rx"], [[0]], [[0]]),
            qdeq.AngleEncoding(),
            qdeq.PauliZ(),
            angles=[0.5],
        )
        sampled = qdeq.shots.SampledLayer(layer, n_shots=1000)
        estimate = sampled.estimate([0.3], key=jax.random.key(0))
        estimate.values.shape, estimate.standard_errors.shape  # ((1,), (1,))
        ```

    **Attributes:**

    - `values`: the means over the shots, shape `(m,)`.
    - `standard_errors`: their standard errors, estimated from the same shots, shape `(m,)`. From
        one shot no spread can be seen; the largest possible one is then reported.
    """

    values: Float[Array, "*batch m"]
    standard_errors: Float[Array, "*batch m"]


class ShotCount(eqx.Module):
    """Circuits, and shots of all of them together. Counts add, and multiply by whole numbers.

    A circuit is one preparation, run with one basis: shifted angles, and every group of observables
    that commute, are circuits of their own.

    !!! example

        ```python
        import eqx_qdeq as qdeq

        forward = qdeq.shots.ShotCount(circuits=1, shots=1000)
        3 * (forward + 2 * forward)  # ShotCount(circuits=9, shots=9000)
        ```
    """

    circuits: int | Int[Array, "*batch"]
    shots: int | Int[Array, "*batch"]

    def __add__(self, other: "ShotCount") -> "ShotCount":
        return ShotCount(self.circuits + other.circuits, self.shots + other.shots)

    def __mul__(self, times: int | Int[Array, "*batch"]) -> "ShotCount":
        return ShotCount(self.circuits * times, self.shots * times)

    __rmul__ = __mul__


ShotCount.__init__.__doc__ = """**Arguments:**

- `circuits`: the number of circuits.
- `shots`: the shots of all circuits together.
"""


def check_shots(n_shots: Shots | None) -> None:
    if n_shots is None or isinstance(n_shots, Tracer):
        return  # nothing to check, or not known while tracing
    # A string has a result type of its own to JAX, and a list of numbers none.
    dtype = getattr(n_shots, "dtype", None)
    is_integer = dtype is not None and jnp.issubdtype(dtype, jnp.integer)
    if isinstance(n_shots, bool) or not (isinstance(n_shots, int) or is_integer):
        raise TypeError(f"`n_shots` must be an integer; got {describe(n_shots)}.")
    check_at_least("n_shots", int(np.min(n_shots)), 1)


def check_exact(layer: QuantumLayer) -> None:
    """Refuses a layer that a device runs: its outcomes are not known to be sampled."""
    if layer.device is not None:
        raise ValueError(
            f"the layer is run by a {type(layer.device).__name__} already; sample "
            "`eqx_qdeq.exact(layer)`."
        )


class Sampling(eqx.Module):
    """How many shots each group of observables gets."""

    n_shots: Shots | None  # None: infinitely many
    per_group: bool = eqx.field(static=True, default=True)

    def __check_init__(self) -> None:
        check_shots(self.n_shots)

    def replaced(self, n_shots: Shots | None) -> "Sampling":
        """The same with another number of shots, if one is given."""
        return self if n_shots is None else Sampling(n_shots, self.per_group)

    def shots(
        self, n_groups: int, dtype: jnp.dtype, weight: float | Float[Array, ""] = 1.0
    ) -> list[Float[Array, ""]]:
        """The shots of every group, of a circuit that gets `weight` times the usual number."""
        assert self.n_shots is not None
        if isinstance(self.n_shots, int):
            # Counts are floats, of which the whole numbers up to 2^(mantissa + 1) are exact.
            limit = 2 ** (jnp.finfo(dtype).nmant + 1)
            if self.n_shots > limit:
                raise ValueError(
                    f"`n_shots` must be at most {limit} in {dtype}, where larger counts are not "
                    f"exact; got {self.n_shots}. Switch on JAX's x64 mode."
                )
            if not self.per_group and self.n_shots < n_groups:
                raise ValueError(
                    f"`n_shots`={self.n_shots} cannot be shared by {n_groups} groups of commuting "
                    f"observables; use at least {n_groups}, or per_group=True."
                )
        total = jnp.floor(jnp.asarray(self.n_shots, dtype) * jnp.asarray(weight, dtype))
        if self.per_group:
            return [jnp.maximum(total, 1)] * n_groups
        # ⌊(N + g) / G⌋ over g = 0, …, G - 1 adds up to N, and no two parts differ by more than one.
        return [jnp.maximum(jnp.floor((total + g) / n_groups), 1) for g in range(n_groups)]

    def count(self, n_groups: int, weight: float = 1.0) -> ShotCount:
        """Circuits and shots of one estimate of all groups."""
        if self.n_shots is None:
            return ShotCount(n_groups, 0)
        shots = self.shots(n_groups, jnp.dtype(jnp.result_type(float)), weight)
        total = jnp.sum(jnp.stack(shots).astype(int))
        return ShotCount(n_groups, total if isinstance(total, Tracer) else int(total))


def sample_counts(
    probabilities: Float[Array, " dim"], n_shots: Shots | Float[Array, ""], *, key: PRNGKeyArray
) -> Float[Array, " dim"]:
    """How often each of the 2ⁿ bitstrings comes up in `n_shots` draws: a multinomial variate.

    The bits are drawn one after the other, each for all shots with equal bits so far at once, as
    a binomial variate. So the number of shots may be traced, and costs nothing.

    !!! example

        ```python
        import jax
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        bell = jnp.array([0.5, 0.0, 0.0, 0.5])
        counts = qdeq.shots.sample_counts(bell, 1000, key=jax.random.key(0))
        counts.sum()  # 1000.
        counts[1]  # 0.
        ```

    **Arguments:**

    - `probabilities`: of the bitstrings, shape `(2**n,)`. They are normalized.
    - `n_shots`: the number of draws, an integer, possibly traced.
    - `key`: for the draws.

    **Returns:**

    The counts, shape `(2**n,)`, whole numbers in the dtype of the probabilities.

    **Raises:** `ValueError` for what are no probabilities; traced ones are not looked at.
    """
    if not isinstance(probabilities, Tracer):
        # Clipped and divided by their sum they would look like probabilities.
        given = np.asarray(numbers(probabilities, name="probabilities"))
        n_outcomes = given.size
        if given.ndim != 1 or n_outcomes < 2 or n_outcomes & (n_outcomes - 1):
            raise ValueError(
                "`probabilities` must be of the 2ⁿ bitstrings of n bits, of shape (2**n,); got the "
                f"shape {given.shape}."
            )
        if not (np.all(given >= 0) and 0 < np.sum(given) < np.inf):
            raise ValueError(
                "`probabilities` must be at least 0, finite and not all 0; the least is "
                f"{np.min(given)} and their sum {np.sum(given)}."
            )
        probabilities = numbers(probabilities, name="probabilities")
    # P(b₁ … bₙ) = P(b₁) P(b₂ | b₁) …: of the N_p shots that begin with the bits p, those that go on
    # with a 1 are Bin(N_p, P(1 | p)), whatever becomes of the others. A table of 2^k counts has
    # its children side by side, so that n rounds of halving give the counts in order.
    n = probabilities.shape[0].bit_length() - 1
    half = 2 ** (n - 1)

    def ratios(bit: int) -> Float[Array, " half"]:
        """The probability that `bit` is 1, given the bits before it."""
        both = jnp.sum(probabilities.reshape(2**bit, 2, -1), axis=-1)
        total = both[:, 0] + both[:, 1]
        # A branch of probability zero holds no shots, whatever its ratio.
        some = total > 0
        ratio = jnp.where(some, both[:, 1] / jnp.where(some, total, 1), 0)
        return jnp.pad(jnp.clip(ratio, 0, 1), (0, half - 2**bit))

    def draw(counts: Float[Array, " dim"], step: tuple[Array, Array]) -> tuple[Array, None]:
        k, ratio = step
        ones = jax.random.binomial(k, counts[:half], ratio, dtype=counts.dtype)
        return jnp.stack([counts[:half] - ones, ones], axis=1).reshape(-1), None

    # A scan over vectors of one length, because compiling a binomial variate takes a second.
    counts = jnp.zeros_like(probabilities).at[0].set(jnp.asarray(n_shots, probabilities.dtype))
    steps = (jax.random.split(key, n), jnp.stack([ratios(bit) for bit in range(n)]))
    return lax.scan(draw, counts, steps)[0]


def outcomes(
    groups: Sequence[Group], prepared: AbstractPrepared, x: Float[Array, " d"]
) -> list[Float[Array, " dim"]]:
    """The probabilities of the bitstrings in every group's basis, with noise and readout error. All
    that the shots know of a layer or a cell."""
    return [
        prepared.measure(group.basis, x) if group.basis.rotations else prepared.probabilities(x)
        for group in groups
    ]


def estimate(
    groups: Sequence[Group],
    prepared: AbstractPrepared,
    x: Float[Array, " d"],
    sampling: Sampling,
    key: PRNGKeyArray,
    weight: float | Float[Array, ""] = 1.0,
) -> Estimate:
    """The estimates of all observables, each group with bitstrings of its own, from `weight`
    times the usual number of shots."""
    probabilities = outcomes(groups, prepared, x)
    if sampling.n_shots is None:
        values = [g.moments(p)[0] for g, p in zip(groups, probabilities, strict=True)]
        squares = [jnp.zeros_like(exact) for exact in values]
    else:
        values, squares = [], []
        shots = sampling.shots(len(groups), probabilities[0].dtype, weight)
        # All groups at once: one binomial variate to compile, not one for each.
        all_counts = jax.vmap(lambda p, n, k: sample_counts(p, n, key=k))(
            jnp.stack(probabilities), jnp.stack(shots), jax.random.split(key, len(groups))
        )
        for group, p, n, counts in zip(groups, probabilities, shots, all_counts, strict=True):
            # Counts are finite even where the probabilities are not.
            frequencies = jnp.where(jnp.isfinite(jnp.sum(p)), counts / n, jnp.nan)
            mean, variance = group.moments(frequencies)
            # The spread about the mean of the same shots is too small by (n - 1) / n, as E(ō²) has
            # 1/n of the variance in it. From one shot nothing can be seen.
            variance = variance * n / jnp.maximum(n - 1, 1)
            variance = jnp.where(n > 1, variance, jnp.asarray(group.largest_variances(), p.dtype))
            values.append(mean)
            squares.append(variance / n)
    # From group after group to the order of the measurement. The parts of a sum come from shots of
    # their own, so that the squares of their errors add up as well.
    places = np.concatenate([group.members for group in groups])
    nothing = jnp.zeros(places.max() + 1, values[0].dtype)
    add = lambda parts: nothing.at[places].add(jnp.concatenate(parts))
    return Estimate(add(values), jnp.sqrt(add(squares)))
