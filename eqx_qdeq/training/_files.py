"""Models as files: one line of JSON, then Equinox's serialized leaves, which `_leaves.py` reads.

The line has a SHA-256 of the rest and of itself, and the path, dtype and shape of every leaf, so
that a file that is damaged or holds something else is told apart from a good one before anything
is made of it. How files are written is in `_writing.py`.
"""

import hashlib
import json
import math
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import jax
import jax.tree_util as jtu
from jaxtyping import PyTree

from .._checks import short
from ..models import shapes_from_config
from ._leaves import describe_leaves, is_saved, LeafError, not_finite, read_leaves, serialise
from ._writing import CheckpointError, to_json, write_atomic

# A checkpoint of version 1 does not know its initial weights and its optimizer.
_VERSIONS = {"model": 1, "checkpoint": 2}
_START = b'{"format": "eqx-qdeq '
_FIELDS = {"format": str, "version": int, "sha256": str, "leaves": list}
_MODEL = {"config": dict | None, "metadata": object}


# --- Models -----------------------------------------------------------------------------------


def save(path: str | os.PathLike[str], model: PyTree, *, metadata: dict | None = None) -> None:
    """Writes a model and its hyperparameters to one file, atomically.

    The file is a line of JSON (format, checksum, `model.config`, metadata), followed by what
    `equinox.tree_serialise_leaves` writes.

    !!! example

        ```python
        import eqx_qdeq as qdeq, jax
        from eqx_qdeq import training

        model = qdeq.ClassicalDEQClassifier(4, 8, 3, key=jax.random.key(0))
        training.save("model.eqx", model, metadata={"accuracy": 0.9})
        ```

    **Arguments:**

    - `path`: where to; a file that is there is replaced.
    - `model`: any Equinox module. One with a `config`, such as the classifiers of this package, is
        loaded again without further knowledge. (Not if something else than numbers was changed
        since it was made from its config: another circuit, measurement or noise needs `like=`.)
    - `metadata`: anything else to keep with it that JSON can hold, e.g. the recipe.
    """
    config = getattr(model, "config", None)
    if config is not None and not _is_made_by(config, model):
        config = None
    write_tree(Path(path), "model", {"config": config, "metadata": metadata}, model)


def _is_made_by(config: Any, model: PyTree) -> bool:
    """Whether a config makes this model, whatever its numbers: the same parts, and the same fixed
    settings in them."""
    try:
        made = shapes_from_config(config, most=sys.maxsize)
    except (TypeError, ValueError, ArithmeticError):
        return False
    # Leaves that are numbers come from the file; functions and the like would not.
    (ours, structure), (theirs, other) = (jtu.tree_flatten(tree) for tree in (made, model))
    if structure != other:
        return False
    fixed = lambda leaf: not (is_saved(leaf) or isinstance(leaf, jax.ShapeDtypeStruct))
    return all(a == b for a, b in zip(ours, theirs, strict=True) if fixed(a) or fixed(b))


def load(path: str | os.PathLike[str], *, like: PyTree | None = None) -> Any:
    """Reads a model that [`eqx_qdeq.training.save`][] wrote.

    Numbers come in the precision of the session, whatever that of the file. A warning tells if some
    were rounded, or are not finite. A file from a stranger is safe to load: nothing in it is
    executed, and it makes no more arrays than it has.

    !!! example

        ```python
        import equinox as eqx
        import eqx_qdeq as qdeq, jax
        from eqx_qdeq import training

        model = qdeq.ClassicalDEQClassifier(4, 8, 3, key=jax.random.key(0))
        training.save("model.eqx", model)
        bool(eqx.tree_equal(training.load("model.eqx"), model))  # True
        ```

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
    header, payload = read_header(file, "model", **_MODEL)
    if like is None:
        if header["config"] is None:
            raise CheckpointError(
                f"'{file}' holds a model without `config`, or one that is no longer what its "
                "config makes (with noise or another circuit, say); pass load(..., like=model) "
                "with a model of the same structure."
            )
        try:
            # As shapes alone, and no more of them than the file has numbers for: nothing is made of
            # what a config says until the leaves agree with it. (A number has two bytes at least.)
            like = shapes_from_config(header["config"], most=len(payload) // 2)
        except (TypeError, ValueError, ArithmeticError, RecursionError) as error:
            raise CheckpointError(
                f"'{file}' has a config that this release cannot build: {short(error, 300)}"
            ) from error
    model = read_tree(file, header, payload, like)
    where = not_finite(model)
    if where is not None:
        warnings.warn(
            f"'{file}' has numbers that are NaN or infinite, the first at {where}: what it "
            "computes with them is not finite either.",
            stacklevel=2,
        )
    return model


def load_metadata(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a model file says about its model, without building it.

    !!! example

        ```python
        import eqx_qdeq as qdeq, jax
        from eqx_qdeq import training

        model = qdeq.ClassicalDEQClassifier(4, 8, 3, key=jax.random.key(0))
        training.save("model.eqx", model, metadata={"accuracy": 0.9})
        training.load_metadata("model.eqx")["metadata"]  # {'accuracy': 0.9}
        ```

    **Arguments:**

    - `path`: the file.

    **Returns:**

    A dictionary with `"config"` and `"metadata"` as they were saved.

    **Raises:** [`eqx_qdeq.training.CheckpointError`][] naming the file, if it is missing,
    damaged or something else.
    """
    header, _ = read_header(Path(path), "model", **_MODEL)
    return {"config": header["config"], "metadata": header["metadata"]}


# --- Files ------------------------------------------------------------------------------------


def write_tree(path: Path, kind: str, header: dict[str, Any], tree: PyTree) -> None:
    """Writes the leaves of `tree`, with a header, as a file of the given kind."""
    payload = serialise(tree)
    text = to_json(
        {
            "format": f"eqx-qdeq {kind}",
            "version": _VERSIONS[kind],
            "sha256": hashlib.sha256(payload).hexdigest(),
            **header,
            "leaves": describe_leaves(tree),
        }
    )
    digest = hashlib.sha256(text.encode()).hexdigest()
    write_atomic(path, f"{text}\t{digest}\n".encode() + payload)


def read_header(path: Path, kind: str, **fields: Any) -> tuple[dict[str, Any], bytes]:
    """The header and the bytes of the leaves, checked to be whole. A checksum says that nothing was
    damaged, and not that nobody made it up: `fields` are the types of what else must be there.

    **Raises:** [`eqx_qdeq.training.CheckpointError`][] naming the file.
    """
    content = _content(path, kind)
    line, _, payload = content.partition(b"\n")
    text, _, digest = line.rpartition(b"\t")
    # The header's checksum first: until it agrees, nothing in it is believed.
    damaged = CheckpointError(
        f"'{path}' is corrupt or truncated (its checksum does not match); use another copy."
    )
    if hashlib.sha256(text).hexdigest().encode() != digest:
        raise damaged
    try:
        header = json.loads(
            text, object_pairs_hook=_without_doubles, parse_float=_finite, parse_constant=_finite
        )
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"'{path}' has a header that is no JSON: {short(error)}") from error
    for name, wanted in (_FIELDS | fields).items():
        if name not in header or not isinstance(header[name], wanted):
            found = type(header[name]).__name__ if name in header else "none"
            raise CheckpointError(
                f"'{path}' has a header whose {name!r} should be of type "
                f"{getattr(wanted, '__name__', wanted)} and is {found}: it is forged or of another "
                "release."
            )
    if header["format"] != f"eqx-qdeq {kind}":
        found = short(header["format"].removeprefix("eqx-qdeq "))
        raise CheckpointError(f"'{path}' is a {found} file, not a {kind} file.")
    if header["version"] != _VERSIONS[kind]:
        anew = ", or start anew in another folder" if kind == "checkpoint" else ""
        raise CheckpointError(
            f"'{path}' has version {short(header['version'])} of the format and this release reads "
            f"version {_VERSIONS[kind]}; use the release that wrote it{anew}."
        )
    if hashlib.sha256(payload).hexdigest() != header["sha256"]:
        raise damaged
    return header, payload


def _content(path: Path, kind: str) -> bytes:
    try:
        # A pipe or a device may never end.
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise CheckpointError(f"'{path}' is not a regular file.")
        with path.open("rb") as file:
            # Told apart from a damaged file by how it begins, before all of it is read: it may be
            # something that is large, or dear to someone.
            start = file.read(len(_START))
            if start == _START:
                return start + file.read()
    except FileNotFoundError:
        raise CheckpointError(f"there is no file '{path}'.") from None
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        problem = getattr(error, "strerror", None) or error
        raise CheckpointError(f"'{short(path, 1000)}' cannot be read: {problem}.") from None
    raise CheckpointError(f"'{path}' is not a {kind} file of eqx_qdeq.training.")


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):  # readers differ in which one counts
        raise ValueError("a name stands twice in one object.")
    return found


def _finite(text: str) -> float:
    if not math.isfinite(float(text)):
        raise ValueError(f"{short(text)} is no finite number.")
    return float(text)


def read_tree(path: Path, header: dict[str, Any], payload: bytes, like: PyTree) -> PyTree:
    """The tree in the file; `like` gives the structure, as arrays or as their shapes.

    **Raises:** [`eqx_qdeq.training.CheckpointError`][] if the file holds another structure.
    """
    try:
        return read_leaves(header["leaves"], payload, like, f"'{path}'")
    except LeafError as error:
        raise CheckpointError(f"'{path}' {error}") from error
