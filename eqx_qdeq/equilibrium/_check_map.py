"""What a map must be for its fixed points to be asked for."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, PyTree


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
