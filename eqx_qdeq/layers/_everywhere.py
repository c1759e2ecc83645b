"""What is done to all quantum layers of a model, wherever they stand in its tree."""

import dataclasses
import dis
import functools as ft
import itertools
import types
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import PRNGKeyArray, PyTree

from .._checks import describe
from ..noise import NoiseModel
from ._layer import QuantumLayer
from ._plan import serves_noise

_T = TypeVar("_T")


def map_layers(fn: Callable[[QuantumLayer], QuantumLayer], model: _T) -> _T:
    """A model with `fn` applied to each of its [`eqx_qdeq.QuantumLayer`][]s, in cells, equilibria,
    containers and modules of your own. All else stays, and so do the paths of the tree: what was
    written for the model (`equinox.tree_at`, the masks of an optimizer) fits the new one.

    !!! example

        ```python
        import jax
        import eqx_qdeq as qdeq

        model = qdeq.QDEQClassifier(4, 16, 3, key=jax.random.key(0))
        kept = qdeq.map_layers(
            lambda layer: layer.replace(gradient="checkpointed"), model
        )
        assert kept.deq.cell.layer.gradient == "checkpointed"
        ```

    **Arguments:**

    - `fn`: takes a layer to the one in its place. It is called once for a layer that stands in
        several places, and for a whole ensemble (as `equinox.filter_vmap` makes it), where the
        arrays that it puts in are repeated for each member.
    - `model`: any pytree.

    **Returns:** the model.

    **Raises:** `ValueError` if there is no layer, or where `fn` raises, naming the path;
    `TypeError` if a layer is hidden in a static field or in a function that closes over it.
    """
    hidden = [jtu.keystr(path) for path in _hiding_places((), model)]
    if hidden:
        raise TypeError(
            f"`model` holds a QuantumLayer out of reach of functions of trees, at {hidden[0]}: in "
            "a static field, or in a function that closes over it. Make it a field of an "
            "equinox.Module, e.g. a module with `__call__(self, z, x)` in place of a lambda."
        )
    done: dict[int, QuantumLayer] = {}

    def change(path: tuple, node: Any) -> Any:
        if not _is_layer(node):
            return node
        # One object in two places stays one.
        if id(node) not in done:
            try:
                done[id(node)] = _changed(fn, node)
            except (ValueError, TypeError) as error:
                where = jtu.keystr(path)
                raise type(error)(f"at `model{where}`: {error}" if where else str(error)) from error
        return done[id(node)]

    changed = jtu.tree_map_with_path(change, model, is_leaf=_is_layer)
    if not done:
        raise ValueError(f"`model` holds no QuantumLayer; got {describe(model)}.")
    return changed


def layers_of(model: PyTree) -> list[QuantumLayer]:
    """The layers of a tree."""
    return [node for node in jax.tree.leaves(model, is_leaf=_is_layer) if _is_layer(node)]


def with_noise(
    model: _T,
    noise: NoiseModel | Callable[[QuantumLayer], NoiseModel | None] | None,
    *,
    engine: str | None = None,
    n_trajectories: int | None = None,
    key: PRNGKeyArray | None = None,
) -> _T:
    """A model with all its quantum layers under noise. It stays a model of the same parameters, at
    the same paths, to be evaluated, mitigated or trained; [`eqx_qdeq.exact`][] takes the noise away
    again.

    !!! example

        ```python
        import equinox as eqx
        import jax
        import eqx_qdeq as qdeq

        keys = jax.random.split(jax.random.key(0))
        model = eqx.nn.Sequential(
            [qdeq.QDEQ(4, 16, key=keys[0]), eqx.nn.Linear(4, 3, key=keys[1])]
        )
        noisy = qdeq.with_noise(model, qdeq.noise.NoiseModel.depolarizing(0.01))
        mitigated = qdeq.mitigation.ZeroNoise(noisy)
        assert eqx.tree_equal(qdeq.exact(noisy), model)
        ```

    **Arguments:**

    - `model`: any pytree with [`eqx_qdeq.QuantumLayer`][]s in it.
    - `noise`: the noise of all layers, or a function that takes a layer to its own; none with
        `None`.
    - `engine`: as for the layer. If left out, a layer keeps its own where that serves noise, and
        has `"auto"` where it does not.
    - `n_trajectories`: as for the layer; its own if left out.
    - `key`: for the errors of trajectories, other ones in each layer and the same in every call.

    **Returns:** the model.

    **Raises:** as [`eqx_qdeq.map_layers`][], and where the noise does not fit a layer, naming its
    path.
    """
    if not (noise is None or isinstance(noise, NoiseModel) or callable(noise)):
        raise TypeError(
            "`noise` must be a NoiseModel, e.g. `NoiseModel.depolarizing(0.02)`, a function from a "
            f"layer to one, or None; got {describe(noise)}."
        )
    count = itertools.count()

    def change(layer: QuantumLayer) -> QuantumLayer:
        new = noise if noise is None or isinstance(noise, NoiseModel) else noise(layer)
        if layer.device is not None and layer.device.has_own_noise and new is not None:
            raise ValueError(
                f"{type(layer.device).__name__} runs the circuit with noise of its own; simulate "
                "with `exact(model)` first."
            )
        if new is None:
            return without_noise(layer)
        kept = layer.engine if serves_noise(layer.engine, layer.encoding) else "auto"
        kept = kept if engine is None else engine
        number = layer.n_trajectories if n_trajectories is None else n_trajectories
        changes: dict[str, Any] = {"noise": new, "engine": kept, "n_trajectories": number}
        if key is not None or kept != "trajectories":
            own = None if key is None else jax.random.fold_in(key, next(count))
            changes |= {"trajectory_key": None, "key": own}
        # What to go back to.
        before = layer.before or (layer.engine, layer.n_trajectories)
        return layer.replace(**changes, before=None if before == (kept, number) else before)

    return map_layers(change, model)


def without_noise(layer: QuantumLayer) -> QuantumLayer:
    """A layer without noise, evaluated as it was before it was given some."""
    engine, n_trajectories = layer.before or (layer.engine, layer.n_trajectories)
    if engine in ("density", "trajectories"):
        engine = "auto"
    return layer.replace(
        noise=None,
        engine=engine,
        n_trajectories=n_trajectories,
        trajectory_key=None,
        before=None,
    )


def _is_layer(node: Any) -> bool:
    return isinstance(node, QuantumLayer)


def _changed(fn: Callable[[QuantumLayer], QuantumLayer], layer: QuantumLayer) -> QuantumLayer:
    angles, own = layer.angles, (layer.circuit.n_params,)
    shape = getattr(angles, "shape", None)
    if eqx.is_array(angles) and shape == own:
        return _checked(fn(layer))
    # Angles that are shared with another layer, masked, or those of an ensemble: constructors check
    # what they are given, so a stand-in goes through them.
    where = lambda l: l.angles
    stand_in = eqx.tree_at(where, layer, jnp.zeros(own), is_leaf=lambda node: node is angles)
    new = eqx.tree_at(where, _checked(fn(stand_in)), angles, is_leaf=eqx.is_array)
    if eqx.is_array(angles) and shape is not None and shape[-1:] == own:
        repeat = lambda a: jnp.broadcast_to(a, (*shape[:-1], *a.shape)) if eqx.is_array(a) else a
        for name in ("noise", "trajectory_key", "device"):
            old, part = getattr(layer, name), getattr(new, name)
            if part is not old:
                value = jax.tree.map(repeat, part)
                at = lambda l, name=name: getattr(l, name)
                new = eqx.tree_at(at, new, value, is_leaf=lambda node: node is None)
    return new


def _checked(layer: Any) -> QuantumLayer:
    if not _is_layer(layer):
        raise TypeError(f"the function must return a QuantumLayer; got {describe(layer)}.")
    return layer


# --- Layers that no function of trees can reach. ---


def _hiding_places(path: tuple, node: Any) -> Iterator[tuple]:
    """The paths of static fields and functions that hold a layer."""
    if _is_layer(node):
        return
    if isinstance(node, eqx.Module) and dataclasses.is_dataclass(node):
        for field in dataclasses.fields(node):
            value, at = getattr(node, field.name, None), (*path, jtu.GetAttrKey(field.name))
            if not field.metadata.get("static", False):
                yield from _hiding_places(at, value)
            elif _holds_layer(value, set()):
                yield at
        return
    for more, child in jtu.tree_flatten_with_path(node, is_leaf=lambda n: n is not node)[0]:
        if child is not node:
            yield from _hiding_places((*path, *more), child)
        elif _holds_layer(child, set()):
            yield path


# Their functions hold layers only if they were given some, in closures.
_LIBRARIES = (
    "jax jaxlib numpy scipy equinox optax optimistix lineax diffrax eqx_qdeq builtins".split()
)


def _holds_layer(value: Any, seen: set[int]) -> bool:
    if _is_layer(value):
        return True
    # Large things that hold nothing, and what was looked at before.
    plain = isinstance(value, str | bytes | int | float | complex | type | types.ModuleType | None)
    if plain or eqx.is_array_like(value) or id(value) in seen:
        return False
    seen.add(id(value))
    return any(_holds_layer(part, seen) for part in _parts(value))


def _parts(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, tuple | list | set | frozenset):
        yield from value
    elif isinstance(value, ft.partial):
        yield from (value.func, value.args, value.keywords)
    elif isinstance(value, types.MethodType):
        yield value.__self__
    elif isinstance(value, types.FunctionType):
        yield from (value.__defaults__, value.__kwdefaults__)
        for cell in value.__closure__ or ():
            try:
                yield cell.cell_contents
            except ValueError:  # not filled yet
                continue
        if value.__module__.split(".")[0] not in _LIBRARIES:
            yield from (value.__globals__.get(name) for name in _globals_of(value.__code__))
    elif type(value).__module__.split(".")[0] not in ("numpy", "builtins"):
        yield getattr(value, "__wrapped__", None)
        yield from getattr(value, "__dict__", {}).values()


def _globals_of(code: types.CodeType) -> Iterator[str]:
    for instruction in dis.get_instructions(code):
        if instruction.opname == "LOAD_GLOBAL":
            yield instruction.argval
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _globals_of(constant)
