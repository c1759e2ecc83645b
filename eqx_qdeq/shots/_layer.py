"""SampledLayer: a quantum layer read out with finitely many shots."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray

from .._checks import check_instance
from ..layers import QuantumLayer
from ._bases import Group, group_observables
from ._experiment import layer_experiment
from ._gradients import AbstractShotGradient, check_gradient, ExactGradient
from ._sampling import (
    check_exact,
    check_shots,
    Estimate,
    estimate,
    outcomes,
    Sampling,
    ShotCount,
    Shots,
)


class SampledLayer(eqx.Module):
    r"""A quantum layer whose values are means over finitely many shots.

    Observables that are diagonal in one basis are read off the same bitstrings, so their
    estimates are correlated as on hardware; the others are parted into groups that commute on
    every wire, each with shots of its own. The values are unbiased, with covariances
    $\mathrm{Cov}(O_p, O_q)/S$ within a group.

    !!! example

        ```python
        import jax
        import eqx_qdeq as qdeq

        circuit = qdeq.circuits.hardware_efficient(n_qubits=3, depth=2)
        layer = qdeq.QuantumLayer(
            circuit, qdeq.AngleEncoding(), qdeq.PauliZ(), key=jax.random.key(0)
        )
        sampled = qdeq.shots.SampledLayer(layer, 1000, qdeq.shots.ParameterShift())
        keys = jax.random.split(jax.random.key(1), 8)
        x = jax.random.normal(jax.random.key(2), (8, 3))
        values = jax.vmap(lambda x, k: sampled(x, key=k))(x, keys)
        ```
    """

    layer: QuantumLayer
    n_shots: Shots | None
    gradient: AbstractShotGradient = ExactGradient()
    per_group: bool = eqx.field(static=True, default=True)

    def __check_init__(self) -> None:
        check_instance("layer", self.layer, QuantumLayer, "a QuantumLayer")
        check_exact(self.layer)
        check_gradient(self.gradient)
        check_shots(self.n_shots)
        self._groups()  # fails here, and not in the first call, if there is no basis

    @property
    def sampling(self) -> Sampling:
        """How the shots are divided."""
        return Sampling(self.n_shots, self.per_group)

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """The observables that share bitstrings, by their places in the measurement."""
        return tuple(group.members for group in self._groups())

    def _groups(self) -> tuple[Group, ...]:
        return group_observables(self.layer.measurement, self.layer.n_qubits)

    def __call__(
        self, x: Float[Array, " d"], *, key: PRNGKeyArray | None = None
    ) -> Float[Array, " m"]:
        """**Arguments:**

        - `x`: one sample's features, shape `(d,)`.
        - `key`: for the shots, one for each sample; must be given.

        **Returns:**

        The estimated values, shape `(m,)`.

        **Raises:** `ValueError` without a key; under [`eqx_qdeq.shots.ParameterShift`][] also if a
        derivative is taken for which there is no rule.
        """
        if key is None:
            raise ValueError("a sampled layer needs a `key` for its shots; got None.")
        return self._values(self.layer.accept(x), key)

    @eqx.filter_jit
    def _values(self, x: Float[Array, " d"], key: PRNGKeyArray) -> Float[Array, " m"]:
        # Shots of the values and of the derivative have keys of their own: with common shots the
        # two would be correlated, and so would be a loss and its gradient.
        value_key, gradient_key = jax.random.split(key)
        values = lax.stop_gradient(self.estimate(x, key=value_key).values)
        experiment = layer_experiment(self.layer, x)
        return values + self.gradient.zero(experiment, self.sampling, gradient_key)

    def estimate(self, x: Float[Array, " d"], *, key: PRNGKeyArray) -> Estimate:
        """The values with their standard errors, without derivatives.

        **Arguments:**

        - `x`: one sample's features, shape `(d,)`.
        - `key`: for the shots.

        **Returns:** an [`eqx_qdeq.shots.Estimate`][].
        """
        return self._estimate(self.layer.accept(x), key)

    @eqx.filter_jit
    def _estimate(self, x: Float[Array, " d"], key: PRNGKeyArray) -> Estimate:
        # How often an outcome is seen has no derivative, so nothing is recorded for one.
        compiled, x = lax.stop_gradient(self.layer.compile(x.shape[0])), lax.stop_gradient(x)
        return estimate(self._groups(), compiled, x, self.sampling, key)

    def residual_floor(self, x: Float[Array, " d"] | None = None) -> Float[Array, ""]:
        r"""The Euclidean norm that shot noise alone gives a residual, $\sqrt{\sum_q
        \mathrm{Var}_q/S}$: no tolerance below it can be seen to hold from one evaluation.

        **Arguments:**

        - `x`: the sample whose exact variances are meant. If left out, the largest
            variances there can be: $\sqrt{m/S}$ for m Pauli observables.

        **Returns:** a scalar.
        """
        groups, dtype = self._groups(), self.layer.angles.dtype
        if self.n_shots is None:
            return jnp.zeros((), dtype)
        if x is None:
            variances = [jnp.asarray(group.largest_variances(), dtype) for group in groups]
        else:
            x = self.layer.accept(x)
            probabilities = outcomes(groups, self.layer.compile(x.shape[0]), x)
            variances = [g.moments(p)[1] for g, p in zip(groups, probabilities, strict=True)]
        shots = self.sampling.shots(len(groups), dtype)
        # The squares of a vector's errors add up, whatever their correlations.
        parts = [jnp.sum(v) / n for v, n in zip(variances, shots, strict=True)]
        return jnp.sqrt(jnp.sum(jnp.stack(parts)))

    def shot_count(
        self, in_size: int, *, gradient: bool = False, inputs: bool = False
    ) -> ShotCount:
        """Circuits and shots for one sample.

        **Arguments:**

        - `in_size`: the number d of features.
        - `gradient`: whether the layer's angles are differentiated as well, in reverse mode.
        - `inputs`: whether angle-encoded features are.

        **Returns:** a [`eqx_qdeq.shots.ShotCount`][].
        """
        # Sizes are all that counts, so no gate is run.
        experiment = eqx.filter_eval_shape(layer_experiment, self.layer, jnp.zeros(in_size))
        wanted = [gradient, *[inputs] * (len(experiment.angles) - 1)]
        blocks = {b: experiment.angles[b].size for b, want in enumerate(wanted) if want}
        count = self.sampling.count(len(self.groups))
        if gradient or inputs:
            count = count + self.gradient.count(experiment.run, self.sampling, blocks)
        return count


SampledLayer.__init__.__doc__ = """**Arguments:**

- `layer`: the layer to sample.
- `n_shots`: the number of shots, an integer or a (possibly traced) integer array; `None` for
    exact values, e.g. to see a shift rule without noise. A traced number is not checked: below one
    shot for each group one is taken, and counts above 2²⁴ are rounded in single precision.
- `gradient`: how derivatives are estimated: [`eqx_qdeq.shots.ExactGradient`][],
    [`eqx_qdeq.shots.ParameterShift`][] or [`eqx_qdeq.shots.SPSA`][].
- `per_group`: whether every group of commuting observables gets `n_shots` shots; if not, they
    share them evenly.

**Raises:** `ValueError` for less than one shot (for each group), or a measurement that cannot be
sampled; `TypeError` if `n_shots` is not an integer.
"""
