"""Which run a checkpoint is of: the initial model, what it computes, and what its optimizer does.

Data, seed and the like are compared as they are. Of a model there are its initial leaves, up to
rounding, and what it is made of. An optimizer is a pair of closures, so it is asked what it does:
to gradients of several sizes one after the other, which shows its momenta and clips, and then at
step counts up to a million, which shows its schedules.
"""

import functools as ft
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
import optax
from jaxtyping import Array, Float, PyTree

from ._by_content import ByContent
from ._described import close, describe, differs, directions, sketch
from ._step import State, update_by

# The updates of another machine, relative to their norm: some optimizers amplify rounding.
_ROUNDING = 1e-3
_SIZES = (1.0, 1e-2, 1e2, 1.0, 1e-3, 1.0)
_COUNTS = (*range(11), *sorted({int(12 * 1.25**i) for i in range(51)}))


def model_identity(model: PyTree, params: PyTree) -> dict[str, Any]:
    """The entries of a run's identity that are of its model; `params` is what is trained of it."""
    structure, arrays = describe(model)
    trained = {jtu.keystr(path): leaf for path, leaf in jtu.tree_leaves_with_path(params)}
    rest = {path: leaf for path, leaf in arrays.items() if path not in trained}
    return {
        "structure": structure,
        "initial parameters": {path: sketch(leaf) for path, leaf in trained.items()},
        "untrained part": {path: sketch(leaf) for path, leaf in rest.items()},
    }


def optimizer_identity(
    update: ByContent | optax.GradientTransformationExtraArgs, state: State
) -> dict[str, Any]:
    """The entry of a run's identity that is of its optimizer, before the first step."""
    random = lambda shift: jtu.tree_map(
        lambda p: jnp.asarray(directions(p.size + shift)[shift:].reshape(p.shape), p.dtype),
        state.params,
    )
    arrays, rest = eqx.partition(state.opt_state, eqx.is_array)
    searches = not isinstance(update, ByContent)
    # One that searches along a line is compiled with its objective and has its own step lengths.
    sizes = _SIZES if searches else _SIZES + len(_COUNTS) * (1.0,)
    counts = np.full(len(sizes), -1)
    counts[len(_SIZES) :] = _COUNTS[: len(sizes) - len(_SIZES)]
    schedule = jnp.asarray(sizes, state.penalty.dtype), jnp.asarray(counts, jnp.int32)
    probe: Callable[..., Any] = _probe_search if searches else _probe
    found = probe(update, arrays, rest, state.params, random(0), random(1), schedule)
    table = np.stack([np.asarray(column, float) for column in found], axis=1)
    rows = [[float(f"{x:.6g}") if np.isfinite(x) else None for x in row] for row in table]
    return {"optimizer": {"state": _names(state.opt_state), "updates": rows}}


def settings(optimizer: Any) -> list[str]:
    """The numbers and texts in the closures of which an optimizer is made, in their order: what
    its updates show only up to rounding."""
    found: list[str] = []
    seen: set[int] = set()

    def look(value: Any) -> None:
        if isinstance(value, bool | str) or value is None:
            found.append(repr(value))
        elif isinstance(value, int | float) or (eqx.is_array(value) and value.size == 1):
            # As a rate that is an array has it.
            with np.errstate(over="ignore"):
                found.append(repr(float(np.float32(np.asarray(value).reshape(())))))
        elif isinstance(value, tuple | list):
            for part in value:
                look(part)
        elif isinstance(value, ft.partial):
            look((value.func, value.args, list(value.keywords.values())))
        elif getattr(value, "__closure__", None) and id(value) not in seen:
            seen.add(id(value))
            for cell in value.__closure__:
                try:
                    look(cell.cell_contents)
                except ValueError:  # not filled yet, and never will be
                    found.append("empty")

    look(optimizer)
    return found


def _names(state: PyTree) -> list[str]:
    """The classes of which an optimizer's state is made: those of the transformations in it."""
    if not isinstance(state, tuple | list | dict):
        return []
    own = [type(state).__name__] if hasattr(state, "_fields") else []
    parts = state.values() if isinstance(state, dict) else state
    return own + [name for part in parts for name in _names(part)]


_Sketch = tuple[Float[Array, "..."], Float[Array, "..."], Float[Array, "..."]]


@eqx.filter_jit
def _probe(
    update: ByContent,
    arrays: PyTree,
    rest: PyTree,
    params: PyTree,
    gradient: PyTree,
    along: PyTree,
    schedule: tuple[Array, Array],
) -> tuple[Array, Array, Array]:
    """Sketches of the updates by gradients of these sizes; where a count is given, at that step."""

    def step(arrays: PyTree, now: tuple[Array, Array]) -> tuple[PyTree, _Sketch]:
        size, count = now

        # Whatever counts is a whole number by itself.
        def at(leaf: Array) -> Array:
            if leaf.ndim > 0 or not jnp.issubdtype(leaf.dtype, jnp.integer):
                return leaf
            largest = min(jnp.iinfo(leaf.dtype).max, jnp.iinfo(jnp.int32).max)
            return jnp.where(count < 0, leaf, jnp.minimum(count, largest).astype(leaf.dtype))

        state = eqx.combine(jtu.tree_map(at, arrays), rest)
        scaled = jtu.tree_map(lambda g: size.astype(g.dtype) * g, gradient)
        updates, state = update(scaled, state, params, size)
        return eqx.filter(state, eqx.is_array), _sketch(updates, along)

    return jax.lax.scan(step, arrays, schedule)[1]


@eqx.filter_jit
def _probe_search(
    update: optax.GradientTransformationExtraArgs,
    arrays: PyTree,
    rest: PyTree,
    params: PyTree,
    gradient: PyTree,
    along: PyTree,
    schedule: tuple[Array, Array],
) -> tuple[Array, Array, Array]:
    """The same for an optimizer that evaluates its objective: it minimizes a quadratic."""
    # Not around the parameters themselves, where it would have nothing to do.
    objective: Callable[[PyTree], Array] = lambda p: sum(
        jnp.sum(jnp.square(x - t) * (1 + jnp.square(w)))
        for x, t, w in zip(*map(jtu.tree_leaves, (p, gradient, along)), strict=True)
    ).astype(schedule[0].dtype)  # pyright: ignore

    def step(carry: tuple[PyTree, PyTree], _: Array) -> tuple[tuple[PyTree, PyTree], _Sketch]:
        arrays, params = carry
        value, slope = jax.value_and_grad(objective)(params)
        state = eqx.combine(arrays, rest)
        updates, state = update_by(update, slope, state, params, value, objective)
        now = eqx.filter(state, eqx.is_array), eqx.apply_updates(params, updates)
        return now, _sketch(updates, along)

    return jax.lax.scan(step, (arrays, params), schedule[0])[1]


def _sketch(updates: PyTree, along: PyTree) -> _Sketch:
    """As `sketch`, of all leaves together and on the device."""
    leaves, directions = jtu.tree_leaves(updates), jtu.tree_leaves(along)
    wide = jnp.result_type(float)
    total = lambda parts: sum((jnp.sum(p).astype(wide) for p in parts), jnp.zeros((), wide))
    sizes = [jnp.max(jnp.abs(u), initial=0).astype(wide) for u in leaves]
    largest = jnp.max(jnp.stack(sizes)) if sizes else jnp.zeros((), wide)
    unit = [jnp.real(u).astype(wide) / jnp.where(largest > 0, largest, 1) for u in leaves]
    norm = jnp.sqrt(total([u**2 for u in unit]))
    pairs = zip(unit, directions, strict=True)
    return largest, norm, total([u * jnp.real(d).astype(wide) for u, d in pairs])


# --- What is different --------------------------------------------------------------------------


def difference(stored: dict[str, Any], here: dict[str, Any]) -> str | None:
    """What tells two identities apart first, in words; `None` if nothing does."""
    for name in here:
        there, now = stored.get(name), here[name]
        if name == "optimizer" and isinstance(there, dict):
            text = _other_optimizer(there, now)
        # Of a dictionary, the entry that differs: the whole may be pages.
        elif isinstance(there, dict) and isinstance(now, dict):
            text = _other_entry(name, there, now)
        else:
            text = differs(there, now)
            text = text and f"{name} {text}"
        if text is not None:
            return text
    return None


def _other_entry(name: str, there: dict[str, Any], here: dict[str, Any]) -> str | None:
    for key in sorted(there | here):
        if (key in there) != (key in here):
            return f"{name}[{key!r}] is only {'there' if key in there else 'here'}"
        text = differs(there[key], here[key])
        if text is not None:
            return f"{name}[{key!r}] {text}"
    return None


def _other_optimizer(there: dict[str, Any], here: dict[str, Any]) -> str | None:
    if there["state"] != here["state"]:
        was, is_ = (", ".join(names["state"]) or "stateless" for names in (there, here))
        return f"the optimizer was another: {was} there and {is_} here"
    pairs = zip(there["updates"], here["updates"], strict=False)
    different = [i for i, pair in enumerate(pairs) if not close(*pair, _ROUNDING)]
    if not different:
        return None
    first = different[0]
    if first < len(_SIZES):
        return (
            "the optimizer makes other updates here (another learning rate, schedule or setting): "
            f"to the same gradient, of largest entry {_number(there['updates'][first])} there and "
            f"{_number(here['updates'][first])} here"
        )
    return (
        "the optimizer makes other updates here from about step "
        f"{_COUNTS[first - len(_SIZES)]} on (another schedule)"
    )


def _number(row: list[float | None]) -> str:
    return "no number" if row[0] is None else f"{row[0]:.3g}"
