"""The training step of `fit` on some virtual devices, as XLA compiled it. Run by the suite
`devices`, in a process for each number of devices."""

import json
import math
import sys
import time
from typing import Any

import jax
import numpy as np
import optax

import eqx_qdeq as qdeq
from eqx_qdeq import training

from ._collectives import collectives


def measure(wires: int, batch: int) -> dict[str, Any]:
    """What each device computes, holds and exchanges in a step, and how long a step takes."""
    devices = jax.device_count()
    random = np.random.default_rng(0)
    rows = 2 * batch
    x, y = random.normal(size=(rows, 2 * wires)), np.arange(rows) % 2
    split = training.Split(x, y)
    few = training.Split(x[:devices], y[:devices])
    model = qdeq.QDEQClassifier(wires, 2 * wires, 2, key=jax.random.key(0))

    # The step that is compiled is seen on its way, and nothing of it changed.
    where, seen = sys.modules["eqx_qdeq.training._fit"], []
    run_steps = where.run_steps

    def watched(*args: Any) -> Any:
        if not seen:
            seen.append(run_steps.lower(*args).compile().compiled)
        return run_steps(*args)

    where.run_steps = watched
    ends: list[float] = []
    training.fit(
        model,
        training.Dataset(split, few, few, class_names=("even", "odd")),
        optimizer=optax.adam(1e-3),
        epochs=4,
        batch_size=batch,
        mesh=jax.make_mesh((devices,), ("batch",)),
        callbacks=[lambda record, model: ends.append(time.perf_counter())],
        progress=False,
    )
    (compiled,) = seen
    costs, memory = compiled.cost_analysis(), compiled.memory_analysis()
    found = collectives(compiled.as_text())
    return {
        "devices": devices,
        "flops": costs["flops"],
        "bytes": costs["bytes accessed"],
        "temporary_mib": memory.temp_size_in_bytes / 2**20,
        # In the loop over steps, and deeper: in one of a solver.
        "exchanges": sum(loops == 1 for _, loops, _ in found),
        "exchanges_in_solves": sum(loops > 1 for _, loops, _ in found),
        "exchanged_kib": sum(size for _, _, size in found) / 1024,
        "step_ms": 1000 * min(np.diff(ends)) / math.ceil(rows / batch),
    }


if __name__ == "__main__":
    print(json.dumps(measure(*map(int, sys.argv[1:]))))
