"""When a small residual is a success: if it is small for another reason than a large state."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

# An iterate this many times as large as the initial guess, or its value, has left the guess's
# scale: there, rounding of the state may hide the residual.
FAR = 10.0


def is_believable(error: Float[Array, ""], scale: Float[Array, ""], solver: Any) -> Bool[Array, ""]:
    """Whether a claim of success by a solver that looks at something else, such as its increments,
    is believed: not where the residual is ten times the tolerance and more."""
    return error <= 10 * (solver.atol + solver.rtol * scale)


def is_earned(
    error: Float[Array, ""],
    scale: Float[Array, ""],
    peak: Float[Array, ""],
    first_scale: Float[Array, ""],
    atol: float | Float[Array, ""],
) -> tuple[Bool[Array, ""], Float[Array, ""], Bool[Array, ""]]:
    """Whether a residual is small for another reason than that the state is large.

    **Arguments:**

    - `error`, `scale`: the norms of the residual and of f(y).
    - `peak`: the largest residual so far.
    - `first_scale`: the size of the initial guess and its value, ‖y0‖ + ‖r0‖.

    **Returns:** whether y left the initial guess's scale, what rounding hides of the residual, and
    whether the residual is earned.
    """
    # A relative tolerance compares the residual with ‖f(y)‖, which is large also where a method
    # leapt because it saw no root. Take r affine, as a method does: from y0 to the root at the
    # distance D it falls from ‖r0‖ to nothing, so that far from y0 (‖f‖ ≈ D) an iterate with ‖r‖ ≈
    # ‖r0‖ is no closer to it than y0 was. With the growth g = ‖f‖ / ‖f0‖ it is asked for ‖r‖ ≤ ‖r0‖
    # / g. Without growth that asks for nothing; nor does an honest g if g² < 1/rtol, as then ‖r‖ ≤
    # rtol ‖f‖ ≈ rtol g ‖r0‖ is smaller. Instead of ‖r0‖ the largest residual counts: y0 may lie
    # near another, unstable equilibrium and have a tiny one. Far out, rounding must not hide it.
    rounding = jnp.finfo(scale.dtype).eps * scale
    is_far = scale > FAR * first_scale
    doubt = jnp.where(is_far & (error < rounding), rounding, error)
    return is_far, rounding, (doubt * scale <= peak * first_scale) | (error + rounding <= atol)
