"""What is minimized: losses by name, or a function of one sample; and what each sample counts."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Num

from .._checks import check_choice, describe

Loss = str | Callable[..., Any]
"""What is minimized: `"cross_entropy"`, `"mean_square"`, `"huber"`, or a function
`loss(model, x, y, key)` of one sample. The mean over the batch is taken."""


def _cross_entropy(logits: Array, y: Array) -> Float[Array, ""]:
    return jnp.mean(optax.losses.softmax_cross_entropy_with_integer_labels(logits, y))


def _mean_square(outputs: Array, y: Array) -> Float[Array, ""]:
    return jnp.mean(optax.losses.squared_error(outputs, y))


def _huber(outputs: Array, y: Array) -> Float[Array, ""]:
    return jnp.mean(optax.losses.huber_loss(outputs, y))


NAMED: dict[str, Callable[[Array, Array], Float[Array, ""]]] = {
    "cross_entropy": _cross_entropy,
    "mean_square": _mean_square,
    "huber": _huber,
}
"""Losses of one sample's outputs. A sample of several tokens or outputs counts with their mean."""


def resolve(loss: Loss | None, y: Num[Array | np.ndarray, "n ..."]) -> Loss:
    """The loss that was asked for; by the type of `y` if none was."""
    if loss is None:
        return "cross_entropy" if is_labels(y) else "mean_square"
    if not callable(loss):
        check_choice("loss", loss, [*NAMED, "or a function loss(model, x, y, key) of one sample"])
    return loss


def is_labels(y: Any) -> bool:
    """Whether they are classes, counted from 0, and no real numbers."""
    return bool(jnp.issubdtype(y.dtype, jnp.integer))


def fitted(outputs: tuple[int, ...], y: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a sample's outputs as they are compared with its target: a single output is the
    number, where the target is one."""
    return () if (outputs, y) == ((1,), ()) else outputs


ClassWeight = str | Mapping[int, float] | Sequence[float] | np.ndarray | Array
"""How much each class counts: `"balanced"`, as much as all others; a number for each class; or
numbers by class, 1 for those that are left out."""


def class_weights(given: ClassWeight | None, y: Any, n_classes: int) -> np.ndarray | None:
    """What each class counts: an array of shape `(n_classes,)`."""
    if given is None:
        return None
    labels = np.asarray(y)
    if not is_labels(labels) or labels.ndim != 1:
        raise ValueError(
            "`class_weight` needs one label per sample; here y is "
            f"{describe(labels)}. Use `sample_weight` of the data, or a loss of your own."
        )
    if isinstance(given, str):
        check_choice("class_weight", given, ["balanced"])
        counts = np.bincount(labels, minlength=n_classes)
        # As in scikit-learn: a class that has no sample here has no weight.
        present = np.maximum(counts, 1)
        return np.where(counts > 0, len(labels) / (np.sum(counts > 0) * present), 0.0)
    weights = np.ones(n_classes)
    if isinstance(given, Mapping):
        for label, weight in given.items():
            if label not in range(n_classes):
                raise ValueError(
                    f"`class_weight` has the class {label!r}; the classes are 0 to {n_classes - 1}."
                )
            weights[label] = weight
    elif np.shape(given) == (n_classes,):
        weights = np.asarray(given, float)
    else:
        raise ValueError(
            f'`class_weight` must be "balanced", or one number for each of {n_classes} classes, as '
            f"a list or a dictionary; got {describe(given)}."
        )
    # Written so that NaN is refused too.
    if not (np.all(weights >= 0) and np.all(np.isfinite(weights)) and np.any(weights > 0)):
        raise ValueError(
            f"`class_weight` must be finite, at least 0, and not all of it; got {given}."
        )
    return weights


def sample_weights(
    weight: Any, by_class: np.ndarray | None, y: Any
) -> Float[np.ndarray, " n"] | None:
    """What each sample counts; `None` if all count alike."""
    if by_class is None:
        return None if weight is None else np.asarray(weight)
    of_class = by_class[np.asarray(y)]
    return of_class if weight is None else of_class * np.asarray(weight)
