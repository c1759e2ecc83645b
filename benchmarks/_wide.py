"""A training step of a wide QDEQ, one sample: its time, and the most memory of its process. Run by
the suite `wide`, in a process for each number of wires."""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

import eqx_qdeq as qdeq

from ._peak import peak_mib


def measure(wires: int, depth: int = 2) -> dict[str, float]:
    circuit = qdeq.circuits.hardware_efficient(wires, depth)
    # As many features as amplitudes: no zeros that could be left out.
    model = qdeq.QDEQ(wires, 2**wires, circuit=circuit, key=jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (2**wires,))
    optimizer = optax.adam(1e-3)
    params, static = eqx.partition(model, eqx.is_inexact_array)

    def step(params, state, x):
        loss = lambda params: jnp.mean(eqx.combine(params, static)(x) ** 2)
        updates, state = optimizer.update(jax.grad(loss)(params), state)
        return optax.apply_updates(params, updates), state

    return measured(step, params, optimizer.init(params), x)


def measured(function: Callable[..., Any], *arguments: Any) -> dict[str, float]:
    """Of five calls, and of this process before, when compiled, and after them."""
    jax.block_until_ready(arguments)
    before = peak_mib()
    compiled = jax.jit(function).lower(*arguments).compile()
    memory = compiled.memory_analysis()
    assert memory is not None
    after = peak_mib()
    times = []
    for _ in range(5):
        started = time.perf_counter()
        jax.block_until_ready(compiled(*arguments))
        times.append(time.perf_counter() - started)
    return {
        "median_ms": 1e3 * sorted(times)[2],
        "best_ms": 1e3 * min(times),
        "temporary_mib": memory.temp_size_in_bytes / 2**20,
        "before_mib": before,
        "compiled_mib": after,
        "peak_mib": peak_mib(),
    }


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]))))
