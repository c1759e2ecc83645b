"""Picard iteration."""

from collections.abc import Callable
from typing import ClassVar

import equinox as eqx
import optimistix as optx
from jaxtyping import Array, Float, PyTree, Scalar

from .._checks import check_damp
from .._deprecated import renamed_arguments
from ._base import AbstractResidualSolver, check_tolerances, FlatMap, Point, Proposal, SolverLimits


@renamed_arguments(
    damping="`damp`, as in Optimistix: damp=0 is no damping, damp=1-b what damping=b was"
)
class Picard(AbstractResidualSolver):
    r"""Damped Picard iteration: the map itself, again and again.

    $$y_{k+1} = (1 - d)\,f(y_k) + d\,y_k$$

    One evaluation per step and no memory. Converges if f contracts; with damping $d > 0$ also for
    many maps whose Jacobian has eigenvalues below -1. Needs about $\log(\mathrm{tol}) /
    \log(\rho)$ steps at spectral radius $\rho$.

    The test is on the undamped residual, so damping cannot fake success (unlike that of
    `optimistix.FixedPointIteration(damp=...)`).

    !!! example

        ```python
        import jax.numpy as jnp
        import optimistix as optx
        import eqx_qdeq as qdeq

        # f(y) = -2 y + 3 moves away from its fixed point; damping leads there.
        solver = qdeq.Picard(rtol=1e-5, atol=1e-5, damp=0.5)
        optx.fixed_point(lambda y, _: -2 * y + 3, solver, jnp.zeros(1)).value.round(3)
        # [1.]
        ```

    ??? cite "Reference"

        M. A. Krasnosel'skii, "Two remarks on the method of successive approximations", Uspekhi
        Matematicheskikh Nauk 10 (1955), 123-127.
    """

    rtol: float
    atol: float
    norm: Callable[[PyTree], Scalar] = eqx.field(static=True, default=optx.two_norm)
    damp: float = 0.0
    limits: SolverLimits = SolverLimits()

    steps_back: ClassVar[bool] = False

    def __check_init__(self) -> None:
        check_tolerances(self)
        check_damp("Picard(damp=...)", self.damp)

    def remember(self, y: Float[Array, " n"], f: FlatMap) -> None:
        return None

    def propose(self, at: Point, memory: None) -> Proposal:
        return Proposal(at.y + (1 - self.damp) * at.r, memory)


Picard.__init__.__doc__ = """**Arguments:**

- `rtol`, `atol`: the tolerance is `atol + rtol * norm(f(y))`.
- `norm`: the norm of the residual, any function from the state to a scalar.
- `damp`: the damping d in [0, 1), as in Optimistix: 0 is none.
- `limits`: when to give up.

**Raises:** `ValueError` for a value out of range.
"""
