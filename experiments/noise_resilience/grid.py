"""What is compared, and under what: models, trainings, and the sweeps of noise."""

import dataclasses

MODELS = {
    "qdeq": "QDEQ",
    "unpenalised": "QDEQ, no penalty",
    "direct1": "direct, L = 1",
    "direct2": "direct, L = 2",
    "direct5": "direct, L = 5",
    "direct10": "direct, L = 10",
    "coherent5": "coherent, L = 5",
    "coherent10": "coherent, L = 10",
    "coherent10free": "coherent, L = 10, untied",
}
"""The models by name. *QDEQ*: the equilibrium, trained as the paper does; *no penalty*: without its
Jacobian penalty, which the others do not have either. *Direct*: the circuit applied L times,
measured and prepared again in between. *Coherent*: the circuit's gates L times in a row, prepared
once and measured once; *untied*: with angles of their own in each repetition."""

TRAININGS = {"clean": 0.0, "p0.01": 0.01, "p0.03": 0.03}
"""The two-qubit error under which a model is trained."""

SOLVED = ("qdeq", "unpenalised")
"""The models that are equilibria."""

AT_3_PERCENT = (*SOLVED, "direct1", "direct5", "coherent5")
"""The models that are trained under the largest error too."""

SEEDS = 3
EPOCHS = 30

RATES = (0.0, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 2e-2, 3e-2)
READOUT = (0.0, 0.005, 0.01, 0.02, 0.03, 0.05)
SWEEPS = {
    "two_qubit": RATES,
    "two_qubit_prepared": RATES,
    "damping": RATES,
    "dephasing": RATES,
    "readout": READOUT,
}
"""Rates by what is wrong: depolarizing noise after every gate on two wires, the same with the
gates that prepare the encoded state, amplitude damping and phase damping of both wires after every
gate on two, and flips of measured bits."""

DEVICES = ("ibm_sherbrooke", "ibm_torino", "ibm_fez", "google_weber")
SHOTS = (128, 512, 2048, 8192, 2**20)
"""Shots per image, in all. The last number is as good as infinitely many."""

BINS = (0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.25, 1.5, 2.0)
"""Where samples are parted by κ, the largest ‖J‖ between two equilibria."""

MNIST10_MODELS = ("direct1", "qdeq", "coherent5")
MNIST10_EPOCHS = 10
MNIST10_SWEEPS = {"two_qubit": (0.0, 1e-3, 3e-3, 1e-2, 3e-2), "two_qubit_prepared": (1e-4, 1e-3)}
"""On ten wires everything costs more: one seed of a few models, and fewer rates."""


@dataclasses.dataclass(frozen=True)
class Run:
    """One trained model. `task` is "mnist4", "mnist10", or "digits" to try things out."""

    task: str
    model: str
    training: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.task}-{self.model}-{self.training}-seed{self.seed}"

    @property
    def n_qubits(self) -> int:
        return 10 if self.task == "mnist10" else 4


def all_runs(n_seeds: int, task: str = "mnist4") -> list[Run]:
    """Every run of a task; those that share what is compiled stand together."""
    if task == "mnist10":
        return [Run(task, model, "clean", 0) for model in MNIST10_MODELS]
    return [
        Run(task, model, training, seed)
        for training in TRAININGS
        for model in (AT_3_PERCENT if training == "p0.03" else MODELS)
        for seed in range(n_seeds)
    ]
