"""A recipe: everything that a training run needs beside its seed, under a name."""

import dataclasses
import functools
import json
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import optax

from ...models import classifier_from_config
from .. import count_parameters, Options, to_json
from ..data import Preprocess


# Kept, because compiled steps are found again by the optimizer that they were compiled for: seeds
# of a recipe, and recipes that differ in their data alone, compile once.
@functools.lru_cache(maxsize=64)
def _adam(
    rate: float, decay_steps: int | None
) -> tuple[float | optax.Schedule, optax.GradientTransformation]:
    """Adam and its learning rate, constant or falling to zero as a cosine."""
    schedule = rate if decay_steps is None else optax.cosine_decay_schedule(rate, decay_steps)
    return schedule, optax.adam(schedule)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Data, model and training of a classifier.

    **Arguments:**

    - `name`: its name.
    - `summary`: what it is, in a line.
    - `dataset`, `classes`, `preprocess`: as for [`eqx_qdeq.training.load_dataset`][].
    - `model`: the `config` of a classifier, see [`eqx_qdeq.classifier_from_config`][].
    - `epochs`, `batch_size`, `clip`, `jacobian_penalty`, `warmup_steps`, `warmup_layers`: as in
        [`eqx_qdeq.training.Options`][]; trained with Adam.
    - `learning_rate`: Adam's; where it starts.
    - `schedule`: "constant", or "cosine" for a decay to zero over the whole run.

    **Raises:** `ValueError` for numbers below 1 or an unknown schedule.
    """

    name: str
    summary: str
    dataset: str
    model: Mapping[str, Any]
    preprocess: Preprocess
    epochs: int
    learning_rate: float
    classes: tuple[int | str, ...] | None = None
    schedule: str = "constant"
    batch_size: int = Options.batch_size
    clip: float | None = Options.clip
    jacobian_penalty: float = Options.jacobian_penalty
    warmup_steps: int = Options.warmup_steps
    warmup_layers: int = Options.warmup_layers

    def __post_init__(self) -> None:
        if self.schedule not in ("constant", "cosine"):
            raise ValueError(f"`schedule` must be constant or cosine; got {self.schedule!r}.")
        Options(optimizer=optax.identity(), **self._shared())  # which checks them

    def to_dict(self) -> dict[str, Any]:
        """The recipe as JSON can hold it; the preprocessing as it prints."""
        # As it prints, since a function has no other identity that JSON could hold.
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return fields | {
            "preprocess": repr(self.preprocess),
            "model": json.loads(to_json(self.model)),
        }

    def options(self, n_train: int) -> Options:
        """How it trains, for so many training samples; the rest as the defaults are.

        **Arguments:**

        - `n_train`: over which the schedule of the learning rate goes.
        """
        rate, optimizer = _adam(self.learning_rate, self._decay_steps(n_train))
        return Options(optimizer=optimizer, learning_rate=rate, **self._shared())

    def _shared(self) -> dict[str, Any]:
        """What recipes and options have in common."""
        names = {field.name for field in dataclasses.fields(Options)} - {"learning_rate"}
        return {name: value for name, value in vars(self).items() if name in names}

    def rate(self, n_train: int) -> float | optax.Schedule:
        """The learning rate, for so many training samples."""
        return _adam(self.learning_rate, self._decay_steps(n_train))[0]

    def _decay_steps(self, n_train: int) -> int | None:
        if self.schedule == "constant":
            return None
        return self.epochs * -(-n_train // min(self.batch_size, n_train))

    def with_model(self, model: str, *, n_layers: int = 2) -> "Recipe":
        """The same recipe for another kind of model; its name gets the kind and size as a suffix.

        **Arguments:**

        - `model`: "qdeq" is the recipe itself; "unrolled" applies its cell `n_layers` times instead
            of solving; "classical" is an equilibrium of tanh with the most hidden values for which
            it has no more parameters.
        - `n_layers`: for "unrolled".
        """
        if model == "qdeq":
            return self
        if model == "unrolled":
            config = {"model": "UnrolledClassifier", "n_layers": n_layers, "base": dict(self.model)}
            name = f"{self.name}-unrolled{n_layers}"
            summary = f"{self.summary}; unrolled, {n_layers} applications"
            # There is no equilibrium whose Jacobian could be penalised.
            changes: dict[str, Any] = {"jacobian_penalty": 0.0, "warmup_steps": 0}
        elif model == "classical":
            hidden_size = self._classical_size()
            config = {
                "model": "ClassicalDEQClassifier",
                "in_size": self.model["in_size"],
                "hidden_size": hidden_size,
                "n_classes": self.model["n_classes"],
                "dropout": self.model.get("dropout", 0.0),
            }
            name, changes = f"{self.name}-classical{hidden_size}", {}
            summary = f"a classical equilibrium of tanh with {hidden_size} values, as {self.name}"
        else:
            raise ValueError(f"`model` must be qdeq, unrolled or classical; got {model!r}.")
        return dataclasses.replace(self, name=name, summary=summary, model=config, **changes)

    def _classical_size(self) -> int:
        # Shapes are enough to count, so no circuit is simulated and no array made.
        key = jax.random.key(0)
        build = lambda key: classifier_from_config(dict(self.model), key=key)
        budget = count_parameters(eqx.filter_eval_shape(build, key))
        d, k = self.model["in_size"], self.model["n_classes"]
        # All sizes are tried, which is as quick as the formula and cannot be off by one.
        # h² for the state, (d + 1) h for the input, (h + 1) k for the head.
        fits = [h for h in range(1, budget) if h * h + (d + 1) * h + (h + 1) * k <= budget]
        return max(fits, default=1)
