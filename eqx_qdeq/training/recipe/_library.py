"""The recipes that come with the package, ours and the paper's, and what they have trained."""

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from .. import load
from ..data import (
    AdaptivePool,
    Compose,
    Crop,
    DataError,
    Flatten,
    OrientedGradients,
    paper_preprocess,
    unit_norm_preprocess,
    UnitNorm,
)
from ._recipe import Recipe

_WEIGHTS = Path(__file__).parent / "weights"

_FOUR = (0, 3, 6, 9)


# The sizes of a model: qubits, features, classes.
_Sizes = tuple[int, int, int]


def _model(sizes: _Sizes, **more: Any) -> Mapping[str, Any]:
    named = dict(zip(("n_qubits", "in_size", "n_classes"), sizes, strict=True))
    return MappingProxyType({"model": "QDEQClassifier"} | named | more)


def _ours(
    name: str, dataset: str, summary: str, sizes: _Sizes, *, model: dict[str, Any], **more: Any
) -> Recipe:
    feedback = {"gain": 0.3, "train_gain": True, "readout": "zz"}
    return Recipe(
        name=name,
        summary=f"ours: {summary}, trained feedback gain",
        dataset=dataset,
        model=_model(sizes, **feedback | model),
        schedule="cosine",
        # Where a sample is about to lose its equilibrium its gradient is huge, and without
        # clipping one such batch can undo the whole training.
        clip=0.5,
        **more,
    )


def _on_edges(name: str, dataset: str, depth: int) -> Recipe:
    """10 qubits, and where the image rises in 8 directions as 200 amplitudes."""
    return _ours(
        name,
        dataset,
        f"10 qubits, {depth} layers of bricks, gradients in 8 directions on 5×5 places, ⟨Z⟩ and "
        "⟨ZZ⟩ read out",
        (10, 200, 10),
        model={"circuit": "brickwork", "depth": depth},
        preprocess=Compose((OrientedGradients(5, 8), UnitNorm())),
        epochs=40,
        learning_rate=0.03,
        batch_size=512,
    )


def _paper(name: str, dataset: str, n_qubits: int, classes: tuple[int, ...] | None) -> Recipe:
    n_classes = 10 if classes is None else len(classes)
    return Recipe(
        name=name,
        summary=f"the paper's: {n_qubits} qubits, its circuit, pixels and head, its training; "
        "solved exactly",
        dataset=dataset,
        classes=classes,
        preprocess=paper_preprocess(n_qubits),
        model=_model(
            (n_qubits, n_qubits**2, n_classes), circuit="paper", head="paper", dropout=0.05
        ),
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
        (4, 16, 4),
        model={"circuit": "hardware_efficient", "depth": 12},
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
        (4, 32, 4),
        model={"readout": "zzz", "circuit": "hardware_efficient", "depth": 17}
        | {"encoding": "complex"},
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
        return recipes[variant[1]].with_model(variant[2], n_layers=int(variant[3]))
    raise DataError(f"unknown recipe {name!r}; choose one of {', '.join(recipes)}.")


def pretrained() -> tuple[str, ...]:
    """The names of the trained models that come with the package: those of their recipes."""
    return tuple(sorted(path.stem for path in _WEIGHTS.glob("*.eqx")))


def pretrained_path(name: str) -> Path:
    """The file of a trained model that comes with the package.

    **Arguments:**

    - `name`: one of [`eqx_qdeq.training.pretrained`][].

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

    **Arguments:**

    - `name`: the recipe's name, one of [`eqx_qdeq.training.pretrained`][].

    **Returns:**

    The classifier, for features as its recipe prepares them.

    **Raises:** [`eqx_qdeq.training.DataError`][] that lists the names there are.
    """
    return load(pretrained_path(name))
