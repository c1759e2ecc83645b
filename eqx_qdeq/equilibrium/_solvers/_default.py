"""Which solver suits which state."""

import optimistix as optx

from ._anderson import Anderson
from ._newton import Newton

# Above this size the dense Jacobian costs more than the evaluations that Newton saves.
_DENSE_SIZE = 64


def default_solver(
    size: int, *, rtol: float = 1e-5, atol: float = 1e-5
) -> optx.AbstractFixedPointSolver:
    """The solver that a [`eqx_qdeq.DEQ`][] uses if it is given none.

    **Arguments:**

    - `size`: how many numbers the state of one sample has.
    - `rtol`, `atol`: the tolerances.

    **Returns:**

    [`eqx_qdeq.Newton`][] up to 64 numbers, [`eqx_qdeq.Anderson`][] above.
    """
    if size <= _DENSE_SIZE:
        return Newton(rtol, atol)
    return Anderson(rtol, atol)
