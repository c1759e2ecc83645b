"""A recipe: everything that a training run needs beside its seed, under a name. And those that come
with the package, ours and the paper's, with what they have trained."""

import dataclasses
import functools as ft
import json
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import equinox as eqx
import jax
import optax

from ..._checks import check_choice
from ...models import classifier_from_config
from .. import count_parameters, load, Options, to_json
from ..data import (
    AdaptivePool,
    Compose,
    Crop,
    DataError,
    Flatten,
    OrientedGradients,
    paper_preprocess,
    Preprocess,
    unit_norm_preprocess,
    UnitNorm,
)

_Optimizer = tuple[float | optax.Schedule, optax.GradientTransformation]


# Kept, because compiled steps are found again by the optimizer that they were compiled for: seeds
# of a recipe, and recipes that differ in their data alone, compile once.
@ft.lru_cache(maxsize=64)
def _adam(rate: float, decay_steps: int | None) -> _Optimizer:
    """Adam and its learning rate, constant or falling to zero as a cosine."""
    schedule = rate if decay_steps is None else optax.cosine_decay_schedule(rate, decay_steps)
    return schedule, optax.adam(schedule)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Data, model and training of a classifier.

    !!! example

        ```python
        import dataclasses
        from eqx_qdeq import training

        recipe = training.recipes["digits-demo"]
        shorter = dataclasses.replace(recipe, epochs=5)
        recipe.with_model("classical").name  # digits-demo-classical5
        ```

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
        check_choice("schedule", self.schedule, ("constant", "cosine"))
        Options(optimizer=optax.identity(), **self._shared())  # which checks them

    def to_dict(self) -> dict[str, Any]:
        """The recipe as JSON can hold it; the preprocessing as it prints."""
        # As it prints, since a function has no other identity that JSON could hold.
        texts = {"preprocess": repr(self.preprocess), "model": json.loads(to_json(self.model))}
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)} | texts

    def options(self, n_train: int) -> Options:
        """How it trains, for so many training samples; the rest as the defaults are.

        **Arguments:**

        - `n_train`: over which the schedule of the learning rate goes.
        """
        rate, optimizer = self._optimizer(n_train)
        return Options(optimizer=optimizer, learning_rate=rate, **self._shared())

    def rate(self, n_train: int) -> float | optax.Schedule:
        """The learning rate, for so many training samples."""
        return self._optimizer(n_train)[0]

    def _optimizer(self, n_train: int) -> _Optimizer:
        # An epoch has ⌈n / batch⌉ steps, and the schedule ends with the last of them.
        steps = self.epochs * -(-n_train // min(self.batch_size, n_train))
        return _adam(self.learning_rate, steps if self.schedule == "cosine" else None)

    def _shared(self) -> dict[str, Any]:
        """What recipes and options have in common."""
        names = {field.name for field in dataclasses.fields(Options)} - {"learning_rate"}
        return {name: value for name, value in vars(self).items() if name in names}

    def with_model(self, model: str, *, n_layers: int = 2) -> "Recipe":
        """The same recipe for another kind of model; its name gets the kind and size as a suffix.

        **Arguments:**

        - `model`: "qdeq" is the recipe itself; "unrolled" applies its cell `n_layers` times instead
            of solving; "classical" is an equilibrium of tanh with the most hidden values for which
            it has no more parameters.
        - `n_layers`: for "unrolled".

        **Returns:** the recipe.

        **Raises:** `ValueError` for another kind of model.
        """
        check_choice("model", model, ("qdeq", "unrolled", "classical"))
        if model == "qdeq":
            return self
        if model == "unrolled":
            config = {"model": "UnrolledClassifier", "n_layers": n_layers, "base": dict(self.model)}
            name = f"{self.name}-unrolled{n_layers}"
            summary = f"{self.summary}; unrolled, {n_layers} applications"
            # There is no equilibrium whose Jacobian could be penalized.
            changes: dict[str, Any] = {"jacobian_penalty": 0.0, "warmup_steps": 0}
        else:
            size, d, k = self._classical_size(), self.model["in_size"], self.model["n_classes"]
            config = {"model": "ClassicalDEQClassifier", "in_size": d, "hidden_size": size}
            config |= {"n_classes": k, "dropout": self.model.get("dropout", 0.0)}
            name, changes = f"{self.name}-classical{size}", {}
            summary = f"a classical equilibrium of tanh with {size} values, as {self.name}"
        return dataclasses.replace(self, name=name, summary=summary, model=config, **changes)

    def _classical_size(self) -> int:
        # Shapes are enough to count, so no circuit is simulated and no array made.
        build = lambda key: classifier_from_config(dict(self.model), key=key)
        budget = count_parameters(eqx.filter_eval_shape(build, jax.random.key(0)))
        d, k = self.model["in_size"], self.model["n_classes"]
        # All sizes are tried, which is as quick as the formula and cannot be off by one.
        # h² for the state, (d + 1) h for the input, (h + 1) k for the head.
        fits = [h for h in range(1, budget) if h * h + (d + 1) * h + (h + 1) * k <= budget]
        return max(fits, default=1)


# --- The recipes that come with the package. ---

_WEIGHTS = Path(__file__).parent / "weights"

_FOUR = (0, 3, 6, 9)
_FEEDBACK = {"gain": 0.3, "train_gain": True, "readout": "zz"}
_ON_COMPLEX = {"circuit": "hardware_efficient", "depth": 17, "encoding": "complex"}
_EDGES = "gradients in 8 directions on 5×5 places, ⟨Z⟩ and ⟨ZZ⟩ read out"


def _model(n_qubits: int, in_size: int, n_classes: int, **more: Any) -> Mapping[str, Any]:
    sizes = {"n_qubits": n_qubits, "in_size": in_size, "n_classes": n_classes}
    return MappingProxyType({"model": "QDEQClassifier"} | sizes | more)


def _ours(name: str, dataset: str, summary: str, **more: Any) -> Recipe:
    summary = f"ours: {summary}, trained feedback gain"
    # Where a sample is about to lose its equilibrium its gradient is huge, and without clipping one
    # such batch can undo the whole training.
    return Recipe(name, summary, dataset, schedule="cosine", clip=0.5, **more)


def _on_edges(name: str, dataset: str, depth: int) -> Recipe:
    """10 qubits, and where the image rises in 8 directions as 200 amplitudes."""
    return _ours(
        name,
        dataset,
        f"10 qubits, {depth} layers of bricks, {_EDGES}",
        model=_model(10, 200, 10, **_FEEDBACK, circuit="brickwork", depth=depth),
        preprocess=Compose((OrientedGradients(5, 8), UnitNorm())),
        epochs=40,
        learning_rate=0.03,
        batch_size=512,
    )


def _paper(name: str, dataset: str, n_qubits: int, classes: tuple[int, ...] | None) -> Recipe:
    # n² pixels on n qubits (16 and 100): no power of two at 10, the other amplitudes are zero.
    sizes = (n_qubits, n_qubits**2, 10 if classes is None else len(classes))
    return Recipe(
        name=name,
        summary=f"the paper's: {n_qubits} qubits, its circuit, pixels and head, its training; "
        "solved exactly",
        dataset=dataset,
        classes=classes,
        preprocess=paper_preprocess(n_qubits),
        model=_model(*sizes, circuit="paper", head="paper", dropout=0.05),
        # The step size, clipping and penalty of the authors' code.
        epochs=100,
        learning_rate=5e-3,
        clip=0.25,
        jacobian_penalty=0.8,
    )


_ALL = (
    # Few samples: a gentle rate, and a penalty that keeps the map contracting.
    _ours(
        "digits-demo",
        "digits",
        "4 qubits, 12 hardware-efficient layers, pixels of unit norm, ⟨Z⟩ and ⟨ZZ⟩ read out",
        model=_model(4, 16, 4, **_FEEDBACK, circuit="hardware_efficient", depth=12),
        preprocess=unit_norm_preprocess(4),
        classes=_FOUR,
        epochs=60,
        learning_rate=0.01,
        batch_size=32,
        jacobian_penalty=0.5,
    ),
    # The margin of 3 pixels has 1 % of the ink of MNIST's digits; 8×4 = 32 pixels fill the real and
    # the imaginary parts of 16 amplitudes.
    _ours(
        "ours-mnist4",
        "mnist",
        "4 qubits, 17 hardware-efficient layers, 8×4 pixels as complex amplitudes of unit norm, "
        "⟨Z⟩, ⟨ZZ⟩ and ⟨ZZZ⟩ read out",
        model=_model(4, 32, 4, **_FEEDBACK | {"readout": "zzz"}, **_ON_COMPLEX),
        preprocess=Compose((Crop(3), AdaptivePool((8, 4)), Flatten(), UnitNorm())),
        classes=_FOUR,
        epochs=120,
        learning_rate=0.06,
        batch_size=128,
    ),
    _on_edges("ours-mnist10", "mnist", depth=10),
    _on_edges("ours-fashion10", "fashion_mnist", depth=10),
    _on_edges("ours-cifar10", "cifar10", depth=20),
    _paper("paper-mnist4", "mnist", 4, _FOUR),
    _paper("paper-mnist10", "mnist", 10, None),
    _paper("paper-fashion10", "fashion_mnist", 10, None),
    _paper("paper-cifar10", "cifar10", 10, None),
)

recipes: Mapping[str, Recipe] = MappingProxyType({recipe.name: recipe for recipe in _ALL})
"""The recipes by name."""


def get_recipe(name: str) -> Recipe:
    """A recipe by name, also one made by `with_model`, e.g. "ours-mnist4-unrolled5".

    !!! example

        ```python
        from eqx_qdeq import training

        recipe = training.get_recipe("digits-demo-unrolled5")
        recipe.model["n_layers"]  # 5
        ```

    **Arguments:**

    - `name`: its name.

    **Returns:**

    A [`eqx_qdeq.training.Recipe`][].

    **Raises:** [`eqx_qdeq.training.DataError`][] that lists the names there are.
    """
    if name in recipes:
        return recipes[name]
    variant = re.fullmatch(r"(.+)-(unrolled|classical)(\d+)", name)
    if variant is not None and variant[1] in recipes:
        made = recipes[variant[1]].with_model(variant[2], n_layers=int(variant[3]))
        # The size of a classical model is computed: with another one it would be another model.
        if made.name == name:
            return made
    raise DataError(f"unknown recipe {name!r}; choose one of {', '.join(recipes)}.")


def pretrained() -> tuple[str, ...]:
    """The names of the trained models that come with the package: those of their recipes.

    !!! example

        ```python
        from eqx_qdeq import training

        training.pretrained()
        # ('ours-cifar10', 'ours-fashion10', 'ours-mnist10', 'ours-mnist4')
        ```

    **Returns:** their names.
    """
    return tuple(sorted(path.stem for path in _WEIGHTS.glob("*.eqx")))


def pretrained_path(name: str) -> Path:
    """The file of a trained model that comes with the package.

    !!! example

        ```python
        from eqx_qdeq import training

        training.pretrained_path(training.pretrained()[0]).suffix  # .eqx
        ```

    **Arguments:**

    - `name`: one of [`eqx_qdeq.training.pretrained`][].

    **Returns:** its path.

    **Raises:** [`eqx_qdeq.training.DataError`][] that lists the names there are.
    """
    if name not in pretrained():
        raise DataError(
            f"no trained model {name!r} comes with the package; there are: "
            f"{', '.join(pretrained())}. Train one with run_recipe."
        )
    return _WEIGHTS / f"{name}.eqx"


def load_pretrained(name: str) -> Any:
    """A trained model that comes with the package.

    [`eqx_qdeq.training.load_metadata`][] of its file has the recipe, the seed and the test
    accuracy; `examples/train_classifier.py --evaluate NAME` measures that again.

    !!! example

        ```python
        from eqx_qdeq import training

        model = training.load_pretrained(training.pretrained()[0])
        type(model).__name__  # QDEQClassifier
        ```

    **Arguments:**

    - `name`: the recipe's name, one of [`eqx_qdeq.training.pretrained`][].

    **Returns:**

    The classifier, for features as its recipe prepares them.

    **Raises:** [`eqx_qdeq.training.DataError`][] that lists the names there are.
    """
    return load(pretrained_path(name))
