"""Picard iteration."""

from collections.abc import Callable
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jax import lax
from jaxtyping import Array, Float, Int, PyTree, Scalar

from .._checks import check_at_least, check_damp, check_share
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

    With `noise` a step is disturbed by Gaussian numbers of that share of the residual, so that the
    iteration leaves what repels it only weakly, and comes to rest where the residual does:

    $$y_{k+1} = (1 - d)\,f(y_k) + d\,y_k + s\,\frac{\|f(y_k) - y_k\|}{\sqrt n}\,\xi_k$$

    The numbers are the same ones in every solve.

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
    noise: float = eqx.field(static=True, default=0.0)
    seed: int = eqx.field(static=True, default=0)

    steps_back: ClassVar[bool] = False

    def __check_init__(self) -> None:
        check_tolerances(self)
        check_damp("Picard(damp=...)", self.damp)
        check_share("Picard(noise=...)", self.noise, "which is none")
        check_at_least("Picard(seed=...)", self.seed, 0)

    def remember(self, y: Float[Array, " n"], f: FlatMap) -> Int[Array, ""] | None:
        return jnp.array(0) if self.noise > 0 else None

    def propose(self, at: Point, memory: Int[Array, ""] | None) -> Proposal:
        new = at.y + (1 - self.damp) * at.r
        if memory is None:
            return Proposal(new, None)
        key = jax.random.fold_in(jax.random.key(self.seed), memory)
        size = lax.stop_gradient(jnp.linalg.norm(at.r)) * (self.noise / max(1, new.size) ** 0.5)
        return Proposal(new + size * jax.random.normal(key, new.shape, new.dtype), memory + 1)


Picard.__init__.__doc__ = """**Arguments:**

- `rtol`, `atol`: the tolerance is `atol + rtol * norm(f(y))`.
- `norm`: the norm of the residual, any function from the state to a scalar.
- `damp`: the damping d in [0, 1), as in Optimistix: 0 is none.
- `limits`: when to give up.
- `noise`: the noise s in [0, 1); 0 is none.
- `seed`: of the noise.

**Raises:** `ValueError` for a value out of range.
"""
