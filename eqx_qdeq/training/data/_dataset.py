"""Samples with their labels, and how they are split."""

from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ..._inputs import numbers


class DataError(ValueError):
    """Data that are missing, malformed or do not fit what was asked of them."""


class Split(eqx.Module):
    """Samples and their labels, on the device, in JAX's default precision.

    **Attributes:**

    - `x`: the samples' features, shape `(n, d)` (or `(n, ...)` for models that take images).
    - `y`: the labels, integers from 0, shape `(n,)`.
    """

    x: Float[Array, "n ..."]
    y: Int[Array, " n"]

    def __init__(self, x: Array | np.ndarray, y: Array | np.ndarray, *, name: str = "the split"):
        # Checked on the host, before any of it is copied or rounded.
        x_host, y_host = np.asarray(x), np.asarray(y)
        features = numbers(x_host, jnp.result_type(float), name=f"{name}: x")
        check_shapes(x_host, y_host, name)
        if len(x_host) == 0:
            raise DataError(f"{name}: no samples.")
        # One NaN makes the mean loss NaN, and training would blame the learning rate.
        check_finite(x_host, name)
        if y_host.min() < 0:
            raise DataError(f"{name}: label {y_host.min()} is out of range; labels count from 0.")
        # Once, for all epochs: a batch is then an index on the device, and no copy from the host.
        self.x = features
        self.y = jnp.asarray(y_host, jnp.int32)

    def __len__(self) -> int:
        return self.x.shape[0]


Split.__init__.__doc__ = """**Arguments:**

- `x`: the features.
- `y`: the labels.
- `name`: what to call it in errors.

**Raises:** [`eqx_qdeq.training.DataError`][] for no samples, unequal lengths, features that are not
finite, or labels that are not integers from 0.
"""


def check_shapes(x: np.ndarray, y: np.ndarray, name: str) -> None:
    """Raises a `DataError` for arrays that are not samples and their labels."""
    if x.ndim < 2:
        raise DataError(f"{name}: samples must have shape (n, ...); got {x.shape}.")
    if y.ndim != 1 or not np.issubdtype(y.dtype, np.integer):
        raise DataError(
            f"{name}: labels must be integers of shape (n,); got {y.dtype} of shape {y.shape}."
        )
    if len(x) != len(y):
        raise DataError(f"{name}: {len(x)} samples but {len(y)} labels; the lengths must agree.")


def check_finite(x: np.ndarray, name: str) -> None:
    """Raises a `DataError` that names the first sample with a NaN or an infinity."""
    finite = np.isfinite(x).reshape(len(x), -1).all(axis=1)
    if not finite.all():
        bad = np.flatnonzero(~finite)
        raise DataError(
            f"{name}: {len(bad)} of {len(x)} samples have pixels that are NaN or infinite, the "
            f"first is sample {bad[0]}; remove or repair them."
        )


def _names(class_names: Sequence[str]) -> tuple[str, ...]:
    return tuple(map(str, class_names))


class Dataset(eqx.Module):
    """Data for training, for choosing the best model, and for the final test.

    **Attributes:**

    - `train`, `validation`, `test`: a [`eqx_qdeq.training.Split`][] each.
    - `class_names`: the name of each label.
    - `name`: where the data come from.

    **Raises:** [`eqx_qdeq.training.DataError`][] for splits whose samples differ in shape, or
    labels that have no name.
    """

    train: Split
    validation: Split
    test: Split
    class_names: tuple[str, ...] = eqx.field(static=True, kw_only=True, converter=_names)
    name: str = eqx.field(static=True, kw_only=True, default="data")

    def __check_init__(self) -> None:
        for part in ("train", "validation", "test"):
            split, shape = getattr(self, part), self.train.x.shape[1:]
            if split.x.shape[1:] != shape:
                raise DataError(
                    f"{self.name}: samples of {part} have shape {split.x.shape[1:]}, those of "
                    f"train {shape}; they must agree."
                )
            # A cross-entropy of a class without a logit would be NaN, or that of another class.
            largest = int(split.y.max())
            if largest >= self.n_classes:
                raise DataError(
                    f"{self.name}: label {largest} in {part} is out of range for {self.n_classes} "
                    "classes; labels count from 0."
                )

    @property
    def n_classes(self) -> int:
        """The number of classes."""
        return len(self.class_names)

    @property
    def in_size(self) -> int:
        """The number of features of a sample."""
        return int(np.prod(self.train.x.shape[1:]))


def stratified_split(
    y: Int[np.ndarray, " n"], fraction: float, seed: int
) -> tuple[Int[np.ndarray, " a"], Int[np.ndarray, " b"]]:
    """Sets a fraction of each class aside.

    **Arguments:**

    - `y`: the labels.
    - `fraction`: how much of each class, in (0, 1); rounded, but at least one sample.
    - `seed`: a non-negative integer; the same seed gives the same split everywhere.

    **Returns:**

    The indices that stay and those set aside, both ascending.

    **Raises:** [`eqx_qdeq.training.DataError`][] for a class with fewer than two samples.
    """
    if not 0 < fraction < 1:
        raise DataError(f"the fraction set aside must be between 0 and 1; got {fraction}.")
    # NumPy promises the stream of a named bit generator; `default_rng` may change its own.
    generator = np.random.Generator(np.random.Philox(seed))
    # Class by class, since of a rare class a plain draw may set nothing aside, or everything.
    aside = []
    for label in np.unique(y):
        members = np.flatnonzero(y == label)
        if len(members) < 2:
            raise DataError(f"label {label} has one sample; a split needs at least two of each.")
        # Both sides need one: an empty class cannot be learned, nor be validated.
        count = min(max(round(fraction * len(members)), 1), len(members) - 1)
        aside.append(generator.permutation(members)[:count])
    chosen = np.sort(np.concatenate(aside))
    # In the order of the data, not class by class.
    return np.setdiff1d(np.arange(len(y)), chosen), chosen
