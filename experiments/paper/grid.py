"""The runs behind the paper's table: tasks × models × seeds, by name."""

import dataclasses
from typing import Any

from eqx_qdeq import training

TASKS = {
    "mnist4": "MNIST-4",
    "mnist10": "MNIST-10",
    "fashion10": "FashionMNIST-10",
    "cifar10": "CIFAR-10",
}
PAPER = {"mnist4": 93.4, "mnist10": 73.68, "fashion10": 72.11, "cifar10": 25.45}
"""The test accuracies (%) that the paper reports for its QDEQ on each task."""

LAYERS = (1, 2, 5, 10)
# The paper does not say how long it warms up; a tenth of the training.
WARMUP_EPOCHS = 10


@dataclasses.dataclass(frozen=True)
class Run:
    """One training of one model.

    **Arguments:**

    - `task`: a key of `TASKS`, or "digits" to try things out.
    - `model`: "implicit", "warmup", "direct1" to "direct10", "frozen" (the implicit model with the
        gates that the authors' code leaves untrained), "unpenalised" (the implicit model without
        the Jacobian penalty, which the direct ones do not have either), "classical" (an
        equilibrium of tanh) or "logistic".
    - `encoding`: "amplitude" or "angle"; "pixels" for the classical models.
    - `seed`: of parameters, validation split and training.
    """

    task: str
    model: str
    encoding: str
    seed: int

    @property
    def group(self) -> str:
        """The name without the seed."""
        return f"{self.task}-{self.model}-{self.encoding}"

    @property
    def name(self) -> str:
        return f"{self.group}-seed{self.seed}"

    def recipe(self) -> training.Recipe:
        """Data, model and training, as the paper's recipe of the task has them but for what this
        run changes."""
        base = _digits() if self.task == "digits" else training.get_recipe(f"paper-{self.task}")
        model: dict[str, Any] = {**base.model, "encoding": self.encoding}
        if self.encoding != "pixels":
            base = dataclasses.replace(base, model=model)
        if self.model == "classical":
            return base.with_model("classical")
        if self.model.startswith("direct"):
            return base.with_model("unrolled", n_layers=int(self.model.removeprefix("direct")))
        if self.model == "unpenalised":
            return dataclasses.replace(base, jacobian_penalty=0.0)
        return base

    @property
    def n_frozen(self) -> int:
        """How many of the circuit's last angles stay as they are: those of the RX, RY, RZ and CRX
        of each gate set, which the authors' code keeps where PyTorch does not find them."""
        n_sets = {4: 1, 10: 4}[4 if self.task in ("mnist4", "digits") else 10]
        return 4 * n_sets if self.model == "frozen" else 0


def _digits() -> training.Recipe:
    """Scikit-learn's digits, with the paper's model: for a look at how this works."""
    return dataclasses.replace(
        training.get_recipe("paper-mnist4"),
        name="paper-digits",
        dataset="digits",
        preprocess=training.unit_norm_preprocess(4),
    )


def all_runs(n_seeds: int, tasks: tuple[str, ...] = tuple(TASKS)) -> list[Run]:
    """Every run: the first seed of everything first, small circuits before large ones."""
    direct = [f"direct{layers}" for layers in LAYERS]
    quantum = ["implicit", *direct, "warmup", "frozen", "unpenalised"]
    runs = []
    for seed in range(n_seeds):
        for task in tasks:
            runs += [Run(task, "logistic", "pixels", seed)] if seed == 0 else []
            runs += [Run(task, model, "amplitude", seed) for model in quantum]
            runs += [Run(task, "classical", "pixels", seed)]
            if task in ("mnist4", "digits"):
                # The paper's encoder for 10 wires sums ten pixels into one angle: left out.
                runs += [Run(task, model, "angle", seed) for model in quantum if model != "frozen"]
    return runs
