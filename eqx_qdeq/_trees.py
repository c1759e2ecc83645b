"""Small things done to all arrays of a pytree."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Bool, PyTree


def all_finite(tree: PyTree[Array]) -> Bool[Array, ""]:
    """Whether every entry of every inexact array is finite."""
    leaves = [x for x in jtu.tree_leaves(tree) if eqx.is_inexact_array(x)]
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in leaves] or [jnp.array(True)]))


def tree_where(predicate: Bool[Array, ""], a: PyTree[Array], b: PyTree[Array]) -> PyTree[Array]:
    """`jnp.where` on the arrays of two trees of one structure."""
    return jtu.tree_map(lambda x, y: jnp.where(predicate, x, y), a, b)


def constant(tree: PyTree) -> PyTree:
    """The tree without derivatives, its entries that are no arrays as they are."""
    return jtu.tree_map(lambda x: jax.lax.stop_gradient(x) if eqx.is_array(x) else x, tree)


def only_where(counts: Bool[Array, ""], tree: PyTree) -> PyTree:
    """The tree, as a constant where it does not count: the cotangent that passes is zero there,
    whatever the caller's was."""
    inexact, rest = eqx.partition(tree, eqx.is_inexact_array)
    return eqx.combine(tree_where(counts, inexact, constant(inexact)), rest)
