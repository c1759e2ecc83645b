"""How files are written: whole or not at all, beside their destination and renamed onto it."""

import contextlib
import glob
import json
import math
import os
import platform
import secrets
import time
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

try:
    import fcntl
except ImportError:  # Windows
    fcntl: Any = None


class CheckpointError(RuntimeError):
    """A file of weights, or of a run, that cannot be used here. It is left as it was.

    !!! example

        ```python
        from eqx_qdeq import training

        try:
            training.load("nothing.eqx")
        except training.CheckpointError as error:
            print("nothing.eqx" in str(error))
        ```
    """


def write_atomic(path: str | os.PathLike[str], content: str | bytes) -> None:
    r"""Writes a file that is there whole or not at all, whenever the process or machine stops.

    It is as readable as the one before, or as the umask has it. A symbolic link stays: what it
    points to is replaced.

    !!! example

        ```python
        from pathlib import Path
        from eqx_qdeq import training

        training.write_atomic("results/table.csv", "epoch,loss\n1,0.7\n")
        Path("results/table.csv").read_text().splitlines()  # ['epoch,loss', '1,0.7']
        ```

    **Arguments:**

    - `path`: where to; a file that is there is replaced, missing folders are made.
    - `content`: what to write; text as UTF-8.

    **Raises:** `OSError` where it cannot be written.
    """
    path = Path(os.path.realpath(path))
    # Beside its destination: a rename is atomic within a file system only.
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{_prefix(path)}{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        with _opened(temporary, os.O_CREAT | os.O_EXCL) as file:
            _write(file, content)
            # On disk before its name is: a name without content is what a power cut would leave.
            os.fsync(file)
        if path.exists():
            os.chmod(temporary, path.stat().st_mode)
        os.replace(temporary, path)
    # Also for an interrupt from the keyboard; a kill leaves it to `remove_leftovers`.
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if os.name == "posix":  # the new name is on disk once its folder is
        with _opened(path.parent, os.O_RDONLY) as folder:
            os.fsync(folder)


def append(path: Path, text: str) -> None:
    """Adds text to the end of a file."""
    with _opened(path, os.O_CREAT | os.O_APPEND) as file:
        _write(file, text)


@contextlib.contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    # Not `open`, whose files write when it suits them: here each call is one of the system's.
    write = os.O_WRONLY if flags else os.O_RDONLY
    descriptor = os.open(path, flags | write | getattr(os, "O_BINARY", 0), 0o666)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _write(descriptor: int, content: str | bytes) -> None:
    left = memoryview(content.encode() if isinstance(content, str) else content)
    while left:
        left = left[os.write(descriptor, left) :]


_DAY = 24 * 3600


def _prefix(path: Path) -> str:
    """How the names of temporary files beside `path` begin: a process is known on its machine."""
    return f".{path.name}.{zlib.crc32(platform.node().encode()):08x}-"


def remove_leftovers(path: Path) -> None:
    """Removes what a killed `write_atomic` may have left beside `path`, by a process that holds
    `path` for itself."""
    path = Path(os.path.realpath(path))
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        process = leftover.name.removeprefix(_prefix(path)).partition(".")[0]
        # What other processes write, here or on another machine, is theirs while they may live.
        with contextlib.suppress(OSError):  # gone meanwhile, or not to be removed: it does no harm
            if process.isdigit() and os.name == "posix":
                gone = int(process) == os.getpid() or not _is_alive(int(process))
            else:
                gone = time.time() - leftover.stat().st_mtime > _DAY
            if gone:
                leftover.unlink()


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)  # asks, and sends nothing
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # it is another user's
        return True
    return True


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Keeps `path` for this process while it is open, or says which one has it.

    The lock is on a file `.NAME.lock` beside it, by `flock`, which the system takes back when a
    process ends, however it ends; a file that was left behind locks nobody out. Over NFS it holds
    between machines that mount with locks (`local_lock=none`, the default since NFS 4); where a
    file system has no locks, and on Windows, nothing is locked.

    **Raises:** [`eqx_qdeq.training.CheckpointError`][] if another process has it.
    """
    path = Path(os.path.realpath(path))
    lock = path.with_name(f".{path.name}.lock")
    with one_line(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = None if fcntl is None else _lock(path, lock)
    try:
        yield
    finally:
        if descriptor is not None:
            # Removed while it is held: whoever opened it meanwhile sees that it has no name.
            with contextlib.suppress(OSError):
                lock.unlink(missing_ok=True)
            os.close(descriptor)


def _lock(path: Path, lock: Path) -> int | None:
    while True:
        try:
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError:  # nothing can be written here: nor can another process
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever had it may have removed the file meanwhile: then it locks nothing.
            if lock.exists() and os.path.samestat(os.fstat(descriptor), lock.stat()):
                with contextlib.suppress(OSError):  # the name is for the error only
                    os.ftruncate(descriptor, 0)
                    os.write(descriptor, f"process {os.getpid()} on {platform.node()}".encode())
                return descriptor
        except BlockingIOError:
            holder = os.pread(descriptor, 200, 0).decode(errors="replace") or "another process"
            os.close(descriptor)
            raise CheckpointError(
                f"'{path}' is in use by {holder}; wait for its end, or choose another folder or "
                "file."
            ) from None
        except OSError:  # a file system without locks
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


@contextlib.contextmanager
def one_line(path: Path, verb: str = "written") -> Iterator[None]:
    """What the system says of a path that cannot be used, as one error that says it plainly."""
    try:
        yield
    except (FileExistsError, NotADirectoryError) as error:
        above = [p for p in (path, *path.parents) if p.exists() and not p.is_dir()]
        where = above[-1] if above else path.parent
        raise CheckpointError(
            f"'{path}' cannot be {verb}: '{where}' is not a folder. Choose another path."
        ) from error
    except IsADirectoryError as error:
        raise CheckpointError(
            f"'{path}' cannot be {verb}: it is a folder. Name a file in it."
        ) from error
    except UnicodeDecodeError as error:
        raise CheckpointError(
            f"'{path}' cannot be {verb}: it is not text. Choose another file."
        ) from error
    except OSError as error:
        raise CheckpointError(
            f"'{path}' cannot be {verb}: {error.strerror or error}. Make room or give access "
            "there, or choose another path."
        ) from error


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
