"""Trained models that come with the package."""

from pathlib import Path
from typing import Any

from ._errors import DataError
from ._save import load

_FOLDER = Path(__file__).parent / "weights"


def pretrained() -> tuple[str, ...]:
    """The names of the trained models that come with the package: those of their recipes."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.eqx")))


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
    return _FOLDER / f"{name}.eqx"


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
