"""The paper's model against the peers: one layer, the equilibrium, and a full training step."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from .._contest import contest
from .._problems import (
    batched_loss,
    DEFAULT,
    equilibria,
    Equilibrium,
    layers,
    our_equilibrium,
    OURS,
    paper,
    training_step,
    value_of,
)
from .._settings import Settings
from .._tables import RATIO, rounded, Table

_STEPS = "solver steps: the mean over the samples; solved: samples that met the tolerance"


def layer(settings: Settings, rates: dict[str, Any]) -> list[Table]:
    """One evaluation for a batch, value and gradient: a table for each number of qubits."""
    tables = []
    for n in settings.qubits:
        p = paper(n, settings.batch)
        functions = {
            name: jax.value_and_grad(batched_loss(run))
            for name, run in layers(p.circuit, settings.peers).items()
        }
        table, _ = contest(
            functions,
            (p.angles, p.x),
            seconds=settings.seconds,
            atol=1e-5,
            sgemm=rates["sgemm_gflops"],
        )
        title = f"One layer, value and gradient: {n} qubits, batch {settings.batch}"
        tables.append({"id": str(n), "title": title, **table})
    return tables


def solve(settings: Settings, rates: dict[str, Any]) -> list[Table]:
    """The equilibria of a batch, without a gradient: a table for each number of qubits."""
    tables = []
    for n in settings.qubits:
        p = paper(n, settings.batch)
        found = equilibria(p, settings.peers)
        table, programs = contest(
            {name: _batched(equilibrium) for name, equilibrium in found.items()},
            (p.angles, p.x),
            seconds=settings.seconds,
            atol=1e-3,
            sgemm=rates["sgemm_gflops"],
            compare=lambda output: output[0],
        )
        for row in table["rows"]:
            # Nearly all of a solve is a loop, whose FLOPs XLA counts once.
            del row["of_sgemm"]
            _, steps, solved = programs[row["name"]]()
            row |= {"solver_steps": rounded(float(steps), 3), "solved": rounded(float(solved))}
        table["notes"] = [RATIO, _STEPS]
        title = f"Equilibrium by Picard iteration to 1e-4: {n} qubits, batch {settings.batch}"
        tables.append({"id": str(n), "title": title, **table})
    return tables


def _batched(equilibrium: Equilibrium) -> Callable[[Array, Array], Any]:
    def solve(angles: Array, x: Array) -> tuple[Array, Array, Array]:
        solution = jax.vmap(equilibrium, (None, 0))(angles, x)
        steps, solved = solution.stats["num_steps"], solution.success
        return solution.value, jnp.mean(steps * 1.0), jnp.mean(solved * 100.0)

    return solve


def train(settings: Settings, rates: dict[str, Any]) -> list[Table]:
    """Equilibrium to 1e-4, exact implicit gradient, Adam: a table for each number of qubits."""
    tables = []
    for n in settings.qubits:
        p = paper(n, settings.batch)
        found = equilibria(p, settings.peers)
        default = our_equilibrium(p, default_solver=True)
        found = {OURS: found.pop(OURS), DEFAULT: default, **found}
        steps, state = {}, None
        for name, equilibrium in found.items():
            steps[name], init = training_step(value_of(equilibrium))
            state = init(p.angles)
        table, _ = contest(
            steps,
            (p.angles, state, p.x),
            seconds=settings.seconds,
            atol=1e-3,
            sgemm=rates["sgemm_gflops"],
            # Adam's first step is the sign of the gradient: compare losses and first moments.
            compare=lambda output: (output[0], output[2][0].mu),
        )
        title = f"Training step: {n} qubits, batch {settings.batch}"
        tables.append({"id": str(n), "title": title, **table})
    return tables
