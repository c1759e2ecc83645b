"""A training that stops at the k-th call that writes, for every k, and is started again.

    python -m experiments.survival crash

Every call by which the package writes in the folder of a run (open, write, fsync, truncate, chmod,
rename, unlink, mkdir, close) is counted; a run is stopped in front of the k-th, or in the middle of
it if it writes, and from then on no call has any effect, as after a SIGKILL. After a power cut what
was not yet on the disk is lost too: contents, lengths and names without their fsync. Then the
run is started again; and stopped a second time, at its j-th call; and it must end with the same
weights, history and files, bit by bit, as one that was left alone. Python's audit hook watches that
nothing writes past the counter. Some runs are processes that really end by SIGKILL.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np
import optax

from eqx_qdeq.training import Dataset, fit, Split

from . import RESULTS


class Stopped(BaseException):
    """The machine stopped here."""


class Disk:
    """The calls that write below a folder, one of which may be the last. A context."""

    NAMES = ("open", "write", "fsync", "ftruncate", "chmod", "replace", "unlink", "mkdir", "close")

    def __init__(self, folder: Path):
        self.folder = os.path.realpath(folder)
        self.real = {name: getattr(os, name) for name in self.NAMES}
        self.inside = False
        self.unseen: list[str] = []  # what was written past the counter
        self.arm(None)
        sys.addaudithook(self._watch)

    def arm(self, at: int | None, *, power: bool = False, die: Callable[[], None] | None = None):
        """Stops at the call with this number, counted from 1."""
        self.at, self.power, self.die = at, power, die
        self.calls: list[str] = []
        self.dead = False
        self.paths: dict[int, str] = {}  # of the open files that are written
        self.synced: dict[str, int] = {}  # files with bytes that are not on disk: how many are
        self.names: list[tuple[str, bytes | None]] = []  # renamed onto, and what was there

    def __enter__(self) -> "Disk":
        for name in self.NAMES:
            setattr(os, name, lambda *args, name=name, **more: self._call(name, *args, **more))
        return self

    def __exit__(self, *_: object) -> None:
        for name, function in self.real.items():
            setattr(os, name, function)
        for descriptor in self.paths if self.dead else ():  # as the system does
            with suppress(OSError):
                os.close(descriptor)
        if self.dead and self.power:
            self._lose()

    def _call(self, name: str, *args: Any, **more: Any) -> Any:
        real = lambda *changed: self._really(name, *(changed or args), **more)
        if not self._writes(name, args):
            if name == "fsync":  # of a folder: the names in it are on disk
                self.names.clear()
            return real()
        # A process that is gone has no open files, and its locks are free.
        if self.dead:
            if name == "close":
                del self.paths[args[0]]
                return real()
            raise Stopped
        self.calls.append(name)
        if len(self.calls) == self.at:
            if name == "write":
                real(args[0], args[1][: len(args[1]) // 2])
            self.dead = True
            if self.die is not None:
                self.die()
            raise Stopped
        if name == "replace":
            target = Path(args[1])
            self.names.append((str(target), target.read_bytes() if target.exists() else None))
            self.synced.pop(str(args[0]), None)
        result = real()
        if name == "open":
            self.paths[result] = str(args[0])
            if not self._is_lock(args[0]):
                self.synced.setdefault(str(args[0]), os.fstat(result).st_size)
        elif name == "fsync":
            self.synced.pop(self.paths[args[0]], None)
        elif name == "close":
            del self.paths[args[0]]
        return result

    def _writes(self, name: str, args: tuple[Any, ...]) -> bool:
        if name == "open":
            return self._below(args[0]) and bool(args[1] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
        if name in ("write", "fsync", "ftruncate", "close"):
            return args[0] in self.paths
        return self._below(args[0])

    def _below(self, path: Any) -> bool:
        return isinstance(path, str | Path) and os.path.realpath(path).startswith(self.folder)

    def _is_lock(self, path: Any) -> bool:
        return str(path).endswith(".lock")

    def _really(self, name: str, *args: Any, **more: Any) -> Any:
        self.inside = True
        try:
            return self.real[name](*args, **more)
        finally:
            self.inside = False

    def _lose(self) -> None:
        """What a power cut takes."""
        for path, old in reversed(self.names):
            Path(path).unlink() if old is None else Path(path).write_bytes(old)
        for path, size in self.synced.items():
            if os.path.exists(path):
                os.truncate(path, size)

    _EVENTS = ("os.rename", "os.remove", "os.mkdir", "os.chmod", "os.truncate", "os.link")

    def _watch(self, event: str, args: tuple[Any, ...]) -> None:
        if self.inside or os.write is self.real["write"]:
            return
        writes = event in self._EVENTS
        if event == "open":
            writes = bool(args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
        if writes and self._below(args[0]):
            self.unseen.append(f"{event} {args[0]}")


# --- The run ------------------------------------------------------------------------------------


class _Net(eqx.Module):
    mlp: eqx.nn.MLP
    dropout: eqx.nn.Dropout

    def __call__(self, x: Any, *, key: Any = None) -> Any:
        return self.mlp(self.dropout(x, key=key, inference=key is None))


def _split(n: int, seed: int) -> Split:
    return Split(np.random.default_rng(seed).normal(size=(n, 3)), np.arange(n) % 2)


_SPLITS = [_split(24, 0), _split(8, 1), _split(8, 2)]
_DATA = Dataset(*_SPLITS, class_names=["a", "b"], name="noise")
_OPTIMIZER = optax.sgd(0.1, momentum=0.9)


def _train(folder: Path, epochs: int) -> dict[str, Any]:
    """A training in a folder, and all that it ends with."""
    net = _Net(eqx.nn.MLP(3, 2, 4, 1, key=jax.random.key(0)), eqx.nn.Dropout(0.2))
    options = {"epochs": epochs, "batch_size": 8, "checkpoint_every": 2, "progress": False}
    result = fit(
        net,
        _DATA,
        optimizer=_OPTIMIZER,
        checkpoint_dir=folder / "run",
        metrics_path=folder / "metrics.jsonl",
        **options,
    )
    without = lambda record: {k: v for k, v in record.items() if k != "seconds"}
    logged = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    leaves = jax.tree.leaves(eqx.filter((result.model, result.last_model), eqx.is_array))
    return {
        "weights": [np.asarray(leaf).tobytes().hex() for leaf in leaves],
        "history": [without(record) for record in result.history],
        "logged": [without(record) for record in logged],
        "files": sorted(str(p.relative_to(folder)) for p in folder.rglob("*")),
    }


class _Trial:
    """Runs that are stopped, one after the other in one folder."""

    def __init__(self, disk: Disk, folder: Path, truth: dict[str, Any], epochs: int):
        self.disk, self.folder, self.truth, self.epochs = disk, folder, truth, epochs

    def stop(self, at: int, power: bool) -> bool:
        """Whether the run was stopped at that call, or had fewer."""
        self.disk.arm(at, power=power)
        with self.disk, suppress(Stopped):
            _train(self.folder, self.epochs)
        assert self.disk.dead == (len(self.disk.calls) == at), (at, self.disk.calls)
        return self.disk.dead

    def finish(self) -> None:
        assert _train(self.folder, self.epochs) == self.truth, self.folder
        shutil.rmtree(self.folder)
        self.folder.mkdir()


def crash(folder: Path, epochs: int = 1, every: int = 1, each: int = 1) -> dict[str, Any]:
    """Stops at each call (or each so-manieth), and at each call of each `every`-th recovery."""
    work = folder / "work"
    work.mkdir()
    disk = Disk(work)
    disk.arm(None)
    with disk:
        truth = _train(work, epochs)
    calls = list(disk.calls)
    shutil.rmtree(work)
    work.mkdir()
    trial = _Trial(disk, work, truth, epochs)
    singles = doubles = 0
    for power in (False, True):
        for at in range(1, len(calls) + 1, each):
            assert trial.stop(at, power) and disk.calls == calls[:at]
            trial.finish()
            singles += 1
            again = 0
            while at % every == 0:
                again += each
                assert trial.stop(at, power)
                # Beyond the last call of the recovery it is whole.
                stopped = trial.stop(again, power)
                trial.finish()
                doubles += stopped
                if not stopped:
                    break
    assert not disk.unseen, disk.unseen
    by_name = {name: calls.count(name) for name in Disk.NAMES if name in calls}
    return {
        "calls": len(calls),
        "by_name": by_name,
        "stopped": singles,
        "stopped_again": doubles,
        "recovered": singles + doubles,
        "writes_past_the_counter": len(disk.unseen),
    }


# --- Processes ----------------------------------------------------------------------------------


def kills(folder: Path, moments: list[int], epochs: int) -> int:
    """Ends processes by SIGKILL at these calls, and starts each again; how many."""
    truth_in = folder / "alone"
    truth_in.mkdir()
    truth = _train(truth_in, epochs)
    for at in moments:
        where = folder / f"kill{at}"
        where.mkdir()
        command = [sys.executable, "-m", "experiments.survival.crash", str(where), str(at)]
        done = subprocess.run([*command, str(epochs)])
        assert done.returncode == -signal.SIGKILL, (at, done.returncode)
        assert _train(where, epochs) == truth, where
    return len(moments)


def _child(folder: str, at: str, epochs: str) -> None:
    disk = Disk(Path(folder))
    disk.arm(int(at), die=lambda: os.kill(os.getpid(), signal.SIGKILL))
    with disk:
        _train(Path(folder), int(epochs))


def main(epochs: int = 1, every: int = 5, processes: int = 6) -> None:
    """Counts what was stopped and what came out the same.

    Args:
        epochs: of the training.
        every: stops each so-manieth recovery again, at each of its calls.
        processes: how many are ended by SIGKILL besides.
    """
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        counts = crash(Path(folder), epochs, every)
        step = max(counts["calls"] // max(processes, 1), 1)
        moments = [*range(2, counts["calls"] + 1, step)][:processes]
        print(json.dumps(counts), flush=True)
        counts["killed"] = kills(Path(folder), moments, epochs)
    counts |= {"epochs": epochs, "every": every, "seconds": round(time.perf_counter() - started)}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "crash.json").write_text(json.dumps(counts, indent=2) + "\n")
    print(json.dumps(counts, indent=2))


if __name__ == "__main__":
    _child(*sys.argv[1:])
