"""Checkpoints and metrics that somebody made up, with the right checksums."""

import io
import json
import shutil

import jax
import numpy as np
import optax
import pytest

from eqx_qdeq.training import CheckpointError, fit
from experiments.survival._readers import seal
from tests.training._stand_in import make_data, make_model

ADAM, DATA = optax.adam(0.05), make_data()
VALUES = (None, True, -1, 10**30, 0.5, "x", [], {}, [{}, 1], [{"epoch": 1}])

pytestmark = pytest.mark.usefixtures("once")


def _fit(folder, epochs=2):
    return fit(
        make_model(jax.random.key(0)),
        DATA,
        optimizer=ADAM,
        epochs=epochs,
        batch_size=16,
        progress=False,
        checkpoint_dir=folder,
        metrics_path=folder / "metrics.jsonl",
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    _fit(folder)
    return folder


def _forged(folder, name, *value):
    line, _, payload = (folder / "checkpoint.eqx").read_bytes().partition(b"\n")
    header = json.loads(line.rpartition(b"\t")[0])
    del header[name]
    header |= {name: value[0]} if value else {}
    return seal(json.dumps(header).encode() + b"\n" + payload)


@pytest.mark.parametrize(
    "name",
    ["identity", "step", "best_epoch", "best_loss", "seconds", "stopped", "history", "leaves"],
)
def test_a_forged_header_is_refused_or_changes_nothing(name, finished, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    refused = 0
    for value in [(), *((value,) for value in VALUES)]:
        content = _forged(finished, name, *value)
        (folder / "checkpoint.eqx").write_bytes(content)
        shutil.copy(finished / "metrics.jsonl", folder)
        try:
            for epochs in (2, 3):  # resumed at its end, and to go on from there
                assert len(_fit(folder, epochs).history) <= epochs
        except CheckpointError as error:
            refused += 1
            assert str(folder) in str(error) and str(error).isprintable() and len(str(error)) < 600
            assert (folder / "checkpoint.eqx").read_bytes() == content
    assert refused > len(VALUES) / 2


@pytest.mark.parametrize(
    ("leaf", "value", "message"),
    [
        ("[0].step", -1, "does not agree with itself"),  # header and state agree about it
        ("[0].params.w", np.nan, "has weights that are NaN or infinite"),
        ("[1][0].w", np.inf, "has weights that are NaN or infinite"),
    ],
)
def test_forged_numbers_are_refused(leaf, value, message, finished, tmp_path):
    line, _, payload = (finished / "checkpoint.eqx").read_bytes().partition(b"\n")
    header = json.loads(line.rpartition(b"\t")[0])
    old, new, names = io.BytesIO(payload), io.BytesIO(), []
    for name, _ in header["leaves"]:
        number = np.load(old)
        np.save(new, np.full_like(number, value) if name == leaf else number)
        names.append(name)
    assert leaf in names and header["step"] == 8
    header["step"] = value if leaf == "[0].step" else 8
    content = json.dumps(header).encode() + b"\n" + new.getvalue()
    (tmp_path / "checkpoint.eqx").write_bytes(seal(content))
    with pytest.raises(CheckpointError, match=message):
        _fit(tmp_path)


def test_an_identity_that_no_release_writes_is_refused(finished, tmp_path):
    header = (finished / "checkpoint.eqx").read_bytes().partition(b"\t")[0]
    identity = json.loads(header)["identity"] | {"optimizer": {}}
    (tmp_path / "checkpoint.eqx").write_bytes(_forged(finished, "identity", identity))
    with pytest.raises(CheckpointError, match="does not write: it is forged"):
        _fit(tmp_path)
