"""A training step on one core: the processor's seconds, which do not depend on what else runs."""

import os
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

import eqx_qdeq as qdeq
from experiments._results import Record

DEPTH = 2


def on_one_core() -> None:
    """Before JAX starts, which makes a thread for each core that it sees."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def measure(wires: int, batch: int, seconds: float) -> Record:
    """The step of a regression on the equilibrium, as many features as amplitudes up to 1024."""
    features = min(2**wires, 1024)
    model = qdeq.QDEQ(wires, features, depth=DEPTH, key=jax.random.key(0)).deq
    x = jax.random.normal(jax.random.key(1), (batch, features))
    optimizer = optax.adam(1e-3)
    params, static = eqx.partition(model, eqx.is_inexact_array)

    def step(params, state, x: Array):
        def loss(params):
            return jnp.mean(jax.vmap(eqx.combine(params, static))(x) ** 2)

        gradient = jax.grad(loss)(params)
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state

    state = optimizer.init(params)
    started = time.perf_counter()
    compiled = jax.jit(step).lower(params, state, x).compile()
    compile_s = time.perf_counter() - started
    jax.block_until_ready(compiled(params, state, x))
    times: list[float] = []
    while len(times) < 3 or (sum(times) < seconds and len(times) < 1000):
        started = time.process_time()
        jax.block_until_ready(compiled(params, state, x))
        times.append(time.process_time() - started)
    steps = jax.jit(jax.vmap(model.solve))(x).stats["num_steps"]
    memory = compiled.memory_analysis()
    return {
        "wires": wires,
        "batch": batch,
        "features": features,
        "parameters": sum(a.size for a in jax.tree.leaves(params)),
        "cpu_ms": 1000 * min(times),
        "temporary_mib": memory.temp_size_in_bytes / 2**20,
        "solver_steps": float(jnp.mean(steps)),
        "compile_s": compile_s,
    }
