"""SampledDEQ: the equilibrium of a quantum cell that is read out with finitely many shots."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from .._checks import check_at_least
from .._trees import all_finite, constant, tree_where
from ..adjoints import ImplicitAdjoint, once
from ..cells import QuantumCell
from ..equilibrium import counts, guard, mask, Solution, solve_map, Solver
from ._averaging import AveragedPicard, NoisySolution
from ._backward import AbstractSampledBackward, JacobianBackward, NeumannBackward
from ._experiment import cell_experiment, read_all
from ._gradients import (
    AbstractShotGradient,
    check_gradient,
    ExactGradient,
    ParameterShift,
    sampling_count,
)
from ._sampling import Estimate, estimate, Sampling, ShotCount, Shots


class SampledDEQ(eqx.Module):
    r"""A deep equilibrium model on sampled values: forward, and backward if wanted.

    Forward, each step samples the cell anew. Backward, the implicit function theorem is applied at
    the equilibrium that was found, with products $J^\top u$ and the last vector-Jacobian product
    of the circuit's angles estimated as `gradient` says. Reverse mode only.

    One sample and one key; batch with `jax.vmap`. A sample that fails has a finite value and leaves
    the other samples alone, as in a [`eqx_qdeq.DEQ`][].

    !!! example

        ```python
        import equinox as eqx
        import jax
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        circuit = qdeq.circuits.hardware_efficient(n_qubits=2, depth=2)
        layer = qdeq.QuantumLayer(
            circuit, qdeq.AmplitudeEncoding(), qdeq.PauliZ(), key=jax.random.key(0)
        )
        cell = qdeq.QuantumCell(layer, qdeq.AngleFeedback(gain=0.5))
        deq = qdeq.SampledDEQ(cell, 1000, gradient=qdeq.shots.ParameterShift())
        x, key = jnp.array([1.0, -0.5, 0.2, 0.3]), jax.random.key(1)
        solution = deq.solve(x, key=key)
        print(solution.stats["residual"], solution.stats["num_shots"])
        gradient = eqx.filter_grad(lambda deq: jnp.sum(deq(x, key=key)))(deq)
        ```
    """

    cell: QuantumCell
    n_shots: Shots | None
    solver: AveragedPicard | Solver = AveragedPicard()
    gradient: AbstractShotGradient = ExactGradient()
    backward: AbstractSampledBackward | None = None
    max_steps: int = eqx.field(static=True, default=256)
    per_group: bool = eqx.field(static=True, default=True)
    drop_unsolved: bool = eqx.field(static=True, default=False)

    def __check_init__(self) -> None:
        if not isinstance(self.cell, QuantumCell):
            raise TypeError(
                f"`cell` must be a QuantumCell; got {type(self.cell).__name__}. Other noisy maps "
                "can be solved with AveragedPicard().solve(fn, z0, key=...)."
            )
        check_gradient(self.gradient)
        check_at_least("max_steps", self.max_steps, 1)
        Sampling(self.n_shots, self.per_group)

    @property
    def sampling(self) -> Sampling:
        """How the shots are divided."""
        return Sampling(self.n_shots, self.per_group)

    def __call__(
        self,
        x: Float[Array, " d"],
        *,
        key: PRNGKeyArray | None = None,
        z0: Float[Array, " m"] | None = None,
    ) -> Float[Array, " m"]:
        """**Arguments:**

        - `x`: one sample's features, shape `(d,)`.
        - `key`: for all shots, one for each sample; must be given.
        - `z0`: the initial guess; the cell's own if left out.

        **Returns:** the equilibrium, shape `(m,)`.

        **Raises:** `ValueError` without a key; under [`eqx_qdeq.shots.ParameterShift`][] also if a
        derivative is taken for which there is no rule.
        """
        if key is None:
            raise ValueError("a sampled equilibrium needs a `key` for its shots; got None.")
        return self.solve(x, key=key, z0=z0).value

    @eqx.filter_jit
    def solve(
        self, x: Float[Array, " d"], *, key: PRNGKeyArray, z0: Float[Array, " m"] | None = None
    ) -> Solution:
        """As calling the module, but says how the solve went.

        **Arguments:** as for the call.

        **Returns:** a [`eqx_qdeq.Solution`][], whose `stats` also have the `"floor"` of a single
        evaluation's residual, `"num_averaged"` steps, `"num_circuits"` and `"num_shots"` of the
        solve (without its derivatives). With an exact solver, these are zero.
        """
        x, usable = guard(self.cell, x, z0)
        start = self.cell.init(x) if z0 is None else z0
        start = jax.lax.stop_gradient(tree_where(all_finite(start), start, jnp.zeros_like(start)))
        solve_key, backward_key = jax.random.split(key)
        cell, here = constant(self.cell), jax.lax.stop_gradient(x)
        found = self._forward(cell, here, start, solve_key)
        counting = usable & counts(found.result, self.drop_unsolved)
        point = jnp.where(counting, found.value, start)
        change = self._derivative(x, cell, here, point, counting, backward_key)
        count = ShotCount(0, 0)
        if isinstance(self.solver, AveragedPicard):
            count = sampling_count(cell_experiment(cell, here, point).run, self.sampling)
        stats = {
            "num_steps": found.num_steps,
            "num_evals": found.num_steps,
            "num_averaged": found.num_averaged,
            "residual": found.residual,
            "floor": found.floor,
            "num_circuits": found.num_steps * count.circuits,
            # Not an integer, as billions of shots would overflow one.
            "num_shots": found.num_steps.astype(point.dtype)
            * jnp.asarray(count.shots, point.dtype),
        }
        solution = Solution(found.value + change, found.result, stats)
        return mask(solution, usable, drop_unsolved=self.drop_unsolved)

    def _forward(
        self, cell: QuantumCell, x: Array, start: Array, key: PRNGKeyArray
    ) -> NoisySolution:
        bound = cell.bind(x)
        if not isinstance(self.solver, AveragedPicard):
            solution = solve_map(
                bound, start, self.solver, ImplicitAdjoint(), max_steps=self.max_steps
            )
            steps, zero = solution.stats["num_steps"], jnp.zeros_like(solution.stats["residual"])
            return NoisySolution(
                solution.value,
                solution.result,
                solution.stats["residual"],
                zero,
                steps,
                jnp.zeros_like(steps),
            )
        groups = cell_experiment(cell, x, start).run.groups
        bases = [group.basis for group in groups]

        def sample(w: Float[Array, " m"], k: PRNGKeyArray) -> Estimate:
            return estimate(groups, read_all(bases, bound, w), self.sampling, k)

        return self.solver.solve(sample, start, key=key, max_steps=self.max_steps)

    def _derivative(
        self,
        x: Float[Array, " d"],
        cell: QuantumCell,
        here: Float[Array, " d"],
        point: Float[Array, " m"],
        usable: Bool[Array, ""],
        key: PRNGKeyArray,
    ) -> Float[Array, " m"]:
        """Zeros with the derivative of the equilibrium at `point`."""
        step_key, product_key = jax.random.split(key)
        zero = self.gradient.zero(cell_experiment(self.cell, x, point), self.sampling, step_key)
        fixed = (cell, here, point, usable, self.gradient, self.sampling, product_key)
        zero = _adjoint(zero, fixed, self._backward())
        return jnp.where(usable, zero, jnp.zeros_like(zero))

    def _backward(self) -> AbstractSampledBackward:
        if self.backward is not None:
            return self.backward
        exact = isinstance(self.gradient, ExactGradient)
        return JacobianBackward() if exact else NeumannBackward()

    def shot_count(
        self, in_size: int, num_steps: int | Int[Array, "*batch"], *, gradient: bool = False
    ) -> ShotCount:
        """Circuits and shots for one sample.

        **Arguments:**

        - `in_size`: the number d of features.
        - `num_steps`: the steps of the solve, e.g. `"num_steps"` of a solution's `stats`.
        - `gradient`: whether the circuit's angles are differentiated as well: a training step.

        **Returns:** a [`eqx_qdeq.shots.ShotCount`][].

        **Raises:** `ValueError` where the gradient has no parameter-shift rule.
        """
        x = jnp.zeros(in_size)
        shapes = eqx.filter_eval_shape(
            lambda cell, x: cell_experiment(cell, x, cell.init(x)), self.cell, x
        )
        run, last = shapes.run, len(shapes.angles) - 1
        count = ShotCount(0, 0)
        if isinstance(self.solver, AveragedPicard):
            count = sampling_count(run, self.sampling) * num_steps
        if not gradient:
            return count
        if last == 0 and isinstance(self.gradient, ParameterShift):
            raise ValueError(
                "the values are fed back into amplitudes, which have no parameter-shift rule. Feed "
                "them back as angles (AngleEncoding, AngleFeedback), or use SPSA()."
            )
        per_product = self.gradient.count(run, self.sampling, {last: shapes.angles[last].size})
        per_gradient = self.gradient.count(run, self.sampling, {0: shapes.angles[0].size})
        return count + per_product * self._backward().n_products + per_gradient


SampledDEQ.__init__.__doc__ = """**Arguments:**

- `cell`: a quantum cell.
- `n_shots`: the shots of one evaluation, an integer or a (possibly traced) integer array, or `None`
    for exact values.
- `solver`: [`eqx_qdeq.AveragedPicard`][], or an exact solver as for a [`eqx_qdeq.DEQ`][], for
    comparison: the equilibrium is then found without noise and only the gradient is sampled.
- `gradient`: how products with the Jacobian and the angles' derivative are estimated:
    [`eqx_qdeq.shots.ExactGradient`][], [`eqx_qdeq.shots.ParameterShift`][] or
    [`eqx_qdeq.shots.SPSA`][].
- `backward`: how the backward solve uses these products. If left out,
    [`eqx_qdeq.NeumannBackward`][], and [`eqx_qdeq.JacobianBackward`][] with exact gradients.
- `max_steps`: the solver's steps at most.
- `per_group`: whether every group of commuting observables gets `n_shots` shots; if not, they
    share them evenly.
- `drop_unsolved`: as for a [`eqx_qdeq.DEQ`][].

**Raises:** `TypeError` for a cell, a gradient or a number of shots of the wrong type, `ValueError`
for numbers below 1.
"""


@eqx.filter_custom_vjp
def _adjoint(zero, fixed, backward):
    """`zero`, through whose derivative a cotangent v goes as u = (I - J)⁻ᵀ v."""
    del fixed, backward
    return zero


@_adjoint.def_fwd
def _adjoint_fwd(perturbed, zero, fixed, backward):
    del perturbed
    return _adjoint(zero, fixed, backward), None


@_adjoint.def_bwd
def _adjoint_bwd(residuals, cotangent, perturbed, zero, fixed, backward):
    del residuals, perturbed
    cell, x, point, usable, gradient, sampling, key = fixed
    if cotangent is None:
        return jnp.zeros_like(zero)

    def product(u: Float[Array, " m"], k: PRNGKeyArray) -> Float[Array, " m"]:
        at = lambda w: gradient.zero(cell_experiment(cell, x, w), sampling, k)
        return jax.vjp(at, point)[1](u)[0]

    return once(backward.solve(product, cotangent, usable, key), zero, "SampledDEQ")
