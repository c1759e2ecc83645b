"""A run that is interrupted goes on exactly; files that do not fit are refused and left alone."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from eqx_qdeq.training import CheckpointError, Dataset, fit, Split, TrainingError
from tests.training._killed_run import main as run_to_the_end
from tests.training._stand_in import make_data, make_model

ROOT = Path(__file__).parents[2]
ADAM = optax.adam(0.05)
DATA = make_data()


def _fit(folder, key=0, data=DATA, **options):
    defaults = {"optimizer": ADAM, "epochs": 3, "batch_size": 16, "progress": False}
    model = make_model(jax.random.key(key))
    return fit(model, data, checkpoint_dir=folder, **(defaults | options))


def _leaves(tree):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(eqx.filter(tree, eqx.is_array))]


def _same(one, other):
    return all(np.array_equal(*pair) for pair in zip(_leaves(one), _leaves(other), strict=True))


def _history(path):
    records = [json.loads(line) for line in path.read_text().splitlines()]
    return [{k: v for k, v in record.items() if k != "seconds"} for record in records]


# --- Killed and resumed -----------------------------------------------------------------------


def _start(folder: Path, moment: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "tests.training._killed_run", str(folder), moment]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, env=dict(os.environ))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a run that was left alone."""
    folder = tmp_path_factory.mktemp("whole")
    run_to_the_end(folder, "never")
    return folder


def _check_equal(folder: Path, whole: Path) -> None:
    for name in ("last.eqx", "model.eqx"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes()
    assert _history(folder / "metrics.jsonl") == _history(whole / "metrics.jsonl")
    assert sorted(p.name for p in folder.iterdir()) == sorted(p.name for p in whole.iterdir())


@pytest.mark.usefixtures("once")
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.parametrize("moment", ["write:4", "rename:2", "renamed:9", "step:11"])
def test_a_run_killed_at_a_chosen_moment(moment, tmp_path, whole):
    with _start(tmp_path, moment) as process:
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "model.eqx").exists()
    run_to_the_end(tmp_path, "never")
    _check_equal(tmp_path, whole)


@pytest.mark.usefixtures("once")
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_run_killed_at_random_moments(tmp_path, whole):
    moments = random.Random(0)
    waits = []
    for _ in range(2):
        with _start(tmp_path, "never") as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"started\n"
            deadline = time.monotonic() + 120
            while not (tmp_path / "checkpoint.eqx").exists() and time.monotonic() < deadline:
                time.sleep(0.01)
            waits.append(moments.uniform(0, 2))
            time.sleep(waits[-1])
            process.kill()
            process.communicate()
    print("killed after", waits)
    run_to_the_end(tmp_path, "never")
    _check_equal(tmp_path, whole)


# --- Resuming in the same process ---------------------------------------------------------------


def test_a_longer_run_goes_on_from_a_shorter_one(tmp_path):
    once = _fit(tmp_path / "once", epochs=5)
    _fit(tmp_path / "twice", epochs=2)
    twice = _fit(tmp_path / "twice", epochs=5)
    assert _same(once.last_model, twice.last_model) and _same(once.model, twice.model)
    assert twice.best_epoch == once.best_epoch and twice.steps == 20
    assert [r["epoch"] for r in twice.history] == [1, 2, 3, 4, 5]


def test_a_finished_run_gives_its_result_again(tmp_path):
    first = _fit(tmp_path)
    content = (tmp_path / "checkpoint.eqx").read_bytes()
    again = _fit(tmp_path)
    assert _same(first.model, again.model) and _same(first.last_model, again.last_model)
    assert again.history == first.history and again.seconds == first.seconds
    assert (tmp_path / "checkpoint.eqx").read_bytes() == content


def test_a_run_stopped_by_a_callback_stays_stopped(tmp_path):
    stop = {"callbacks": [lambda record, _: record["epoch"] == 1], "checkpoint_every": 7}
    first = _fit(tmp_path, **stop)
    again = _fit(tmp_path, checkpoint_every=7)
    assert len(again.history) == 1 and _same(first.last_model, again.last_model)


@pytest.mark.parametrize("every", [1, 3, 5, 100])
def test_checkpoints_do_not_change_the_run(every, tmp_path, reference):
    result = _fit(tmp_path, checkpoint_every=every)
    assert _same(result.last_model, reference.last_model)


@pytest.fixture(scope="module")
def reference():
    return _fit(None)


def test_metrics_after_the_checkpoint_are_logged_again(tmp_path, reference):
    path = tmp_path / "metrics.jsonl"
    options = {"metrics_path": path, "checkpoint_every": 8}

    class Crash(Exception):
        pass

    def crash(record, model):
        if record["epoch"] == 2:
            raise Crash

    with pytest.raises(Crash):
        _fit(tmp_path, callbacks=[crash], **options)
    assert len(_history(path)) == 1
    # A line that was half written when the power went.
    with path.open("a") as file:
        file.write('{"epoch": 2, "train_l')
    result = _fit(tmp_path, **options)
    strip = lambda records: [{k: v for k, v in r.items() if k != "seconds"} for r in records]
    assert _history(path) == strip(result.history) == strip(reference.history)
    assert _same(result.last_model, reference.last_model)


# --- What is refused --------------------------------------------------------------------------


def _refused(folder, message, **options):
    """Resuming fails with one line, and changes nothing."""
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    with pytest.raises(CheckpointError, match=message) as error:
        _fit(folder, **options)
    assert "\n" not in str(error.value) and str(folder) in str(error.value)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


@pytest.fixture
def run(tmp_path, finished):
    """A folder with a checkpoint and metrics."""
    for name, content in finished.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    _fit(folder, metrics_path=folder / "metrics.jsonl", config={"name": "a", "rate": 1})
    return {p.name: p.read_bytes() for p in folder.iterdir()}


SAME = {"config": {"name": "a", "rate": 1}}


@pytest.mark.parametrize(
    "options,message",
    [
        (SAME | {"batch_size": 20}, "of another run: batch_size was 16 there and is 20 here"),
        (SAME | {"seed": 1}, "seed was 0 there and is 1 here"),
        (SAME | {"clip": 1.0}, r"clip was None there and is 1\.0 here"),
        (SAME | {"data": make_data(seed=1)}, r"training data was \['blobs', .*"),
        ({"config": {"name": "a", "rate": 2}}, r"config\['rate'\] was 1 there and is 2 here"),
        ({}, r"config was \{'name': 'a', 'rate': 1\} there and is None here"),
        (SAME | {"resume": False}, "checkpoint of an earlier run; go on with resume=True"),
        (SAME | {"optimizer": optax.sgd(0.1)}, "another: ScaleByAdamState, .* there and"),
        (SAME | {"key": 1}, r"initial parameters\[.* has other values here"),
    ],
)
def test_another_run_is_not_resumed(run, options, message):
    _refused(run, message, **options)


def test_another_architecture_is_not_resumed(run):
    model = make_model(jax.random.key(0), hidden=5)
    before = (run / "checkpoint.eqx").read_bytes()
    with pytest.raises(CheckpointError, match=r"model\['hidden'\] was 4 there and is 5 here"):
        fit(model, DATA, optimizer=ADAM, epochs=3, batch_size=16, checkpoint_dir=run, **SAME)
    # And one that does not say what it is.
    mlp = eqx.nn.MLP(3, 3, 8, 1, key=jax.random.key(0))
    with pytest.raises(CheckpointError, match="of another run: model was"):
        fit(mlp, DATA, optimizer=ADAM, epochs=3, batch_size=16, checkpoint_dir=run, **SAME)
    assert (run / "checkpoint.eqx").read_bytes() == before


def test_the_same_numbers_under_other_names_are_other_data(tmp_path):
    class Sum(eqx.Module):
        linear: eqx.nn.Linear

        def __call__(self, x, *, key=None):
            return self.linear(sum(jax.tree.leaves(x)))

    def run(first, second):
        split = lambda s: Split({first: s.x, second: 2 * s.x}, s.y)
        splits = map(split, (DATA.train, DATA.validation, DATA.test))
        data = Dataset(*splits, class_names=DATA.class_names, name="named")
        model = Sum(eqx.nn.Linear(3, 3, key=jax.random.key(0)))
        options = {"optimizer": ADAM, "epochs": 1, "batch_size": 16, "progress": False}
        return fit(model, data, checkpoint_dir=tmp_path, **options)

    run("a", "b")
    with pytest.raises(CheckpointError, match="of another run: training data was"):
        run("c", "d")


def test_frozen_parts_must_be_the_same(tmp_path):
    where = lambda m: m.u
    model = make_model(jax.random.key(0))
    trainable = eqx.tree_at(where, jax.tree.map(eqx.is_inexact_array, model), False)
    options = {"trainable": trainable, "checkpoint_dir": tmp_path, "progress": False}
    fit(model, DATA, optimizer=ADAM, epochs=1, **options)
    other = eqx.tree_at(where, model, 2 * model.u)
    with pytest.raises(CheckpointError, match=r"untrained part\['.u'\] has other values"):
        fit(other, DATA, optimizer=ADAM, epochs=1, **options)


def test_damaged_checkpoints(run):
    path = run / "checkpoint.eqx"
    good = path.read_bytes()
    header = good.index(b"\n")
    for position in (5, 30, header // 2, header - 3, header + 1, len(good) - 1):
        bad = bytearray(good)
        bad[position] ^= 1
        path.write_bytes(bad)
        _refused(run, "corrupt or truncated|is not a checkpoint file", **SAME)
    for length in (0, 10, header - 1, header, header + 1, len(good) // 2, len(good) - 1):
        path.write_bytes(good[:length])
        _refused(run, "corrupt or truncated|is not a checkpoint file", **SAME)
    path.write_bytes(good + b"more")
    _refused(run, "corrupt or truncated", **SAME)
    path.write_bytes(b"PK\x03\x04 something else\n")
    _refused(run, r"checkpoint\.eqx' is not a checkpoint file of eqx_qdeq", **SAME)


def test_a_folder_that_is_a_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("mine")
    with pytest.raises(CheckpointError, match="file' is not a folder"):
        _fit(path)
    assert path.read_text() == "mine"


def test_metrics_of_another_run_are_not_overwritten(run):
    path = run / "metrics.jsonl"
    content = path.read_text()
    with pytest.raises(CheckpointError, match="has the metrics of another run"):
        _fit(None, metrics_path=path)
    path.write_text(content.replace('"epoch": 2', '"epoch": 7'))
    _refused(run, "has the metrics of another run", metrics_path=path, **SAME)


def test_divergence_leaves_the_last_good_checkpoint(tmp_path):
    # Up to step 6, where it diverges, and where it diverges again.
    huge = jnp.finfo(DATA.train.x.dtype).max
    diverging = optax.sgd(lambda step: jnp.where(step == 5, huge, 0.1))
    contents = []
    for _ in range(2):
        with pytest.raises(TrainingError, match="in step [67] "):
            _fit(tmp_path, optimizer=diverging, checkpoint_every=1)
        contents.append((tmp_path / "checkpoint.eqx").read_bytes())
    assert contents[0] == contents[1]


def test_fewer_epochs_than_were_made_are_refused(tmp_path):
    options = {"optimizer": optax.sgd(0.1), "progress": False, "checkpoint_dir": tmp_path}
    fit(make_model(jax.random.key(0)), make_data(), epochs=3, **options)
    with pytest.raises(CheckpointError, match="3 epochs, more than `epochs`=2; ask for 3 or more"):
        fit(make_model(jax.random.key(0)), make_data(), epochs=2, **options)
