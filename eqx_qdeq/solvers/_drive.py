"""An Optimistix solver one step at a time, for loops other than Optimistix's own."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import equinox.internal as eqxi
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import optimistix as optx
from jaxtyping import Array, Bool, Int, PyTree


class Progress(eqx.Module):
    """How far a solve has come. `done` says that its solver would stop here, `result` why."""

    y: PyTree[Array]
    aux: PyTree[Array]
    state: PyTree
    num_steps: Int[Array, ""]
    done: Bool[Array, ""]
    result: optx.RESULTS

    @property
    def going(self) -> Bool[Array, ""]:
        return ~self.done & (self.result == optx.RESULTS.successful)


class Drive(eqx.Module):
    """A solver with its problem, the residual: `fn(y, args) -> (f(y) - y, aux)`."""

    solver: optx.AbstractIterativeSolver
    residual: Callable
    args: PyTree = None
    options: dict[str, Any] = eqx.field(default_factory=dict)
    tags: frozenset[object] = frozenset()

    def fn(self, y: PyTree[Array], args: PyTree) -> tuple[PyTree[Array], PyTree[Array]]:
        """What the solver wants: f, or for root finders and least squares the residual."""
        r, aux = self.residual(y, args)
        if isinstance(self.solver, optx.AbstractRootFinder | optx.AbstractLeastSquaresSolver):
            return r, aux
        return jtu.tree_map(jnp.add, y, r), aux

    def start(self, y: PyTree[Array], aux: PyTree[Array] = None) -> Progress:
        """Before the first step. `aux` is of the structure that `fn` returns."""
        struct, aux_struct = jax.eval_shape(lambda: (y, aux))
        state = self.solver.init(self.fn, y, self.args, self.options, struct, aux_struct, self.tags)
        done, result = self.solver.terminate(self.fn, y, self.args, self.options, state, self.tags)
        return Progress(y, aux, state, jnp.array(0), done, result)

    def step(self, at: Progress) -> Progress:
        """After one more step, whether the solver would have stopped or not."""
        y, state, aux = self.solver.step(
            self.fn, at.y, self.args, self.options, at.state, self.tags
        )
        # Optimistix judges a step by the iterate from which it was made.
        done, result = self.solver.terminate(
            self.fn, at.y, self.args, self.options, state, self.tags
        )
        return Progress(y, aux, state, at.num_steps + 1, done, result)

    def run(self, at: Progress, max_steps: int) -> Progress:
        """Steps until the solver stops or has made `max_steps`."""
        arrays, static = eqx.partition(at, eqx.is_array)
        whole = lambda arrays: eqx.combine(arrays, static)
        # Of the loops that reverse mode can go through, as `RecursiveCheckpointAdjoint` asks for.
        arrays = eqxi.while_loop(
            lambda arrays: whole(arrays).going,
            lambda arrays: eqx.filter(self.step(whole(arrays)), eqx.is_array),
            arrays,
            max_steps=max_steps,
            kind="checkpointed",
        )
        return whole(arrays)

    def record(
        self, at: Progress, n_steps: int, see: Callable[[Progress, Progress], tuple[Progress, Any]]
    ) -> tuple[Progress, Any]:
        """`n_steps` steps; `see(before, after)` says from where to go on and what to keep."""
        arrays, static = eqx.partition(at, eqx.is_array)

        def body(arrays: PyTree, _: None) -> tuple[PyTree, Any]:
            before = eqx.combine(arrays, static)
            after, seen = see(before, self.step(before))
            return eqx.filter(after, eqx.is_array), seen

        arrays, seen = jax.lax.scan(body, arrays, None, length=n_steps)
        return eqx.combine(arrays, static), seen

    def finish(self, at: Progress) -> tuple[PyTree[Array], PyTree[Array], dict[str, Any]]:
        """The value, the auxiliary output and the statistics that the solver returns."""
        return self.solver.postprocess(
            self.fn, at.y, at.aux, self.args, self.options, at.state, self.tags, at.result
        )
