"""Linear solves that raise nothing, in derivatives neither."""

from typing import Any

import jax
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, PyTree


class Unfailing(lx.AbstractLinearSolver[Any]):
    """Another solver, but one that always reports success.

    Lineax raises an error if a solve fails whose result is a tangent or a cotangent, whatever
    `throw` says, and one sample's error ends the whole batch. What was found counts instead, or
    zero where that is not finite.
    """

    solver: lx.AbstractLinearSolver

    def init(self, operator: lx.AbstractLinearOperator, options: dict[str, Any]) -> Any:
        return self.solver.init(operator, options)

    def compute(
        self, state: Any, vector: PyTree[Array], options: dict[str, Any]
    ) -> tuple[PyTree[Array], lx.RESULTS, dict[str, Any]]:
        value, _, stats = self.solver.compute(state, vector, options)
        value = jax.tree.map(lambda leaf: jnp.where(jnp.isfinite(leaf), leaf, 0), value)
        return value, lx.RESULTS.successful, stats

    def transpose(self, state: Any, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return self.solver.transpose(state, options)

    def conj(self, state: Any, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return self.solver.conj(state, options)

    def assume_full_rank(self) -> bool:
        return self.solver.assume_full_rank()
