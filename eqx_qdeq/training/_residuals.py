"""How the residual of an equilibrium falls, step by step."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from ..equilibrium import DEQ, solver_for
from ..solvers import Drive


def residual_history(deq: DEQ, x: Float[Array, "n ..."], n_steps: int) -> Float[Array, "n steps"]:
    """The smallest ‖f(z) - z‖ so far, at the initial guess and after each step of the solver of
    `deq`.

    !!! example

        ```python
        import jax.numpy as jnp
        import eqx_qdeq as qdeq
        from eqx_qdeq import training

        cell = qdeq.FunctionCell(lambda z, x: jnp.tanh(0.5 * z + x), jnp.zeros_like)
        deq = qdeq.DEQ(cell)
        residuals = training.residual_history(deq, jnp.ones((3, 2)), n_steps=4)
        residuals.shape  # (3, 5)
        ```

    **Arguments:**

    - `deq`: the equilibrium layer, e.g. `classifier.deq`.
    - `x`: samples.
    - `n_steps`: the number of steps; they go on where the solver would have stopped.

    **Returns:**

    Residuals of shape `(n, n_steps + 1)`. Plot them with [`eqx_qdeq.plotting.plot_residuals`][].

    **Raises:** `TypeError` for a solver that is neither a fixed-point solver nor a root finder.
    """
    return _solver_history(deq, x, n_steps)


def plain_iteration_history(
    deq: DEQ, x: Float[Array, "n ..."], n_steps: int
) -> Float[Array, "n steps"]:
    """‖f(z) - z‖ for z, f(z), f(f(z)), …: what happens without a solver.

    !!! example

        ```python
        import jax.numpy as jnp
        import eqx_qdeq as qdeq
        from eqx_qdeq import training

        cell = qdeq.FunctionCell(lambda z, x: 0.5 * z + x, jnp.zeros_like)
        deq = qdeq.DEQ(cell)
        training.plain_iteration_history(deq, jnp.ones((1, 1)), n_steps=3)
        # [[1. 0.5 0.25 0.125]]
        ```

    **Arguments:** as for [`eqx_qdeq.training.residual_history`][].

    **Returns:**

    Residuals of shape `(n, n_steps + 1)`.
    """
    return _plain_history(deq, x, n_steps)


def _residual(fn: Any, z: PyTree) -> Float[Array, ""]:
    return jnp.linalg.norm(ravel_pytree(jax.tree.map(jnp.subtract, fn(z), z))[0])


@eqx.filter_jit
def _solver_history(deq: DEQ, x: Array, n_steps: int) -> Array:
    def one(sample: Array) -> Array:
        fn, z = deq.cell.bind(sample), deq.cell.init(sample)
        solver: Any = solver_for(deq.solver, z, deq.cell)
        if not isinstance(solver, optx.AbstractFixedPointSolver | optx.AbstractRootFinder):
            raise TypeError(
                "residuals can be followed for fixed-point solvers and root finders; got "
                f"{type(solver).__name__}."
            )
        drive = Drive(solver, lambda z, _: (jax.tree.map(jnp.subtract, fn(z), z), None))
        see = lambda before, after: (after, _residual(fn, after.y))
        _, residuals = drive.record(drive.start(z), n_steps, see)
        every = jnp.concatenate([_residual(fn, z)[None], residuals])
        # The best so far is what a solver returns; beyond the last digit, steps may fail.
        return lax.cummin(jnp.where(jnp.isfinite(every), every, jnp.inf))

    return jax.vmap(one)(x)


@eqx.filter_jit
def _plain_history(deq: DEQ, x: Array, n_steps: int) -> Array:
    def one(sample: Array) -> Array:
        fn = deq.cell.bind(sample)
        step = lambda z, _: (fn(z), _residual(fn, z))
        return lax.scan(step, deq.cell.init(sample), None, length=n_steps + 1)[1]

    return jax.vmap(one)(x)
