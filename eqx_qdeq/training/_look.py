"""A model, data and a loss are looked at before anything is compiled: by shapes alone."""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Num, PyTree

from .._checks import describe
from ..equilibrium import Solves
from ._by_content import numbers_as_arrays
from ._forward import Called, forward, in_inference, losing, over_batch
from ._losses import fitted, is_labels, Loss
from ._metrics import Report


class Look(NamedTuple):
    """What is minimized, and what can be said of it. Nothing of it is an array."""

    loss: Loss
    report: Report
    in_training: Report  # where a loss of one's own tells no outputs
    has_outputs: bool
    needs_key: bool  # also in evaluation, as a model that draws shots does
    n_logits: int  # of a classification


def look(
    model: Any,
    x: PyTree[Array | jax.ShapeDtypeStruct],
    y: Num[Array | np.ndarray, "n ..."],
    loss: Loss,
    state: PyTree,
    *,
    n_classes: int | None = None,
    name: str = "the data",
) -> Look:
    """What a model makes of a sample; `n_classes` is the number of logits that are wanted.

    **Raises:** `TypeError` or `ValueError` for what is no model, gives outputs of a shape that does
    not fit `y`, or a loss that is no number.
    """
    if isinstance(model, type) or not (callable(model) or hasattr(model, "solve")):
        raise TypeError(
            "`model` must be an Equinox module of one sample, e.g. a QDEQClassifier; got "
            f"{describe(model)}."
        )
    # A gain as a Python number would leave a program of its own in JAX's caches.
    model = in_inference(numbers_as_arrays(model))
    sample = jax.tree.map(lambda a: jax.ShapeDtypeStruct((1, *a.shape[1:]), a.dtype), (x, y))
    called, needs_key = _called(model, sample[0], state, may_fail=callable(loss))
    target = jax.ShapeDtypeStruct(y.shape[1:], y.dtype)
    solves = called.solves
    if callable(loss):
        solves = _value(model, loss, sample, state) or solves
    else:
        _check_outputs(called.outputs, target, loss, n_classes, name)
    # Where classes have no names, they are at least those that are here.
    least = n_classes or (int(y.max()) + 1 if is_labels(y) else 0)
    task = _task(called.outputs, target, loss, least)
    size = int(np.prod(target.shape)) if task == "regression" else 1
    report = Report(task, size)
    if solves is not None:
        report = Report(task, size, True, solves.sought, solves.unseen)
    in_training = report
    if callable(loss):
        in_training = dataclasses.replace(report, task=None, n_outputs=1)
    n_logits = called.outputs.shape[-1] if task == "classification" else 0
    return Look(loss, report, in_training, called.outputs is not None, needs_key, n_logits)


def _called(model: Any, x: PyTree, state: PyTree, *, may_fail: bool) -> tuple[Called, bool]:
    """The shapes of what a model gives for one sample, and whether it must have a key."""

    def shapes(key: Any) -> Called:
        def batch(model: Any, x: PyTree, state: PyTree, key: Any) -> tuple[Any, PyTree]:
            def one(x: PyTree) -> tuple[Any, PyTree]:
                called = forward(model, x, key=key, state=state)
                return (called.outputs, called.solves), called.state

            return over_batch(one, (0,), state)(x)

        (outputs, solves), _ = eqx.filter_eval_shape(batch, model, x, state, key)
        return Called(_single(outputs), None, solves)

    try:
        return shapes(None), False
    except Exception as error:
        try:
            return shapes(jax.random.key(0)), True
        except Exception:
            # A loss of one's own may call the model in another way.
            if may_fail:
                return Called(None, None, None), False
            of = jax.tree.map(lambda a: f"{a.dtype}{list(a.shape[1:])}", x)
            error.add_note(f"when `model` was called for one sample, x = {of}")
            if state is not None and not _takes_state(model):
                raise TypeError(
                    "`state` is of models that are called as model(x, state), and "
                    f"{type(model).__name__} is not; leave it out. Got {describe(state)}."
                ) from error
            raise error from None


def _takes_state(model: Any) -> bool:
    try:
        inspect.signature(model).bind(None, None)
    except TypeError:
        return False
    return True


def _value(model: Any, loss: Callable, sample: Any, state: PyTree) -> Solves | None:
    """Checks that a loss of one's own is a number, and looks at the solves in it."""

    def batch(model: Any, sample: Any, state: PyTree, key: Any) -> tuple[Any, PyTree]:
        def one(x: PyTree, y: Array) -> tuple[Any, PyTree]:
            value, state_, solves = losing(loss, model, x, y, key, state)
            return (value, solves), state_

        return over_batch(one, (0, 0), state)(*sample)

    key = jax.random.key(0)
    (value, solves), _ = eqx.filter_eval_shape(batch, model, sample, state, key)
    value = _single(value)
    if getattr(value, "shape", None) != () or not jnp.issubdtype(value.dtype, jnp.floating):
        raise ValueError(
            f"`loss` must give one real number for one sample; it gives {describe(value)}."
        )
    return solves


def _single(tree: PyTree) -> PyTree:
    """Of a batch of one, the shapes of that one."""
    struct = lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype) if hasattr(a, "dtype") else a
    return jax.tree.map(struct, tree)


def _check_outputs(outputs: PyTree, y: Any, loss: str, n_classes: int | None, name: str) -> None:
    """Raises a `ValueError` for outputs that a loss by name cannot compare with `y`."""
    if not hasattr(outputs, "shape"):
        shapes = jax.tree.map(lambda a: a.shape, outputs)
        raise ValueError(
            f"a loss by name compares one array of outputs with y; the model gives {shapes}. Write "
            "a function loss(model, x, y, key) of one sample."
        )
    shape = outputs.shape
    if loss == "cross_entropy":
        if not is_labels(y):
            raise ValueError(
                f'loss="cross_entropy" needs labels, integers from 0; y is of {y.dtype}. Use '
                '"mean_square", "huber" or a function for real targets.'
            )
        if shape[:-1] != y.shape or len(shape) == 0 or n_classes not in (None, shape[-1]):
            wanted = "some" if n_classes is None else n_classes
            raise ValueError(
                f"the model gives logits of shape {shape} for one sample, where {name} has "
                f"{wanted} classes{f' for each of {y.shape}' if y.shape else ''}."
            )
    elif fitted(shape, y.shape) != y.shape:
        raise ValueError(
            f"the model gives outputs of shape {shape} for one sample, where targets of {name} "
            f"have shape {y.shape}."
        )


def _task(outputs: Any, y: Any, loss: Loss, n_classes: int) -> str | None:
    """What outputs are: by the loss; or of one's own, by their shape beside that of y."""
    shape = getattr(outputs, "shape", None)
    if not callable(loss):
        return "classification" if loss == "cross_entropy" else "regression"
    if shape is None:
        return None
    if is_labels(y):
        is_logits = len(shape) > 0 and shape[:-1] == y.shape and shape[-1] >= max(n_classes, 2)
        return "classification" if is_logits else None
    return "regression" if fitted(shape, y.shape) == y.shape else None
