"""Backpropagation through the solver's own steps."""

import functools as ft
from collections.abc import Callable
from typing import Any

import equinox as eqx
import equinox.internal as eqxi
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import optimistix as optx
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, PyTree

from .._local import as_plain
from .._trees import all_finite, constant, only_where, tree_where
from ._base import solve_first, without_derivative


class UnrolledAdjoint(optx.AbstractAdjoint):
    r"""Differentiates the steps that the solver took, with recursive checkpointing.

    The derivative of what the solver computed, not of the equilibrium: both tend to each other as
    the tolerance is tightened. In memory it costs `checkpoints` solver states (about the
    logarithm of the number of steps if left out), in time $O(n \log n)$ steps. Reverse mode only.

    As `optimistix.RecursiveCheckpointAdjoint`, but one sample cannot spoil a batch. A first solve
    without derivatives finds out whether it failed, a second one, differentiated with respect to
    the initial guess, whether derivatives overflow on the way back; such a sample contributes
    nothing. Reverse mode takes about twice as long for it.

    !!! example

        ```python
        import jax
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        # z = a z / 2 + 1, so that z = 2 / (2 - a) and dz/da = 2 / (2 - a)².
        cell = qdeq.FunctionCell(lambda z, a: a * z / 2 + 1, jnp.zeros_like)
        deq = qdeq.DEQ(
            cell, qdeq.Picard(1e-5, 1e-5), adjoint=qdeq.UnrolledAdjoint(), max_steps=32
        )
        jax.grad(deq)(jnp.array(1.0)).round(3)  # 1.999
        ```

    ??? cite "Reference"

        P. Stumm and A. Walther, "New algorithms for optimal online checkpointing", SIAM Journal
        on Scientific Computing 32 (2010), 836-854; Q. Wang, P. Moin and G. Iaccarino, "Minimal
        repetition dynamic checkpointing algorithm for unsteady adjoint calculation", SIAM Journal
        on Scientific Computing 31 (2009), 2549-2567.
    """

    checkpoints: int | None = eqx.field(static=True, default=None)

    def __check_init__(self) -> None:
        if self.checkpoints is not None and self.checkpoints < 1:
            raise ValueError(
                f"`UnrolledAdjoint(checkpoints=...)` must be at least 1; got {self.checkpoints}. "
                "Leave it out for the logarithm of the number of steps."
            )

    def apply(self, primal_fn, rewrite_fn, inputs, tags):
        del tags
        solved = solve_first(primal_fn, rewrite_fn, inputs)
        loop = ft.partial(eqxi.while_loop, kind="checkpointed", checkpoints=self.checkpoints)

        def while_loop(cond_fun: Callable, body_fun: Callable, start: PyTree, **options: Any):
            # In a batch, a solve that is over waits for the others: its steps are computed and
            # dropped. Backwards what was dropped has a cotangent of zero, and 0 · ∞ is NaN where
            # such a step cannot be differentiated. So it does its first step again, which can.
            again = constant(jtu.tree_map(jnp.asarray, start))
            body = lambda carry: body_fun(tree_where(cond_fun(carry), carry, again))
            return loop(cond_fun, body, start, **options)

        # A root finder is given f(y) - y, and stands still where that is zero.
        finds_roots = isinstance(inputs[1], optx.AbstractRootFinder)
        rests = lambda y: jtu.tree_map(jnp.zeros_like, y) if finds_roots else y

        def steps(inputs: tuple[Any, ...], counts: Bool[Array, ""]) -> Float[Array, " n"]:
            fn, solver, y0, *rest = inputs

            def still(y: PyTree, args: PyTree) -> tuple[PyTree, PyTree]:
                f, aux = fn(tree_where(solved.usable, y, y0), args)
                return tree_where(solved.usable, only_where(counts, f), rests(y)), aux

            y0 = only_where(counts, y0)
            return ravel_pytree(primal_fn((still, solver, y0, *rest, while_loop))[0])[0]

        converted = constant(eqx.filter_closure_convert(steps, inputs, jnp.array(True)))
        # A derivative that overflows on its way counts for nothing, which has to be known before
        # any of it is added up: it reaches the initial guess last.
        fn, solver, y0, *rest = constant(inputs)
        ahead = lambda y: converted((fn, solver, y, *rest), jnp.array(True))
        end, pull = jax.vjp(ahead, y0)
        finite = all_finite(pull(jnp.ones_like(end)))
        change = jnp.where(finite, _pulled_back(inputs, finite, converted), end)
        change = change + _nan_alone(solved.gap(solved.point))
        # Value and statistics are those of the first solve, which knows about a failure.
        return solved.attach(change), without_derivative(solved.residual)


@eqx.filter_custom_vjp
def _pulled_back(inputs: PyTree, finite: Array, steps: Callable) -> Float[Array, " n"]:
    """`steps(inputs, finite)`, whose derivative is taken on plain arrays."""
    return steps(inputs, finite)


@_pulled_back.def_fwd
def _pulled_back_fwd(perturbed, inputs, finite, steps):
    del perturbed
    varied, rest = eqx.partition(inputs, eqx.is_inexact_array)
    return jax.vjp(lambda varied: steps(eqx.combine(varied, rest), finite), varied)


@_pulled_back.def_bwd
def _pulled_back_bwd(pull, cotangent, perturbed, inputs, finite, steps):
    del perturbed, inputs, finite, steps
    # Of a gradient taken outside of a `shard_map`, what is kept for this pass comes typed.
    pull, cotangent = as_plain((pull, cotangent))
    return pull(cotangent)[0]


# A solve that began at its equilibrium returns the initial guess, whose derivative is none. A NaN
# that came from the caller must not be lost there: it goes through one application of f as well.
@jax.custom_vjp
def _nan_alone(x: Float[Array, " n"]) -> Float[Array, " n"]:
    """Zero, and without derivatives but for a cotangent that is not finite."""
    # Depends on the sample for `vmap`'s sake: the cotangent of a constant is summed over the batch.
    return jnp.where(x > 0, 0, jnp.zeros_like(x))


_nan_alone.defvjp(
    lambda x: (_nan_alone(x), None),
    lambda _, c: (jnp.where(all_finite(c), 0, jnp.full_like(c, jnp.nan)),),
)


UnrolledAdjoint.__init__.__doc__ = """**Arguments:**

- `checkpoints`: how many solver states are kept for reverse mode; the more, the less is
    computed again.

**Raises:** `ValueError` for less than one checkpoint.
"""
