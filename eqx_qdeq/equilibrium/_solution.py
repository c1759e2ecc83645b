"""Solution: what a solve returns."""

import equinox as eqx
import optimistix as optx
from jaxtyping import Array, Bool, PyTree


class Solution(eqx.Module):
    """The result of a solve.

    **Attributes:**

    - `value`: the equilibrium, a pytree like the cell's state; always finite. Where the solve
        failed it is the best iterate known, at worst the initial guess.
    - `result`: an `optimistix.RESULTS` item that says how the solve ended.
    - `stats`: a dictionary of arrays without derivatives: `"num_steps"` of the solver,
        `"num_evals"` of the cell, `"num_jvps"` of products with its Jacobian, and the true
        `"residual"`, the Euclidean norm ‖f(z) - z‖ at `value`.
    """

    value: PyTree[Array]
    result: optx.RESULTS
    stats: dict[str, Array]

    @property
    def success(self) -> Bool[Array, "..."]:
        """Whether the tolerance was met."""
        return self.result == optx.RESULTS.successful
