"""DEQ: a cell and a solver as one Equinox module."""

import dataclasses
import functools as ft
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import optimistix as optx
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from .._checks import check_at_least, check_instance
from .._trees import nan_on_purpose
from ..adjoints import AdjointProbe, ImplicitAdjoint, ImplicitVJPAdjoint
from ..cells import AbstractCell, accepting, flow
from ..circuits import Picture
from ..layers import device_in, keyed
from ..solvers import SolverLimits
from ._diagnosis import Diagnosis, examine, gradient_norms
from ._solve import (
    adjoint_for,
    BoundMap,
    check_cell,
    check_method,
    counts,
    guard,
    mask,
    Solution,
    solve_map,
    solved_locally,
    Solver,
    solver_for,
)
from ._solves import noted
from ._trajectory import record_trajectory, SolverTrajectory


class DEQ(eqx.Module):
    r"""A deep equilibrium model: the solution $z^\star$ of $z = f(z, x)$ as a function of x.

    An ordinary Equinox module on one sample; batch it with `jax.vmap`. Its derivatives are those
    of the equilibrium (implicit function theorem), whatever the solver did to find it; see [what a
    sample contributes](../concepts.md#what-a-sample-contributes) if its solve fails.

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
    max_steps: int | None = eqx.field(static=True, default=256)
    throw: bool = eqx.field(static=True, default=False)
    drop_unsolved: bool = eqx.field(static=True, default=False)

    def __check_init__(self) -> None:
        check_cell(self.cell)
        check_method(self.solver, self.adjoint)
        for name in ("throw", "drop_unsolved"):
            check_instance(name, getattr(self, name), bool, "True or False")
        if self.max_steps is not None:
            check_at_least("max_steps", self.max_steps, 1)
            limits = getattr(self.solver, "limits", None)
            if isinstance(limits, SolverLimits) and limits.min_steps > self.max_steps:
                raise ValueError(
                    f"`max_steps` must be at least the solver's `min_steps`, {limits.min_steps}, "
                    f"before which no solve succeeds; got {self.max_steps}."
                )

    @accepting
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
        - `key`: for the shots of layers that are sampled; ignored otherwise.

        **Returns:**

        The equilibrium; of shape `(m,)` for a quantum cell.
        """
        return self.solve(x, z0=z0, probe=probe, key=key).value

    @accepting
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
        return self.bind_and_solve(x, z0=z0, probe=probe, key=key)[2]

    @accepting
    def bind_and_solve(
        self,
        x: PyTree[Array],
        *,
        z0: PyTree[Array] | None = None,
        probe: AdjointProbe | None = None,
        key: PRNGKeyArray | None = None,
    ) -> tuple[BoundMap, PyTree[Array], Solution]:
        """As `solve`, with what a head needs to read out more than the state, e.g. other
        observables: the work that depends on the sample is done once for both.

        !!! example

            ```python
            import jax
            import eqx_qdeq as qdeq

            deq = qdeq.QDEQ(4, 16, key=jax.random.key(0)).deq
            x = jax.random.normal(jax.random.key(1), (16,))
            fn, last, solution = deq.bind_and_solve(x)
            zz = fn.measure(qdeq.z_and_zz(4), last)  # (10,)
            ```

        **Arguments:** as for `solve`.

        **Returns:** the map `z -> f(z, x)`, i.e. `cell.bind(x)`, without derivatives for a sample
        that contributes none; the state to which it is applied last, which for an equilibrium is
        the equilibrium; and a [`eqx_qdeq.Solution`][].
        """
        device = device_in(self.cell)
        if device is None:
            return solve_by(self, self.solver, self.adjoint, x, z0, probe)
        # What is measured is not solved as what is computed.
        deq = dataclasses.replace(self, cell=keyed(self.cell, key))
        return (device if key is None else device.with_key(key)).solve(deq, x, z0, probe)

    def draw(self, width: int = 100) -> str:
        """The equilibrium as text: injection, encoding, circuit, readout, what is fed back, and
        what solves it.

        **Arguments:**

        - `width`: lines of the circuit are broken before they get longer than this.
        """
        return flow(self.cell).text(width, self._title())

    def picture(self, width: int = 900) -> Picture:
        """The same as a picture, whose `svg()` needs no other library. Notebooks show it."""
        return flow(self.cell).picture(width, self._title())

    def _repr_svg_(self) -> str | None:
        return self.picture().svg() if flow(self.cell).is_drawn else None

    def _title(self) -> str:
        solver = "the default solver" if self.solver is None else type(self.solver).__name__
        how = f"solved by {solver}, differentiated by {type(self.adjoint).__name__}"
        return f"DEQ: z = f(z, x), {how}"

    @accepting
    @eqx.filter_jit
    def trajectory(
        self, x: PyTree[Array], *, n_steps: int | None = None, z0: PyTree[Array] | None = None
    ) -> SolverTrajectory:
        """What the solver does step by step; see [`eqx_qdeq.record_trajectory`][].

        **Arguments:**

        - `x`: one sample.
        - `n_steps`: the number of entries; `max_steps` if left out.
        - `z0`: the initial guess; the cell's own if left out.

        **Returns:** an [`eqx_qdeq.SolverTrajectory`][].

        **Raises:** `ValueError` without `n_steps` if there is no `max_steps`; `TypeError` as
        [`eqx_qdeq.record_trajectory`][].
        """
        x, _ = guard(self.cell, x, z0)
        start = self.cell.init(x) if z0 is None else z0
        n_steps = self.max_steps if n_steps is None else n_steps
        if n_steps is None:
            raise ValueError("with `max_steps=None`, give `n_steps`: how many entries to record.")
        solver: Any = solver_for(self.solver, start, self.cell)
        return record_trajectory(self.cell.bind(x), solver, start, n_steps)

    @accepting
    @nan_on_purpose
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
            # A table over the batch:
            print(jax.vmap(deq.diagnose)(x))
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
            exact = dataclasses.replace(self, cell=both[0], adjoint=ImplicitAdjoint())
            solution = exact.solve(both[1], z0=z0)
            return loss(solution.value), solution

        gradients, solution = eqx.filter_grad(of, has_aux=True)((self.cell, x))
        norms = gradient_norms(*gradients)
        trajectory = self.trajectory(x, n_steps=n_steps, z0=z0)
        x, _ = guard(self.cell, x, z0)
        return examine(self.cell.bind(x), solution, trajectory, loss, norms)


def solve_by(
    deq: DEQ,
    solver: Solver | None,
    adjoint: optx.AbstractAdjoint,
    x: PyTree[Array],
    z0: PyTree[Array] | None,
    probe: AdjointProbe | None,
) -> tuple[BoundMap, PyTree[Array], Solution]:
    """`bind_and_solve` of an equilibrium, with this solver and adjoint."""
    if probe is not None and not isinstance(adjoint, ImplicitVJPAdjoint):
        raise TypeError(
            "`probe` reports on the backward solve of ImplicitVJPAdjoint; this DEQ's adjoint "
            f"is {type(adjoint).__name__}. Use DEQ(..., adjoint=ImplicitVJPAdjoint())."
        )
    solve = ft.partial(_solve_by, deq)
    method = solver, adjoint, probe
    fn, last, solution = solved_locally(solve, deq.cell, x, z0, *method)
    return fn, last, noted(solution)


def _solve_by(
    deq: DEQ,  # of which only the options are taken
    cell: AbstractCell,
    x: PyTree[Array],
    z0: PyTree[Array] | None,
    solver: Solver | None,
    adjoint: optx.AbstractAdjoint,
    probe: AdjointProbe | None,
) -> tuple[BoundMap, PyTree[Array], Solution]:
    x, usable = guard(cell, x, z0)
    fn = cell.bind(x)
    start = cell.init(x) if z0 is None else z0
    solver, adjoint = solver_for(solver, start, cell), adjoint_for(adjoint, cell)
    limits = {"max_steps": deq.max_steps, "throw": deq.throw}
    solution = solve_map(fn, start, solver, adjoint, **limits, probe=probe)
    solution = mask(solution, usable, throw=deq.throw, drop_unsolved=deq.drop_unsolved)
    return BoundMap(fn, counts(solution.result, deq.drop_unsolved)), solution.value, solution


DEQ.__init__.__doc__ = """**Arguments:**

- `cell`: the map whose fixed point is wanted.
- `solver`: any Optimistix solver for fixed points or roots, ours or theirs; if left out, one
    that suits the size of the state.
- `adjoint`: any Optimistix adjoint; [`eqx_qdeq.ImplicitAdjoint`][] if left out.
- `max_steps`: the solver's steps at most; as many as it takes if `None`.
- `throw`: whether a sample that fails raises. If not, its value is finite and its `success` false.
- `drop_unsolved`: whether a sample that ran out of steps contributes nothing to gradients, like
    one that diverged. If not, it is differentiated where it stopped.

**Raises:** `TypeError` if `cell` is not a cell, `solver` no solver or `adjoint` no adjoint (but a
class or a name, say); `ValueError` for `max_steps` below 1.
"""
