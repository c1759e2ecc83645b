"""Solution: what a solve returns."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
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


# --- What a map must be for its fixed points to be asked for. ---


def check_map(fn: Callable, z0: PyTree[Array]) -> None:
    """Refuses a map that does not lead from states to states."""
    for leaf in jtu.tree_leaves(z0):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise TypeError(
                f"the state must be made of real floating-point arrays; got {leaf.dtype}. Split "
                "a complex state into real and imaginary parts."
            )
    # A fresh function: JAX compares the one it is given with those it saw before, and comparing
    # modules that hold tracers fails.
    out = jax.eval_shape(lambda z: fn(z), z0)
    here = jax.eval_shape(lambda z: z, z0)
    if jtu.tree_structure(out) != jtu.tree_structure(here) or any(
        a.shape != b.shape or a.dtype != b.dtype
        for a, b in zip(jtu.tree_leaves(out), jtu.tree_leaves(here), strict=True)
    ):
        raise ValueError(
            "the cell must map a state to one of the same structure, shapes and dtypes; it maps "
            f"{_describe(here)} to {_describe(out)}."
        )


def _describe(tree: PyTree) -> str:
    return str(jtu.tree_map(lambda s: f"{s.dtype}{list(s.shape)}", tree))
