"""How a model is called: what it makes of one sample, and how the solves inside went."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ..equilibrium import Solution, Solves, Unrolled, with_solves
from ..models import UnrolledClassifier, UnrolledRegressor

BATCH = "batch"
"""The name of the axis over samples, for models with state: as in Equinox's examples."""


class Called(NamedTuple):
    """What comes of a call for one sample."""

    outputs: PyTree[Array]
    state: PyTree  # of a model that has one
    solves: Solves | None


def forward(
    model: Any, x: PyTree[Array], *, key: PRNGKeyArray | None = None, state: PyTree = None
) -> Called:
    """Calls a model for one sample, as it wants to be called."""
    if state is not None:
        named = {"key": key} if _takes_key(model) else {}
        (outputs, state), found = with_solves(model, x, state, **named)
        return Called(outputs, state, found)
    # By what it can do, not by its class: models from elsewhere are trained too.
    if hasattr(model, "solve"):
        found = model.solve(x, key=key)
        if isinstance(found, Solution):
            return Called(found.value, None, Solves.of(found, sought=_seeks(model)))
        if isinstance(found, tuple) and len(found) == 2 and isinstance(found[1], Solution):
            return Called(found[0], None, Solves.of(found[1], sought=_seeks(model)))
    named = {"key": key} if _takes_key(model) else {}
    outputs, found = with_solves(model, x, **named)
    return Called(outputs, None, found)


def with_penalty(
    model: Any, x: PyTree[Array], key: PRNGKeyArray | None, penalty_key: PRNGKeyArray
) -> tuple[Called, Float[Array, ""]]:
    """As `forward`, and the Jacobian penalty, of a model that has one."""
    outputs, found, penalty = model.solve_with_penalty(x, key=key, penalty_key=penalty_key)
    return Called(outputs, None, Solves.of(found, sought=_seeks(model))), penalty


def losing(
    loss: Callable[..., Any],
    model: Any,
    x: PyTree[Array],
    y: Array,
    key: PRNGKeyArray,
    state: PyTree,
) -> tuple[Any, PyTree, Solves | None]:
    """A loss of the user's own, the state after it, and the solves in it."""
    if state is None:
        value, found = with_solves(loss, model, x, y, key)
        return value, None, found
    (value, state), found = with_solves(loss, model, state, x, y, key)
    return value, state, found


def _seeks(model: Any) -> bool:
    # Nothing is solved in an unrolled model: its residual is a result, not a failure.
    return not isinstance(model, Unrolled | UnrolledClassifier | UnrolledRegressor)


def _takes_key(model: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(model).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(p.name == "key" or p.kind is p.VAR_KEYWORD for p in parameters)


def over_batch(function: Callable[..., Any], in_axes: Any, state: PyTree) -> Callable[..., Any]:
    """`function`, which returns (results, state), for a batch. A model with state may look at the
    other samples, as batch normalization does."""
    axis_name = None if state is None else BATCH
    return jax.vmap(function, in_axes, out_axes=(0, None), axis_name=axis_name)


def in_inference(model: Any) -> Any:
    """The model as it is used: without dropout, with the statistics of batches that it has kept."""
    return eqx.nn.inference_mode(model)
