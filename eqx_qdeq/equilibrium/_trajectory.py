"""What a solver does step by step, in arrays of fixed shape."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import optimistix as optx
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, PyTree

from .._checks import check_at_least
from .._trees import constant, tree_where
from ..solvers import Drive, Ladder, Progress


class SolverTrajectory(eqx.Module):
    r"""The iterates of a solve, all of fixed shape.

    !!! example

        ```python
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        cell = qdeq.FunctionCell(lambda z, x: 0.5 * z + x, jnp.zeros_like)
        deq = qdeq.DEQ(cell, qdeq.Picard(1e-5, 1e-5))
        trajectory = deq.trajectory(jnp.ones(1), n_steps=4)
        trajectory.residuals  # [1. 0.5 0.25 0.125]
        ```

    **Attributes:**

    - `iterates`: the states at which the solver evaluated f, in order, each array of shape
        `(n_steps, ...)`. After the end the last one is repeated.
    - `residuals`: their $\|f(z_k) - z_k\|$, Euclidean, of shape `(n_steps,)`; what `iterates`
        repeats is repeated here, too.
    - `num_steps`: how many entries are of the solve, at most `n_steps`.
    - `success`: whether the solver's tolerance was met within them.
    """

    iterates: PyTree[Array]
    residuals: Float[Array, "*batch n_steps"]
    num_steps: Int[Array, "*batch"]
    success: Bool[Array, "*batch"]


@eqx.filter_jit
def record_trajectory(
    fn: Callable[[PyTree[Array]], PyTree[Array]],
    solver: optx.AbstractIterativeSolver,
    z0: PyTree[Array],
    n_steps: int,
) -> SolverTrajectory:
    """Runs a solver for a fixed number of steps and keeps every iterate.

    Works under `jit` and `vmap`. The record has no derivatives;
    [`eqx_qdeq.fixed_point_correction`][] attaches some to chosen iterates.

    !!! example

        ```python
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        fn = lambda z: 0.5 * z + 1
        record = qdeq.record_trajectory(fn, qdeq.Picard(1e-5, 1e-5), jnp.zeros(1), 4)
        record.iterates[:, 0]  # [0. 1. 1.5 1.75]
        ```

    **Arguments:**

    - `fn`: the map `z -> f(z)`, e.g. `cell.bind(x)`.
    - `solver`: a fixed-point solver, ours or Optimistix's.
    - `z0`: the initial guess, a pytree of real arrays.
    - `n_steps`: the number of entries.

    **Returns:** an [`eqx_qdeq.SolverTrajectory`][].

    **Raises:** `TypeError` for a solver that has no iterates of f to show: a root finder, or a
    [`eqx_qdeq.Ladder`][], whose rungs all run in one step. `ValueError` for less than one step.
    """
    if isinstance(solver, Ladder) or not isinstance(solver, optx.AbstractFixedPointSolver):
        raise TypeError(
            "`solver` must be a fixed-point solver that evaluates f step by step; got "
            f"{type(solver).__name__}. Record one rung of a ladder, or use eqx_qdeq.Newton for "
            "a root finder."
        )
    check_at_least("record_trajectory(n_steps=...)", n_steps, 1)
    residual = lambda y: jtu.tree_map(jnp.subtract, fn(y), y)
    drive = Drive(solver, lambda y, args: (residual(y), None))

    def see(before: Progress, after: Progress) -> tuple[Progress, tuple[PyTree, Array]]:
        # Once more, as a solver hands out the iterate alone: some evaluate f elsewhere too.
        gap = residual(before.y)
        # A solve that is over stays as it was, at the iterate at which it ended.
        y = tree_where(after.going, after.y, before.y)
        after = tree_where(before.going, eqx.tree_at(lambda a: a.y, after, y), before)
        return after, (before.y, jnp.linalg.norm(ravel_pytree(gap)[0]))

    start = drive.start(constant(jtu.tree_map(jnp.asarray, z0)))
    end, (iterates, residuals) = drive.record(start, n_steps, see)
    # A solver that breaks down is done as well.
    success = end.done & (end.result == optx.RESULTS.successful)
    return constant(SolverTrajectory(iterates, residuals, end.num_steps, success))


def fixed_point_correction(
    fn: Callable[[PyTree[Array]], PyTree[Array]],
    trajectory: SolverTrajectory,
    loss: Callable[[PyTree[Array]], Float[Array, ""]],
    *,
    n_states: int = 3,
    decay: float = 0.8,
) -> Float[Array, ""]:
    r"""A loss on iterates on the way to the equilibrium, so that the way becomes short.

    $$\sum_{j=1}^{n} \gamma^{\,n+1-j}\; \ell\big(f(z_{k_j})\big), \qquad
    k_j = \lfloor j\,(N-1)/(n+1) \rfloor$$

    for a solve that took N steps: states spaced evenly between the initial guess and the
    equilibrium, each attached to the parameters by one application of f at the constant
    $z_{k_j}$. Add it to the loss at the equilibrium itself.

    !!! example

        ```python
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        fn, loss = lambda z: 0.5 * z + 1, lambda z: jnp.sum((z - 2) ** 2)
        record = qdeq.record_trajectory(fn, qdeq.Picard(1e-5, 1e-5), jnp.zeros(1), 8)
        qdeq.fixed_point_correction(fn, record, loss)  # 0.139
        ```

    ??? cite "Reference"

        S. Bai, Z. Geng, Y. Savani and J. Z. Kolter, "Deep equilibrium optical flow estimation",
        CVPR 2022.

    **Arguments:**

    - `fn`: the map `z -> f(z)`, e.g. `cell.bind(x)`, with derivatives for what it closes over.
    - `trajectory`: of one sample, by [`eqx_qdeq.record_trajectory`][] or
        [`eqx_qdeq.DEQ.trajectory`][].
    - `loss`: `z -> scalar`.
    - `n_states`: the number n of states.
    - `decay`: the factor γ in (0, 1] from one state to the one before.

    **Returns:** a scalar.

    **Raises:** `ValueError` for a value out of range.
    """
    check_at_least("fixed_point_correction(n_states=...)", n_states, 1)
    if not 0 < decay <= 1:
        raise ValueError(
            f"`fixed_point_correction(decay=...)` must be above 0 and at most 1; got {decay}."
        )
    # The first entry is the guess and the last the equilibrium, which the task's loss has already:
    # n states part the way between them into n + 1 pieces.
    j = jnp.arange(1, n_states + 1)
    indices = j * (trajectory.num_steps - 1) // (n_states + 1)
    states = jtu.tree_map(lambda a: a[indices], constant(trajectory.iterates))
    # With z_k constant the derivative of ℓ(f(z_k)) is (∂f/∂θ)ᵀ ∇ℓ: one product for each state,
    # however long the way was, and the first term of the Neumann series for the implicit one.
    losses = jax.vmap(lambda z: loss(fn(z)))(states)
    # Later states weigh more: γ for the last one, γⁿ for the first.
    weights = jnp.asarray(decay, losses.dtype) ** (n_states + 1 - j).astype(losses.dtype)
    return jnp.dot(weights, losses)
