"""The training step of `fit` on some virtual devices, and that of one large graph, as XLA compiled
them. Run by the suite `devices`, in a process for each number of devices."""

import json
import sys
import time
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

import eqx_qdeq as qdeq
from eqx_qdeq import training

from ._collectives import collectives
from ._problems import paper


class _Compiled(Exception):
    pass


def measure(wires: int, batch: int, timed: int) -> dict[str, Any]:
    """What each device computes, holds and exchanges in a step of the paper's cell; and, if it is
    `timed`, how long a step takes."""
    devices = jax.device_count()
    problem = paper(wires, 2 * batch)
    x, y = np.asarray(problem.x), np.arange(2 * batch) % 2
    few = training.Split(x[:devices], y[:devices])
    in_size, key = x.shape[1], jax.random.key(0)
    model = qdeq.QDEQClassifier(wires, in_size, 2, circuit=problem.circuit, key=key)

    # The step that is compiled is seen on its way, and nothing of it changed.
    where: Any = sys.modules["eqx_qdeq.training._fit"]
    seen: list[Any] = []
    run_steps = where.run_steps

    def watched(*args: Any) -> Any:
        if not seen:
            seen.append(run_steps.lower(*args).compile().compiled)
        if not timed:
            raise _Compiled
        return run_steps(*args)

    where.run_steps = watched
    ends: list[float] = []
    try:
        training.fit(
            model,
            training.Dataset(training.Split(x, y), few, few, class_names=("even", "odd")),
            optimizer=optax.adam(1e-3),
            epochs=4,
            batch_size=batch,
            mesh=jax.make_mesh((devices,), ("batch",)),
            callbacks=[lambda record, model: ends.append(time.perf_counter())],
            progress=False,
        )
    except _Compiled:
        pass
    # In the loop over steps.
    return _costs(seen[0], 1) | {"step_ms": 1000 * min(np.diff(ends)) / 2 if timed else None}


def measure_graph(nodes: int) -> dict[str, Any]:
    """The same of a graph whose nodes lie on the devices, each near to six others: value and
    gradient of an equilibrium."""
    random = np.random.default_rng(0)
    start = np.repeat(np.arange(nodes), 6)
    end = np.clip(start + random.integers(-20, 21, len(start)), 0, nodes - 1)
    hidden, features = random.permutation(nodes), random.normal(size=(nodes, 4))
    key = jax.random.key(0)
    layer = qdeq.QuantumLayer(
        qdeq.circuits.hardware_efficient(4, 2), qdeq.AngleEncoding("Y"), qdeq.PauliZ(), key=key
    )
    cell = qdeq.ImplicitGraphCell(4, 8, layer=layer, layer_in_size=4, injection="state", key=key)
    deq = qdeq.DEQ(cell, qdeq.Picard(1e-5, 1e-5), qdeq.NeumannAdjoint(20))
    mesh = jax.make_mesh((jax.device_count(),), ("nodes",))
    graph = qdeq.shard_graph(qdeq.Graph(features, hidden[start], hidden[end]), mesh)

    @eqx.filter_jit
    @eqx.filter_value_and_grad
    def loss(deq: qdeq.DEQ, graph: qdeq.ShardedGraph) -> jax.Array:
        return jnp.sum(deq(graph) ** 2) / nodes

    compiled = loss.lower(deq, graph).compile()
    times = []
    for _ in range(5):
        started = time.perf_counter()
        jax.block_until_ready(compiled(deq, graph))
        times.append(time.perf_counter() - started)
    found = _costs(compiled.compiled, 0) | {"step_ms": 1000 * min(times)}
    return found | {"exchanged_kib": graph.bytes_moved(8) / 1024}


def _costs(compiled: Any, loops: int) -> dict[str, Any]:
    """Of a program whose training step is in so many loops."""
    costs, memory = compiled.cost_analysis(), compiled.memory_analysis()
    found = collectives(compiled.as_text())
    return {
        "devices": jax.device_count(),
        "flops": costs["flops"],
        "bytes": costs["bytes accessed"],
        "temporary_mib": memory.temp_size_in_bytes / 2**20,
        "exchanges": sum(one.loops == loops for one in found),
        # Deeper: in a loop of a solver.
        "exchanges_in_solves": sum(one.loops > loops for one in found),
        "exchanged_kib": sum(one.size for one in found) / 1024,
    }


if __name__ == "__main__":
    numbers = tuple(map(int, sys.argv[1:]))
    print(json.dumps(measure_graph(*numbers) if len(numbers) == 1 else measure(*numbers)))
