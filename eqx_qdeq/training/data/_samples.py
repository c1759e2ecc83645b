"""Samples with their labels or targets."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, Float, Int, Num, PyTree

from ..._checks import describe
from ._arrays import as_samples, check_finite, DataError, on_device, on_host, refuse_masks


class Split(eqx.Module):
    """Samples and their labels or targets, on the device, in JAX's default precision.

    !!! example

        ```python
        import numpy as np
        from eqx_qdeq import training

        split = training.Split(np.ones((4, 2)), np.array([0, 1, 0, 1]))
        len(split), split.x.shape  # (4, (4, 2))
        ```

    **Attributes:**

    - `x`: the samples, shape `(n, d)` (or `(n, ...)` for models that take images), or a pytree of
        arrays with a leading axis of `n`, as for graphs. Integers stay integers.
    - `y`: labels, integers from 0, shape `(n,)`, or `(n, ...)` for one per token; or real targets,
        shape `(n,)` or `(n, ...)`.
    - `sample_weight`: how much each sample counts, shape `(n,)`; `None` if all count alike.
    """

    x: PyTree[Array]
    y: Int[Array, "n ..."] | Float[Array, "n ..."]
    sample_weight: Float[Array, " n"] | None

    def __init__(
        self,
        x: PyTree,
        y: Array | np.ndarray,
        sample_weight: Array | np.ndarray | None = None,
        *,
        name: str = "the split",
    ):
        # Checked on the host, before any of it is copied or rounded.
        refuse_masks(y, f"{name}: y")
        x_host, y_host = as_samples(x, name), np.asarray(y)
        check_shapes(x_host, y_host, name)
        if len(y_host) == 0:
            raise DataError(f"{name}: no samples.")
        features = jtu.tree_map(lambda leaf: on_device(leaf, f"{name}: x"), x_host)
        # One NaN makes the mean loss NaN, and training would blame the learning rate.
        check_finite(x_host, name)
        # Once, for all epochs: a batch is then an index on the device, and no copy from the host.
        self.x, self.y = features, jnp.asarray(targets_of(y_host, name))
        weight = weights_of(sample_weight, len(y_host), name)
        self.sample_weight = None if weight is None else jnp.asarray(weight)

    def __len__(self) -> int:
        return self.y.shape[0]


Split.__init__.__doc__ = """**Arguments:**

- `x`: the samples.
- `y`: the labels or targets.
- `sample_weight`: how much each sample counts; not negative, not all zero.
- `name`: what to call it in errors.

**Raises:** [`eqx_qdeq.training.DataError`][] for no samples, unequal lengths, numbers that are not
finite, or labels that are not integers from 0.
"""


def check_shapes(x: PyTree[np.ndarray], y: np.ndarray, name: str) -> None:
    """Raises a `DataError` for arrays that are not samples and their labels or targets."""
    n = len(jtu.tree_leaves(x)[0])
    is_labels = np.issubdtype(y.dtype, np.integer)
    if y.ndim == 0 or 0 in y.shape[1:] or not (is_labels or y.dtype.kind == "f"):
        raise DataError(
            f"{name}: y must be labels, integers, or real targets, floats, of shape (n,) or "
            f"(n, ...); got {y.dtype} of shape {y.shape}."
        )
    if n != len(y):
        what = "labels" if is_labels else "targets"
        raise DataError(f"{name}: {n} samples but {len(y)} {what}; the lengths must agree.")


def targets_of(y: np.ndarray, name: str) -> Num[np.ndarray, "n ..."]:
    """Targets in JAX's default precision, or labels."""
    if y.dtype.kind == "f":
        check_finite(y, name, "targets")
        return on_host(y, f"{name}: y", copy=True)
    if y.min() < 0:
        raise DataError(f"{name}: label {y.min()} is out of range; labels count from 0.")
    return y.astype(np.int32)


def weights_of(weight: Any, n: int, name: str) -> Float[np.ndarray, " n"] | None:
    """Weights in JAX's default precision."""
    if weight is None:
        return None
    refuse_masks(weight, f"{name}: sample_weight")
    host = np.asarray(weight)
    if host.shape != (n,) or host.dtype.kind not in "biuf":
        raise DataError(
            f"{name}: `sample_weight` must be one number for each of {n} samples; got "
            f"{describe(host)}."
        )
    check_finite(host, name, "weights")
    if host.min() < 0 or not host.any():
        raise DataError(
            f"{name}: `sample_weight` must be at least 0, and not all of it; got {host.min()} to "
            f"{host.max()}."
        )
    return on_host(host.astype(np.float64), f"{name}: sample_weight")
