"""How files of a run are written: for one process, with the rights that are asked for, through
links; and what is said of paths that cannot be used."""

import errno
import os
import stat
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import jax
import optax
import pytest

from eqx_qdeq.training import CheckpointError, fit, write_atomic
from tests.training._stand_in import make_data, make_model

ROOT = Path(__file__).parents[2]
DATA, ADAM = make_data(), optax.adam(0.05)


def _fit(folder, metrics=None, **options):
    named = {"optimizer": ADAM, "epochs": 1, "batch_size": 60, "progress": False} | options
    model = make_model(jax.random.key(0))
    return fit(model, DATA, checkpoint_dir=folder, metrics_path=metrics, **named)


@pytest.fixture
def umask():
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.mark.skipif(os.name != "posix", reason="needs a umask")
def test_files_have_the_rights_of_the_umask(umask, tmp_path):
    path = tmp_path / "a" / "file"
    rights = lambda: stat.S_IMODE(path.stat().st_mode)
    write_atomic(path, "one")
    assert rights() == 0o600
    # And those of the file before, if there is one.
    path.chmod(0o640)
    write_atomic(path, "two")
    assert rights() == 0o640
    path.unlink()
    os.umask(0o022)
    write_atomic(path, "three")
    assert rights() == 0o644


def test_links_are_written_through(tmp_path):
    target, link = tmp_path / "elsewhere" / "file", tmp_path / "link"
    link.symlink_to("elsewhere/file")  # to nothing, as yet
    for text in ("one", "two"):
        write_atomic(link, text)
        assert link.is_symlink() and target.read_text() == text
    assert [p.name for p in target.parent.iterdir()] == ["file"]


def test_a_run_through_links(tmp_path):
    for name in ("checkpoint.eqx", "metrics.jsonl"):
        (tmp_path / name).symlink_to(f"disk/{name}")
    for epochs in (1, 2):
        _fit(tmp_path, tmp_path / "metrics.jsonl", epochs=epochs)
    assert (tmp_path / "checkpoint.eqx").is_symlink()
    assert len((tmp_path / "disk" / "metrics.jsonl").read_text().splitlines()) == 2
    names = sorted(p.name for p in (tmp_path / "disk").iterdir())
    assert names == ["checkpoint.eqx", "metrics.jsonl"]


# --- One at a time ------------------------------------------------------------------------------

_HOLD = """
import sys
from pathlib import Path
from eqx_qdeq.training import _writing
with _writing.held(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder():
    """Starts another process that holds a file."""
    processes = []

    def start(path: Path) -> subprocess.Popen:
        command = [sys.executable, "-c", _HOLD, str(path)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        processes.append(subprocess.Popen(command, cwd=ROOT, **pipes))
        assert processes[-1].stdout.readline() == b"held\n"
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.usefixtures("once")
@pytest.mark.skipif(os.name != "posix", reason="needs flock")
@pytest.mark.parametrize("name", ["checkpoint.eqx", "metrics.jsonl"])
def test_two_processes_and_one_file(name, tmp_path, holder):
    metrics = tmp_path / "metrics.jsonl"
    process = holder(tmp_path / name)
    with pytest.raises(CheckpointError, match=f"{name}' is in use by process {process.pid} on"):
        _fit(tmp_path, metrics)
    assert sorted(p.name for p in tmp_path.iterdir()) == [f".{name}.lock"]
    # However it ends. Its lock is left, and locks nobody out.
    process.kill()
    process.communicate()
    assert (tmp_path / f".{name}.lock").exists()
    _fit(tmp_path, metrics)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint.eqx", "metrics.jsonl"]


@pytest.mark.skipif(os.name != "posix", reason="needs flock")
def test_a_run_within_a_run(tmp_path):
    with pytest.raises(CheckpointError, match=f"is in use by process {os.getpid()} on"):
        _fit(tmp_path, callbacks=[lambda record, model: _fit(tmp_path)])
    # And afterwards it is free.
    assert _fit(tmp_path).steps == 1


def test_only_what_the_dead_left_is_removed(tmp_path):
    _fit(tmp_path)
    # What a process writes is known by how it names its files.
    seen = []
    replace = os.replace
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", lambda a, b: (seen.append(Path(a).name), replace(a, b)))
        write_atomic(tmp_path / "checkpoint.eqx", (tmp_path / "checkpoint.eqx").read_bytes())
    mine = seen[0]
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    alive = mine.replace(f"-{os.getpid()}.", f"-{os.getppid()}.")
    gone = mine.replace(f"-{os.getpid()}.", f"-{dead.pid}.")
    elsewhere = ".checkpoint.eqx.00000000-1.ab.tmp"
    old, others = ".checkpoint.eqx.abcdefgh.tmp", ".model.eqx.abcdefgh.tmp"
    assert len({mine, alive, gone, elsewhere, old, others}) == 6
    for name in (mine, alive, gone, elsewhere, old, others):
        (tmp_path / name).write_text("half")
    os.utime(tmp_path / old, times=(time.time() - 2 * 24 * 3600,) * 2)
    _fit(tmp_path)
    names = {p.name for p in tmp_path.iterdir()}
    assert names == {"checkpoint.eqx", alive, elsewhere, others}


# --- Paths that cannot be used --------------------------------------------------------------------


def _says(message, folder, metrics=None, **options):
    with pytest.raises(CheckpointError, match=message) as error:
        _fit(folder, metrics, **options)
    assert "\n" not in str(error.value)


def test_paths_that_cannot_be_used(tmp_path):
    file, folder = tmp_path / "file", tmp_path / "folder"
    file.write_bytes(b"\xff\xfe mine")
    folder.mkdir()
    for where in (file, file / "deeper", file / "much" / "deeper"):
        _says(f"'{file}' is not a folder. Choose another path", where)
        _says(f"'{file}' is not a folder. Choose another path", None, where / "metrics.jsonl")
    _says("folder' cannot be read: it is a folder. Name a file in it", None, folder)
    _says("file' cannot be read: it is not text. Choose another file", None, file)
    (tmp_path / "run" / "checkpoint.eqx").mkdir(parents=True)
    _says(r"checkpoint\.eqx' cannot be read: Is a directory", tmp_path / "run")
    _says("both the checkpoint and the metrics", folder, folder / "checkpoint.eqx")
    assert file.read_bytes() == b"\xff\xfe mine" and list(folder.iterdir()) == []
    # Missing folders are made.
    _fit(tmp_path / "a" / "b", tmp_path / "c" / "d" / "metrics.jsonl")


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.ENOSPC, errno.EDQUOT])
def test_what_the_system_refuses(code, tmp_path, monkeypatch):
    """Whoever may do anything, as root, is refused nothing: the system's part is played."""
    _fit(tmp_path / "before")
    opened = os.open

    def refuse(path, flags, *rest, **more):
        if flags & os.O_CREAT and str(path).startswith(str(tmp_path)):
            raise OSError(code, os.strerror(code), str(path))
        return opened(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", refuse)
    _says(f"cannot be written: {os.strerror(code)}. Make room or give access", tmp_path / "new")
    metrics = tmp_path / "metrics.jsonl"
    _says(f"cannot be written: {os.strerror(code)}. Make room or give access", None, metrics)
    # A run that is over writes nothing: its result is there to be read.
    assert _fit(tmp_path / "before").steps == 1


def test_a_clock_that_goes_backwards(monkeypatch):
    ticks = (float(t) for t in range(1000, 0, -1))
    clock = SimpleNamespace(perf_counter=lambda: next(ticks))
    loop = sys.modules["eqx_qdeq.training._loop"]
    monkeypatch.setattr(loop, "time", clock)
    result = _fit(None)
    assert result.seconds == 0 and result.history[0]["seconds"] == 0


def test_it_says_where_a_run_stands(tmp_path, capsys):
    pytest.importorskip("tqdm")
    said = lambda: [s for s in capsys.readouterr().out.splitlines() if "checkpoint.eqx" in s]
    _fit(tmp_path, progress=True)
    assert said() == []
    path = tmp_path / "checkpoint.eqx"
    _fit(tmp_path, progress=True, epochs=3)
    assert said() == [f"'{path}': resumed after 1 of 3 epochs (1 steps)."]
    _fit(tmp_path, progress=True, epochs=3)
    (line,) = said()
    assert "finished, 3 of 3 epochs (3 steps); more `epochs` would go on" in line
    _fit(tmp_path, epochs=3)
    assert said() == []
    _fit(tmp_path, progress=True, epochs=5, callbacks=[lambda *_: True])
    _fit(tmp_path, progress=True, epochs=5)
    assert "ended by a callback after 4 of 5 epochs" in said()[-1]
