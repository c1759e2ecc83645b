"""Samples over devices: each has its own part of a batch and its own loops."""

from collections.abc import Callable
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, PRNGKeyArray, PyTree

from ._checks import check_instance, describe
from ._inputs import check_one_key

_T = TypeVar("_T")

SAMPLES, RUNS, NODES, AMPLITUDES = "batch", "runs", "nodes", "amplitudes"
"""The axes of a mesh: over samples; over trainings and over the nodes of a graph, where it has more
than one axis; and over the amplitudes of each sample's state."""


class Devices(eqx.Module):
    """A mesh, the axis along which samples lie, and the one along which trainings do."""

    mesh: Mesh = eqx.field(static=True)
    samples: str = eqx.field(static=True)
    runs: str | None = eqx.field(static=True, default=None)

    def __len__(self) -> int:
        """How many parts a batch has."""
        return self.mesh.shape[self.samples]

    def padded(self, n: int) -> int:
        """The number of samples, filled up so that all parts are of one size."""
        return -(-n // len(self)) * len(self)

    def sharding(self, *axes: str | tuple[str, ...] | None) -> NamedSharding:
        return NamedSharding(self.mesh, PartitionSpec(*axes))

    def own(self, tree: PyTree[Array]) -> PyTree[Array]:
        """Within `map`, the part of this device of arrays of samples, equally many for all."""
        me = jax.lax.axis_index(self.samples)

        def part(a: Array) -> Array:
            size = a.shape[0] // len(self)
            return jax.lax.dynamic_slice_in_dim(a, me * size, size)

        return jtu.tree_map(part, tree)

    def put(self, tree: PyTree, *axes: str | None) -> PyTree:
        """The tree with its arrays on all devices: all of each, if no axes are named."""
        there = self.sharding(*axes)

        def of(a: Any) -> Any:
            if not eqx.is_array(a) or a.sharding.is_equivalent_to(there, a.ndim):
                return a
            if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
                data = jax.device_put(np.asarray(jax.random.key_data(a)), there)
                return jax.random.wrap_key_data(data, impl=jax.random.key_impl(a))
            # From the host, where each process has it.
            return jax.device_put(np.asarray(a), there)

        return jtu.tree_map(of, tree)

    def largest(self, number: float) -> float:
        """The largest of what the processes have: of what each knows by its own clock or from its
        own callbacks, and all must do alike."""
        if self.mesh.is_multi_process:
            there = self.sharding(self.mesh.axis_names)
            mine = np.full(1, number, jnp.result_type(float))
            each = jax.make_array_from_callback((self.mesh.size,), there, lambda _: mine)
            number = float(jax.jit(jnp.max, out_shardings=self.sharding())(each))
        return number

    def map(self, function: Callable[..., _T], args: tuple, specs: Any, out: PartitionSpec) -> _T:
        """`function(*args)` on each device, with what the specs give it of the arrays."""
        arrays, static = eqx.partition(args, eqx.is_array)
        rest: Any = None

        def of(*arrays: PyTree) -> PyTree:
            nonlocal rest
            found, rest = eqx.partition(function(*eqx.combine(arrays, static)), eqx.is_array)
            return found

        # Types say nothing of the mesh inside, so that nothing has to be agreed upon there, neither
        # between devices nor between libraries.
        how = {"mesh": self.mesh, "in_specs": specs, "out_specs": out, "check_vma": False}
        return eqx.combine(jax.shard_map(of, **how)(*arrays), rest)


def devices(mesh: Mesh, runs: bool = False, samples: str = SAMPLES) -> Devices:
    """What a mesh is used for; with `runs`, also for several trainings. `samples` are what lies
    along the axis of that name.

    **Raises:** `TypeError` for what is no mesh, `ValueError` for one without the axes.
    """
    check_instance(
        "mesh", mesh, Mesh, f"a jax.sharding.Mesh, e.g. `jax.make_mesh((8,), ('{samples}',))`"
    )
    names = mesh.axis_names
    # Whatever its types: nothing of ours shows them.
    plain = Mesh(mesh.devices, names, axis_types=(AxisType.Auto,) * len(names))
    if names == (AMPLITUDES,):
        return Devices(Mesh(mesh.devices[None], (SAMPLES, AMPLITUDES)), SAMPLES)
    if runs and RUNS in names:
        names = tuple(name for name in names if name != RUNS)
        if not names:
            return Devices(Mesh(mesh.devices[:, None], (RUNS, SAMPLES)), SAMPLES, RUNS)
    elif len(names) == 1:
        return Devices(plain, names[0])
    if len(names) == 1:
        return Devices(plain, names[0], RUNS)
    if samples not in names:
        what = "samples" if samples == SAMPLES else samples
        raise ValueError(
            f"`mesh` has the axes {mesh.axis_names}; {what} lie along an axis named {samples!r}, "
            f"where there are several. Use e.g. jax.make_mesh({mesh.devices.shape}, "
            f"{(samples, *names[1:])})."
        )
    return Devices(plain, samples, RUNS if runs and RUNS in mesh.axis_names else None)


def on(devices: Devices | None, tree: _T, axis: str | None = None) -> _T:
    """The tree on these devices, where there are some: all of it on each, or its leading axis along
    this axis if the mesh has it."""
    if devices is None:
        return tree
    return devices.put(tree, *([axis] if axis in devices.mesh.axis_names else []))


def along(devices: Devices | None, tree: _T) -> _T:
    """Samples on these devices, where there are some: on each its part."""
    return tree if devices is None else devices.put(tree, devices.samples)


def off(devices: Devices | None, tree: _T) -> _T:
    """The tree with its arrays on one device of this process again, as from elsewhere."""
    if devices is None:
        return tree
    home = lambda a: jnp.asarray(np.asarray(a)) if eqx.is_array(a) else a
    return jtu.tree_map(home, tree)


def check_runs(devices: Devices, n: int) -> None:
    """Raises a `ValueError` for trainings that cannot be parted evenly."""
    if devices.runs is not None and n % devices.mesh.shape[devices.runs]:
        raise ValueError(
            f"{n} models cannot be parted evenly along the axis {devices.runs!r} of `mesh`, which "
            f"has {devices.mesh.shape[devices.runs]} parts; use a multiple, or another mesh."
        )


def check_enough(mesh: Devices, n: int, name: str) -> None:
    """Raises a `ValueError` for fewer samples than devices."""
    if n < len(mesh):
        raise ValueError(
            f"{name} is {n}, less than the {len(mesh)} devices along the axis {mesh.samples!r} of "
            "`mesh`; use more samples at a time, or a smaller mesh."
        )


def packed(tree: PyTree[Array]) -> tuple[list[Array], Callable[[list[Array]], PyTree[Array]]]:
    """All numbers of a type as one vector, and the way back: what is exchanged between devices is
    exchanged at once."""
    leaves, structure = jtu.tree_flatten(tree)
    kinds: dict[Any, list[int]] = {}
    for i, leaf in enumerate(leaves):
        kinds.setdefault(leaf.dtype, []).append(i)
    flats, backs = [], []
    for places in kinds.values():
        flat, back = ravel_pytree([leaves[i] for i in places])
        flats.append(flat)
        backs.append(back)

    def unpack(flats: list[Array]) -> PyTree[Array]:
        found: list[Any] = [None] * len(leaves)
        for flat, back, places in zip(flats, backs, kinds.values(), strict=True):
            for i, leaf in zip(places, back(flat), strict=True):
                found[i] = leaf
        return jtu.tree_unflatten(structure, found)

    return flats, unpack


def one_sum(tree: PyTree[Array], axis: str) -> PyTree[Array]:
    """The sums over devices of all arrays."""
    flats, unpack = packed(tree)
    return unpack([jax.lax.psum(flat, axis) for flat in flats])


def map_batch(
    model: Callable[..., Any],
    x: PyTree[Array],
    *,
    mesh: Mesh,
    key: PRNGKeyArray | None = None,
) -> PyTree[Array]:
    """`jax.vmap(model)(x)` over the devices of a mesh: each solves for its own samples, as many
    steps as those take, and waits for nobody.

    Values and derivatives are those of `jax.vmap`, but for rounding; with Optimistix's own adjoints
    a gradient is taken inside the model, not of this function. Under `jax.jit` with sharded samples
    `jax.vmap` computes the same, but all devices wait after each step of a solve for the slowest
    sample.

    !!! example

        ```python
        import equinox as eqx
        import jax
        import eqx_qdeq as qdeq

        mesh = jax.make_mesh((jax.device_count(),), ("batch",))
        deq = qdeq.QDEQ(4, 16, key=jax.random.key(0)).deq
        x = jax.random.normal(jax.random.key(1), (100, 16))
        z = eqx.filter_jit(qdeq.map_batch)(deq, x, mesh=mesh)  # (100, 4)
        solution = qdeq.map_batch(deq.solve, x, mesh=mesh)
        ```

    **Arguments:**

    - `model`: anything that is called with one sample, e.g. an Equinox module, or its method.
    - `x`: the samples, a pytree of arrays with a leading axis; at least one for each device, of any
        number.
    - `mesh`: a mesh with one axis, or with one named `"batch"`, along which the samples lie;
        explicit or automatic. Along an axis named `"amplitudes"` lies each sample's state, which
        is for circuits that do not fit on one device.
    - `key`: if given, `model(x, key=key)` is called with a key for each sample, those of
        `jax.random.split(key, n)`.

    **Returns:** what the model returns, with a leading axis, in the order of the samples.

    **Raises:** `TypeError` if `mesh` is no `jax.sharding.Mesh`, `ValueError` for a mesh of several
    axes without `"batch"`, samples of different numbers, or fewer samples than devices.
    """
    over = devices(mesh)
    if key is not None:
        check_one_key("key", key)
    sizes = {np.shape(leaf)[:1] for leaf in jtu.tree_leaves(x)}
    if len(sizes) != 1 or sizes == {()}:
        shapes = jtu.tree_map(np.shape, x)
        raise ValueError(
            f"`x` must be samples, arrays with one leading axis; got {describe(shapes)}."
        )
    ((n,),) = sizes
    check_enough(over, n, "the number of samples in `x`")
    keys = None if key is None else jax.random.split(key, n)
    return _map_batch(model, x, keys, over, n)


@eqx.filter_jit
def _map_batch(
    model: Callable[..., Any], x: PyTree[Array], keys: Array | None, over: Devices, n: int
) -> PyTree[Array]:
    part = jtu.tree_map(jnp.asarray, (x, keys))
    if over.padded(n) > n:
        # The last sample again, where parts would be unequal.
        rows = np.minimum(np.arange(over.padded(n)), n - 1)
        part = jtu.tree_map(lambda a: a[rows], part)
    params, static = eqx.partition(model, eqx.is_inexact_array)
    # As one array, of which the derivative is one sum over the devices.
    flats, unpack = packed(params)

    def of(flats: list[Array], static: PyTree, x: PyTree, keys: Array | None) -> PyTree:
        model = eqx.combine(unpack(flats), static)
        # Numbers, too, have an axis of samples, as those of `jax.vmap` have.
        array = lambda v: jnp.asarray(v) if eqx.is_array_like(v) else v
        told = lambda out: jtu.tree_map(array, out)
        if keys is None:
            return eqx.filter_vmap(lambda x: told(model(x)))(x)
        return eqx.filter_vmap(lambda x, key: told(model(x, key=key)))(x, keys)

    whole, parts = PartitionSpec(), PartitionSpec(over.samples)
    out = over.map(of, (flats, static, *part), (whole, whole, parts, parts), parts)
    return jtu.tree_map(lambda a: a[:n] if eqx.is_array(a) else a, out)
