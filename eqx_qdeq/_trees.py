"""Small things done to all arrays of a pytree; and how modules print."""

import dataclasses
import functools as ft
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
import wadler_lindig as wl
from jax.core import Tracer
from jaxtyping import Array, Bool, PyTree

_P = ParamSpec("_P")
_T = TypeVar("_T")


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


def nan_on_purpose(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """Of functions that fill up what they return with NaN: `jax_debug_nans` is off inside."""

    @ft.wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        with jax.debug_nans(False):
            return function(*args, **kwargs)

    return call


def summary(numbers: Any) -> str:
    """A number as text; of a batch the least and the largest, or the share that is true. What is
    traced has no numbers, so its shape."""
    if isinstance(numbers, Tracer):
        return eqx.tree_pformat(numbers)
    values = np.asarray(numbers)
    if values.ndim == 0:
        return str(values) if values.dtype.kind in "biu" else f"{values:.3g}"
    if values.size == 0 or values.dtype.kind not in "biuf":
        return eqx.tree_pformat(numbers)
    if values.dtype == bool:
        return f"{values.sum()} of {values.size}"
    return f"{summary(values.min())} to {summary(values.max())}"


def call_doc(name: str, shown: dict[str, Any], **kwargs: Any) -> wl.AbstractDoc:
    """`name(key=value, ...)` for a `__pdoc__`, as Equinox prints modules. A `Text` stands as it
    is."""
    return wl.bracketed(
        begin=wl.TextDoc(f"{name}("),
        docs=wl.named_objs(shown.items(), **kwargs),
        sep=wl.comma,
        end=wl.TextDoc(")"),
        indent=kwargs.get("indent", 2),
    )


class Text(str):
    """A text that prints without quotes."""

    def __pdoc__(self, **kwargs: Any) -> wl.AbstractDoc:
        return wl.TextDoc(str(self))


def doc_of_changes(module: Any, **kwargs: Any) -> wl.AbstractDoc:
    """A `__pdoc__` for a class with an `__init__` of its own: fields that are as it leaves them by
    default are not shown. (Equinox does so for other classes.)"""
    arguments = inspect.signature(type(module).__init__).parameters
    is_default = lambda name, value: name in arguments and value is arguments[name].default
    values = {f.name: getattr(module, f.name) for f in dataclasses.fields(module) if f.repr}
    shown = {name: value for name, value in values.items() if not is_default(name, value)}
    return call_doc(type(module).__name__, shown, **kwargs)


def only_where(counts: Bool[Array, ""], tree: PyTree) -> PyTree:
    """The tree, as a constant where it does not count: the cotangent that passes is zero there,
    whatever the caller's was."""
    inexact, rest = eqx.partition(tree, eqx.is_inexact_array)
    return eqx.combine(tree_where(counts, inexact, constant(inexact)), rest)
