"""Looking around: how a method without a Jacobian learns one, where it is lost.

One iterate per step is all that a solve evaluates. So the differences of f along the coordinates
are taken in as many steps, each to an iterate that is the root of a rounding error away from one
and the same base, and are remembered like any others: in a batch, too, a step costs no more.
"""

import equinox as eqx
import jax.numpy as jnp
import optimistix as optx
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from ._base import Point

# Steps without progress, as a share of `limits.stagnation`: after the first one a method looks
# around where it started, after the second one where it has been best. What it evaluates for that
# is no attempt, and does not count as a step without progress.
_FROM_START, _FROM_BEST = 0.5, 0.8

# For larger states, a Jacobian by differences costs more than it has been worth.
_LARGEST = 20

# A step from the start may multiply the residual by this: roots lie behind hills, too.
_HILL = 10.0


class Probe(eqx.Module):
    """How far looking around has come, and what is asked of iterates since then."""

    start: Float[Array, " n"]
    start_r: Float[Array, " n"]
    turn: Int[Array, ""]  # the iterate is the base moved along this coordinate, from 1 on; or 0
    way: Int[Array, ""]  # 0: the method's own; 1: again from the start; 2: downhill from the best
    bound: Float[Array, ""]  # the largest error that is kept; infinite by the method's own way
    base_error: Float[Array, ""]  # the best error when it was looked around last

    @property
    def going(self) -> Bool[Array, ""]:
        return self.turn > 0

    @property
    def knows(self) -> Bool[Array, ""]:
        """Whether a Jacobian has been learned."""
        return self.way > 0

    def keeps(self, at: Point, safeguard: float | Float[Array, ""]) -> Bool[Array, ""]:
        """Whether it is worth going on from an iterate: false for NaN."""
        own = self.knows | (at.error <= safeguard * at.first_error)
        return own & (at.error <= self.bound)

    def next(
        self, at: Point, keep: Bool[Array, ""], retreat: Float[Array, ""], stagnation: int
    ) -> tuple["Probe", Bool[Array, ""], tuple[Float[Array, " n"], Float[Array, " n"]]]:
        """After an iterate that was worth going on from, or not; whether looking begins, and where:
        the base and its residual.

        `retreat` is the share to which stepping back has shortened the step.
        """
        # From the start on, these are Newton's steps, undamped: each has its own Jacobian.
        renew = (self.way == 1) & keep
        first = (self.way == 0) & (at.stale >= _FROM_START * stagnation)
        second = (self.way < 2) & (at.stale >= _FROM_BEST * stagnation)
        second = second | ((self.way == 1) & (retreat < 0.2))
        # Downhill the Jacobian is learned anew where halving the step leads nowhere any more.
        again = (self.way == 2) & (retreat < 0.02) & (at.best_error < 0.999 * self.base_error)
        renew = renew & ~second
        begins = (first | second | again | renew) & ~self.going & ~at.converged
        way = jnp.where(begins, jnp.where(second | again, 2, 1), self.way)

        after = jnp.where(self.turn == at.y.size, 0, self.turn + 1)
        kept = jnp.where(self.way == 1, _HILL, 1) * at.error
        bound = jnp.where(self.knows & keep & ~self.going, kept, self.bound)
        begun = jnp.where(way == 1, _HILL * at.first_error, at.best_error)
        probe = Probe(
            start=self.start,
            start_r=jnp.where(at.is_first, at.r, self.start_r),
            turn=jnp.where(begins, 1, jnp.where(self.going, after, 0)),
            way=way,
            bound=jnp.where(begins & ~renew, begun, bound),
            base_error=jnp.where(begins, at.best_error, self.base_error),
        )
        place = lambda here, start, best: jnp.where(renew, here, jnp.where(way == 1, start, best))
        origin = place(at.y, self.start, at.best), place(at.r, self.start_r, at.best_r)
        return probe, begins, origin

    def displaced(self, base: Float[Array, " n"], base_r: Float[Array, " n"]) -> Float[Array, " n"]:
        """The base, moved along the coordinate whose turn it is."""
        typical = optx.rms_norm(base)
        size = jnp.abs(base) + jnp.where(typical > 0, typical, optx.rms_norm(base_r))
        # Half of the digits for the difference, half for its error.
        h = lax.stop_gradient(jnp.asarray(jnp.finfo(base.dtype).eps ** 0.5, base.dtype) * size)
        return base + jnp.where(jnp.arange(1, base.size + 1) == self.turn, h, 0)


def probe_for(y: Float[Array, " n"], memory: int) -> Probe | None:
    """Before the first step; none for a state that is too large, or too large for the memory."""
    if y.size > min(memory, _LARGEST):
        return None
    infinity, zero = jnp.array(jnp.inf, y.dtype), jnp.array(0)
    return Probe(y, jnp.zeros_like(y), zero, zero, infinity, infinity)
