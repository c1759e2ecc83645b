"""Anderson acceleration."""

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array, Bool, Float, Int, PyTree, Scalar

from .._checks import can_check, check_at_least, check_step_length
from .._deprecated import renamed_arguments
from .._precise import dot
from ._base import (
    AbstractResidualSolver,
    check_tolerances,
    finite_or,
    FlatMap,
    Point,
    Proposal,
    SolverLimits,
)
from ._probe import Probe, probe_for

# Differences of iterates far from here, or far from each other, belong to another linear map. On
# tanh networks with several equilibria, forgetting them let more samples reach one; on linear
# maps it costs next to nothing.
_GROWTH = 2.0  # of the residual in one step
_LIFETIMES = 2  # times the memory

# The part of a difference that must be new: half the digits, so that it keeps the other half.
_new_part = lambda dtype: float(jnp.finfo(dtype).eps) ** 0.5

# XLA takes seven times as long for the products of a batch on a CPU with 4 to 7 rows as with 8.
_FEW_ROWS = range(4, 8)


# Derivation. Let the residual be affine, r(y) = r_k - (I - J)(y - y_k), as it nearly is close by.
# For each remembered pair (p, q) of a combination of differences of iterates and the same one of
# residuals,
#     q = -(I - J) p.
# Going back from y_k by Σ γ_i p_i therefore changes the residual by -Σ γ_i q_i, and the best γ
# minimizes ‖r_k - Q γ‖. With orthonormal columns q that is γ = Qᵀ r_k. What is left, r_k - Q γ,
# lies outside of what was learned; there the method knows nothing better than Picard's step β times
# it:
#     y_{k+1} = y_k - P γ + β (r_k - Q γ).
# A new pair is made orthogonal to the old ones by Gram-Schmidt, on q with the same combination of
# p, so that q = -(I - J) p goes on to hold.
class _Memory(eqx.Module):
    y: Float[Array, " n"]  # the previous iterate,
    r: Float[Array, " n"]  # ... and its residual
    # Ring buffers of combinations of differences; rows not in use are zero.
    p: Float[Array, "rows n"]  # of iterates,
    q: Float[Array, "rows n"]  # ... and the same ones of residuals, which are orthonormal
    count: Int[Array, ""]
    retreat: Float[Array, ""]
    probe: Probe | None
    step: Float[Array, " n"] | None  # the last one, if there is a probe


@renamed_arguments(history="`memory`, as in Broyden")
class Anderson(AbstractResidualSolver):
    r"""Anderson acceleration (type II): the step that would have been best for the last few.

    With residuals $r = f(y) - y$ and differences of successive iterates and residuals as columns
    of $\Delta Y, \Delta R$,

    $$\gamma = \arg\min_\gamma \|r_k - \Delta R\,\gamma\|, \qquad
    y_{k+1} = y_k + \beta r_k - (\Delta Y + \beta\,\Delta R)\,\gamma.$$

    The columns of $\Delta R$ are made orthonormal one by one as they come, with the same
    combinations of $\Delta Y$. So there is no least-squares problem to solve, and a step costs a
    few products with vectors. The last `memory` of these columns are kept. As each remembers those
    before it, little is lost with the oldest: nothing, on linear maps with a symmetric Jacobian.

    One evaluation per step; no Jacobian. On linear maps it comes close to GMRES without restarts:
    at spectral radius 0.97 it takes less than a tenth of Picard's evaluations, and an eighth if the
    eigenvalues fill a disc, where no Krylov method does much better.

    All columns but the newest are forgotten where the residual more than doubles in a step, when
    twice the `memory` have been made, and where the newest difference of residuals is, up to
    rounding, a combination of those before it: they were learned elsewhere.

    An iterate with a residual above `safeguard` times the first one, or that is not finite, is
    dropped with all that was learned; the solve goes on with a Picard step from the best iterate,
    half as long each time that this happens in a row.

    Where nothing has improved for a while, states of at most 20 numbers are helped by differences
    of f along each coordinate, one evaluation each, which make the columns of a whole Jacobian: at
    each step, from the initial guess on; then at the best iterate, from which steps go downhill and
    correct columns.

    !!! example

        ```python
        import jax.numpy as jnp
        import optimistix as optx
        import eqx_qdeq as qdeq

        solver = qdeq.Anderson(rtol=1e-5, atol=1e-5)
        optx.fixed_point(lambda y, _: jnp.cos(y), solver, jnp.zeros(1)).value.round(3)
        # [0.739]
        ```

    ??? cite "Reference"

        D. G. Anderson, "Iterative procedures for nonlinear integral equations", Journal of the
        ACM 12 (1965), 547-560; H. F. Walker and P. Ni, "Anderson acceleration for fixed-point
        iterations", SIAM Journal on Numerical Analysis 49 (2011), 1715-1735; Z. Tang, T. Xu, H. He,
        Y. Saad and Y. Xi, "Anderson acceleration with truncated Gram-Schmidt", arXiv:2403.14961
        (2024).
    """

    rtol: float
    atol: float
    norm: Callable[[PyTree], Scalar] = eqx.field(static=True, default=optx.two_norm)
    memory: int = eqx.field(static=True, default=20)
    mixing: float = 1.0
    safeguard: float = 10.0
    limits: SolverLimits = SolverLimits()

    def __check_init__(self) -> None:
        check_tolerances(self)
        check_at_least("Anderson(memory=...)", self.memory, 1)
        check_step_length("Anderson(mixing=...)", self.mixing)
        if can_check("Anderson(safeguard=...)", self.safeguard) and not self.safeguard >= 1:
            raise ValueError(
                "`Anderson(safeguard=...)` must be at least 1, as it multiplies the first "
                f"residual; got {self.safeguard}. Use `float('inf')` for no safeguard."
            )

    def remember(self, y: Float[Array, " n"], f: FlatMap) -> _Memory:
        kept = min(self.memory, y.size)
        rows = _FEW_ROWS.stop if kept in _FEW_ROWS else kept
        buffer = jnp.zeros((rows, y.size), y.dtype)
        return _Memory(
            y=y,
            r=jnp.zeros_like(y),
            p=buffer,
            q=buffer,
            count=jnp.array(0),
            retreat=jnp.array(1, y.dtype),
            probe=(probe := probe_for(y, self.memory)),
            step=None if probe is None else jnp.zeros_like(y),
        )

    def propose(self, at: Point, memory: _Memory) -> Proposal:
        y, r, probe = at.y, at.r, memory.probe
        # A trial that is this bad says nothing of the map near the best iterate.
        keep = at.error <= self.safeguard * at.first_error  # false for NaN
        looking = knows = jnp.array(False)
        if probe is not None:
            looking, knows = probe.going, probe.knows
            keep = probe.keeps(at, self.safeguard) | looking

        dy, dr = y - memory.y, r - memory.r
        jumped = optx.two_norm(r) > _GROWTH * optx.two_norm(memory.r)
        kept = min(self.memory, y.size)
        forget = (jumped | (memory.count >= _LIFETIMES * kept)) & ~knows

        # After looking around, the step is made from the base.
        y, r = jnp.where(looking, memory.y, y), jnp.where(looking, memory.r, r)

        # Which products go together was measured: a batch of 256 on a CPU, 32 to 256 entries.
        along = jnp.stack([dot(memory.q, v) for v in (dr, r)])
        along = jnp.where(forget, 0, along)
        in_q = dot(along, memory.q)
        in_p = dot(along, memory.p)

        # A new part that is little more than rounding would be neither orthogonal to the rest
        # nor a multiple of what the Jacobian makes of p.
        known = optx.two_norm(dr - in_q[0]) <= _new_part(dr.dtype) * optx.two_norm(dr)
        old_p = memory.p
        if probe is not None:
            # Where the columns are those of a whole Jacobian, they are corrected instead (as by
            # Broyden's bad update): with Q c = dr, the P that is closest to the old one and has
            # P c = dy.
            right = known & knows & keep & ~looking
            squares = dot(along[0], along[0])
            c = along[0] / jnp.where(squares > 0, squares, 1)
            defect = dy - in_p[0]
            old_p = jnp.where(right, old_p + c[:, None] * defect[None, :], old_p)
            corrected = jnp.stack([dy, in_p[1] + dot(c, along[1]) * defect])
            in_p = jnp.where(right, corrected, in_p)
        forgotten = known & ~knows
        forget = forget | forgotten
        in_p, in_q = jnp.where(forgotten, 0, in_p), jnp.where(forgotten, 0, in_q)
        p, q, is_new = _normalised(dy - in_p[0], dr - in_q[0])
        is_new = is_new & ~at.is_first & keep & ~(known & knows)

        # The newest column is not in the buffers yet: its part of γ is taken by itself.
        ahead = jnp.where(is_new, dot(q, r), 0)
        change = in_p[1] + ahead * p + self.mixing * (in_q[1] + ahead * q)
        picard = y + self.mixing * r
        accelerated = finite_or(picard - change, picard)

        retreat = jnp.where(keep, 1, memory.retreat / 2)
        # A Jacobian is not dropped: a bad step is made again, shorter.
        shorten, begins = ~keep & knows, jnp.array(False)
        if probe is not None:
            probe, begins, origin = probe.next(at, keep, retreat, self.limits.stagnation)
            retreat = jnp.where(begins, 1, retreat)
        drop = ~keep & ~knows | begins
        pick = lambda new, old, best: jnp.where(keep, new, jnp.where(shorten, old, best))
        base, base_r = pick(y, memory.y, at.best), pick(r, memory.r, at.best_r)
        new = pick(accelerated, base, base + retreat * self.mixing * base_r)
        step = None
        if probe is not None and memory.step is not None:
            step = jnp.where(shorten, memory.step, accelerated - y)
            new = jnp.where(shorten, base + retreat * step, new)
            base, base_r = (
                jnp.where(begins, there, here)
                for there, here in zip(origin, (base, base_r), strict=True)
            )
            new = jnp.where(probe.going, probe.displaced(base, base_r), new)

        count = jnp.where(forget, 0, memory.count)
        # A ring: the newest overwrites the oldest. `where`, as a scatter in a batch is a loop.
        slot = ((jnp.arange(len(memory.q)) == count % kept) & is_new & ~drop)[:, None]
        keep_old = ~drop & ~forget
        return Proposal(
            new,
            _Memory(
                y=base,
                r=base_r,
                p=jnp.where(slot, p, jnp.where(keep_old, old_p, 0)),
                q=jnp.where(slot, q, jnp.where(keep_old, memory.q, 0)),
                count=jnp.where(drop, 0, jnp.where(is_new, count + 1, count)),
                retreat=retreat,
                probe=probe,
                step=step,
            ),
            fallback=base,
            aside=probe is not None and probe.going,
        )


def _normalised(
    p: Float[Array, " n"], q: Float[Array, " n"]
) -> tuple[Float[Array, " n"], Float[Array, " n"], Bool[Array, ""]]:
    """p and q over the norm of q, and whether there is one."""
    squares = jnp.sum(q**2)
    is_new = squares > 0
    inverse = 1 / jnp.sqrt(jnp.where(is_new, squares, 1))
    return p * inverse, q * inverse, is_new


Anderson.__init__.__doc__ = """**Arguments:**

- `rtol`, `atol`: the tolerance is `atol + rtol * norm(f(y))`.
- `norm`: the norm of the residual, any function from the state to a scalar.
- `memory`: how many columns are kept, but never more than the state has entries. Costs
    `2 * memory` states of memory.
- `mixing`: the step length β in (0, 1] along the combined residual.
- `safeguard`: growth of the residual, over the first one, that drops an iterate.
- `limits`: when to give up.

**Raises:** `ValueError` for a value out of range.
"""
