"""DEQ: a cell and a solver as one Equinox module."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import optimistix as optx
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

from .._trees import all_finite, tree_where
from ..adjoints import AdjointProbe, ImplicitAdjoint, ImplicitVJPAdjoint
from ..cells import AbstractCell
from ..solvers import default_solver
from ._diagnosis import Diagnosis, examine, gradient_norms
from ._solve import check_map, Solution
from ._trajectory import record_trajectory, Trajectory

Solver = (
    optx.AbstractFixedPointSolver
    | optx.AbstractRootFinder
    | optx.AbstractLeastSquaresSolver
    | optx.AbstractMinimiser
)


class DEQ(eqx.Module):
    r"""A deep equilibrium model: the solution $z^\star$ of $z = f(z, x)$ as a function of x.

    An ordinary Equinox module on one sample; batch it with `jax.vmap`. Its derivatives are those
    of the equilibrium (implicit function theorem), whatever the solver did to find it.

    !!! example

        ```python
        import equinox as eqx
        import jax
        import eqx_qdeq as qdeq

        key1, key2 = jax.random.split(jax.random.key(0))
        circuit = qdeq.circuits.hardware_efficient(n_qubits=4, depth=3)
        layer = qdeq.QuantumLayer(
            circuit, qdeq.AmplitudeEncoding(), qdeq.PauliZ(), key=key1
        )
        deq = qdeq.DEQ(qdeq.QuantumCell(layer, qdeq.AddInjection(in_size=16)))
        model = eqx.nn.Sequential([deq, eqx.nn.Linear(4, 4, key=key2)])
        logits = jax.vmap(model)(jax.random.normal(jax.random.key(1), (8, 16)))
        ```

    ??? cite "Reference"

        S. Bai, J. Z. Kolter and V. Koltun, "Deep equilibrium models", NeurIPS 2019; P. Schleich,
        M. Skreta, L. B. Kristensen, R. A. Vargas-Hernández and A. Aspuru-Guzik, "Quantum deep
        equilibrium models", NeurIPS 2024, arXiv:2410.23940.
    """

    cell: AbstractCell
    solver: Solver | None = None
    adjoint: optx.AbstractAdjoint = ImplicitAdjoint()
    max_steps: int = eqx.field(static=True, default=256)
    throw: bool = eqx.field(static=True, default=False)

    def __check_init__(self) -> None:
        if not isinstance(self.cell, AbstractCell):
            raise TypeError(
                f"`cell` must be an AbstractCell; got {type(self.cell).__name__}. Wrap a function "
                "fn(z, x) as `FunctionCell(fn, initial)`."
            )
        if self.max_steps < 1:
            raise ValueError(f"`max_steps` must be at least 1; got {self.max_steps}.")

    def __call__(
        self,
        x: PyTree[Array],
        *,
        z0: PyTree[Array] | None = None,
        probe: AdjointProbe | None = None,
        key: PRNGKeyArray | None = None,
    ) -> PyTree[Array]:
        """**Arguments:**

        - `x`: one sample, e.g. of shape `(d,)`.
        - `z0`: the initial guess; the cell's own if left out.
        - `probe`: starts and watches the backward solve of [`eqx_qdeq.ImplicitVJPAdjoint`][].
        - `key`: ignored; there so that a `DEQ` fits in `equinox.nn.Sequential`.

        **Returns:**

        The equilibrium; of shape `(m,)` for a quantum cell.
        """
        return self.solve(x, z0=z0, probe=probe, key=key).value

    @eqx.filter_jit
    def solve(
        self,
        x: PyTree[Array],
        *,
        z0: PyTree[Array] | None = None,
        probe: AdjointProbe | None = None,
        key: PRNGKeyArray | None = None,
    ) -> Solution:
        """As calling the module, but says how the solve went.

        **Arguments:** as for the call.

        **Returns:** a [`eqx_qdeq.Solution`][].

        **Raises:** with `throw=True`, an error if any sample of the batch failed.
        """
        x, usable = self.guard(x, z0)
        start = self.cell.init(x) if z0 is None else z0
        solution = self.solve_bound(self.cell.bind(x), start, probe)
        return self.mask(solution, usable)

    @eqx.filter_jit
    def trajectory(
        self, x: PyTree[Array], *, n_steps: int | None = None, z0: PyTree[Array] | None = None
    ) -> Trajectory:
        """What the solver does step by step; see [`eqx_qdeq.record_trajectory`][].

        **Arguments:**

        - `x`: one sample.
        - `n_steps`: the number of entries; `max_steps` if left out.
        - `z0`: the initial guess; the cell's own if left out.

        **Returns:** an [`eqx_qdeq.Trajectory`][].
        """
        x, _ = self.guard(x, z0)
        start = self.cell.init(x) if z0 is None else z0
        n_steps = self.max_steps if n_steps is None else n_steps
        solver: Any = self.solver_for(start)
        return record_trajectory(self.cell.bind(x), solver, start, n_steps)

    @eqx.filter_jit
    def diagnose(
        self,
        x: PyTree[Array],
        *,
        loss: Callable[[PyTree[Array]], Float[Array, ""]] | None = None,
        n_steps: int | None = None,
        z0: PyTree[Array] | None = None,
    ) -> Diagnosis:
        """Solves, solves backwards, and looks at the Jacobian and the gradients.

        !!! example

            ```python
            import jax
            import eqx_qdeq as qdeq

            deq = qdeq.QDEQ(4, 16, key=jax.random.key(0)).deq
            x = jax.random.normal(jax.random.key(1), (32, 16))
            print(jax.vmap(deq.diagnose)(x))  # a table over the batch
            ```

        **Arguments:**

        - `x`: one sample; use `jax.vmap` for a batch.
        - `loss`: `z -> scalar`, whose gradient is taken; half the square of the equilibrium's
            norm if left out.
        - `n_steps`: entries of the residual history; `max_steps` if left out.
        - `z0`: the initial guess; the cell's own if left out.

        **Returns:** an [`eqx_qdeq.Diagnosis`][].
        """
        if loss is None:
            loss = lambda z: 0.5 * jnp.sum(ravel_pytree(z)[0] ** 2)

        def of(both: tuple[AbstractCell, PyTree[Array]]) -> tuple[Float[Array, ""], Solution]:
            exact = DEQ(both[0], self.solver, ImplicitAdjoint(), self.max_steps, self.throw)
            solution = exact.solve(both[1], z0=z0)
            return loss(solution.value), solution

        gradients, solution = eqx.filter_grad(of, has_aux=True)((self.cell, x))
        norms = gradient_norms(*gradients)
        trajectory = self.trajectory(x, n_steps=n_steps, z0=z0)
        x, _ = self.guard(x, z0)
        return examine(self.cell.bind(x), solution, trajectory, loss, norms)

    def solver_for(self, z0: PyTree[Array]) -> Solver:
        """The solver; if none was given, one that suits the size of the state."""
        if self.solver is not None:
            return self.solver
        return default_solver(sum(leaf.size for leaf in jtu.tree_leaves(z0)))

    def guard(
        self, x: PyTree[Array], z0: PyTree[Array] | None = None
    ) -> tuple[PyTree[Array], Bool[Array, ""]]:
        """Replaces a sample that can only give NaN, and says whether it could be kept.

        The stand-in goes in *before* the cell is evaluated: masking afterwards would leave 0 · NaN
        in the gradient of the shared parameters. It is the sample of zeros, or that of ones if the
        cell is not finite at zero (a logarithm, say).
        """
        usable = all_finite((x, z0))
        stand_in = jtu.tree_map(jnp.zeros_like, x)
        if not self.cell.always_finite:
            ones = jtu.tree_map(jnp.ones_like, x)
            stand_in = tree_where(self._is_finite_at(stand_in, z0), stand_in, ones)
            usable = usable & self._is_finite_at(x, z0)
        return tree_where(usable, x, stand_in), usable

    def _is_finite_at(self, x: PyTree[Array], z0: PyTree[Array] | None) -> Bool[Array, ""]:
        """Whether the cell is finite at its initial guess for x."""
        start = self.cell.init(x) if z0 is None else z0
        return all_finite(jax.lax.stop_gradient(self.cell.bind(x)(start)))

    def solve_bound(
        self,
        fn: Callable[[PyTree[Array]], PyTree[Array]],
        z0: PyTree[Array],
        probe: AdjointProbe | None = None,
    ) -> Solution:
        """Solves z = fn(z) for a map that was bound before, e.g. to use it again afterwards."""
        z0 = jtu.tree_map(jnp.asarray, z0)
        check_map(fn, z0)
        if probe is not None and not isinstance(self.adjoint, ImplicitVJPAdjoint):
            raise TypeError(
                "`probe` reports on the backward solve of ImplicitVJPAdjoint; this DEQ's adjoint "
                f"is {type(self.adjoint).__name__}. Use DEQ(..., adjoint=ImplicitVJPAdjoint())."
            )
        usable = all_finite(z0)
        z0 = tree_where(usable, z0, jtu.tree_map(jnp.zeros_like, z0))
        raw = optx.fixed_point(
            lambda z, _: fn(z),
            self.solver_for(z0),
            z0,
            options=None if probe is None else {"probe": probe},
            max_steps=self.max_steps,
            adjoint=self.adjoint,
            throw=self.throw,
        )
        steps = raw.stats["num_steps"]
        value = jax.lax.stop_gradient(raw.value)
        residual = raw.stats.get("residual")
        if residual is None:
            gap = ravel_pytree(jtu.tree_map(jnp.subtract, fn(value), value))[0]
            residual = jnp.linalg.norm(gap)
        stats = {
            "num_steps": steps,
            "num_evals": raw.stats.get("num_evals", steps),
            "num_jvps": raw.stats.get("num_jvps", 0),
            "residual": residual,
        }
        solution = Solution(raw.value, raw.result, jax.lax.stop_gradient(stats))
        return self.mask(solution, usable)

    def mask(self, solution: Solution, usable: Bool[Array, ""]) -> Solution:
        """Marks a solve on stand-in input as failed and cuts its derivatives."""
        value = tree_where(usable, solution.value, jax.lax.stop_gradient(solution.value))
        if self.throw:
            value = eqx.error_if(
                value,
                ~usable,
                "The sample or the cell is not finite at the initial guess. Check the input for "
                "NaN, or use throw=False to have such samples marked as failed.",
            )
        result = optx.RESULTS.where(usable, solution.result, optx.RESULTS.nonfinite)
        return Solution(value, result, solution.stats)


DEQ.__init__.__doc__ = """**Arguments:**

- `cell`: the map whose fixed point is wanted.
- `solver`: any Optimistix solver for fixed points or roots, ours or theirs; if left out, one
    that suits the size of the state.
- `adjoint`: any Optimistix adjoint; [`eqx_qdeq.ImplicitAdjoint`][] if left out.
- `max_steps`: the solver's steps at most.
- `throw`: whether a sample that fails raises. If not, its value is finite, its `success` false,
    and it contributes nothing to gradients.

**Raises:** `TypeError` if `cell` is not a cell, `ValueError` for `max_steps` below 1.
"""
