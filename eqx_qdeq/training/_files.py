"""Models as files: one line of JSON, then Equinox's serialised leaves.

The line has a SHA-256 of the rest and of itself, and the path, dtype and shape of every leaf, so
that a file that is damaged or holds something else is told apart from a good one before anything
is made of it. How files are written is in `_writing.py`.
"""

import hashlib
import io
import json
import os
import re
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import PyTree

from ..models import classifier_from_config
from ._writing import CheckpointError, to_json, write_atomic

_VERSION = 1
_START = b'{"format": "eqx-qdeq '


# --- Models -----------------------------------------------------------------------------------


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
            # Any key: its weights are about to be replaced.
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


# --- Leaves -----------------------------------------------------------------------------------


def _is_key(x: Any) -> bool:
    return isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


def _write_leaf(file: Any, x: Any) -> None:
    eqx.default_serialise_filter_spec(file, jax.random.key_data(x) if _is_key(x) else x)


def _serialise(tree: PyTree) -> bytes:
    buffer = io.BytesIO()
    eqx.tree_serialise_leaves(buffer, tree, filter_spec=_write_leaf)
    return buffer.getvalue()


def _read_leaf(file: Any, x: Any) -> Any:
    if _is_key(x):
        return jax.random.wrap_key_data(jnp.load(file), impl=jax.random.key_impl(x))
    if isinstance(x, jax.Array | np.ndarray) and jnp.issubdtype(x.dtype, jnp.inexact):
        # What was saved in float64 is read into a float32 tree, and the other way round. Read by
        # NumPy: JAX would warn about float64 where that is off. NumPy does not know bfloat16.
        stored = np.load(file)
        stored = stored.view(x.dtype) if stored.dtype.kind == "V" else stored.astype(x.dtype)
        return jnp.asarray(stored) if isinstance(x, jax.Array) else stored
    return eqx.default_deserialise_filter_spec(file, x)


# What `tree_serialise_leaves` writes has no names: the weights of another model, if of the same
# shapes, would be read without complaint. So the header lists where each belongs.
def describe_leaves(tree: PyTree) -> list[list[str]]:
    """The path and the kind of each leaf that is saved."""
    leaves = []
    for path, leaf in jtu.tree_leaves_with_path(tree):
        if isinstance(leaf, jax.Array | np.ndarray):
            leaves.append([jtu.keystr(path), f"{leaf.dtype}{list(leaf.shape)}"])
        elif eqx.is_array_like(leaf):
            leaves.append([jtu.keystr(path), type(leaf).__name__])
    return leaves


def fingerprint(tree: PyTree) -> str:
    """A short name for the values of all leaves that would be saved."""
    return hashlib.sha256(_serialise(tree)).hexdigest()[:16]


def _kind(description: str) -> str:
    """Floats of any precision are one kind: they are converted when read."""
    return re.sub("^float(32|64)", "float", description)


# --- Files ------------------------------------------------------------------------------------


def write_tree(path: Path, kind: str, header: dict[str, Any], tree: PyTree) -> None:
    """Writes the leaves of `tree`, with a header, as a file of the given kind."""
    payload = _serialise(tree)
    text = to_json(
        {
            "format": f"eqx-qdeq {kind}",
            "version": _VERSION,
            "sha256": hashlib.sha256(payload).hexdigest(),
            **header,
            "leaves": describe_leaves(tree),
        }
    )
    digest = hashlib.sha256(text.encode()).hexdigest()
    write_atomic(path, f"{text}\t{digest}\n".encode() + payload)


def read_header(path: Path, kind: str) -> tuple[dict[str, Any], bytes]:
    """The header and the bytes of the leaves, checked to be whole.

    **Raises:** [`eqx_qdeq.training.CheckpointError`][] naming the file.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise CheckpointError(f"there is no file '{path}'.") from None
    except OSError as error:
        raise CheckpointError(f"'{path}' cannot be read: {error.strerror}.") from None
    # Told apart from a damaged file by how it begins: it may be something that is dear to someone.
    if not content.startswith(_START):
        raise CheckpointError(f"'{path}' is not a {kind} file of eqx_qdeq.training.")
    line, _, payload = content.partition(b"\n")
    text, _, digest = line.rpartition(b"\t")
    # The header's checksum first: until it agrees, nothing in it is believed.
    damaged = CheckpointError(
        f"'{path}' is corrupt or truncated (its checksum does not match); use another copy."
    )
    if hashlib.sha256(text).hexdigest().encode() != digest:
        raise damaged
    header = json.loads(text)
    if header["format"] != f"eqx-qdeq {kind}":
        found = header["format"].removeprefix("eqx-qdeq ")
        raise CheckpointError(f"'{path}' is a {found} file, not a {kind} file.")
    if header["version"] != _VERSION:
        raise CheckpointError(
            f"'{path}' has version {header['version']} of the format and this release reads "
            f"version {_VERSION}; use the release that wrote it."
        )
    if hashlib.sha256(payload).hexdigest() != header["sha256"]:
        raise damaged
    return header, payload


def read_leaves(path: Path, header: dict[str, Any], payload: bytes, like: PyTree) -> PyTree:
    """The tree in the file; `like` gives the structure.

    **Raises:** [`eqx_qdeq.training.CheckpointError`][] if the file holds another structure.
    """
    # The first difference is named, which a difference in number alone would not tell.
    stored, wanted = header["leaves"], describe_leaves(like)
    for (name, have), (other, want) in zip(stored, wanted, strict=False):
        if name != other or _kind(have) != _kind(want):
            raise CheckpointError(
                f"'{path}' is of another architecture: it has {have} at {name}, where {want} at "
                f"{other} is expected."
            )
    if len(stored) != len(wanted):
        raise CheckpointError(
            f"'{path}' is of another architecture: it has {len(stored)} arrays and numbers, where "
            f"{len(wanted)} are expected."
        )
    return eqx.tree_deserialise_leaves(io.BytesIO(payload), like, filter_spec=_read_leaf)
