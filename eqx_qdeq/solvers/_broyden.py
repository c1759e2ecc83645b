"""Broyden's quasi-Newton methods."""

from collections.abc import Callable
from typing import Literal

import equinox as eqx
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array, Bool, Float, Int, PyTree, Scalar

from .._checks import can_check, check_at_least
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

# More updates than this of a small matrix say nothing new: of quantum cells with 4 values no more
# were solved with 40 than with 16. Each costs its share of every step.
_enough_updates = lambda n: max(16, 4 * n)


# Derivation. After the step s the residual fell by w = r_k - r_{k+1}, and were r affine, w = (I -
# J) s: the inverse B of I - J has to map w to s (the secant condition). Among all B with B w = s,
# the one
#     B + (s - B w) aᵀ / (aᵀ w)
# differs from the old B by rank one. With a = Bᵀ s it is the inverse, by Sherman and Morrison, of
# the smallest change to B⁻¹ ("good"); with a = w it is the smallest change to B itself ("bad"). So
# B is I plus a sum of u vᵀ, and is applied, never formed: 2 n numbers for each step.
class _Memory(eqx.Module):
    y: Float[Array, " n"]  # the iterate that the last step started from,
    r: Float[Array, " n"]  # ... and its residual
    u: Float[Array, "memory n"]  # the inverse is I + Σ u_i v_iᵀ; rows not in use are zero
    v: Float[Array, "memory n"]
    count: Int[Array, ""]
    retreat: Float[Array, ""]
    probe: Probe | None


class Broyden(AbstractResidualSolver):
    r"""Broyden's method: Newton's with an inverse Jacobian learned on the way.

    $$y_{k+1} = y_k + B_k\, r_k, \qquad B_k \approx (I - J)^{-1}, \qquad B_0 = I$$

    so the first step is Picard's. With the step s and the change of the residual $w = r_k -
    r_{k+1}$, which the exact inverse would map to s,

    $$B_{k+1} = B_k + \frac{(s - B_k w)\, a^\top}{a^\top w}, \qquad
    a = B_k^\top s \text{ (good)}, \quad a = w \text{ (bad)}.$$

    One evaluation per step; no Jacobian. When `memory` updates are stored the inverse starts
    again from I. (Dropping the oldest alone leaves updates that were made on top of it: the good
    method then took three times the steps at spectral radius 0.9.)

    After an iterate with a residual above `safeguard` times the first one, or that is not finite,
    the solve goes on from the best iterate with half the step, a quarter if it happens again, and
    so on; what the bad step taught is kept at first, and all is forgotten at the third time.

    Where nothing has improved for a while, states of at most 20 numbers are helped by differences
    of f along each coordinate, one evaluation each, from which the inverse is learned anew: at each
    step, from the initial guess on; then at the best iterate, from which steps go downhill.

    !!! example

        ```python
        import jax.numpy as jnp
        import optimistix as optx
        import eqx_qdeq as qdeq

        solver = qdeq.Broyden(rtol=1e-5, atol=1e-5)
        optx.fixed_point(lambda y, _: jnp.cos(y), solver, jnp.zeros(1)).value.round(3)
        # [0.739]
        ```

    ??? cite "Reference"

        C. G. Broyden, "A class of methods for solving nonlinear simultaneous equations",
        Mathematics of Computation 19 (1965), 577-593; S. Bai, J. Z. Kolter and V. Koltun, "Deep
        equilibrium models", NeurIPS 2019, for limited memory.
    """

    rtol: float
    atol: float
    norm: Callable[[PyTree], Scalar] = eqx.field(static=True, default=optx.two_norm)
    method: Literal["good", "bad"] = eqx.field(static=True, default="good")
    memory: int = eqx.field(static=True, default=40)
    safeguard: float = 10.0
    limits: SolverLimits = SolverLimits()

    def __check_init__(self) -> None:
        check_tolerances(self)
        check_at_least("Broyden(memory=...)", self.memory, 1)
        if self.method not in ("good", "bad"):
            raise ValueError(
                f'`Broyden(method=...)` must be "good" or "bad"; got {self.method!r}. "good" is '
                "the method usually meant."
            )
        if can_check("Broyden(safeguard=...)", self.safeguard) and not self.safeguard >= 1:
            raise ValueError(
                "`Broyden(safeguard=...)` must be at least 1, as it multiplies the first "
                f"residual; got {self.safeguard}. Use `float('inf')` for no safeguard."
            )

    def remember(self, y: Float[Array, " n"], f: FlatMap) -> _Memory:
        rows = min(self.memory, _enough_updates(y.size))
        buffer = jnp.zeros((rows, y.size), y.dtype)
        return _Memory(
            y=y,
            r=jnp.zeros_like(y),
            u=buffer,
            v=buffer,
            count=jnp.array(0),
            retreat=jnp.array(1, y.dtype),
            probe=probe_for(y, rows),
        )

    def propose(self, at: Point, memory: _Memory) -> Proposal:
        probe = memory.probe
        keep = at.error <= self.safeguard * at.first_error  # false for NaN
        looking = stay = begins = jnp.array(False)
        if probe is not None:
            looking, keep = probe.going, probe.keeps(at, self.safeguard)
            # The Jacobian is that of the base, wherever the best iterate may be.
            stay = looking | (probe.knows & ~keep)
        base, base_r = (
            jnp.where(stay, old, jnp.where(keep, new, best))
            for old, new, best in ((memory.y, at.y, at.best), (memory.r, at.r, at.best_r))
        )

        # Both vectors at once: the buffers are most of what a step reads.
        full = memory.count == len(memory.u)
        s, w = at.y - memory.y, memory.r - at.r
        bw, br = _apply(memory.u, memory.v, jnp.stack([w, base_r]), unless=full)
        a = w
        if self.method == "good" or probe is not None:
            # Of steps along coordinates, the good update keeps what the ones before have taught.
            good = _apply(memory.v, memory.u, s[None], unless=full)[0]
            a = good if self.method == "good" else jnp.where(looking, good, w)
        left, learnt = _secant(s, w, bw, a)
        learnt = learnt & ~at.is_first

        # 1, 1/2, 1/4: below 0.2 the third bad iterate in a row has been seen.
        retreat = jnp.where(keep | looking, 1, memory.retreat / 2)
        forget = retreat < 0.2
        if probe is not None:
            forget = forget & ~probe.knows
            probe, begins, origin = probe.next(at, keep, retreat, self.limits.stagnation)
            forget, retreat = forget | begins, jnp.where(begins, 1, retreat)
        count = jnp.where(full, 0, memory.count)
        slot = ((jnp.arange(len(memory.u)) == count) & learnt & ~forget)[:, None]
        keep_old = ~(full | forget)
        u = jnp.where(slot, left, jnp.where(keep_old, memory.u, 0))
        v = jnp.where(slot, a, jnp.where(keep_old, memory.v, 0))
        count = jnp.where(forget, 0, jnp.where(learnt, count + 1, count))

        # B_{k+1} r = B_k r + u (a · r): the newest update is not in the buffers yet.
        br = br + jnp.where(learnt, dot(a, base_r) * left, 0)
        step = finite_or(jnp.where(forget, base_r, br), base_r)
        new = base + retreat * step
        if probe is not None:
            base, base_r = (
                jnp.where(begins, there, here)
                for there, here in zip(origin, (base, base_r), strict=True)
            )
            new = jnp.where(probe.going, probe.displaced(base, base_r), new)
        memory = _Memory(y=base, r=base_r, u=u, v=v, count=count, retreat=retreat, probe=probe)
        return Proposal(new, memory, aside=probe is not None and probe.going)


def broyden_inverse(
    memory: _Memory, x: Float[Array, " n"], *, transpose: bool = False
) -> Float[Array, " n"]:
    """Applies the inverse B ≈ (I - J)⁻¹ that a solve ended with, or its transpose.

    **Arguments:**

    - `memory`: the `state.memory` of an `optimistix.Solution` by [`eqx_qdeq.Broyden`][].
    - `x`: a flattened state (by `jax.flatten_util.ravel_pytree`).

    ??? cite "Reference"

        Z. Ramzi, F. Mannel, S. Bai, J.-L. Starck, P. Ciuciu and T. Moreau, "SHINE: sharing the
        inverse estimate from the forward pass for bi-level optimization and implicit models",
        ICLR 2022.
    """
    u, v = (memory.v, memory.u) if transpose else (memory.u, memory.v)
    return _apply(u, v, x[None])[0]


def _apply(
    u: Float[Array, "memory n"],
    v: Float[Array, "memory n"],
    x: Float[Array, "k n"],
    unless: bool | Bool[Array, ""] = False,
) -> Float[Array, "k n"]:
    """x + Σ u_i (v_i · x) for each x, or x alone."""
    along = jnp.stack([dot(v, row) for row in x])
    return x + dot(jnp.where(unless, 0, along), u)


def _secant(
    s: Float[Array, " n"], w: Float[Array, " n"], bw: Float[Array, " n"], a: Float[Array, " n"]
) -> tuple[Float[Array, " n"], Bool[Array, ""]]:
    """The update u aᵀ after which B w = s, and whether it can be made."""
    slope = dot(a, w)
    # A slope that is rounding next to |a| |w| would make an update of nothing but noise.
    size = jnp.sqrt(jnp.sum(a**2) * jnp.sum(w**2))
    possible = jnp.abs(slope) > jnp.finfo(s.dtype).eps * size  # false for NaN
    left = (s - bw) / jnp.where(possible, slope, 1)
    possible = possible & jnp.all(jnp.isfinite(left)) & jnp.all(jnp.isfinite(a))
    return left, possible


Broyden.__init__.__doc__ = """**Arguments:**

- `rtol`, `atol`: the tolerance is `atol + rtol * norm(f(y))`.
- `norm`: the norm of the residual, any function from the state to a scalar.
- `method`: Broyden's `"good"` or `"bad"` update.
- `memory`: how many updates are stored, but never more than 16, or 4 for each entry of the
    state where that is more. Costs `2 * memory` states of memory.
- `safeguard`: growth of the residual, over the first one, that drops an iterate.
- `limits`: when to give up.

**Raises:** `ValueError` for a value out of range.
"""
