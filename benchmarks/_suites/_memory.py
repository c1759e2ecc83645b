"""Memory of the training step, as XLA says, and of a process with a 20-wire state."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from eqx_qdeq import AddInjection

from .._apart import measured_apart
from .._peers import Layer, qujax
from .._problems import our_equilibrium, OURS, paper, training_step, value_of
from .._settings import Settings
from .._tables import rounded, show, Table
from .._timing import build, check_agreement, Program

STEPS = (4, 16, 64, 256)
LOOP = 12  # about what Picard iteration needs to 1e-4


def memory(settings: Settings, rates: dict[str, Any]) -> list[Table]:
    """The training step at each number of qubits, then the process's peak."""
    tables = [_training(n, settings.batch) for n in settings.qubits]
    return [*tables, _peak(12 if settings.smoke else 20)]


def _loop(layer: Layer, n_features: int, n_values: int) -> Layer:
    """A fixed number of applications, to be differentiated step by step."""
    injection = AddInjection(n_features)

    def run(angles: Array, x: Array) -> Array:
        def body(w: Array, _: None) -> tuple[Array, None]:
            return layer(angles, injection(w, x)), None

        return jax.lax.scan(body, jnp.zeros(n_values, x.dtype), length=LOOP)[0]

    return run


def _training(n: int, batch: int) -> Table:
    p = paper(n, batch)
    contestants: dict[str, Layer] = {
        f"{OURS}, at most {steps} steps": value_of(our_equilibrium(p, max_steps=steps))
        for steps in STEPS
    }
    contestants[f"qujax, loop of {LOOP} steps"] = _loop(qujax(p.circuit), p.x.shape[1], n)
    programs = {name: _program(values, p.angles, p.x) for name, values in contestants.items()}
    used = {name: program.temporary_mib for name, program in programs.items()}
    ours, loop = list(contestants)[-2:]
    # After so few steps the loop is near the equilibrium, not at it.
    outputs = {name: programs[name]() for name in (ours, loop)}
    gap = check_agreement(
        {name: (loss, state[0].mu) for name, (loss, _, state) in outputs.items()},
        reference=ours,
        atol=1e-2,
    )
    base = used[ours]
    rows = [
        {
            "name": name,
            "temporary_mib": rounded(size),
            "ratio": rounded(size / base) if size is not None and base else None,
        }
        for name, size in used.items()
    ]
    return {
        "id": str(n),
        "title": f"Temporary memory of the training step: {n} qubits, batch {batch}",
        "first": "training step",
        "notes": [f"ratio: how many times as much as eqx-qdeq with at most {STEPS[-1]} steps"],
        "facts": [f"the last two agree within {gap:.0e}"],
        "rows": rows,
    }


def _program(values: Layer, angles: Array, x: Array) -> Program:
    step, init = training_step(values)
    return build(step, angles, init(angles), x)


def _peak(n_qubits: int) -> Table:
    # A fresh process: this one's peak is that of whatever ran before.
    measured = measured_apart("_peak", n_qubits)
    rows = [
        {"name": name, "peak_mib": rounded(measured[key])}
        for name, key in (
            ("Python, JAX, the package and the sample", "before_mib"),
            ("then compiling", "compiled_mib"),
            ("then value and gradient", "peak_mib"),
        )
    ]
    state = f"the state takes {measured['state_mib']:.3g} MiB"
    if measured["temporary_mib"] is not None:
        state += f", all temporary arrays by XLA's account {show(measured['temporary_mib'])} MiB"
    return {
        "id": "peak",
        "title": f"State vector of {n_qubits} wires, {measured['gates']} gates, one sample: "
        "peak resident memory",
        "first": "after",
        "notes": [],
        "facts": [state],
        "rows": rows,
    }
