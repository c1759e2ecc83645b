"""Early stopping and loggers: they decide from the history, so a resumed run does the same."""

import dataclasses
import sys
import types

import jax
import numpy as np
import optax
import pytest

from eqx_qdeq.training import EarlyStopping, fit, TensorBoard, WandB
from tests.training._stand_in import make_data, make_model

DATA = make_data()


class Killed(Exception):
    pass


def _fit(callbacks, epochs=40, **options):
    model = make_model(jax.random.key(0))
    defaults = {"optimizer": optax.adam(0.3), "batch_size": 16, "progress": False}
    return fit(model, DATA, epochs=epochs, callbacks=callbacks, **(defaults | options))


def _decides(values, **options) -> int:
    """The epoch after which it stops."""
    stopping = EarlyStopping("number", **options)
    stopping.start([])
    answers = [stopping({"number": value}, None) for value in values]
    return answers.index(True) + 1


def test_when_it_stops():
    assert _decides([3, 2, 1, 1, 1, 0], patience=2) == 5
    assert _decides([3, 2.0, 1.9, 1.8, 1.7], patience=2, min_delta=0.5) == 4
    assert _decides([1, 2, 3, 3, 3], patience=2, mode="max") == 5
    # What is no number is no progress, in the first epoch neither.
    assert _decides([np.nan, np.nan, 1], patience=2) == 2
    assert _decides([np.inf, 5, np.nan, 6], patience=2) == 4


@pytest.mark.parametrize("every", [None, 1])
def test_a_resumed_run_stops_at_the_same_epoch(tmp_path, every):
    stopping = lambda: EarlyStopping("validation_loss", patience=3)
    alone = _fit([stopping()])
    n = len(alone.history)
    assert 3 < n < 40

    def kill(record, model):
        if record["epoch"] == n - 1:
            raise Killed

    saved = {"checkpoint_dir": tmp_path / "run", "checkpoint_every": every}
    one = stopping()
    with pytest.raises(Killed):
        _fit([one, kill], **saved)
    resumed = _fit([one], **saved)  # the same object, and what it saw before does not count twice
    without_time = lambda r: [{k: v for k, v in e.items() if k != "seconds"} for e in r.history]
    assert without_time(resumed) == without_time(alone)
    for a, b in zip(
        *(jax.tree.leaves(r.last_model.__dict__) for r in (alone, resumed)), strict=True
    ):
        np.testing.assert_array_equal(a, b)
    # Used again for another run, it begins anew.
    assert without_time(_fit([one])) == without_time(alone)


def test_what_cannot_be_monitored_is_said():
    with pytest.raises(ValueError, match=r"`monitor` must be .*validation_loss.*; got 'loss'"):
        _fit([EarlyStopping("loss")], epochs=1)
    with pytest.raises(ValueError, match="`patience` must be at least 1; got 0"):
        EarlyStopping(patience=0)
    with pytest.raises(ValueError, match="`min_delta` must be from 0.0 to inf"):
        EarlyStopping(min_delta=-1.0)


@dataclasses.dataclass
class Writer:
    """What a logger was asked to write."""

    log_dir: str = ""
    purge_step: int = 0
    closed: bool = False
    said: list = dataclasses.field(default_factory=list)

    def add_scalar(self, name, value, step):
        self.said.append((name, value, step))

    def log(self, numbers, step):
        self.said.append((numbers, step))

    def flush(self):
        pass

    def close(self):
        self.closed = True

    finish = close


def test_tensorboard(tmp_path, monkeypatch):
    made = []
    make = lambda log_dir, purge_step: made.append(Writer(log_dir, purge_step)) or made[-1]
    fake = types.SimpleNamespace(SummaryWriter=make)
    monkeypatch.setitem(sys.modules, "tensorboardX", fake)
    board = TensorBoard(tmp_path)
    saved = {"checkpoint_dir": tmp_path / "run"}
    first = _fit([board], epochs=2, **saved)
    result = _fit([board], epochs=3, **saved)
    assert [w.purge_step for w in made] == [1, 3] and all(w.closed for w in made)
    losses = [(v, e) for w in made for name, v, e in w.said if name == "validation/loss"]
    assert losses == [(r["validation_loss"], r["epoch"]) for r in result.history]
    assert len(first.history) == 2
    names = {name for name, *_ in made[0].said}
    assert {"train/loss", "validation/accuracy", "gradient_norm"} <= names


def test_wandb(monkeypatch):
    made = []
    init = lambda **options: made.append((Writer(), options)) or made[-1][0]
    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init))
    result = _fit([WandB(project="mine")], epochs=2)
    ((run, options),) = made
    assert options == {"project": "mine"} and run.closed
    assert [step for _, step in run.said] == [1, 2]
    assert run.said[1][0]["train/loss"] == result.history[1]["train_loss"]


@pytest.mark.parametrize("make", [lambda: TensorBoard("logs"), WandB])
def test_what_is_missing_is_named(make, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ImportError, match=r"needs (tensorboardX|wandb): pip install"):
        make()
