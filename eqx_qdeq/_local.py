"""A computation of one device: on shards and samples as on plain arrays.

The type of an array says how it is sharded over an explicit mesh, and inside `jax.shard_map` along
which axes of the mesh it varies. What a loop carries must keep its type, and a solve that starts
from zeros does not: zeros vary along nothing. Optimistix, Equinox and Lineax compare these types,
too, where they compare structures (patrick-kidger/lineax#185). And an argument that does not vary
has a sum over all devices for its derivative, which must not stand in a loop that takes more steps
on one device than on the other.

So arrays are taken out of such types before anything is computed, and what comes out is put back:
in between there is one device. Nothing of it remains when compiled.
"""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import equinox as eqx
import jax
import jax.tree_util as jtu
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jax.sharding import AbstractMesh, AxisType, NamedSharding, PartitionSpec
from jaxtyping import Array, PyTree

_P = ParamSpec("_P")
_T = TypeVar("_T")
_Axes = frozenset[str]

# From the type of what varies along some axes of a mesh to that of a plain array, and back. Each is
# the other's transpose; JAX's own cast to what varies has a sum over devices for its transpose.
_hide_p, _show_p = Primitive("hide_mesh"), Primitive("show_mesh")


def _varying_along(axes: _Axes) -> dict[str, Any]:
    # The name that it has in types from jax 0.10 on, and the one before.
    if hasattr(jax.sharding, "ManualAxisType"):
        return {"manual_axis_type": jax.sharding.ManualAxisType(varying=axes)}
    return {"vma": axes}


def _axes_in(aval: Any) -> _Axes:
    return aval.manual_axis_type.varying if hasattr(aval, "manual_axis_type") else aval.vma


def _plain(aval: Any, *, mesh: AbstractMesh, axes: _Axes) -> Any:
    return aval.update(sharding=None, **_varying_along(frozenset()))


def _varying(aval: Any, *, mesh: AbstractMesh, axes: _Axes) -> Any:
    there = NamedSharding(mesh, PartitionSpec(*[None] * aval.ndim))
    return aval.update(sharding=there, **_varying_along(axes))


for _p, _inverse, _typed in ((_hide_p, _show_p, _plain), (_show_p, _hide_p, _varying)):
    _p.def_impl(lambda x, **_: x)
    _p.def_abstract_eval(_typed)
    ad.deflinear2(_p, lambda ct, x, *, to=_inverse, **where: [to.bind(ct, **where)])
    batching.defvectorized(_p)
    mlir.register_lowering(_p, lambda context, x, **_: [x])


def _map_arrays(function: Callable[[Array], Array], tree: PyTree) -> PyTree:
    return jtu.tree_map(lambda x: function(x) if eqx.is_array(x) else x, tree)


def axes_of(x: Array) -> _Axes:
    return _axes_in(jax.typeof(x))


def _hidden(tree: PyTree, mesh: AbstractMesh, axes: _Axes) -> PyTree:
    """The arrays as plain ones, all of them varying along these axes."""

    def of(x: Array) -> Array:
        # What does not vary gets the sum of what all devices make of it, here and once.
        varying = jax.lax.pcast(x, tuple(sorted(axes - axes_of(x))), to="varying")
        return _hide_p.bind(varying, mesh=mesh, axes=axes)

    return _map_arrays(of, tree)


def _shown(tree: PyTree, mesh: AbstractMesh, axes: _Axes) -> PyTree:
    """Plain arrays as what they are: varying along these axes."""
    is_plain = lambda x: jax.typeof(x).sharding.mesh.empty
    show = lambda x: _show_p.bind(x, mesh=mesh, axes=axes) if is_plain(x) else x
    return _map_arrays(show, tree)


def _manual_mesh() -> AbstractMesh | None:
    """The mesh whose devices are programmed one by one here, in a `shard_map` or `pmap`."""
    mesh = jax.sharding.get_abstract_mesh()
    return mesh if mesh.manual_axes else None


def _explicit_mesh(tree: PyTree) -> AbstractMesh | None:
    """The mesh in the types of arrays, if it has explicit axes."""
    for x in jtu.tree_leaves(eqx.filter(tree, eqx.is_array)):
        mesh = jax.typeof(x).sharding.mesh
        if AxisType.Explicit in mesh.axis_types:
            return mesh
    return None


def is_sharded(tree: PyTree) -> bool:
    """Whether types tell of devices."""
    return _manual_mesh() is not None or _explicit_mesh(tree) is not None


def local(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """`function` of pytrees, for one sample, computed as on one device."""

    def call(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        manual, explicit = _manual_mesh(), _explicit_mesh((args, kwargs))
        if manual is None and explicit is None:
            return function(*args, **kwargs)
        arrays, static = eqx.partition((args, kwargs), eqx.is_array)
        rest: PyTree = None

        def of(arrays: PyTree[Array]) -> PyTree[Array]:
            nonlocal rest
            of_one: Any = function
            args, kwargs = eqx.combine(arrays, static)
            out, rest = eqx.partition(of_one(*args, **kwargs), eqx.is_array)
            return out

        if explicit is not None:
            # Under `vmap` the samples stay where they are: their axis is none of this function's.
            with jax.sharding.use_abstract_mesh(explicit):
                out = jax.sharding.auto_axes(of, out_sharding=PartitionSpec())(arrays)
        else:
            assert manual is not None
            axes = _Axes().union(*map(axes_of, jtu.tree_leaves(arrays)))
            inside = _hidden(arrays, manual, axes)
            with jax.sharding.use_abstract_mesh(AbstractMesh((), ())):
                out = of(inside)
            out = _shown(out, manual, axes)
        return eqx.combine(out, rest)

    return call


def plain(function: Callable[[_T], _T], out: PyTree) -> Callable[[_T], _T]:
    """Within `local`, a function of plain arrays; `out` are the shapes that it gives. It is another
    one where it closes over arrays from outside, as a function in a model may.

    **Raises:** `ValueError` if the types of those say along which axes they vary. To mix them with
    plain arrays would put sums over devices where none belong.
    """
    leaves = jtu.tree_leaves(out)
    meshes = [leaf.sharding.mesh for leaf in leaves if leaf.sharding is not None]
    manual = next((mesh for mesh in meshes if mesh.manual_axes), None)
    if manual is None or not jax.sharding.get_abstract_mesh().empty:
        return function
    typed = lambda leaf: getattr(leaf, "manual_axis_type", getattr(leaf, "vma", None))
    if any(typed(leaf) is not None for leaf in leaves):
        raise ValueError(
            "`cell` has a function that closes over arrays from inside a `shard_map` with "
            "`check_vma`, so that its gradients would be wrong. Make them arrays of the cell, e.g. "
            "fields of an Equinox module that is the function, or use check_vma=False."
        )

    def call(x: _T) -> _T:
        with jax.sharding.use_abstract_mesh(manual):
            return _hidden(function(_shown(x, manual, _Axes())), manual, _Axes())

    return call


def as_plain(tree: _T) -> _T:
    """What was made of such arrays, and is not differentiated."""
    if not jax.sharding.get_abstract_mesh().empty:
        return tree

    def of(x: Any) -> Any:
        mesh = jax.typeof(x).sharding.mesh
        return _hide_p.bind(x, mesh=mesh, axes=axes_of(x)) if mesh.manual_axes else x

    return _map_arrays(of, tree)
