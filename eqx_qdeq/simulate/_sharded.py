"""State vectors over several devices: each has the amplitudes of one value of the first wires.

Of n wires the first k are those of the 2ᵏ devices: their bits are the device's number. A gate on
the other wires, the local ones, is each device's own work. Before a gate on a device's wire, these
are exchanged with k local ones, all at once (`jax.lax.all_to_all`): every device sends the share
1 - 2⁻ᵏ of its amplitudes. Which gates are applied between two exchanges, and which wires are given
away, is decided beforehand: all gates that can be, and the wires that are needed last.
"""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float

from .._checks import check_at_least, check_instance
from .._inputs import numbers
from ..circuits import Circuit
from ._plan import make_plan, Plan
from ._run import apply_columns, apply_plan, Gradient


class _Stage(eqx.Module):
    """What is done between two exchanges: gates on local wires, by their places."""

    plan: Plan | None
    params: tuple[int, ...] = eqx.field(static=True)  # which of the circuit's
    given: tuple[int, ...] = eqx.field(static=True)  # then: the places of wires that are exchanged


class ShardedPlan(eqx.Module):
    """How a circuit is applied to a state that lies on several devices.

    !!! example

        ```python
        import eqx_qdeq as qdeq
        from eqx_qdeq import simulate

        circuit = qdeq.circuits.hardware_efficient(n_qubits=20, depth=2)
        plan = simulate.make_sharded_plan(circuit, n_devices=8)
        plan.n_exchanges, plan.bytes_moved()  # (5, 36700160)
        plan.bytes_a_device(columns=22)  # 23068672
        ```

    **Attributes:**

    - `n_qubits`, `n_devices`: the sizes.
    - `n_exchanges`: how often the devices exchange amplitudes.
    - `order`: the wires by their places in the end, those of the devices first.
    """

    n_qubits: int = eqx.field(static=True)
    n_devices: int = eqx.field(static=True)
    stages: tuple[_Stage, ...]
    order: tuple[int, ...] = eqx.field(static=True)

    @property
    def n_exchanges(self) -> int:
        return sum(len(stage.given) > 0 for stage in self.stages)

    def bytes_moved(self, columns: int = 1, dtype: Any = np.float32) -> int:
        """What all devices send to others, forward. A gradient moves as much again, and twice as
        much where columns are computed again for it."""
        return self.n_exchanges * self.bytes_a_device(columns, dtype) * (self.n_devices - 1)

    def bytes_a_device(self, columns: int = 1, dtype: Any = np.float32) -> int:
        """A device's part of the columns."""
        return 2 * np.dtype(dtype).itemsize * columns * 2**self.n_qubits // self.n_devices


ShardedPlan.__init__.__doc__ = """**Arguments:**

- `n_qubits`, `n_devices`: the sizes.
- `stages`: the gates between two exchanges, and the wires that are then exchanged.
- `order`: the wires by their places in the end, those of the devices first.

[`eqx_qdeq.simulate.make_sharded_plan`][] makes all of them.
"""


def make_sharded_plan(
    circuit: Circuit, n_devices: int, block_size: int = 5, *, restore: bool = True
) -> ShardedPlan:
    """Plans exchanges between devices, and the fused gates between these.

    !!! example

        ```python
        import eqx_qdeq as qdeq
        from eqx_qdeq import simulate

        circuit = qdeq.circuits.hardware_efficient(n_qubits=9, depth=1)
        simulate.make_sharded_plan(circuit, n_devices=8).n_exchanges  # 4
        ```

    **Arguments:**

    - `circuit`: the circuit.
    - `n_devices`: a power of two, $2^k$, with at least $3k$ wires.
    - `block_size`: as for [`eqx_qdeq.simulate.make_plan`][].
    - `restore`: whether the first wires are those of the devices in the end, as at first. If not,
        up to one exchange is saved, and `plan.order` tells where the wires are.

    **Returns:** a [`eqx_qdeq.simulate.ShardedPlan`][].

    **Raises:** `ValueError` for another number of devices, too few wires, or a gate on more wires
    than are local.
    """
    check_instance("circuit", circuit, Circuit, "an eqx_qdeq.Circuit")
    check_at_least("n_devices", n_devices, 1)
    n, k = circuit.n_qubits, n_devices.bit_length() - 1
    if n_devices != 2**k:
        raise ValueError(
            f"`n_devices` must be a power of two; got {n_devices}. (Of a mesh it is the size of "
            "the axis 'amplitudes'.)"
        )
    if n < 3 * k:
        raise ValueError(
            f"`circuit` has {n} wires; for {n_devices} devices it needs at least {3 * k}. Use "
            "fewer devices: such a state is small."
        )
    widest = max((len(wires) for wires in circuit.wires), default=0)
    if widest > n - 2 * k:
        raise ValueError(
            f"`circuit` has a gate on {widest} wires; for {n_devices} devices and {n} wires they "
            f"may have {n - 2 * k} at most."
        )
    order, left, stages = list(range(n)), list(range(len(circuit))), []
    while True:
        now, left = _runnable(circuit, left, set(order[k:]))
        given: tuple[int, ...] = ()
        if left:
            given = _last_needed(circuit, left, order, k)
        elif restore and order[:k] != list(range(k)):
            # The first wires must be the devices' again; those that are so now come back first.
            first = [order.index(wire) - k for wire in range(k)]
            others = [place for place in range(n - k) if order[k + place] >= k]
            given = tuple(first) if min(first, default=0) >= 0 else tuple(others[:k])
        stages.append(_stage(circuit, now, order[k:], given, block_size))
        if not given:
            return ShardedPlan(n, n_devices, tuple(stages), tuple(order))
        order = list(exchanged(order, given))


def _runnable(
    circuit: Circuit, left: Sequence[int], local: set[int]
) -> tuple[list[int], list[int]]:
    """The gates that can be applied without an exchange, and those that cannot."""
    now, later, waiting = [], [], set()
    for gate in left:
        wires = set(circuit.wires[gate])
        if wires <= local and not wires & waiting:
            now.append(gate)
        else:
            later.append(gate)
            waiting |= wires
    return now, later


def _last_needed(
    circuit: Circuit, left: Sequence[int], order: Sequence[int], k: int
) -> tuple[int, ...]:
    """The places of the k local wires that are needed last."""
    needed = dict.fromkeys(order, len(circuit))
    for at, gate in reversed(list(enumerate(left))):
        needed |= dict.fromkeys(circuit.wires[gate], at)
    by_need = sorted(range(len(order) - k), key=lambda place: -needed[order[k + place]])
    return tuple(sorted(by_need[:k]))


def _stage(
    circuit: Circuit, gates: Sequence[int], local: Sequence[int], given: tuple[int, ...], size: int
) -> _Stage:
    if not gates:
        return _Stage(None, (), given)
    place = {wire: i for i, wire in enumerate(local)}
    used = sorted({p for gate in gates for p in circuit.params[gate]})
    number = {p: i for i, p in enumerate(used)}
    part = Circuit(
        [circuit.gates[gate] for gate in gates],
        [[place[wire] for wire in circuit.wires[gate]] for gate in gates],
        [[number[p] for p in circuit.params[gate]] for gate in gates],
        len(local),
        scales=[circuit.scales[gate] for gate in gates],
        offsets=[circuit.offsets[gate] for gate in gates],
    )
    return _Stage(make_plan(part, size), tuple(used), given)


@eqx.filter_jit
def apply_sharded_plan(
    plan: ShardedPlan,
    angles: Float[Array, " n_params"],
    state: Float[Array, "2 dim cols"],
    *,
    mesh: Mesh,
    gradient: Gradient = "stored",
) -> Float[Array, "2 dim cols"]:
    """Applies a circuit to columns that lie on several devices, and stay there.

    Values and derivatives are those of [`eqx_qdeq.simulate.apply_plan`][] but for rounding.

    !!! example

        ```python
        import jax
        import jax.numpy as jnp
        import eqx_qdeq as qdeq
        from eqx_qdeq import simulate

        mesh = jax.make_mesh((jax.device_count(),), ("amplitudes",))
        circuit = qdeq.circuits.hardware_efficient(n_qubits=9, depth=1)
        plan = simulate.make_sharded_plan(circuit, jax.device_count())
        angles = jnp.zeros(circuit.n_params)
        state = jnp.zeros((2, 2**9, 1)).at[0, 0].set(1)
        simulate.apply_sharded_plan(plan, angles, state, mesh=mesh).shape  # (2, 512, 1)
        ```

    **Arguments:**

    - `plan`: from [`eqx_qdeq.simulate.make_sharded_plan`][].
    - `angles`: in radians, shape `(n_params,)`.
    - `state`: real and imaginary parts of the columns, shape `(2, 2**n, columns)`. The second axis
        lies along the mesh: put there beforehand, no device ever has all of it.
    - `mesh`: a mesh of one axis, with as many devices as the plan is for.
    - `gradient`: as for `apply_plan`.

    **Returns:** the columns after the circuit, of the same shape and on the same devices.

    **Raises:** `ValueError` for another mesh or another shape.
    """
    check_instance("mesh", mesh, Mesh, "a jax.sharding.Mesh, e.g. `jax.make_mesh((8,), ('a',))`")
    if mesh.devices.shape != (plan.n_devices,):
        raise ValueError(
            f"`mesh` must have one axis of {plan.n_devices} devices, as the plan has; got "
            f"{dict(mesh.shape)}."
        )
    if state.ndim != 3 or state.shape[:2] != (2, 2**plan.n_qubits):
        raise ValueError(
            f"`state` must have shape (2, {2**plan.n_qubits}, columns); got {state.shape}."
        )
    (axis,) = mesh.axis_names
    parts = PartitionSpec(None, axis)
    # On an explicit mesh what comes in has to be parted already.
    put = jax.reshard if mesh.axis_types == (AxisType.Explicit,) else jax.device_put
    state = put(state, NamedSharding(mesh, parts))
    run = lambda angles, state: in_order(plan, evolve_part(plan, angles, state, axis, gradient))
    # Plain types inside, whatever the mesh's: see `map_batch`.
    how = {"mesh": mesh, "in_specs": (PartitionSpec(), parts), "out_specs": parts}
    return jax.shard_map(run, check_vma=False, **how)(numbers(angles, name="angles"), state)


def evolve_part(
    plan: ShardedPlan,
    angles: Float[Array, " n_params"],
    state: Float[Array, "2 part cols"],
    axis: str,
    gradient: Gradient,
) -> Float[Array, "2 part cols"]:
    """Within a `shard_map`, a device's part of the columns after the circuit, the wires being in
    the plan's order."""
    for stage in plan.stages:
        if stage.plan is not None:
            own = angles[np.array(stage.params, int)]
            state = apply_plan(stage.plan, own, state, gradient=gradient)
        if stage.given:
            state = exchange(state, stage.given, axis, plan.n_devices)
    return state


def in_order(plan: ShardedPlan, state: Float[Array, "2 part cols"]) -> Float[Array, "2 part cols"]:
    """A device's part with its local wires in order again; no other device needs to know."""
    places = np.argsort(plan.order[plan.n_devices.bit_length() - 1 :])
    tensor = state.reshape(2, *[2] * len(places), -1)
    return tensor.transpose(0, *(1 + places), 1 + len(places)).reshape(state.shape)


def evolve_parts(
    plan: ShardedPlan,
    angles: Float[Array, " n_params"],
    columns: Float[Array, "2 part cols"],
    axis: str,
    gradient: Gradient,
) -> Float[Array, "2 part cols"]:
    """As `evolve_part`; columns that are many and wide one by one, computed again for a gradient,
    as in `apply_plan_to_real`."""
    run = lambda columns: evolve_part(plan, angles, columns, axis, gradient)
    return apply_columns(run, columns, columns.shape[1])


def exchange(
    state: Float[Array, "2 part cols"], given: Sequence[int], axis: str, n_devices: int
) -> Float[Array, "2 part cols"]:
    """The columns after the local wires in the places `given` became those of the devices."""
    columns, local = state.shape[2], state.shape[1].bit_length() - 1
    places = [1 + place for place in given]
    tensor = jnp.moveaxis(
        state.reshape(2, *[2] * local, columns), places, range(1, 1 + len(places))
    )
    # The piece i of device j becomes the piece j of device i.
    pieces = tensor.reshape(2, n_devices, -1, columns)
    return lax.all_to_all(pieces, axis, 1, 1, tiled=True).reshape(state.shape)


def exchanged(order: Sequence[int], given: Sequence[int]) -> tuple[int, ...]:
    """The wires by their places after an exchange: those of the devices are the first local ones
    then."""
    k = len(given)
    moved = [order[k + place] for place in given]
    rest = [order[k + place] for place in range(len(order) - k) if place not in given]
    return (*moved, *order[:k], *rest)
