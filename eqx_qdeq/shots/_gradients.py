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
from jaxtyping import Array, Float, PRNGKeyArray

from .._checks import check_at_least, check_positive, describe
from .._precise import dot
from .._trees import constant
from ._experiment import all_shifts, Experiment, rules_by_angle, Run
from ._sampling import check_shots, Sampling, ShotCount, Shots

# Shifted states are computed side by side up to this many amplitudes.
_AMPLITUDES = 2**20


class AbstractShotGradient(eqx.Module):
    """The abstract base class of ways to differentiate sampled values.

    !!! example

        ```python
        import eqx_qdeq as qdeq

        device = qdeq.shots.SamplingDevice(1000, qdeq.shots.ParameterShift())
        isinstance(device.gradient, qdeq.shots.AbstractShotGradient)  # True
        ```
    """

    @abc.abstractmethod
    def zero(
        self, experiment: Experiment, sampling: Sampling, key: PRNGKeyArray
    ) -> Float[Array, " m"]:
        """Zeros, with (an estimate of) the derivative of the experiment's expectation values."""

    @abc.abstractmethod
    def count(self, run: Run, sampling: Sampling, blocks: dict[int, int]) -> ShotCount:
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

    !!! example

        ```python
        import jax
        import eqx_qdeq as qdeq

        layer = qdeq.QuantumLayer(
            qdeq.circuits.hardware_efficient(n_qubits=2, depth=1),
            qdeq.AngleEncoding(),
            qdeq.PauliZ(),
            key=jax.random.key(0),
        )
        noisy = qdeq.with_shots(layer, 1000, qdeq.shots.ExactGradient())
        ```
    """

    def zero(
        self, experiment: Experiment, sampling: Sampling, key: PRNGKeyArray
    ) -> Float[Array, " m"]:
        exact = experiment.exact()
        return exact - lax.stop_gradient(exact)

    def count(self, run: Run, sampling: Sampling, blocks: dict[int, int]) -> ShotCount:
        return ShotCount(0, 0)


ExactGradient.__init__.__doc__ = """**Arguments:** none."""


# The other ways know vector-Jacobian products only: values at other angles, times the cotangent.
# Each has a `pullback(cotangent, wanted, experiment, sampling, key)`, which gives the cotangents of
# the experiment's angles and constants, `None` for those that are not wanted.


def _zero_of(
    way: "ParameterShift | SPSA", at: Experiment, sampling: Sampling, key: PRNGKeyArray
) -> Float[Array, " m"]:
    # What else a run holds (noise, say) is constant: a custom derivative must be of variables.
    sampling = sampling.replaced(way.n_shots)
    return _zero((at.angles, at.constants), constant(at.run), way, sampling, key)


# `filter_custom_vjp` tells which variables are differentiated, which `jax.custom_vjp` does not: the
# others are not shifted.
@eqx.filter_custom_vjp
def _zero(variables, run, way, sampling, key):
    """Zeros; their cotangent goes to `way.pullback`."""
    angles = variables[0]
    # Depends on the sample and the key for `vmap`'s sake: the cotangent of what does not is summed
    # over the batch before it arrives.
    leaves = [*jtu.tree_leaves(variables), jax.random.key_data(key)]
    batched = sum(jnp.sum(leaf).astype(angles[0].dtype) for leaf in leaves)
    zeros = jnp.zeros(run.out_size, angles[0].dtype)
    return jnp.where(batched > 0, zeros, zeros)


@_zero.def_fwd
def _zero_fwd(perturbed, variables, run, way, sampling, key):
    if isinstance(way, ParameterShift) and any(jtu.tree_leaves(perturbed[1])):
        raise ValueError(
            "amplitude-encoded inputs have no parameter-shift rule, and the derivative with "
            "respect to one was asked for (that of the features, or of feedback through them). "
            "Encode them as angles (AngleEncoding, AngleFeedback), or use ExactGradient() in "
            "simulation or SPSA()."
        )
    return _zero(variables, run, way, sampling, key), None


@_zero.def_bwd
def _zero_bwd(residuals, cotangent, perturbed, variables, run, way, sampling, key):
    if cotangent is None:
        return _none(variables)
    angles, constants = variables
    return way.pullback(cotangent, perturbed, Experiment(angles, constants, run), sampling, key)


def _none(tree: Any) -> Any:
    return jtu.tree_map(lambda _: None, tree)


def _map(fn: Callable, arguments: tuple[Array, ...], run: Run) -> Any:
    """`fn` on all slices, as many at a time as there is memory for."""
    size = max(1, _AMPLITUDES // 2**run.template.n_qubits)
    if arguments[0].shape[0] <= size:
        return jax.vmap(fn)(*arguments)
    return lax.map(lambda args: fn(*args), arguments, batch_size=size)


class ParameterShift(AbstractShotGradient):
    r"""Derivatives from sampled values at shifted angles, as on hardware; unbiased.

    Every angle of every gate is shifted on its own, by the rule of the gate's spectrum: two
    circuits for a rotation, four for a controlled one. What shares an angle adds up. Each circuit
    is sampled anew. Shots are divided among the circuits of a rule in proportion to their
    coefficients, which makes the variance smallest.

    Reverse mode only. Features are differentiated where they are angles
    ([`eqx_qdeq.AngleEncoding`][], [`eqx_qdeq.DataReuploading`][]); amplitudes have no shift rule.
    What is not differentiated costs nothing.

    !!! example

        ```python
        import jax
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        layer = qdeq.QuantumLayer(
            qdeq.Circuit(["Rx"], [[0]], [[0]]),
            qdeq.AngleEncoding(),
            qdeq.PauliZ(),
            angles=[0.5],
        )
        sampled = qdeq.with_shots(layer, 1000, qdeq.shots.ParameterShift())
        gradient = jax.grad(lambda x: sampled(x)[0])(jnp.array([0.3]))
        abs(gradient + jnp.sin(0.3) * jnp.cos(0.5)) < 0.1  # [True]
        ```

    ??? cite "Reference"

        M. Schuld, V. Bergholm, C. Gogolin, J. Izaac and N. Killoran, "Evaluating analytic
        gradients on quantum hardware", Phys. Rev. A 99, 032331 (2019); D. Wierichs, J. Izaac,
        C. Wang and C. Y.-Y. Lin, "General parameter-shift rules for quantum gradients", Quantum
        6, 677 (2022).
    """

    n_shots: Shots | None = None

    def __check_init__(self) -> None:
        check_shots(self.n_shots)

    def zero(
        self, experiment: Experiment, sampling: Sampling, key: PRNGKeyArray
    ) -> Float[Array, " m"]:
        return _zero_of(self, experiment, sampling, key)

    def pullback(
        self, cotangent: Array, wanted: Any, at: Experiment, sampling: Sampling, key: PRNGKeyArray
    ) -> Any:
        sizes = [block.size for block in at.angles]
        angles, ends = jnp.concatenate(at.angles), np.cumsum(sizes)[:-1]
        gradient = jnp.zeros_like(angles)
        rules = rules_by_angle(at.run.rules, sizes, wanted[0])
        if rules:
            # vᵀ ∂f/∂a_i = Σ_μ c_μ vᵀ f(a + s_μ e_i): one row for each circuit, all at once.
            index, *columns = all_shifts(rules)
            shifts, coefficients, weights = (jnp.asarray(c, angles.dtype) for c in columns)

            def value(i, shift, weight, k):
                moved = tuple(jnp.split(angles.at[i].add(shift), ends))
                there = Experiment(moved, at.constants, at.run)
                return there.sample(sampling, k, weight).values

            # The samples do not depend on the cotangent: under `vmap` over it they are drawn once.
            keys = jax.random.split(key, len(index))
            values = _map(value, (jnp.asarray(index), shifts, weights, keys), at.run)
            gradient = gradient.at[index].add(coefficients * dot(values, cotangent))
        parts = zip(jnp.split(gradient, ends), wanted[0], strict=True)
        return tuple(part if want else None for part, want in parts), _none(at.constants)

    def count(self, run: Run, sampling: Sampling, blocks: dict[int, int]) -> ShotCount:
        sampling, n_groups = sampling.replaced(self.n_shots), len(run.groups)
        rules = [rule for block, size in blocks.items() for rule in run.rules(block, size)]
        each = [sampling.count(n_groups, weight) for rule in rules for weight in rule.weights]
        return sum(each, ShotCount(0, 0))


ParameterShift.__init__.__doc__ = """**Arguments:**

- `n_shots`: the mean number of shots of a shifted circuit; as for the values if left out.

**Raises:** `TypeError` or `ValueError` for a number of shots that is none.
"""


class SPSA(AbstractShotGradient):
    r"""Simultaneous perturbation: derivatives from two circuits, however many angles there are.

    $$\hat g = \frac{f(p + c\,\Delta) - f(p - c\,\Delta)}{2c}\,\Delta,\qquad
    \Delta_i = \pm 1$$

    with all gates' angles and inputs in p, of any encoding. The error of the mean is of order c²;
    the variance grows with the number of angles, and with 1/c² for the shots' part. Reverse mode
    only.

    !!! example

        ```python
        import jax
        import eqx_qdeq as qdeq

        layer = qdeq.QuantumLayer(
            qdeq.circuits.hardware_efficient(n_qubits=2, depth=1),
            qdeq.AngleEncoding(),
            qdeq.PauliZ(),
            key=jax.random.key(0),
        )
        # Two circuits for each direction, however many angles there are.
        sampled = qdeq.with_shots(layer, 1000, qdeq.shots.SPSA(step=0.1, directions=4))
        ```

    ??? cite "Reference"

        J. C. Spall, "Multivariate stochastic approximation using a simultaneous perturbation
        gradient approximation", IEEE Transactions on Automatic Control 37, 332 (1992).
    """

    step: float = 0.1
    directions: int = eqx.field(static=True, default=1)
    n_shots: Shots | None = None

    def __check_init__(self) -> None:
        check_positive("step", self.step)
        check_at_least("directions", self.directions, 1)
        check_shots(self.n_shots)

    def zero(
        self, experiment: Experiment, sampling: Sampling, key: PRNGKeyArray
    ) -> Float[Array, " m"]:
        return _zero_of(self, experiment, sampling, key)

    def pullback(
        self, cotangent: Array, wanted: Any, at: Experiment, sampling: Sampling, key: PRNGKeyArray
    ) -> Any:
        leaves, structure = jtu.tree_flatten((at.angles, at.constants))
        wanted = jtu.tree_leaves(wanted)

        # With f(p ± cΔ) = f(p) ± c Δ·∇f + …, the slope is Δ·∇f + O(c²), and E(Δ_i Δ_j) = δ_ij makes
        # the mean of slope · Δ the gradient: all angles are moved at once, and chance parts them.
        def one(key):
            signs_key, value_key = jax.random.split(key)
            signs = [
                jax.random.rademacher(k, leaf.shape, leaf.dtype)
                for k, leaf in zip(jax.random.split(signs_key, len(leaves)), leaves, strict=True)
            ]

            def value(side, k):
                moved = [
                    leaf + side * self.step * sign if want else leaf
                    for leaf, sign, want in zip(leaves, signs, wanted, strict=True)
                ]
                angles, constants = jtu.tree_unflatten(structure, moved)
                return Experiment(angles, constants, at.run).sample(sampling, k).values

            sides = jnp.asarray([1, -1], cotangent.dtype)
            plus, minus = jax.vmap(value)(sides, jax.random.split(value_key))
            slope = jnp.dot(plus - minus, cotangent) / (2 * self.step)
            return [slope * sign for sign in signs]

        each = _map(one, (jax.random.split(key, self.directions),), at.run)
        means = [jnp.mean(leaf, axis=0) for leaf in each]
        out = [mean if want else None for mean, want in zip(means, wanted, strict=True)]
        return jtu.tree_unflatten(structure, out)

    def count(self, run: Run, sampling: Sampling, blocks: dict[int, int]) -> ShotCount:
        return 2 * self.directions * sampling.replaced(self.n_shots).count(len(run.groups))


SPSA.__init__.__doc__ = """**Arguments:**

- `step`: the perturbation c, in radians (for amplitudes, in the features' units).
- `directions`: random directions over which the estimate is averaged.
- `n_shots`: the shots of a perturbed circuit; as for the values if left out.

**Raises:** `ValueError` for a value out of range.
"""
