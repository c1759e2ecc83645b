"""Backpropagation through the solver's own steps."""

import functools as ft

import equinox as eqx
import equinox.internal as eqxi
import jax
import jax.numpy as jnp
import optimistix as optx
from jax.flatten_util import ravel_pytree
from jaxtyping import PyTree

from .._trees import tree_where
from ._base import solve_first, without_derivative


class UnrolledAdjoint(optx.AbstractAdjoint):
    r"""Differentiates the steps that the solver took, with recursive checkpointing.

    The derivative of what the solver computed, not of the equilibrium: both tend to each other as
    the tolerance is tightened. In memory it costs `checkpoints` solver states (about the
    logarithm of the number of steps if left out), in time $O(n \log n)$ steps. Reverse mode only.

    As `optimistix.RecursiveCheckpointAdjoint`, but a sample that diverged cannot spoil a batch:
    a first solve without derivatives finds out, and the second one, which is differentiated,
    stands still for such a sample. That is one more solve.

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
        fn, solver, y0, *rest = inputs
        # A root finder is given f(y) - y, and stands still where that is zero.
        finds_roots = isinstance(solver, optx.AbstractRootFinder)
        rests = lambda y: jax.tree.map(jnp.zeros_like, y) if finds_roots else y

        def still(y: PyTree, args: PyTree) -> tuple[PyTree, PyTree]:
            f, aux = fn(tree_where(solved.usable, y, y0), args)
            return tree_where(solved.usable, f, rests(y)), aux

        while_loop = ft.partial(eqxi.while_loop, kind="checkpointed", checkpoints=self.checkpoints)
        root, _ = primal_fn((still, solver, y0, *rest, while_loop))
        # Value and statistics are those of the first solve, which knows about a failure.
        root = solved.attach(ravel_pytree(root)[0])
        return root, without_derivative(solved.residual)


UnrolledAdjoint.__init__.__doc__ = """**Arguments:**

- `checkpoints`: how many solver states are kept for reverse mode; the more, the less is
    computed again.

**Raises:** `ValueError` for less than one checkpoint.
"""
