"""What a user brings, arrays, lists or a data frame, as checked NumPy arrays.

Everything here is on the host: data are looked at once, before anything is compiled.
"""

from collections.abc import Sequence
from numbers import Real
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, Float, Num, PyTree

from ..._checks import describe, need, short
from ..._inputs import check_range, numbers

# Real targets of so few values, all of them whole, are as likely to be labels.
_FEW_VALUES = 10


class DataError(ValueError):
    """Data that are missing, malformed or do not fit what was asked of them.

    !!! example

        ```python
        from eqx_qdeq import training

        try:
            training.load_dataset("digits", classes=(0, 12))
        except training.DataError as error:
            print("12" in str(error))
        ```
    """


# --- Samples. ---


def as_samples(x: Any, name: str) -> PyTree[np.ndarray]:
    """Samples as arrays with a leading axis: one array, of any array-like; or the arrays of a
    pytree (a dictionary, a named tuple, a module, or a tuple of arrays), as graphs are."""
    if not _is_tree(x):
        array = _array(x, f"{name}: x")
        if array.ndim < 2:
            hint = " One feature is a column: x.reshape(-1, 1)." if array.ndim == 1 else ""
            raise DataError(f"{name}: samples must have shape (n, ...); got {array.shape}.{hint}")
        if 0 in array.shape[1:]:
            raise DataError(f"{name}: samples of shape {array.shape[1:]} have no features.")
        _check_some(array, name)
        return array
    leaves, structure = jtu.tree_flatten(x, is_leaf=_is_list)
    arrays = [_array(leaf, f"{name}: a part of x") for leaf in leaves]
    shapes = [array.shape for array in arrays]
    if not arrays or any(len(shape) == 0 or shape[0] != shapes[0][0] for shape in shapes):
        shown = ", ".join(map(str, shapes[:5])) + (", …" if len(shapes) > 5 else "")
        raise DataError(
            f"{name}: the arrays of structured samples must share a leading axis, the samples; "
            f"got {len(shapes)} arrays, of the shapes {shown or 'of none'}."
        )
    _check_some(arrays[0], name)
    return jtu.tree_unflatten(structure, arrays)


def _check_some(array: np.ndarray, name: str) -> None:
    if len(array) == 0:
        raise DataError(f"{name}: no samples.")


def _is_list(x: Any) -> bool:
    """Whether it is an array in the making, and no list of arrays."""
    return isinstance(x, list) and not any(len(getattr(v, "shape", ())) > 0 for v in x)


def _is_tree(x: Any) -> bool:
    # So is a tuple of rows that are lists or numbers; and a list, whatever is in it.
    if isinstance(x, list) or _is_sparse(x):
        return False
    if isinstance(x, tuple) and not hasattr(x, "_fields"):
        return any(len(getattr(v, "shape", ())) > 0 or isinstance(v, dict) for v in x)
    return not jtu.all_leaves([x])


def refuse_masks(x: Any, name: str) -> None:
    """Raises a `DataError` for a masked array, whose hidden entries NumPy would bring back."""
    if np.ma.is_masked(x):
        raise DataError(f"{name} has masked entries; fill or remove them, e.g. `x.filled(0)`.")


def _is_sparse(x: Any) -> bool:
    return hasattr(x, "todense")  # SciPy's, JAX's and pydata's


def _array(x: Any, name: str) -> np.ndarray:
    if _is_sparse(x):
        raise DataError(
            f"{name} is sparse ({type(x).__name__}), and samples are dense; use `x.toarray()` or "
            "fewer features, e.g. scikit-learn's TruncatedSVD."
        )
    refuse_masks(x, name)
    if hasattr(x, "columns"):
        return _from_frame(x, name)
    try:
        array = np.asarray(x)
    except (TypeError, ValueError):
        raise DataError(
            f"{name} must be numbers in an array or in lists of equal lengths; got {describe(x)}."
        ) from None
    if array.dtype == object:
        return _from_objects(array, name)
    if array.dtype.kind not in "biuf":
        # Halves of eight exponent bits are no type of NumPy's; texts and complex numbers raise.
        return np.asarray(numbers(array, float, name=name))
    return array


def _from_objects(array: np.ndarray, name: str) -> np.ndarray:
    """Python's numbers, as data frames and lists of mixed types hold them."""
    for index, value in np.ndenumerate(array):
        if not isinstance(value, Real):
            raise DataError(
                f"{name} must be numbers; got {describe(value)} at {list(map(int, index))}."
            )
    return array.astype(float)


def _from_frame(frame: Any, name: str) -> np.ndarray:
    """A data frame's columns, of pandas or what looks like it."""
    names = columns_of(frame)
    if len(set(names)) < len(names):
        twice = next(column for column in names if names.count(column) > 1)
        raise DataError(f"{name} has several columns {twice!r}; rename them, or leave some out.")
    columns, bad = [], []
    for column in frame.columns:
        values = np.asarray(frame[column])
        if values.dtype == object and all(isinstance(value, Real) for value in values):
            values = values.astype(float)
        (columns if values.dtype.kind in "biuf" else bad).append(
            values if values.dtype.kind in "biuf" else f"{str(column)!r} ({values.dtype})"
        )
    if bad:
        raise DataError(
            f"{name}: columns must be numbers; these are not: {', '.join(bad)}. Encode them "
            "(`pandas.get_dummies(x)`, scikit-learn's OneHotEncoder) or leave them out."
        )
    return np.stack(columns, axis=1) if columns else np.zeros((len(frame), 0))


def columns_of(x: Any) -> tuple[str, ...]:
    """The names of a data frame's columns; none of anything else."""
    return tuple(map(str, getattr(x, "columns", ())))


def check_columns(x: Any, wanted: tuple[str, ...], name: str) -> None:
    """Raises a `DataError` for a data frame with other columns, or in another order: they would be
    taken for one another."""
    found = columns_of(x)
    if found and wanted and found != wanted:
        raise DataError(
            f"{name}: columns must be those of the training samples, in their order, "
            f"{short(list(wanted), 200)}; got {short(list(found), 200)}. Write "
            "`x[list(dataset.feature_names)]`."
        )


def check_finite(
    x: PyTree[np.ndarray],
    name: str,
    what: str = "features",
    rows: Sequence[int] | np.ndarray | None = None,
) -> None:
    """Raises a `DataError` that names the first sample with a NaN or an infinity; `rows` says which
    they are, where they are not all of them."""
    for leaf in jtu.tree_leaves(x):
        finite = np.isfinite(leaf)
        if not finite.all():
            finite = finite.all(axis=tuple(range(1, leaf.ndim)))
            bad = np.flatnonzero(~finite)
            first = bad[0] if rows is None else np.min(np.asarray(rows)[bad])
            raise DataError(
                f"{name}: {len(bad)} of {len(leaf)} samples have {what} that are NaN or infinite, "
                f"the first is sample {first}; remove or repair them."
            )


def on_host(array: np.ndarray, name: str, *, copy: bool = False) -> np.ndarray:
    """An array in JAX's default precision. Integers stay integers (a model may look them up, as an
    embedding of tokens does), and so do Booleans, which may be masks."""
    if array.dtype == bool:
        return array.astype(bool, copy=copy)
    is_integer = np.issubdtype(array.dtype, np.integer)
    dtype = jax.dtypes.canonicalize_dtype(int if is_integer else float)
    if not is_integer:
        check_range(array, dtype, name)
        return array.astype(dtype, copy=copy)
    limits = np.iinfo(dtype)
    if array.size and not limits.min <= int(array.min()) <= int(array.max()) <= limits.max:
        raise DataError(
            f"`{name}` has integers beyond the range of {dtype}; number them anew, make them "
            "floats, or compute in double precision: jax_enable_x64."
        )
    # One width for all: arithmetic on pixels of eight bits would wrap around.
    return array.astype(dtype, copy=copy)


def on_device(array: np.ndarray, name: str) -> Array:
    """As `on_host`, on the device; a copy."""
    return jnp.asarray(on_host(array, name, copy=True))


class Standardize(eqx.Module):
    r"""$(x - \mu) / \sigma$ for each feature: what a table's features become.

    !!! example

        ```python
        import numpy as np
        from eqx_qdeq import training

        scaler = training.Standardize.fit(np.array([[1.0, 10.0], [3.0, 30.0]]))
        scaler(np.array([2.0, 40.0]))  # [0. 2.]
        ```

    **Attributes:**

    - `mean`, `scale`: $\mu$ and $\sigma$, shape `(...)` of one sample, in double precision on the
        host. A feature that is constant keeps the scale of its size, and becomes 0.
    """

    mean: Float[np.ndarray, "..."]
    scale: Float[np.ndarray, "..."]

    @classmethod
    def fit(
        cls, x: Num[np.ndarray, "n ..."], sample_weight: Num[np.ndarray, " n"] | None = None
    ) -> "Standardize":
        """Of the samples' means and standard deviations, by scikit-learn's `StandardScaler`."""
        preprocessing = need("sklearn.preprocessing", "train", "standardization")
        rows = np.asarray(x, np.float64).reshape(len(x), -1)
        # By a power of two first, which changes no digit: squares of large and of tiny numbers
        # leave the range, and what is lost of a constant 1e30 must be small beside it.
        unit = _power_of_two(rows)
        if sample_weight is not None:
            weights = np.asarray(sample_weight, np.float64)
            sample_weight = weights / _power_of_two(weights)
        found = preprocessing.StandardScaler().fit(rows / unit, sample_weight=sample_weight)
        shape = np.shape(x)[1:]
        return cls((found.mean_ * unit).reshape(shape), (found.scale_ * unit).reshape(shape))

    def __call__(self, x: Num[np.ndarray | Array, "*n"]) -> Float[np.ndarray, "*n"]:
        """Samples of shape `(n, ...)`, or one of shape `(...)`, standardized."""
        return (self._like(x) - self.mean) / self.scale

    def undo(self, x: Num[np.ndarray | Array, "*n"]) -> Float[np.ndarray, "*n"]:
        """The way back: $\\mu + \\sigma x$."""
        return self.mean + self.scale * self._like(x)

    def _like(self, x: Any) -> Float[np.ndarray, "*n"]:
        x, shape = _array(x, "what is standardized").astype(np.float64), self.mean.shape
        if x.shape[max(x.ndim - len(shape), 0) :] != shape:
            many = ", ".join(map(str, ("n", *shape)))
            raise DataError(
                f"what is standardized must have shape ({many}), as what it was fitted to; got "
                f"{x.shape}."
            )
        return x


def _power_of_two(rows: np.ndarray) -> np.ndarray | np.floating:
    """The largest one below the largest number of each column; 1 for zeros."""
    largest = np.max(np.abs(rows), axis=0, initial=0.0)
    return np.exp2(np.frexp(np.where(largest > 0, largest, 1.0))[1] - 1.0)


# --- Labels and targets. ---


def as_targets(
    y: Any, task: str | None, class_names: Sequence[str] | None, name: str
) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """Labels, counted from 0, and the classes' names; or real targets, and `None`."""
    array = _plain(y, f"{name}: y")
    if task is None:
        task = "regression" if array.dtype.kind == "f" else "classification"
        if array.dtype.kind == "f" and class_names is not None:
            task = "classification"
        elif array.dtype.kind == "f" and _looks_like_labels(array):
            raise DataError(
                f"{name}: y has {len(np.unique(array))} different values, all of them whole; pass "
                'task="classification" if they are labels, task="regression" if they are not.'
            )
    if task == "regression":
        return _real_targets(array, class_names, name), None
    return _labels(array, class_names, name)


def _looks_like_labels(array: np.ndarray) -> bool:
    values = np.unique(array[np.isfinite(array)])
    return 0 < len(values) <= _FEW_VALUES and bool(np.all(values == np.round(values)))


def _plain(y: Any, name: str) -> np.ndarray:
    if _is_sparse(y):
        raise DataError(f"{name} is sparse ({type(y).__name__}); use `y.toarray()`.")
    refuse_masks(y, name)
    try:
        array = np.asarray(y)
        # Of strings, Booleans or numbers alone NumPy finds the type; of a mixture, that of text.
        if array.dtype == object:
            kinds = {_kind(value) for value in array.ravel()}
            array = np.asarray(array.tolist()) if len(kinds) == 1 else array
    except (TypeError, ValueError):
        raise DataError(f"{name} must be one label or target per sample; got {describe(y)}.") from (
            None
        )
    if array.dtype.kind == "S":
        try:
            array = np.char.decode(array, "utf-8")
        except UnicodeDecodeError:
            raise DataError(f"{name} has bytes that are no text; give the labels as str.") from None
    if array.dtype.kind not in "biufU":
        kinds = sorted({type(value).__name__ for value in array.ravel()})
        raise DataError(
            f"{name} must be labels (integers, Booleans or strings, of one kind) or real targets; "
            f"got {array.dtype}: {', '.join(kinds)}."
        )
    return array


def _kind(value: Any) -> str:
    return next((k.__name__ for k in (bool, np.bool_, str, Real) if isinstance(value, k)), "?")


def _real_targets(
    array: np.ndarray, class_names: Sequence[str] | None, name: str
) -> Float[np.ndarray, "n ..."]:
    if class_names is not None:
        raise DataError(f"{name}: `class_names` are of a classification; real targets have none.")
    if array.dtype.kind not in "biuf":
        raise DataError(f"{name}: targets of a regression must be numbers; got {array.dtype}.")
    if array.ndim not in (1, 2) or 0 in array.shape[1:]:
        raise DataError(f"{name}: targets must have shape (n,) or (n, k); got {array.shape}.")
    targets = array.astype(np.float64)
    check_finite(targets, name, "targets")
    return targets


def as_labels(y: Any, name: str) -> np.ndarray:
    """Labels as they are called, shape `(n,)`."""
    array = _plain(y, f"{name}: y")
    # A column of labels, as a table with one column is, is a vector.
    array = array.reshape(-1) if array.ndim == 2 and array.shape[1] == 1 else array
    if array.ndim != 1:
        raise DataError(
            f"{name}: labels must have shape (n,); got {array.shape}. Of one-hot labels take "
            "`y.argmax(axis=1)`."
        )
    return array


def _labels(
    y: Any, class_names: Sequence[str] | None, name: str
) -> tuple[np.ndarray, tuple[str, ...]]:
    array = as_labels(y, name)
    if array.dtype.kind == "f":
        check_finite(array, name, "labels")
        if np.any(array != np.round(array)):
            raise DataError(
                f"{name}: labels must be whole numbers or names; got {array[array % 1 != 0][0]}."
            )
        array = array.astype(np.int64)
    found, labels = np.unique(array, return_inverse=True)
    if len(found) == 1:
        raise DataError(
            f"{name}: all labels are {found[0].item()!r}; a classification has two classes or more."
        )
    if class_names is None:
        return labels, tuple(map(str, found.tolist()))
    names = tuple(map(str, class_names))
    if len(names) == len(found):
        return labels, names
    # Some class may have no sample here; then the labels must say themselves which.
    if array.dtype.kind in "iu" and array.size and 0 <= array.min() and array.max() < len(names):
        return array.astype(np.int64), names
    shown = ", ".join(map(str, found.tolist()[:10])) + (", …" if len(found) > 10 else "")
    raise DataError(
        f"{name}: `class_names` has {len(names)} names for {len(found)} labels: {shown}. Give one "
        "for each, in sorted order."
    )
