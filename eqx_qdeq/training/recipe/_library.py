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
    Preprocess,
    unit_norm_preprocess,
    UnitNorm,
)
from ._recipe import Recipe

_WEIGHTS = Path(__file__).parent / "weights"

_FOUR = (0, 3, 6, 9)


def _model(n_qubits: int, in_size: int, n_classes: int, **more: Any) -> Mapping[str, Any]:
    return MappingProxyType(
        {
            "model": "QDEQClassifier",
            "n_qubits": n_qubits,
            "in_size": in_size,
            "n_classes": n_classes,
            "gain": 0.3,
            "train_gain": True,
            "readout": "zz",
        }
        | more
    )


def _ours(
    name: str,
    dataset: str,
    summary: str,
    model: Mapping[str, Any],
    preprocess: Preprocess,
    **training: Any,
) -> Recipe:
    return Recipe(
        name=name,
        summary=f"ours: {summary}, trained feedback gain",
        dataset=dataset,
        model=model,
        preprocess=preprocess,
        schedule="cosine",
        # Where a sample is about to lose its equilibrium its gradient is huge, and without
        # clipping one such batch can undo the whole training.
        clip=0.5,
        **training,
    )


def _on_edges(name: str, dataset: str, *, depth: int, epochs: int) -> Recipe:
    """10 qubits, and where the image rises in 8 directions as 200 amplitudes."""
    return _ours(
        name,
        dataset,
        f"10 qubits, {depth} layers of bricks, gradients in 8 directions on 5×5 places, ⟨Z⟩ and "
        "⟨ZZ⟩ read out",
        _model(10, 200, 10, circuit="brickwork", depth=depth),
        Compose((OrientedGradients(5, 8), UnitNorm())),
        epochs=epochs,
        learning_rate=0.03,
        batch_size=512,
    )


_OURS = (
    # Few samples: a gentle rate, and a penalty that keeps the map contracting.
    _ours(
        "digits-demo",
        "digits",
        "4 qubits, 12 hardware-efficient layers, pixels of unit norm, ⟨Z⟩ and ⟨ZZ⟩ read out",
        _model(4, 16, 4, circuit="hardware_efficient", depth=12),
        unit_norm_preprocess(4),
        classes=_FOUR,
        epochs=60,
        learning_rate=0.01,
        batch_size=32,
        jacobian_penalty=0.5,
    ),
    _ours(
        "ours-mnist4",
        "mnist",
        "4 qubits, 17 hardware-efficient layers, 8×4 pixels as complex amplitudes of unit norm, "
        "⟨Z⟩, ⟨ZZ⟩ and ⟨ZZZ⟩ read out",
        _model(
            4,
            32,
            4,
            circuit="hardware_efficient",
            depth=17,
            encoding="complex",
            readout="zzz",
        ),
        Compose((Crop(3), AdaptivePool((8, 4)), Flatten(), UnitNorm())),
        classes=_FOUR,
        epochs=120,
        learning_rate=0.06,
        batch_size=128,
    ),
    _on_edges("ours-mnist10", "mnist", depth=10, epochs=40),
    _on_edges("ours-fashion10", "fashion_mnist", depth=10, epochs=40),
    _on_edges("ours-cifar10", "cifar10", depth=20, epochs=40),
)


def _paper(name: str, dataset: str, n_qubits: int, classes: tuple[int, ...] | None) -> Recipe:
    return Recipe(
        name=name,
        summary=(
            f"the paper's: {n_qubits} qubits, its circuit, pixels and head, its training; solved "
            "exactly"
        ),
        dataset=dataset,
        classes=classes,
        preprocess=paper_preprocess(n_qubits),
        model=MappingProxyType(
            {
                "model": "QDEQClassifier",
                "n_qubits": n_qubits,
                "in_size": n_qubits**2,
                "n_classes": 10 if classes is None else len(classes),
                "circuit": "paper",
                "head": "paper",
                "dropout": 0.05,
            }
        ),
        epochs=100,
        learning_rate=5e-3,
        clip=0.25,
        jacobian_penalty=0.8,
    )


_PAPER = (
    _paper("paper-mnist4", "mnist", 4, _FOUR),
    _paper("paper-mnist10", "mnist", 10, None),
    _paper("paper-fashion10", "fashion_mnist", 10, None),
    _paper("paper-cifar10", "cifar10", 10, None),
)

recipes: Mapping[str, Recipe] = MappingProxyType(
    {recipe.name: recipe for recipe in (*_OURS, *_PAPER)}
)
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
