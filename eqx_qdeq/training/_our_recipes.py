"""Our recipes: what goes beyond the paper's accuracy under budgets of qubits and parameters."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ._gradients import OrientedGradients
from ._preprocess import (
    AdaptivePool,
    Compose,
    Crop,
    Flatten,
    Preprocess,
    unit_norm_preprocess,
    UnitNorm,
)
from ._recipe import Recipe

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


OURS = (
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
