"""How the derivative of sampled values is estimated.

A sampled value is written as a constant plus a zero that has the wanted derivative. So a
derivative costs circuits only when it is taken, and only for the angles for which it is.
"""

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jax import lax
from jax.core import Tracer
from jaxtyping import Array, Float, PRNGKeyArray

from ._count import ShotCount
from ._experiment import AbstractRun, Experiment
from ._rules import ShiftRule
from ._sampling import check_shots, Sampling, Shots

# Shifted states are computed side by side up to this many amplitudes.
_AMPLITUDES = 2**20


class AbstractShotGradient(eqx.Module):
    """The abstract base class of ways to differentiate sampled values."""

    @abc.abstractmethod
    def zero(
        self, experiment: Experiment, sampling: Sampling, key: PRNGKeyArray
    ) -> Float[Array, " m"]:
        """Zeros, with (an estimate of) the derivative of the experiment's expectation values."""

    @abc.abstractmethod
    def count(self, run: AbstractRun, sampling: Sampling, blocks: dict[int, int]) -> ShotCount:
        """Circuits and shots of one vector-Jacobian product, for these blocks of angles (number:
        size)."""


class ExactGradient(AbstractShotGradient):
    """The derivative of the exact expectation values, by automatic differentiation.

    For simulation: the values carry shot noise, their derivatives do not. Forward and reverse
    mode, and any input.
    """

    def zero(
        self, experiment: Experiment, sampling: Sampling, key: PRNGKeyArray
    ) -> Float[Array, " m"]:
        exact = experiment.exact()
        return exact - lax.stop_gradient(exact)

    def count(self, run: AbstractRun, sampling: Sampling, blocks: dict[int, int]) -> ShotCount:
        return ShotCount(0, 0)


ExactGradient.__init__.__doc__ = """**Arguments:** none."""


class ParameterShift(AbstractShotGradient):
    r"""Derivatives from sampled values at shifted angles, as on hardware; unbiased.

    Every angle of every gate is shifted on its own, by the rule of the gate's spectrum: two
    circuits for a rotation, four for a controlled one. What shares an angle adds up. Each circuit
    is sampled anew. Shots are divided among the circuits of a rule in proportion to their
    coefficients, which makes the variance smallest.

    Reverse mode only. Features are differentiated where they are angles
    ([`eqx_qdeq.AngleEncoding`][], [`eqx_qdeq.DataReuploading`][]); amplitudes have no shift rule.
    What is not differentiated costs nothing.

    ??? cite "Reference"

        M. Schuld, V. Bergholm, C. Gogolin, J. Izaac and N. Killoran, "Evaluating analytic
        gradients on quantum hardware", Phys. Rev. A 99, 032331 (2019); D. Wierichs, J. Izaac,
        C. Wang and C. Y.-Y. Lin, "General parameter-shift rules for quantum gradients", Quantum
        6, 677 (2022).
    """

    n_shots: Shots | None = None

    def __check_init__(self) -> None:
        if self.n_shots is not None:
            check_shots(self.n_shots)

    def zero(
        self, experiment: Experiment, sampling: Sampling, key: PRNGKeyArray
    ) -> Float[Array, " m"]:
        return _zero(
            (experiment.angles, experiment.constants),
            _constant(experiment.run),
            _shift_pullback,
            (sampling.replaced(self.n_shots), key),
        )

    def count(self, run: AbstractRun, sampling: Sampling, blocks: dict[int, int]) -> ShotCount:
        sampling = sampling.replaced(self.n_shots)
        total = ShotCount(0, 0)
        for rule in [rule for b, size in blocks.items() for rule in run.rules(b, size)]:
            for weight in rule.weights:
                total = total + sampling_count(run, sampling, weight)
        return total


ParameterShift.__init__.__doc__ = """**Arguments:**

- `n_shots`: the mean number of shots of a shifted circuit; as for the values if left out.
"""


class SPSA(AbstractShotGradient):
    r"""Simultaneous perturbation: derivatives from two circuits, however many angles there are.

    $$\hat g = \frac{f(p + c\,\Delta) - f(p - c\,\Delta)}{2c}\,\Delta,\qquad
    \Delta_i = \pm 1$$

    with all gates' angles and inputs in p, of any encoding. The error of the mean is of order c²;
    the variance grows with the number of angles, and with 1/c² for the shots' part. Reverse mode
    only.

    ??? cite "Reference"

        J. C. Spall, "Multivariate stochastic approximation using a simultaneous perturbation
        gradient approximation", IEEE Transactions on Automatic Control 37, 332 (1992).
    """

    step: float = 0.1
    directions: int = eqx.field(static=True, default=1)
    n_shots: Shots | None = None

    def __check_init__(self) -> None:
        if isinstance(self.step, int | float) and not self.step > 0:
            raise ValueError(f"`step` must be positive; got {self.step}.")
        if self.directions < 1:
            raise ValueError(f"`directions` must be at least 1; got {self.directions}.")
        if self.n_shots is not None:
            check_shots(self.n_shots)

    def zero(
        self, experiment: Experiment, sampling: Sampling, key: PRNGKeyArray
    ) -> Float[Array, " m"]:
        sampling = sampling.replaced(self.n_shots)
        return _zero(
            (experiment.angles, experiment.constants),
            _constant(experiment.run),
            _spsa_pullback,
            (sampling, key, self.step, self.directions),
        )

    def count(self, run: AbstractRun, sampling: Sampling, blocks: dict[int, int]) -> ShotCount:
        return 2 * self.directions * sampling_count(run, sampling.replaced(self.n_shots))


SPSA.__init__.__doc__ = """**Arguments:**

- `step`: the perturbation c, in radians (for amplitudes, in the features' units).
- `directions`: random directions over which the estimate is averaged.
- `n_shots`: the shots of a perturbed circuit; as for the values if left out.

**Raises:** `ValueError` for a value out of range.
"""


def _constant(run: AbstractRun) -> AbstractRun:
    """The run without derivatives in what it holds beside its angles."""
    return jtu.tree_map(lambda leaf: lax.stop_gradient(leaf) if eqx.is_array(leaf) else leaf, run)


def sampling_count(run: AbstractRun, sampling: Sampling, weight: float = 1.0) -> ShotCount:
    """Circuits and shots of one estimate of all values."""
    groups = run.groups
    if sampling.n_shots is None:
        return ShotCount(len(groups), 0)
    shots = sampling.shots(len(groups), jnp.dtype(jnp.result_type(float)), weight)
    total: Any = sum(jnp.asarray(s, int) for s in shots)
    known = not isinstance(total, Tracer)
    return ShotCount(len(groups), int(total) if known else total)


@eqx.filter_custom_vjp
def _zero(variables, run, pullback, options):
    """Zeros; their cotangent goes to `pullback`."""
    del pullback
    angles, (_, key, *_) = variables[0], options
    # Depends on the sample and the key for `vmap`'s sake: the cotangent of what does not is summed
    # over the batch before it arrives.
    leaves = [*jtu.tree_leaves(variables), jax.random.key_data(key)]
    batched = sum(jnp.sum(leaf).astype(angles[0].dtype) for leaf in leaves)
    zeros = jnp.zeros(run.measurement.size(run.n_qubits), angles[0].dtype)
    return jnp.where(batched > 0, zeros, zeros)


@_zero.def_fwd
def _zero_fwd(perturbed, variables, run, pullback, options):
    if pullback is _shift_pullback and any(jtu.tree_leaves(perturbed[1])):
        raise ValueError(
            "amplitude-encoded inputs have no parameter-shift rule, and the derivative with "
            "respect to one was asked for (that of the features, or of feedback through them). "
            "Encode them as angles (AngleEncoding, AngleFeedback), or use ExactGradient() in "
            "simulation or SPSA()."
        )
    return _zero(variables, run, pullback, options), None


@_zero.def_bwd
def _zero_bwd(residuals, cotangent, perturbed, variables, run, pullback, options):
    del residuals
    if cotangent is None:
        return jtu.tree_map(lambda _: None, variables)
    return pullback(cotangent, perturbed, variables, run, *options)


def _map(fn: Callable, arguments: tuple[Array, ...], dim: int) -> Any:
    """`fn` on all slices, as many at a time as there is memory for."""
    size = max(1, _AMPLITUDES // dim)
    if arguments[0].shape[0] <= size:
        return jax.vmap(fn)(*arguments)
    return lax.map(lambda args: fn(*args), arguments, batch_size=size)


def _shift_pullback(cotangent, perturbed, variables, run, sampling, key):
    blocks, constants = variables
    starts = np.cumsum([0, *(block.size for block in blocks)])
    rules = {
        int(start) + i: rule
        for b, (start, block) in enumerate(zip(starts[:-1], blocks, strict=True))
        if perturbed[0][b]
        for i, rule in enumerate(run.rules(b, block.size))
    }
    angles = jnp.concatenate(blocks)
    gradient = jnp.zeros_like(angles)
    if rules:
        index, shifts, coefficients, weights = _all_shifts(rules)

        def value(i, shift, weight, k):
            moved = tuple(jnp.split(angles.at[i].add(shift), starts[1:-1]))
            return Experiment(moved, constants, run).sample(sampling, k, weight).values

        number = lambda a: jnp.asarray(a, angles.dtype)
        keys = jax.random.split(key, len(index))
        arguments = (jnp.asarray(index), number(shifts), number(weights), keys)
        # The samples do not depend on the cotangent: under `vmap` over it they are drawn once.
        values = _map(value, arguments, 2**run.n_qubits)
        terms = number(coefficients) * jnp.dot(values, cotangent, precision=lax.Precision.HIGHEST)
        gradient = gradient.at[index].add(terms)
    out = jnp.split(gradient, starts[1:-1])
    out = tuple(g if wanted else None for g, wanted in zip(out, perturbed[0], strict=True))
    return out, jtu.tree_map(lambda _: None, constants)


def _all_shifts(rules: dict[int, ShiftRule]) -> tuple[np.ndarray, ...]:
    """Angle, shift, coefficient and weight of every circuit."""
    index = np.repeat(list(rules), [2 * rule.n_frequencies for rule in rules.values()])
    columns = [(rule.shifts, rule.coefficients, rule.weights) for rule in rules.values()]
    return index, *(np.concatenate(column) for column in zip(*columns, strict=True))


def _spsa_pullback(cotangent, perturbed, variables, run, sampling, key, step, directions):
    leaves, structure = jtu.tree_flatten(variables)
    wanted = jtu.tree_leaves(perturbed)

    def one(key):
        signs_key, value_key = jax.random.split(key)
        signs = [
            jax.random.rademacher(k, leaf.shape, leaf.dtype)
            for k, leaf in zip(jax.random.split(signs_key, len(leaves)), leaves, strict=True)
        ]

        def value(side, k):
            moved = [
                leaf + side * step * sign if want else leaf
                for leaf, sign, want in zip(leaves, signs, wanted, strict=True)
            ]
            angles, constants = jtu.tree_unflatten(structure, moved)
            return Experiment(angles, constants, run).sample(sampling, k).values

        sides = jnp.asarray([1, -1], cotangent.dtype)
        plus, minus = jax.vmap(value)(sides, jax.random.split(value_key))
        slope = jnp.dot(plus - minus, cotangent) / (2 * step)
        return [slope * sign for sign in signs]

    all_directions = _map(one, (jax.random.split(key, directions),), 2**run.n_qubits)
    means = [jnp.mean(each, axis=0) for each in all_directions]
    out = [mean if want else None for mean, want in zip(means, wanted, strict=True)]
    return jtu.tree_unflatten(structure, out)
