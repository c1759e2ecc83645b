"""What comes in: samples, states and other numbers, and random keys.

There is one rule for numbers, stated in `numbers`.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jax import lax
from jax.core import Tracer
from jaxtyping import Array, Float, PyTree

from ._checks import describe


def check_key(name: str, key: Any) -> None:
    dtype = getattr(key, "dtype", None)
    if dtype is None or not (
        jnp.issubdtype(dtype, jax.dtypes.prng_key) or (dtype == np.uint32 and key.ndim > 0)
    ):
        raise TypeError(f"`{name}` must be a key, e.g. `jax.random.key(0)`; got {describe(key)}.")


def check_one_key(name: str, key: Any) -> None:
    check_key(name, key)
    if key.ndim > (key.dtype == np.uint32):
        raise ValueError(f"`{name}` must be one key; got keys of shape {key.shape}.")


def precision(*owners: PyTree) -> np.dtype | None:
    """The precision of the real numbers in these trees, the widest one, at least single; `None` if
    there are none."""
    found = [x.dtype for x in jtu.tree_leaves(owners) if eqx.is_inexact_array(x)]
    widths = [jnp.finfo(dtype).bits for dtype in found]
    if not widths:
        return None
    return np.dtype("float64" if max(widths) == 64 else "float32")


def numbers(value: Any, dtype: Any = None, *, name: str = "x") -> Array:
    """Real numbers as an array of precision `dtype`.

    The rule for all that comes in: **numbers are taken in the precision of the parameters that they
    meet.** NumPy arrays, lists, Python numbers, integers, Booleans and floats of any width are
    converted to it; results have it. Where there are no parameters (`dtype=None`), single and
    double precision are kept, and all else becomes JAX's default: float64 under `jax_enable_x64`,
    float32 otherwise.

    **Raises:** `TypeError` for complex numbers and for what are no numbers; `ValueError` for finite
    ones that lie beyond the range of `dtype` (under a transformation they become infinite, as a
    sample that is not finite).
    """
    if isinstance(value, list | tuple) and any(
        isinstance(v, Array) for v in jtu.tree_leaves(value)
    ):
        return jnp.stack([numbers(v, dtype, name=name) for v in value])
    if not isinstance(value, Array) and hasattr(value, "__jax_array__"):
        value = value.__jax_array__()  # pyright: ignore[reportAttributeAccessIssue]
    array = value if isinstance(value, Array) else _on_host(value, name)
    kind = array.dtype
    if jnp.issubdtype(kind, jnp.complexfloating):
        encoded = (
            " Complex amplitudes v are encoded by ComplexAmplitudeEncoding from one real vector of "
            "2·2ⁿ numbers, the 2ⁿ real parts first: `jnp.concatenate([v.real, v.imag])`."
        )
        said = f"`{name}` must be real; got {describe(array)}."
        raise TypeError(said + encoded * (name == "x"))
    if not (jnp.issubdtype(kind, jnp.number) or kind == np.bool_):
        raise TypeError(f"`{name}` must be real numbers; got {describe(value)}.")
    if dtype is None:
        dtype = kind if kind in (np.float32, np.float64) else float
    dtype = jax.dtypes.canonicalize_dtype(dtype)
    check_range(array, dtype, name)
    if isinstance(array, Array):
        return lax.convert_element_type(array, dtype)
    # On the host, since JAX would first take integers of 64 bits for such of 32.
    return jnp.asarray(array.astype(dtype))


def _on_host(value: Any, name: str) -> np.ndarray:
    # NumPy would give what lies under the mask.
    if np.ma.is_masked(value):
        raise ValueError(
            f"`{name}` has masked entries, {np.ma.count_masked(value)} of them; say what they are, "
            "e.g. with `x.filled(0.0)`."
        )
    try:
        return np.asarray(value)
    except (TypeError, ValueError):
        raise TypeError(
            f"`{name}` must be real numbers in an array or in lists of equal lengths; got "
            f"{describe(value)}."
        ) from None


def check_range(array: Array | np.ndarray, dtype: np.dtype, name: str) -> None:
    # Only double precision, which may not be looked at under a transformation, and wide integers
    # hold more than single precision can.
    if isinstance(array, Tracer) or dtype != np.float32 or array.dtype != np.float64:
        return
    sizes = np.abs(np.asarray(array))
    too_large = np.isfinite(sizes) & (sizes > np.finfo(np.float32).max)
    if too_large.any():
        raise ValueError(
            f"`{name}` has a number of size {sizes[too_large].max():.3g}, beyond the range of "
            "float32, in which it is computed. Scale the features (for amplitude encoding their "
            "size does not matter), or compute in double precision: jax_enable_x64."
        )


def features(
    value: Any, dtype: Any = None, *, name: str = "x", size: int | None = None
) -> Float[Array, " d"]:
    """One sample's features, or other numbers in a row, as a vector: `numbers` of one axis, at
    least one of them, and `size` if that is known."""
    array = numbers(value, dtype, name=name)
    wanted = "(d,)" if size is None else f"({size},)"
    if array.ndim > 1:
        raise ValueError(
            f"`{name}` must be one vector, of shape {wanted}; got the shape {array.shape}. Batch "
            "with `jax.vmap`, e.g. `jax.vmap(layer)(x)`."
        )
    if array.ndim == 0:
        raise ValueError(
            f"`{name}` must be a vector, of shape {wanted}; got one number. Write it in a list."
        )
    if array.size == 0:
        raise ValueError(f"`{name}` has no entries; a sample has at least one feature.")
    if size is not None and array.size != size:
        raise ValueError(f"`{name}` must have shape {wanted}; got {array.shape}.")
    return array


def arrays(tree: PyTree, name: str = "x") -> PyTree[Array]:
    """A sample of any structure, its numbers and NumPy arrays as JAX arrays. Integers stay integers
    (a cell may look them up), and a list of numbers is one array."""
    if isinstance(tree, list | tuple) and not hasattr(tree, "_fields"):
        leaves = jtu.tree_leaves(tree)
        if leaves and all(isinstance(v, int | float | np.generic) for v in leaves):
            try:
                return _as_given(np.asarray(tree), name)
            except ValueError:
                pass  # lists of different lengths: a structure
        return type(tree)(arrays(part, name) for part in tree)
    return jtu.tree_map(lambda v: _as_given(v, name) if eqx.is_array_like(v) else v, tree)


def _as_given(value: Any, name: str) -> Array:
    # Not for JAX to convert: it makes infinity of what single precision cannot hold.
    if isinstance(value, Array):
        return value
    array = _on_host(value, name)
    is_float = np.issubdtype(array.dtype, np.floating)
    return numbers(array, name=name) if is_float else jnp.asarray(array)


def real_state(z: PyTree) -> PyTree[Array]:
    """A state as real floating-point arrays; integers, as made by `zeros_like` from a sample of
    integers, in JAX's default precision."""

    def real(leaf: Any) -> Array:
        leaf = jnp.asarray(leaf)
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            return leaf
        if jnp.issubdtype(leaf.dtype, jnp.complexfloating):
            raise TypeError(
                f"the state must be made of real floating-point arrays; got {leaf.dtype}. Split "
                "a complex state into real and imaginary parts."
            )
        return numbers(leaf, name="the state")

    return jtu.tree_map(real, z)


def check_state(name: str, z: PyTree[Array], like: PyTree[Any], *, batched: bool = False) -> None:
    """Raises a `ValueError` for what is not of the structure and shapes of a cell's states."""
    mine, wanted = (jtu.tree_map(np.shape, tree) for tree in (z, like))
    if batched:
        cut = lambda shape: shape[1:] if shape else "no leading axis"
        mine = jtu.tree_map(cut, mine, is_leaf=lambda v: isinstance(v, tuple))
    if mine != wanted:
        axis = ", with a leading axis" if batched else ""
        raise ValueError(
            f"`{name}` must be like the states of the cell, of shape {wanted}{axis}; got "
            f"{jtu.tree_map(np.shape, z)}."
        )


def widened(z: PyTree[Array], out: PyTree[jax.ShapeDtypeStruct]) -> PyTree[Array]:
    """A state in the precision of `out` where that is wider, as where a sample of single precision
    meets parameters of double; the state itself where nothing is, or `out` is of another kind."""
    here, there = jtu.tree_leaves(z), jtu.tree_leaves(out)
    if jtu.tree_structure(z) != jtu.tree_structure(out) or all(
        a.dtype == b.dtype for a, b in zip(here, there, strict=True)
    ):
        return z

    def wider(a: Array, b: jax.ShapeDtypeStruct) -> Array:
        is_wider = b.dtype.itemsize > a.dtype.itemsize and jnp.issubdtype(b.dtype, jnp.floating)
        return a.astype(b.dtype) if is_wider else a

    return jtu.tree_map(wider, z, out)
