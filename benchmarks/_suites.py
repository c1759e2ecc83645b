"""What is measured."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

from eqx_qdeq import AddInjection, circuits, DEQ, FunctionCell, Picard, QDEQ

from ._peers import available, ours
from ._timing import check_agreement, time_in_turn

ALL = ("qujax", "pennylane", "tensorcircuit-ng")


def _sample(n_qubits: int, batch: int) -> tuple[Any, jax.Array, jax.Array]:
    circuit = circuits.paper(n_qubits)
    angle_key, key = jax.random.split(jax.random.key(0))
    angles = jax.random.uniform(angle_key, (circuit.n_params,), minval=-math.pi, maxval=math.pi)
    # The paper's pixels, pooled and standardised, have norms of about this size.
    d = n_qubits**2
    x = jax.random.normal(key, (batch, d))
    return circuit, angles, x


def _table(timings: dict[str, Any], reference: str) -> dict[str, Any]:
    base = timings[reference].median
    return {
        name: {
            "median_ms": round(t.median, 3),
            "best_ms": round(t.best, 3),
            "first_call_s": round(t.first, 2),
            "ratio": round(t.median / base, 2),
        }
        for name, t in timings.items()
    }


def layer(n_qubits: int, batch: int, seconds: float, peers: tuple[str, ...]) -> dict[str, Any]:
    """One evaluation of the paper's circuit for a batch, value and gradient."""
    circuit, angles, x = _sample(n_qubits, batch)
    layers = {"eqx-qdeq": ours(circuit), **available(circuit, peers)}

    def value_and_grad(run):
        loss = lambda angles, x: jnp.mean(jax.vmap(run, (None, 0))(angles, x) ** 2)
        return jax.jit(jax.value_and_grad(loss))

    steps = {name: value_and_grad(run) for name, run in layers.items()}
    gap = check_agreement(
        {name: step(angles, x) for name, step in steps.items()}, reference="eqx-qdeq", atol=1e-5
    )
    # Compiled above; time the first call of a fresh function again.
    steps = {name: value_and_grad(run) for name, run in layers.items()}
    timings = time_in_turn(
        {name: (lambda step=step: step(angles, x)) for name, step in steps.items()},
        seconds=seconds,
    )
    return {"agreement": gap, "results": _table(timings, "eqx-qdeq")}


def train(n_qubits: int, batch: int, seconds: float, peers: tuple[str, ...]) -> dict[str, Any]:
    """One training step: equilibrium to 1e-4, exact implicit gradient, Adam."""
    circuit, angles, x = _sample(n_qubits, batch)
    d = n_qubits**2
    injection = AddInjection(d)

    def with_cell(run):
        def fn(parameters, w, x):
            return run(parameters, injection(w, x))

        def equilibrium(parameters, x):
            cell = FunctionCell(
                lambda w, x: fn(parameters, w, x), lambda x: jnp.zeros(n_qubits, x.dtype)
            )
            return DEQ(cell, Picard(1e-4, 1e-4))(x)

        return equilibrium

    qdeq = QDEQ(n_qubits, d, circuit=circuit, key=jax.random.key(0))

    def native(parameters, x):
        deq = eqx.tree_at(lambda d: d.cell.layer.angles, qdeq.deq, parameters)
        return DEQ(deq.cell, Picard(1e-4, 1e-4))(x)

    def native_newton(parameters, x):
        return eqx.tree_at(lambda d: d.cell.layer.angles, qdeq.deq, parameters)(x)

    models = {"eqx-qdeq": native, "eqx-qdeq, Newton to 1e-5": native_newton}
    models |= {name: with_cell(run) for name, run in available(circuit, peers).items()}
    optimiser = optax.adam(5e-3)
    state = optimiser.init(angles)

    def step_with(equilibrium):
        @jax.jit
        def step(parameters, state, x):
            def loss(parameters):
                return jnp.mean(jax.vmap(equilibrium, (None, 0))(parameters, x) ** 2)

            value, gradient = jax.value_and_grad(loss)(parameters)
            updates, new_state = optimiser.update(gradient, state, parameters)
            return value, optax.apply_updates(parameters, updates), new_state

        return step

    # Adam's first step is the sign of the gradient: compare the losses and the first moments.
    steps = {name: step_with(model) for name, model in models.items()}
    outcome = {name: step(angles, state, x) for name, step in steps.items()}
    gap = check_agreement(
        {name: (v, s[0].mu) for name, (v, _, s) in outcome.items()},
        reference="eqx-qdeq",
        atol=1e-3,
    )
    steps = {name: step_with(model) for name, model in models.items()}
    timings = time_in_turn(
        {name: (lambda step=step: step(angles, state, x)) for name, step in steps.items()},
        seconds=seconds,
    )
    return {"agreement": gap, "results": _table(timings, "eqx-qdeq")}


SUITES = {"layer": layer, "train": train}
