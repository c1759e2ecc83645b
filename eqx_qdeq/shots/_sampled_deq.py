"""SampledDEQ: the equilibrium of a quantum cell that is read out with finitely many shots."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from .._checks import check_at_least, check_instance, describe
from .._trees import all_finite, constant, tree_where
from ..adjoints import ImplicitAdjoint, once
from ..cells import accepting, QuantumCell
from ..equilibrium import counts, guard, mask, noted, Solution, solve_map, Solver
from ._bases import Group, group_observables
from ._experiment import cell_experiment
from ._gradients import AbstractShotGradient, check_gradient, ExactGradient, ParameterShift
from ._sampling import check_exact, check_shots, Estimate, estimate, Sampling, ShotCount, Shots
from ._solves import (
    AbstractSampledBackward,
    AveragedPicard,
    JacobianBackward,
    NeumannBackward,
    NoisySolution,
)


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
                f"`cell` must be a QuantumCell; got {describe(self.cell)}. Other noisy maps "
                "can be solved with AveragedPicard().solve(fn, z0, key=...)."
            )
        check_instance(
            "solver",
            self.solver,
            AveragedPicard | Solver,
            "AveragedPicard(), or an exact solver, e.g. `Newton(1e-5, 1e-5)`",
        )
        check_exact(self.cell.layer)
        check_gradient(self.gradient)
        check_instance(
            "backward",
            self.backward,
            AbstractSampledBackward | None,
            "NeumannBackward() or JacobianBackward()",
        )
        check_at_least("max_steps", self.max_steps, 1)
        check_shots(self.n_shots)

    @property
    def sampling(self) -> Sampling:
        """How the shots are divided."""
        return Sampling(self.n_shots, self.per_group)

    @accepting
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

    @accepting
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
        found = self._forward(jax.lax.stop_gradient(x), start, solve_key)
        # Out of steps, the mean so far is still the best guess, and its derivative as good as it.
        counting = usable & counts(found.result, self.drop_unsolved)
        point = jnp.where(counting, found.value, start)
        change = self._derivative(x, point, counting, backward_key)
        count = self._count_of_a_step()
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
        return noted(mask(solution, usable, drop_unsolved=self.drop_unsolved))

    def _groups(self) -> tuple[Group, ...]:
        return group_observables(self.cell.layer.measurement, self.cell.layer.n_qubits)

    def _count_of_a_step(self) -> ShotCount:
        sampled = isinstance(self.solver, AveragedPicard)
        return self.sampling.count(len(self._groups())) if sampled else ShotCount(0, 0)

    def _forward(self, x: Array, start: Array, key: PRNGKeyArray) -> NoisySolution:
        bound = constant(self.cell).bind(x)
        if isinstance(self.solver, AveragedPicard):
            groups = self._groups()

            def sample(z: Float[Array, " m"], k: PRNGKeyArray) -> Estimate:
                return estimate(groups, bound, z, self.sampling, k)

            return self.solver.solve(sample, start, key=key, max_steps=self.max_steps)
        exact = solve_map(bound, start, self.solver, ImplicitAdjoint(), max_steps=self.max_steps)
        steps, residual = exact.stats["num_steps"], exact.stats["residual"]
        floor, averaged = jnp.zeros_like(residual), jnp.zeros_like(steps)
        return NoisySolution(exact.value, exact.result, residual, floor, steps, averaged)

    def _derivative(self, x: Array, point: Array, usable: Array, key: PRNGKeyArray) -> Array:
        """Zeros with the derivative of the equilibrium at `point`."""
        # dz* = (I - J)⁻¹ ∂f(z*, x; θ): one application of the cell at the fixed point z* carries
        # the derivative by θ and x, and `_adjoint` puts (I - J)⁻ᵀ in front of it on the way back.
        step_key, product_key = jax.random.split(key)
        zero = self.gradient.zero(cell_experiment(self.cell, x, point), self.sampling, step_key)
        cell, here = constant(self.cell), jax.lax.stop_gradient(x)
        fixed = (cell, here, point, usable, self.gradient, self.sampling, product_key)
        zero = _adjoint(zero, fixed, self._backward())
        return jnp.where(usable, zero, jnp.zeros_like(zero))

    def _backward(self) -> AbstractSampledBackward:
        if self.backward is not None:
            return self.backward
        # Exact products need no averaging, and one solve with them is exact.
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
        shapes = eqx.filter_eval_shape(
            lambda cell, x: cell_experiment(cell, x, cell.init(x)), self.cell, jnp.zeros(in_size)
        )
        count = self._count_of_a_step() * num_steps
        if not gradient:
            return count
        last = len(shapes.angles) - 1
        if last == 0 and isinstance(self.gradient, ParameterShift):
            raise ValueError(
                "the values are fed back into amplitudes, which have no parameter-shift rule. Feed "
                "them back as angles (AngleEncoding, AngleFeedback), or use SPSA()."
            )
        # Products with J shift what is fed back; the last one of all shifts the gates.
        product, own = (
            self.gradient.count(shapes.run, self.sampling, {b: shapes.angles[b].size})
            for b in (last, 0)
        )
        return count + product * self._backward().n_products + own


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
        at = lambda z: gradient.zero(cell_experiment(cell, x, z), sampling, k)
        return jax.vjp(at, point)[1](u)[0]

    return once(backward.solve(product, cotangent, usable, key), zero, "SampledDEQ")
