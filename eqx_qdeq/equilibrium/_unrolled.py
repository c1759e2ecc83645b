"""Unrolled: a cell applied a fixed number of times, the weight-tied counterpart of DEQ."""

import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array, PRNGKeyArray, PyTree

from .._checks import check_at_least
from .._trees import all_finite, tree_where
from ..cells import AbstractCell, accepting
from ..layers import keyed
from ._solve import (
    BoundMap,
    check_cell,
    check_map,
    counts,
    guard,
    Map,
    mask,
    Solution,
    solved_locally,
)
from ._solves import noted


class Unrolled(eqx.Module):
    r"""L applications of a cell with tied weights, $z_L = f(\dots f(z_0, x) \dots, x)$: what the
    paper calls its direct model.

    The same interface and the same [`eqx_qdeq.Solution`][] as a [`eqx_qdeq.DEQ`][], so one can
    stand where the other stood. Nothing is solved: `success` says whether the L applications have
    come to an equilibrium, and `stats["residual"]` how far from one they ended. That residual is
    one more application, which the compiler leaves out where nobody reads it.

    !!! example

        ```python
        import jax
        import eqx_qdeq as qdeq

        deq = qdeq.QDEQ(4, 16, key=jax.random.key(0)).deq
        x = jax.random.normal(jax.random.key(1), (16,))
        five = qdeq.Unrolled(deq.cell, 5).solve(x)
        print(five.stats["residual"], deq.solve(x).stats["residual"])
        ```

    ??? cite "Reference"

        P. Schleich, M. Skreta, L. B. Kristensen, R. A. Vargas-Hernández and A. Aspuru-Guzik,
        "Quantum deep equilibrium models", NeurIPS 2024, arXiv:2410.23940.
    """

    cell: AbstractCell
    n_layers: int = eqx.field(static=True)
    rtol: float = 1e-5
    atol: float = 1e-5

    def __check_init__(self) -> None:
        check_cell(self.cell)
        check_at_least("n_layers", self.n_layers, 1)

    @accepting
    def __call__(
        self,
        x: PyTree[Array],
        *,
        z0: PyTree[Array] | None = None,
        key: PRNGKeyArray | None = None,
    ) -> PyTree[Array]:
        """**Arguments:**

        - `x`: one sample, e.g. of shape `(d,)`.
        - `z0`: the state to which the cell is applied first; the cell's own if left out.
        - `key`: for the shots of layers that are sampled; ignored otherwise.

        **Returns:** the state after `n_layers` applications.
        """
        return self.solve(x, z0=z0, key=key).value

    @accepting
    @eqx.filter_jit
    def solve(
        self,
        x: PyTree[Array],
        *,
        z0: PyTree[Array] | None = None,
        key: PRNGKeyArray | None = None,
    ) -> Solution:
        """As calling the module, but says how far from an equilibrium that is.

        **Arguments:** as for the call.

        **Returns:** a [`eqx_qdeq.Solution`][]. Of a sample that is not finite, or whose iterates
        overflow, the value is finite and without derivatives, and `result` says so.
        """
        return self.bind_and_solve(x, z0=z0, key=key)[2]

    @accepting
    def bind_and_solve(
        self,
        x: PyTree[Array],
        *,
        z0: PyTree[Array] | None = None,
        key: PRNGKeyArray | None = None,
    ) -> tuple[BoundMap, PyTree[Array], Solution]:
        """As [`eqx_qdeq.DEQ.bind_and_solve`][]: the map, the state to which it was applied last,
        and the solution.

        **Raises:** `ValueError` or `TypeError` for a cell whose values are not like its state.
        """
        fn, last, solution = solved_locally(self._solve, keyed(self.cell, key), x, z0)
        return fn, last, noted(solution, sought=False)

    def _solve(
        self, cell: AbstractCell, x: PyTree[Array], z0: PyTree[Array] | None
    ) -> tuple[BoundMap, PyTree[Array], Solution]:
        x, usable = guard(cell, x, z0)
        fn, start = check_map(cell.bind(x), cell.init(x) if z0 is None else z0)
        step = fn
        if not cell.always_finite:
            # As in `DEQ`, whether a sample counts is known before anything is differentiated:
            # 0 · NaN would be NaN in the sum over a batch.
            ahead = jax.lax.stop_gradient(_apply(fn, start, self.n_layers))
            usable = usable & all_finite(ahead)
            step = lambda z: tree_where(usable, fn(tree_where(usable, z, start)), start)
        # The last application stands apart: a head may read other observables of its state.
        last = _apply(step, start, self.n_layers - 1)
        value = step(last)
        # As for `DEQ`, what is beside the value has no derivatives.
        here = jax.lax.stop_gradient(value)
        after = jax.lax.stop_gradient(fn(here))
        residual = optx.two_norm(jax.tree.map(jnp.subtract, after, here))
        tolerance = self.atol + self.rtol * optx.two_norm(after)
        reached, short = optx.RESULTS.successful, optx.RESULTS.nonlinear_max_steps_reached
        result = optx.RESULTS.where(residual <= tolerance, reached, short)
        # Counted as a solver's, without the application for the residual.
        steps, none = jnp.asarray(self.n_layers), jnp.asarray(0)
        stats = {"num_steps": steps, "num_evals": steps, "num_jvps": none, "residual": residual}
        solution = mask(Solution(value, result, stats), usable)
        return BoundMap(fn, counts(solution.result)), last, solution


def _apply(fn: Map, z: PyTree[Array], times: int) -> PyTree[Array]:
    # All applications are alike: one is compiled.
    return jax.lax.scan(lambda z, _: (fn(z), None), z, None, length=times)[0]


Unrolled.__init__.__doc__ = """**Arguments:**

- `cell`: the map that is applied.
- `n_layers`: the number L of applications.
- `rtol`, `atol`: the state counts as an equilibrium where ‖f(z) - z‖ is at most
    `atol + rtol * ‖f(z)‖`.

**Raises:** `TypeError` if `cell` is not a cell, `ValueError` for fewer than one application.
"""
