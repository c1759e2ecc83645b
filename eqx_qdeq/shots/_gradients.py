"""How the derivative of sampled values is estimated.

A sampled value is written as a constant plus a zero that has the wanted derivative. So a
derivative costs circuits only when it is taken, and only for the angles for which it is.
"""

import abc
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
from jax import lax
from jax.core import Tracer
from jaxtyping import Array, Float, PRNGKeyArray

from .._checks import check_at_least, describe
from ._experiment import AbstractRun, Experiment
from ._pullbacks import shift_pullback, spsa_pullback, zero_with_pullback
from ._sampling import check_shots, Sampling, ShotCount, Shots


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


def check_gradient(gradient: object) -> None:
    if not isinstance(gradient, AbstractShotGradient):
        raise TypeError(
            "`gradient` must be ExactGradient(), ParameterShift() or SPSA(); got "
            f"{describe(gradient)}."
        )


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
        return zero_with_pullback(
            (experiment.angles, experiment.constants),
            _constant(experiment.run),
            shift_pullback,
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
        check_at_least("directions", self.directions, 1)
        if self.n_shots is not None:
            check_shots(self.n_shots)

    def zero(
        self, experiment: Experiment, sampling: Sampling, key: PRNGKeyArray
    ) -> Float[Array, " m"]:
        sampling = sampling.replaced(self.n_shots)
        return zero_with_pullback(
            (experiment.angles, experiment.constants),
            _constant(experiment.run),
            spsa_pullback,
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
