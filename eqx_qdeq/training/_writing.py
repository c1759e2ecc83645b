"""How files are written: whole or not at all, beside their destination and renamed onto it."""

import json
import math
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np


def write_atomic(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Writes a file that is there whole or not at all, whenever the process or machine stops.

    **Arguments:**

    - `path`: where to; a file that is there is replaced, missing folders are made.
    - `content`: what to write; text as UTF-8.
    """
    path = Path(path)
    # Beside its destination: a rename is atomic within a file system only.
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            # On disk before its name is: a name without content is what a power cut would leave.
            os.fsync(file.fileno())
        # mkstemp makes files private; these are as readable as the one before, or as any other.
        os.chmod(temporary, path.stat().st_mode if path.exists() else 0o644)
        os.replace(temporary, path)
    # Also for an interrupt from the keyboard; a kill leaves it to `remove_leftovers`.
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    if os.name == "posix":  # the new name is on disk once its folder is
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def remove_leftovers(path: Path) -> None:
    """Removes what a killed `write_atomic` may have left beside `path`."""
    for leftover in path.parent.glob(f".{path.name}.*.tmp"):
        leftover.unlink(missing_ok=True)


def to_json(value: Any) -> str:
    """JSON on one line; what is no number in JSON (NaN, ∞) becomes null."""
    # Strict JSON: `NaN`, which Python writes by default, is read by few other programs.
    return json.dumps(_plain(value), allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    # Scalars of NumPy and JAX become Python's, which print alike in every version.
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        return _plain(np.asarray(value).tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
