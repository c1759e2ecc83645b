"""A full training step: equilibrium to 1e-4, exact implicit gradient, Adam."""

from typing import Any

from .._contest import contest
from .._problems import DEFAULT, equilibria, our_equilibrium, OURS, paper, training_step, value_of
from .._settings import Settings
from .._tables import Table


def train(settings: Settings, rates: dict[str, Any]) -> list[Table]:
    """A table for each number of qubits."""
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
