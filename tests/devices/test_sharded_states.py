"""States that lie on eight devices, against those on one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from numpy.testing import assert_allclose

from benchmarks._collectives import collectives
from eqx_qdeq import Circuit, circuits
from eqx_qdeq.simulate import apply_plan, apply_sharded_plan, make_plan, make_sharded_plan

pytestmark = pytest.mark.float32
# Fixed gates, gates of three wires, shared and scaled angles, and the first wires last.
ODD = Circuit(
    ["H", "Ry", "CX", "CCX", "ZZPhase", "Rx", "CX", "Ry", "SWAP"],
    [[0], [9], [9, 0], [0, 4, 8], [1, 2], [3], [2, 7], [0], [1, 9]],
    [[], [0], [], [], [1], [0], [], [2], []],
    10,
    scales=[[], [1.0], [], [], [2.0], [-1.0], [], [1.0], []],
)


@pytest.mark.parametrize(
    "circuit",
    [circuits.hardware_efficient(9, 2), circuits.paper(10), ODD],
    ids=["layers", "paper", "odd"],
)
def test_as_on_one(circuit, mesh, tol):
    n = circuit.n_qubits
    plan, here = make_sharded_plan(circuit, 8), make_plan(circuit, 4)
    angles = jnp.linspace(-1, 2, circuit.n_params)
    state = jnp.cos(jnp.arange(2.0 * 2**n * 3)).reshape(2, 2**n, 3) / 2 ** (n / 2)
    weights = jnp.sin(jnp.arange(2.0 * 2**n)).reshape(2, 2**n, 1)

    def with_gradients(apply):
        def loss(angles, state):
            out = apply(angles, state)
            return jnp.sum((weights * out) ** 2), out

        return jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))

    there = NamedSharding(mesh, PartitionSpec(None, "batch"))
    run = with_gradients(lambda a, s: apply_sharded_plan(plan, a, s, mesh=mesh))
    found = run(angles, jax.device_put(state, there))
    wanted = with_gradients(lambda a, s: apply_plan(here, a, s))(angles, state)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert_allclose(one, other, atol=10 * tol * max(1, float(jnp.max(jnp.abs(other)))))
    assert found[0][1].sharding.is_equivalent_to(there, 3)


def test_what_is_exchanged_is_what_the_plan_says(mesh):
    plan = make_sharded_plan(circuits.hardware_efficient(9, 2), 8)
    state = jnp.zeros((2, 2**9, 1), jnp.float32).at[0, 0].set(1)
    run = jax.jit(lambda a, s: apply_sharded_plan(plan, a, s, mesh=mesh))
    compiled = run.lower(jnp.zeros(36, jnp.float32), state).compile()
    moved = [size for kind, _, size in collectives(compiled.as_text()) if kind == "all-to-all"]
    assert len(moved) == plan.n_exchanges > 0
    # Each device's own part, of which it keeps an eighth.
    assert sum(moved) * 8 * 7 // 8 == plan.bytes_moved()


def test_nothing_is_exchanged_on_local_wires():
    local = Circuit(["Ry", "CX"], [[5], [7, 8]], [[0], []], 9)
    assert make_sharded_plan(local, 8).n_exchanges == 0
    assert make_sharded_plan(circuits.paper(4), 1).bytes_moved() == 0


@pytest.mark.parametrize(
    ("circuit", "n_devices", "words"),
    [
        (circuits.paper(10), 6, "`n_devices` must be a power of two; got 6"),
        (circuits.hardware_efficient(8, 1), 8, "has 8 wires; for 8 devices it needs at least 9"),
        (Circuit([np.eye(16)], [[0, 1, 2, 3]], [[]], 9), 8, "a gate on 4 wires.* 3 at most"),
    ],
)
def test_what_cannot_be_parted(circuit, n_devices, words):
    with pytest.raises(ValueError, match=words):
        make_sharded_plan(circuit, n_devices)


def test_another_mesh_or_state(mesh):
    plan = make_sharded_plan(circuits.paper(10), 4)
    state = jnp.zeros((2, 2**10, 1))
    with pytest.raises(ValueError, match="one axis of 4 devices"):
        apply_sharded_plan(plan, jnp.zeros(20), state, mesh=mesh)
    four = jax.sharding.Mesh(jax.devices()[:4], ("a",))
    with pytest.raises(ValueError, match=r"`state` must have shape \(2, 1024, columns\)"):
        apply_sharded_plan(plan, jnp.zeros(20), state[:, :512], mesh=four)
