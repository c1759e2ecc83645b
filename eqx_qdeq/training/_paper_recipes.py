"""The paper's recipes."""

from types import MappingProxyType

from ._preprocess import paper_preprocess
from ._recipe import Recipe

_FOUR = (0, 3, 6, 9)


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


PAPER = (
    _paper("paper-mnist4", "mnist", 4, _FOUR),
    _paper("paper-mnist10", "mnist", 10, None),
    _paper("paper-fashion10", "fashion_mnist", 10, None),
    _paper("paper-cifar10", "cifar10", 10, None),
)
