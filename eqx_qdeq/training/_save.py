"""Models as files: the weights together with the hyperparameters, in one file."""

import os
from pathlib import Path
from typing import Any

import jax
from jaxtyping import PyTree

from ..models import classifier_from_config
from ._errors import CheckpointError
from ._files import read_header, read_leaves, write_tree


def save(path: str | os.PathLike[str], model: PyTree, *, metadata: dict | None = None) -> None:
    """Writes a model and its hyperparameters to one file, atomically.

    The file is a line of JSON (format, checksum, `model.config`, metadata), followed by what
    `equinox.tree_serialise_leaves` writes.

    **Arguments:**

    - `path`: where to; a file that is there is replaced.
    - `model`: any Equinox module. One with a `config`, such as the classifiers of this package, is
        loaded again without further knowledge.
    - `metadata`: anything else to keep with it that JSON can hold, e.g. the recipe.
    """
    config = getattr(model, "config", None)
    write_tree(Path(path), "model", {"config": config, "metadata": metadata}, model)


def load(path: str | os.PathLike[str], *, like: PyTree | None = None) -> Any:
    """Reads a model that [`eqx_qdeq.training.save`][] wrote.

    Floating-point weights come in the precision of the session, whatever that of the file.

    **Arguments:**

    - `path`: the file.
    - `like`: a model of the same structure, whose weights do not matter; needed for models that
        have no `config`.

    **Returns:**

    The model.

    **Raises:** [`eqx_qdeq.training.CheckpointError`][] naming the file, if it is missing, damaged,
    something else, or of another architecture.
    """
    file = Path(path)
    header, payload = read_header(file, "model")
    if like is None:
        if header["config"] is None:
            raise CheckpointError(
                f"'{file}' holds a model without `config`; pass load(..., like=model) with a model "
                "of the same structure."
            )
        try:
            like = classifier_from_config(header["config"], key=jax.random.key(0))
        except (TypeError, ValueError) as error:
            raise CheckpointError(
                f"'{file}' has a config that this release cannot build: {error}"
            ) from error
    return read_leaves(file, header, payload, like)


def load_metadata(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a model file says about its model, without building it.

    **Arguments:**

    - `path`: the file.

    **Returns:**

    A dictionary with `"config"` and `"metadata"` as they were saved.

    **Raises:** [`eqx_qdeq.training.CheckpointError`][] naming the file, if it is missing,
    damaged or something else.
    """
    header, _ = read_header(Path(path), "model")
    return {"config": header["config"], "metadata": header["metadata"]}
