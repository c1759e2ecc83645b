"""The leaves of a tree as bytes, and back: what Equinox's serialization writes, read with care.

A file is believed in nothing. What it says of each leaf, what the leaf is, and what is wanted there
are compared before anything is made of them.
"""

import hashlib
import io
import re
import warnings
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import PyTree

from .._checks import short
from .data import read_array

_NUMBERS = bool | int | float | complex
_ARRAYS = jax.Array | np.ndarray | jax.ShapeDtypeStruct


def _is_key(x: Any) -> bool:
    return isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


# --- Written ----------------------------------------------------------------------------------


def _write_leaf(file: Any, x: Any) -> None:
    if isinstance(x, _NUMBERS):
        # Equinox would have JAX write it, which rounds Python's numbers to float32.
        np.save(file, x)
    else:
        eqx.default_serialise_filter_spec(file, jax.random.key_data(x) if _is_key(x) else x)


def serialise(tree: PyTree) -> bytes:
    """All leaves that are numbers, one behind the other."""
    buffer = io.BytesIO()
    eqx.tree_serialise_leaves(buffer, tree, filter_spec=_write_leaf)
    return buffer.getvalue()


def fingerprint(tree: PyTree) -> str:
    """A short name for the values of all leaves that would be saved."""
    return hashlib.sha256(serialise(tree)).hexdigest()[:16]


# What `tree_serialise_leaves` writes has no names: the weights of another model, if of the same
# shapes, would be read without complaint. So the header lists where each belongs.
def describe_leaves(tree: PyTree) -> list[list[str]]:
    """The path and the kind of each leaf that is saved."""
    return [[name, _describe(leaf)] for name, leaf in _saved(tree)]


def _saved(tree: PyTree) -> list[tuple[str, Any]]:
    leaves = jtu.tree_leaves_with_path(tree)
    return [(jtu.keystr(path), leaf) for path, leaf in leaves if is_saved(leaf)]


def is_saved(leaf: Any) -> bool:
    return isinstance(leaf, _ARRAYS) or eqx.is_array_like(leaf)


def _describe(leaf: Any) -> str:
    if isinstance(leaf, _ARRAYS):
        return f"{leaf.dtype}{list(leaf.shape)}"
    return type(leaf).__name__


# --- Read -------------------------------------------------------------------------------------


class LeafError(ValueError):
    """What is wrong with the leaves in a file."""


def check_leaves(stored: Sequence[Any], like: PyTree) -> None:
    """Whether the leaves are those of another structure: numbers of any width are of one kind.

    **Raises:** `LeafError` that names the first difference, which one in number alone would not.
    """
    if not all(isinstance(leaf, list) and [type(x) for x in leaf] == [str, str] for leaf in stored):
        raise LeafError("does not say of each leaf where it belongs and what it is.")
    wanted = describe_leaves(like)
    for (name, have), (other, want) in zip(stored, wanted, strict=False):
        if name != other or _kind(have) != _kind(want):
            raise LeafError(
                f"is of another architecture: it has {short(have)} at {short(name)}, where "
                f"{want} at {other} is expected."
            )
    if len(stored) != len(wanted):
        raise LeafError(
            f"is of another architecture: it has {len(stored)} arrays and numbers, where "
            f"{len(wanted)} are expected."
        )


def _kind(description: str) -> str:
    """Without the width of its numbers: they are converted when they are read."""
    return re.sub(r"^(b?float|u?int|complex)\d+", r"\1", description).replace("bfloat", "float")


def read_leaves(stored: Sequence[Any], payload: bytes, like: PyTree, where: str) -> PyTree:
    """The tree whose leaves these are; `like` gives the structure, as arrays or as their shapes.

    Numbers come in the precision of `like`; if that rounds any, a warning says so.

    **Raises:** `LeafError` for leaves of another structure, or that are not what is said of them.
    """
    check_leaves(stored, like)
    file, values, rounded = io.BytesIO(payload), [], []
    for (name, have), (_, leaf) in zip(stored, _saved(like), strict=True):
        try:
            array = _as_described(read_array(file, len(payload)), have, leaf)
            value, exact = _as_leaf(array, leaf)
        except ValueError as error:
            raise LeafError(f"is damaged or forged: of {name} ({have}), {error}.") from error
        values.append(value)
        if not exact:
            rounded.append(f"{name} from {array.dtype} to {leaf.dtype}")
    if file.read(1):
        extra = len(payload) - file.tell() + 1
        raise LeafError(f"is damaged or forged: it has {extra} bytes behind its last leaf.")
    if rounded:
        more = f" and {len(rounded) - 1} more" if len(rounded) > 1 else ""
        warnings.warn(
            f"{where} was saved in another precision: {rounded[0]}{more} were rounded; "
            'jax.config.update("jax_enable_x64", True) keeps what it has.',
            stacklevel=4,
        )
    remaining = iter(values)
    return jax.tree.map(lambda leaf: next(remaining) if is_saved(leaf) else leaf, like)


def _as_described(array: np.ndarray, have: str, leaf: Any) -> np.ndarray:
    """The array, if it is what the header says of it, in a type that computes."""
    if _is_key(leaf):
        data = jax.eval_shape(jax.random.key_data, leaf)
        name, shape = str(data.dtype), data.shape
    elif isinstance(leaf, _ARRAYS):
        name, shape = have.split("[")[0], leaf.shape
    else:
        # A Python number may be written in any width; a NumPy scalar says its own.
        kinds = {"bool": "b", "int": "iu", "float": "f", "complex": "c"}
        fits = array.dtype.kind in kinds[have] if have in kinds else array.dtype.name == have
        name, shape = array.dtype.name if fits else have, ()
    try:
        dtype = jnp.dtype(name)
    except TypeError:
        raise ValueError(f"{name!r} is not a type of numbers") from None
    # NumPy's format has no name for bfloat16 and its like.
    if dtype.isbuiltin == 2 and array.dtype == np.dtype((np.void, dtype.itemsize)):
        array = array.view(dtype)
    if array.shape != shape or array.dtype != dtype:
        raise ValueError(f"there is an array of {array.dtype} of shape {array.shape}")
    return array


def _as_leaf(array: np.ndarray, leaf: Any) -> tuple[Any, bool]:
    """The array as a leaf of the same type as `leaf`, and whether no number was changed."""
    if _is_key(leaf):
        return jax.random.wrap_key_data(jnp.asarray(array), impl=jax.random.key_impl(leaf)), True
    if not hasattr(leaf, "dtype"):
        return type(leaf)(array.item()), True
    with np.errstate(all="ignore"):
        value = array.astype(leaf.dtype)
        same = (value.astype(array.dtype) == array) | (array != array)
    lost = ~same & ~np.isfinite(value) if jnp.issubdtype(leaf.dtype, jnp.inexact) else ~same
    if lost.any():
        raise ValueError(f"{array[lost][0]} does not fit into {leaf.dtype}")
    if isinstance(leaf, np.generic):
        return leaf.dtype.type(value), bool(same.all())
    value = value if isinstance(leaf, np.ndarray) else jnp.asarray(value)
    return value, bool(same.all())


def not_finite(tree: PyTree) -> str | None:
    """Where in a tree the first number is that is NaN or infinite."""
    for name, leaf in _saved(tree):
        if not _is_key(leaf) and jnp.issubdtype(jnp.result_type(leaf), jnp.inexact):
            if not np.isfinite(np.asarray(leaf)).all():
                return name
    return None
