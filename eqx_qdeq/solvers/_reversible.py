"""A fixed-point iteration that can be run backwards."""

from collections.abc import Callable
from typing import ClassVar, NamedTuple

import equinox as eqx
import optimistix as optx
from jaxtyping import Array, Float, PyTree, Scalar

from .._checks import can_check
from ._base import AbstractResidualSolver, check_tolerances, FlatMap, Point, Proposal, SolverLimits


class Pair(NamedTuple):
    """The last evaluated iterate and the one before it."""

    last: Float[Array, " n"]
    before: Float[Array, " n"]


class Reversible(AbstractResidualSolver):
    r"""An iteration over two coupled states, each step of which can be undone.

    $$y_{k+1} = d\,y_{k-1} + (1 - d)\,f(y_k), \qquad
    y_{k-1} = \frac{y_{k+1} - (1 - d)\,f(y_k)}{d}, \qquad y_{-1} = y_0$$

    (in the reference's notation $y_n$ and $z_n$ are every other state, and $\beta = 1 - d$.) One
    evaluation per step. Its fixed points are those of f, and it converges where f contracts. For
    [`eqx_qdeq.ReversibleAdjoint`][], which differentiates the steps and stores none of them.

    What contracts forwards expands backwards: rounding grows by $d^{-1/2}$ in each step, and by up
    to 1/d. So this is for few steps: some eight in single precision and twenty-five in double with
    d = 0.2, twenty and sixty with d = 0.5.

    !!! example

        ```python
        import jax
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        cell = qdeq.FunctionCell(lambda z, x: jnp.cos(x * z), lambda x: x)
        solver = qdeq.Reversible(1e-5, 1e-5, damp=0.2)
        deq = qdeq.DEQ(cell, solver, qdeq.ReversibleAdjoint(), max_steps=40)
        deq(jnp.array([0.5])).round(3)  # [0.9]
        ```

    ??? cite "Reference"

        S. McCallum, K. Arora and J. Foster, "Reversible deep equilibrium models",
        arXiv:2509.12917 (2025).
    """

    rtol: float
    atol: float
    norm: Callable[[PyTree], Scalar] = eqx.field(static=True, default=optx.two_norm)
    damp: float = 0.5
    limits: SolverLimits = SolverLimits()

    steps_back: ClassVar[bool] = False

    def __check_init__(self) -> None:
        check_tolerances(self)
        if can_check("Reversible(damp=...)", self.damp) and not 0 < self.damp < 1:
            raise ValueError(
                "`Reversible(damp=...)` must be above 0 and below 1, as a step is undone by "
                f"dividing by it; got {self.damp}."
            )

    def remember(self, y: Float[Array, " n"], f: FlatMap) -> Pair:
        return Pair(y, y)

    def propose(self, at: Point, memory: Pair) -> Proposal:
        new = self.damp * memory.last + (1 - self.damp) * (at.y + at.r)
        return Proposal(new, Pair(at.y, memory.last))


Reversible.__init__.__doc__ = """**Arguments:**

- `rtol`, `atol`: the tolerance is `atol + rtol * norm(f(y))`.
- `norm`: the norm of the residual, any function from the state to a scalar.
- `damp`: the share d of the state before, above 0 and below 1.
- `limits`: when to give up.

**Raises:** `ValueError` for a value out of range.
"""
