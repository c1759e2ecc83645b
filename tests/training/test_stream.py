"""Samples that are read as they are needed: a run on them is the run on arrays, bit by bit."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from eqx_qdeq.training import (
    CheckpointError,
    DataError,
    Dataset,
    epoch_batches,
    evaluate,
    fit,
    fit_together,
    Split,
    Stream,
    TrainingError,
)
from tests.training._stand_in import make_data, make_model

DATA = make_data()
MODEL = make_model(jax.random.key(0))
X, Y, WEIGHT = np.asarray(DATA.train.x), np.asarray(DATA.train.y), np.linspace(0, 2, 60)
WEIGHTED = dataclasses.replace(DATA, train=Split(X, Y, WEIGHT))
# Of a row's 12 bytes in single precision: a batch of 13 rows, or three of them, at a time.
OPTIONS = {
    "optimizer": optax.adam(0.05),
    "epochs": 2,
    "batch_size": 13,
    "progress": False,
    "class_weight": "balanced",
    "jacobian_penalty": 0.1,
}


class Ascending:
    """An array as h5py gives it: rows by a slice, or by a list that ascends."""

    def __init__(self, array):
        self._array, self.shape, self.dtype = array, array.shape, array.dtype

    def __getitem__(self, rows):
        assert isinstance(rows, slice) or np.all(np.diff(rows) > 0)
        return self._array[rows]


class Failing(Ascending):
    """One that gives up when it has been read so many times."""

    left = 10**9

    def __getitem__(self, rows):
        self.left -= 1
        if self.left < 0:
            raise OSError("the disk is gone")
        return self._array[rows]


def _streamed(x=X, **options):
    train = Stream(x, Y, WEIGHT, **options)
    return dataclasses.replace(DATA, train=train)


def _assert_same_weights(one, other):
    arrays = [jax.tree.leaves(eqx.filter(r.last_model, eqx.is_array)) for r in (one, other)]
    for a, b in zip(*arrays, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.fixture(scope="module")
def expected():
    return fit(MODEL, WEIGHTED, **OPTIONS)


@pytest.mark.float32
@pytest.mark.parametrize("batches", [1, 3, 100])
def test_a_run_is_that_of_arrays(batches, expected):
    size = batches * 13 * DATA.train.x.dtype.itemsize * X.shape[1]
    found = fit(MODEL, _streamed(Ascending(X), buffer=size), **OPTIONS)
    _assert_same_weights(found, expected)
    for a, b in zip(found.history, expected.history, strict=True):
        assert {**a, "seconds": 0} == {**b, "seconds": 0}


def test_it_goes_on_in_the_middle_of_an_epoch(tmp_path, expected):
    """After its source has failed, as if nothing had been."""
    source = Failing(X)
    data = _streamed(source, buffer=1)
    options = OPTIONS | {"checkpoint_dir": tmp_path, "checkpoint_every": 3}
    source.left = 8
    with pytest.raises(DataError, match="reading 13 samples.* OSError: the disk is gone") as caught:
        fit(MODEL, data, **options)
    assert isinstance(caught.value.__cause__, OSError)
    source.left = 10**9
    found = fit(MODEL, data, **options)
    _assert_same_weights(found, expected)
    changed = _streamed(X + (np.arange(60) == 59)[:, None], buffer=1)
    with pytest.raises(CheckpointError, match="training data"):
        fit(MODEL, changed, **options)


def test_what_is_read_is_looked_at_each_time():
    x = X.copy()
    data = _streamed(x)
    x[7, 0] = np.nan
    with pytest.raises(DataError, match="the stream: 1 of .* samples have features.* sample 7;"):
        fit(MODEL, data, **OPTIONS)

    class Shrinking(Ascending):
        width = 3

        def __getitem__(self, rows):
            return self._array[rows][:, : self.width]

    source = Shrinking(X)
    data = _streamed(source)
    source.width = 2
    with pytest.raises(DataError, match="where the first is of"):
        fit(MODEL, data, **OPTIONS)


def test_a_step_that_is_undone_names_its_rows():
    def loss(model, x, y, key):
        return jnp.where(jnp.all(x == X[7]), jnp.nan, jnp.sum(model(x) ** 2))

    options = OPTIONS | {"loss": loss, "jacobian_penalty": 0.0}
    with pytest.raises(TrainingError, match="for 1 of its 13 samples: rows 7 of"):
        fit(MODEL, _streamed(buffer=1), **options)


def _sources(tmp_path):
    memory = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", X.dtype, X.shape)
    memory[:] = X
    yield Stream(memory, Y)
    yield Stream(X[::-1], Y[::-1], rows=np.arange(60)[::-1])
    yield Stream([(row.tolist(), int(label)) for row, label in zip(X, Y, strict=True)])
    yield Stream(list(X), Y, buffer=1, threads=2)
    yield Stream(X / 2, Y, preprocess=lambda x: 2 * x)


def test_whatever_the_source_is(tmp_path):
    rows = np.asarray([[3, 50], [3, 0]])
    streams = list(_sources(tmp_path))
    assert len({stream.digest for stream in streams}) == 1
    for stream in streams:
        np.testing.assert_array_equal(stream.read(rows), DATA.train.x[rows])
        np.testing.assert_array_equal(stream.y, Y)
    weighted = Stream(list(zip(X, Y, WEIGHT, strict=True)))
    np.testing.assert_array_equal(weighted.sample_weight, Stream(X, Y, WEIGHT).sample_weight)
    assert weighted.digest == Stream(X, Y, WEIGHT).digest != streams[0].digest


def test_graphs():
    tree = {"a": X, "b": (Y[:, None],)}
    records = [({"a": x, "b": (y[None],)}, y) for x, y in zip(X, Y, strict=True)]
    one, other = Stream(tree, Y), Stream(records)
    assert one.digest == other.digest
    found = other.read(np.asarray([5, 2]))
    np.testing.assert_array_equal(found["b"][0], Y[[5, 2], None])


def test_grain():
    grain = pytest.importorskip("grain")
    source = grain.MapDataset.range(60).map(lambda i: {"x": X[i], "y": Y[i]})
    pairs = source.map(lambda record: (record["x"], record["y"]))
    assert Stream(pairs).digest == Stream(X, Y).digest
    for bad, said in (
        (source, r"must be \(x, y\).*; got dict"),
        (pairs.filter(lambda pair: pair[1] == 1), "got None.*no `filter`"),
        (pairs.repeat(), "repeats itself"),
    ):
        with pytest.raises(DataError, match=said):
            Stream(bad)


@pytest.mark.parametrize("parts", [1, 4])
def test_evaluation(parts):
    test = DATA.test
    own = {"mean": lambda y, guess: float(np.mean((y + guess) * np.arange(len(guess))))}
    found = evaluate(
        MODEL, Stream(np.asarray(test.x), np.asarray(test.y), parts=parts), 8, metrics=own
    )
    expected = evaluate(MODEL, test, metrics=own)
    np.testing.assert_array_equal(found.confusion, expected.confusion)
    assert found.to_dict() == pytest.approx(expected.to_dict(), abs=1e-6)


def test_targets():
    y = X[:, :2].astype(np.float64)
    model = eqx.nn.Linear(3, 2, key=jax.random.key(0))
    options = {"optimizer": optax.sgd(0.1), "epochs": 1, "batch_size": 16, "progress": False}
    runs = []
    for split in (Split(X, y), Stream(X, y, buffer=1)):
        runs.append(fit(model, Dataset(split, split, split), **options))
    _assert_same_weights(*runs)
    assert runs[0].history[0]["train_r2"] == runs[1].history[0]["train_r2"]


def test_parts_are_shuffled_by_themselves():
    data = _streamed(parts=4)
    with pytest.raises(ValueError, match="`batch_size` is 13, of which the 4 parts"):
        fit(MODEL, data, **OPTIONS)
    batches = epoch_batches(60, 8, 0, 1, False, parts=4)
    assert batches.shape == (8, 8)
    there = batches >= 0
    assert sorted(batches[there]) == list(range(60))
    own = np.where(there, batches, -1 - batches) // 15
    np.testing.assert_array_equal(own, np.tile(np.repeat(np.arange(4), 2), (8, 1)))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Stream(3, Y), "must be an array, arrays, or records.*; got 3"),
        (lambda: Stream(X), "an array needs `y`"),
        (lambda: Stream({"a": X, "b": X[1:]}, Y), r"of one length; got \[59, 60\]"),
        (lambda: Stream(X[:0], Y[:0]), "no samples"),
        (lambda: Stream(X[:, 0], Y), "One feature is a column"),
        (lambda: Stream(X, Y[1:]), "y must be of 60 samples"),
        (lambda: Stream(X, Y - 1), "label -1 is out of range"),
        (lambda: Stream(X, Y, WEIGHT - 1), "`sample_weight` must be at least 0"),
        (
            lambda: Stream([(X[0], 0)], None, WEIGHT),
            "weights of a source of records stand in them",
        ),
        (lambda: Stream(np.where(X == X[8, 1], np.inf, X), Y), "the first is sample 8"),
        (lambda: Stream([*X[:5], X[5, :2]], Y[:6]), "sample 5 is .*; they must agree"),
        (lambda: Stream(X, Y, rows=[0, 60]), "from 0 to 59; got 0 to 60"),
        (lambda: Stream(X, Y, rows=[0.5]), "a list of integers"),
        (lambda: Stream(X, Y, parts=7), "60 samples.* cannot be 7 equal parts"),
        (lambda: Stream(X.astype(complex), Y), "complex"),
        (lambda: Stream(list("ab"), Y[:2]), "must be"),
    ],
)
def test_what_cannot_be_a_stream(make, said):
    with pytest.raises((DataError, TypeError), match=said):
        make()


def test_options():
    with pytest.raises(ValueError, match="`buffer` must be at least 1; got 0"):
        Stream(X, Y, buffer=0)
    with pytest.raises(ValueError, match="trained on a Stream"):
        fit_together([MODEL], _streamed(), **OPTIONS)


_LARGE = """
import threading, time
import equinox as eqx, jax, numpy as np, optax
from eqx_qdeq import training

def used():
    status = open("/proc/self/status").read()
    return int(status.split("RssAnon:")[1].split()[0]) / 1024

x = np.memmap("large", np.float32, "r", shape=(2000, 50000))
y = np.arange(2000) % 2
train = training.Stream(x, y, buffer=2**22)
validation = training.Stream(x, y, rows=np.arange(50), buffer=2**22)
data = training.Dataset(train, validation, validation, class_names="ab")
model = eqx.nn.Linear(50000, 2, key=jax.random.key(0))
before, peak, done = used(), [0.0], threading.Event()

def watch():
    while not done.wait(0.002):
        peak[0] = max(peak[0], used())

watcher = threading.Thread(target=watch)
watcher.start()
training.fit(model, data, optimizer=optax.sgd(0.1), epochs=1, batch_size=20, progress=False)
done.set()
watcher.join()
print("megabytes", before, peak[0] - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux for the memory")
@pytest.mark.usefixtures("once")
def test_memory_is_that_of_a_few_batches(tmp_path):
    """Of a file of 400 MB (which is all zeros, and takes no room on the disk)."""
    with open(tmp_path / "large", "wb") as file:
        file.truncate(2000 * 50000 * 4)
    run = subprocess.run(
        [sys.executable, "-c", _LARGE],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    before, grown = map(float, run.stdout.split()[1:])
    assert 0 < before and grown < 100
