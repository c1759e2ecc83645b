"""Which solver to use if nobody says."""

import optimistix as optx

from ._anderson import Anderson
from ._base import check_at_least
from ._linear import DENSE_SIZE
from ._newton import Newton


def default_solver(
    size: int, *, rtol: float = 1e-5, atol: float = 1e-5
) -> optx.AbstractFixedPointSolver:
    """A solver that suits a state of `size` numbers per sample.

    [`eqx_qdeq.Newton`][] up to 64, where the Jacobian is a small dense matrix: a quantum cell's
    takes 3 to 5 steps. [`eqx_qdeq.Anderson`][] above, which needs no Jacobian.

    **Arguments:**

    - `size`: how many numbers the state of one sample has.
    - `rtol`, `atol`: the tolerance on ‖f(y) - y‖ is `atol + rtol * ‖f(y)‖`.

    **Raises:** `ValueError` for a value out of range.
    """
    check_at_least("default_solver", "size", size, 0)
    if size <= DENSE_SIZE:
        return Newton(rtol, atol)
    return Anderson(rtol, atol)
