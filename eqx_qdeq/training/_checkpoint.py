"""Checkpoints of a run, from which it goes on exactly, and the file of its metrics.

One file per run, replaced atomically. Equinox's serialization rather than Orbax: a checkpoint here
is a few kilobytes, written every epoch, and one file takes 1 ms where an Orbax folder of 15 files
takes 35; and the checksum that tells a damaged file from a good one would be ours in either case.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import PyTree

from ._files import read_header, read_tree, write_tree
from ._identity import difference
from ._leaves import not_finite
from ._step import State
from ._writing import (
    append,
    CheckpointError,
    held,
    one_line,
    remove_leftovers,
    to_json,
    write_atomic,
)
from .data import Split, Stream

_NAME = "checkpoint.eqx"


@dataclasses.dataclass
class Run:
    """Where a run stands: what is on the device, and what is known of the epochs before."""

    state: State
    best: PyTree  # the trainable part of the best model, as NumPy arrays
    best_epoch: int = 0
    best_loss: float = float("inf")
    seconds: float = 0.0
    stopped: bool = False  # by a callback
    history: list[dict[str, Any]] = dataclasses.field(default_factory=list)


# What the header keeps of a run; the rest are arrays. JSON has no infinity, which `best_loss` is at
# first.
_FIELDS = {
    "identity": dict,
    "step": int,
    "best_epoch": int,
    "best_loss": int | float | None,
    "seconds": int | float,
    "stopped": bool,
    "history": list,
}
_KNOWN = [field.name for field in dataclasses.fields(Run) if field.name not in ("state", "best")]


def to_host(tree: PyTree) -> PyTree:
    """Copies of the arrays, which outlive the donation of the originals."""
    return jax.tree.map(lambda x: np.array(x, copy=True), tree)


def digest(split: Split | Stream) -> str:
    """A fingerprint of samples, labels or targets, and weights."""
    if isinstance(split, Stream):
        return split.digest
    leaves, structure = jax.tree.flatten(split.x)
    # Of one array, as nearly all data are, the structure says nothing.
    sha = hashlib.sha256(("" if len(leaves) == 1 else str(structure)).encode())
    more = [] if split.sample_weight is None else [split.sample_weight]
    for leaf in leaves:
        sha.update(str(leaf.shape).encode())
    for leaf in [*leaves, split.y, *more]:
        # Of numbers rounded to 32 bits: the same in both precisions.
        is_real = jax.numpy.issubdtype(leaf.dtype, jax.numpy.floating)
        host = np.asarray(leaf, np.float32 if is_real else np.int32)
        sha.update(np.ascontiguousarray(host).tobytes())
    return sha.hexdigest()[:16]


def is_first() -> bool:
    """Whether this process is the one of several that writes."""
    return jax.process_index() == 0


class Checkpoints:
    """The checkpoint file of a run, in a folder of its own. Without a folder it does nothing. Of
    several processes all read it, and the first writes it."""

    def __init__(self, folder: Path | None, identity: Callable[[], dict[str, Any]]):
        self.path = None if folder is None else folder / _NAME
        # Compared with what comes back from a file, where tuples are lists.
        self.identity = {} if folder is None else json.loads(to_json(identity()))

    def held(self) -> AbstractContextManager[None]:
        """Keeps the folder for this process."""
        return nullcontext() if self.path is None or not is_first() else held(self.path)

    def write(self, run: Run) -> None:
        """Replaces the file."""
        if self.path is None or not is_first():
            return
        header = {"identity": self.identity, "step": int(run.state.step)}
        header |= {name: getattr(run, name) for name in _KNOWN}
        # The step is in the state as well; here it can be read without a model.
        with one_line(self.path):
            write_tree(self.path, "checkpoint", header, (run.state, run.best))

    def read(self, run: Run, resume: bool) -> Run | None:
        """The run in the file, if there is one; `run` gives the structure."""
        if self.path is None:
            return None
        # Of a run that was killed while it saved.
        with one_line(self.path, "read"):
            if is_first():
                remove_leftovers(self.path)
            if not self.path.exists():
                return None
        if not resume:
            raise CheckpointError(
                f"'{self.path}' is the checkpoint of an earlier run; go on with resume=True, or "
                "choose another folder."
            )
        header, payload = read_header(self.path, "checkpoint", **_FIELDS)
        # Whose it is, before the leaves: another batch size is a better answer than another shape.
        self._check(header["identity"])
        state, best = read_tree(self.path, header, payload, (run.state, run.best))
        where = not_finite({"params": state.params, "best": best})
        if where is not None:
            raise CheckpointError(
                f"'{self.path}' has weights that are NaN or infinite, the first at {where}: no run "
                "can go on from them. Use another copy, or remove it and start again."
            )
        known = {name: header[name] for name in _KNOWN}
        history = known["history"]
        agrees = (
            header["step"] == int(state.step) >= 0
            and 0 <= known["best_epoch"] <= len(history)
            and 0 <= known["seconds"] < 1e18
            and -1e300 < (known["best_loss"] or 0) < 1e300
            and all(isinstance(record, dict) for record in history)
            and [record.get("epoch") for record in history] == list(range(1, len(history) + 1))
        )
        if not agrees:
            raise CheckpointError(
                f"'{self.path}' does not agree with itself: its steps, seconds and history are not "
                "of one run. Use another copy, or remove it and start again."
            )
        if known["best_loss"] is None:
            known["best_loss"] = float("inf")
        # A whole number is an integer in JSON.
        known |= {name: float(known[name]) for name in ("best_loss", "seconds")}
        return Run(state, best, **known)

    def agree(self, resumed: Run | None) -> None:
        """Waits for the other processes, if there are any, before the file is written.

        **Raises:** `CheckpointError` if they do not go on from the same step.
        """
        if self.path is None or jax.process_count() == 1:
            return
        step = -1 if resumed is None else int(resumed.state.step)
        steps = multihost_utils.process_allgather(np.asarray(step, np.int32))
        if np.any(steps != step):
            raise CheckpointError(
                f"'{self.path}' is not the same for all processes: they would go on from the steps "
                f"{sorted(set(steps.tolist()))} (-1: no checkpoint). Use a folder that all share."
            )

    def _check(self, stored: dict[str, Any]) -> None:
        try:
            text = difference(stored, self.identity)
        except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
            raise CheckpointError(
                f"'{self.path}' has an identity that this release does not write: it is forged or "
                "of another release."
            ) from error
        if text is not None:
            raise CheckpointError(
                f"'{self.path}' is of another run: {text}. Use another folder, or the "
                "same settings."
            )


class MetricsFile:
    """One line of JSON per epoch. Without a path it does nothing."""

    def __init__(self, path: Path | None):
        self.path = path if path is None or is_first() else None

    def held(self) -> AbstractContextManager[None]:
        """Keeps the file for this process."""
        return nullcontext() if self.path is None else held(self.path)

    def start(self, history: list[dict[str, Any]] | None) -> None:
        """Makes the file that of a run with this history; `None` for a new run.

        What was logged after the checkpoint that a run resumes from will be logged again.
        """
        if self.path is None:
            return
        with one_line(self.path, "read"):
            remove_leftovers(self.path)
            text = self.path.read_text(encoding="utf-8") if self.path.exists() else None
        known = [to_json(record) for record in history or []]
        if text is not None:
            # What follows the last line break was cut off in the middle.
            logged = text.split("\n")[:-1]
            n = min(len(logged), len(known))
            # As far as both go they must agree. Either may be ahead, by what was not saved when the
            # other was.
            if (history is None and text) or logged[:n] != known[:n]:
                raise CheckpointError(
                    f"'{self.path}' has the metrics of another run; choose another file, or resume "
                    "that run from its checkpoint."
                )
        # Rewritten from the checkpoint's history, which drops half a line and later epochs alike.
        rewritten = "".join(record + "\n" for record in known)
        if rewritten != text:
            with one_line(self.path):
                write_atomic(self.path, rewritten)

    def append(self, record: dict[str, Any]) -> None:
        """Adds an epoch."""
        if self.path is not None:
            # Appended, not replaced: a run of many epochs would write the file again for each. A
            # line cut off in the middle is mended by `start`.
            with one_line(self.path):
                append(self.path, to_json(record) + "\n")
