"""Anderson acceleration."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, PyTree, Scalar

from ._base import (
    AbstractResidualSolver,
    check_at_least,
    check_fraction,
    check_tolerances,
    finite_or,
    is_number,
    Limits,
    observe,
    Record,
    start,
)
from ._linear import solve_dense

_HIGHEST = lax.Precision.HIGHEST


class _AndersonState(eqx.Module):
    record: Record
    y: Float[Array, " n"]  # the previous iterate,
    r: Float[Array, " n"]  # ... and its residual
    best_r: Float[Array, " n"]
    dy: Float[Array, "history n"]  # ring buffers of differences; rows not in use are zero
    dr: Float[Array, "history n"]
    count: Int[Array, ""]
    has_previous: Bool[Array, ""]
    retreat: Float[Array, ""]


class Anderson(AbstractResidualSolver):
    r"""Anderson acceleration (type II): the step that would have been best for the last few.

    With residuals $r = f(y) - y$ and the last `history` differences as columns of $\Delta Y,
    \Delta R$,

    $$\gamma = \arg\min_\gamma \|r_k - \Delta R\,\gamma\|^2 + \lambda\|D\gamma\|^2, \qquad
    y_{k+1} = y_k + \beta r_k - (\Delta Y + \beta\,\Delta R)\,\gamma.$$

    One evaluation per step; no Jacobian. On linear maps it is about GMRES restarted every
    `history` steps: at spectral radius 0.97 it takes a tenth of Picard's evaluations or less if
    few eigenvalues are large, about an eighth if they are spread over an interval (a `history` of
    20 then brings a tenth), and a quarter if they fill a disc.

    An iterate with a residual above `safeguard` times the first one, or that is not finite, is
    dropped with all history; the solve goes on with a Picard step from the best iterate, half as
    long each time that this happens in a row.

    ??? cite "Reference"

        D. G. Anderson, "Iterative procedures for nonlinear integral equations", Journal of the
        ACM 12 (1965), 547-560; H. F. Walker and P. Ni, "Anderson acceleration for fixed-point
        iterations", SIAM Journal on Numerical Analysis 49 (2011), 1715-1735.
    """

    rtol: float
    atol: float
    norm: Callable[[PyTree], Scalar] = optx.two_norm
    history: int = eqx.field(static=True, default=10)
    mixing: float = 1.0
    ridge: float | None = None
    safeguard: float = 10.0
    limits: Limits = Limits()

    def __check_init__(self) -> None:
        check_tolerances(self)
        check_at_least("Anderson", "history", self.history, 1)
        check_fraction("Anderson", "mixing", self.mixing)
        if is_number(self.ridge) and not self.ridge >= 0:  # pyright: ignore[reportOptionalOperand]
            raise ValueError(
                f"`Anderson(ridge=...)` must not be negative; got {self.ridge}. Leave it out for "
                "one that suits the precision."
            )
        if is_number(self.safeguard) and not self.safeguard >= 1:
            raise ValueError(
                "`Anderson(safeguard=...)` must be at least 1, as it multiplies the first "
                f"residual; got {self.safeguard}. Use `float('inf')` for no safeguard."
            )

    def record(self, state: _AndersonState) -> Record:
        return state.record

    def init(
        self,
        fn: Callable,
        y: PyTree[Array],
        args: PyTree,
        options: dict[str, Any],
        f_struct: PyTree[jax.ShapeDtypeStruct],
        aux_struct: PyTree[jax.ShapeDtypeStruct],
        tags: frozenset[object],
    ) -> _AndersonState:
        flat, _ = ravel_pytree(y)
        zero = jnp.zeros_like(flat)
        buffer = jnp.zeros((self.history, flat.size), flat.dtype)
        return _AndersonState(
            record=start(y, aux_struct),
            y=flat,
            r=zero,
            best_r=zero,
            dy=buffer,
            dr=buffer,
            count=jnp.array(0),
            has_previous=jnp.array(False),
            retreat=jnp.array(1, flat.dtype),
        )

    def step(
        self,
        fn: Callable,
        y: PyTree[Array],
        args: PyTree,
        options: dict[str, Any],
        state: _AndersonState,
        tags: frozenset[object],
    ) -> tuple[PyTree[Array], _AndersonState, PyTree[Array]]:
        f, aux = fn(y, args)
        record = observe(self, state.record, y, f, aux, steps_back=True)
        flat, unravel = ravel_pytree(y)
        r = ravel_pytree(f)[0] - flat
        keep = record.error <= self.safeguard * record.first_error  # false for NaN

        # Into the ring buffers goes what the last step changed.
        slot = jnp.arange(self.history) == state.count % self.history
        enter = (slot & state.has_previous)[:, None]
        dy = jnp.where(keep, jnp.where(enter, flat - state.y, state.dy), 0)
        dr = jnp.where(keep, jnp.where(enter, r - state.r, state.dr), 0)

        picard = flat + self.mixing * r
        gamma = _least_squares(dr, r, self.ridge)
        change = jnp.dot(gamma, dy + self.mixing * dr, precision=_HIGHEST)
        accelerated = finite_or(picard - change, picard)

        best, _ = ravel_pytree(record.best)
        best_r = jnp.where(record.improved, r, state.best_r)
        retreat = jnp.where(keep, 1, state.retreat / 2)
        new = jnp.where(keep, accelerated, best + retreat * self.mixing * best_r)
        state = _AndersonState(
            record=record,
            y=jnp.where(keep, flat, best),
            r=jnp.where(keep, r, best_r),
            best_r=best_r,
            dy=dy,
            dr=dr,
            count=jnp.where(keep, state.count + state.has_previous, 0),
            has_previous=jnp.array(True),
            retreat=retreat,
        )
        return unravel(finite_or(new, best)), state, aux


def _least_squares(
    dr: Float[Array, "history n"], r: Float[Array, " n"], ridge: float | None
) -> Float[Array, " history"]:
    """γ with Σ γ_i dr_i ≈ r.

    By the normal equations, which are a small matrix whatever n. Residuals shrink by orders of
    magnitude within the history; with rows scaled to norm 1 the equations lose nothing to that,
    and an orthogonal factorisation needed no fewer steps, in float32 at spectral radius 0.999.
    The ridge is relative to the scaled matrix's trace: an absolute one would drive γ to zero
    near convergence, where dr is small.
    """
    if ridge is None:
        ridge = 10 * float(jnp.finfo(dr.dtype).eps)
    squares = jnp.sum(dr**2, axis=1)
    in_use = squares > 0
    scale = jnp.where(in_use, 1 / jnp.sqrt(jnp.where(in_use, squares, 1)), 0)
    rows = dr * scale[:, None]
    gram = jnp.dot(rows, rows.T, precision=_HIGHEST)
    gram = gram + jnp.diag(jnp.where(in_use, ridge, 1).astype(dr.dtype))
    return scale * solve_dense(gram, jnp.dot(rows, r, precision=_HIGHEST))


Anderson.__init__.__doc__ = """**Arguments:**

- `rtol`, `atol`: the tolerance is `atol + rtol * norm(f(y))`.
- `norm`: the norm of the residual, any function from the state to a scalar.
- `history`: how many differences are kept. Costs `2 * history` states of memory.
- `mixing`: the step length β in (0, 1] along the combined residual.
- `ridge`: regularisation of the least-squares problem, relative to the mean square of its
    columns; ten units of rounding if left out.
- `safeguard`: growth of the residual, over the first one, that drops an iterate.
- `limits`: when to give up.

**Raises:** `ValueError` for a value out of range.
"""
