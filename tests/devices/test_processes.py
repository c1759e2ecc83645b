"""Several processes, each with some of the devices, over the loopback."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from eqx_qdeq.training import fit
from tests.devices._process import DEVICES, OPTIONS, score, streamed, weights
from tests.training._stand_in import make_data, make_model

pytestmark = pytest.mark.usefixtures("once")

ROOT = Path(__file__).parents[2]


def _run(n, out, *die):
    """The processes' exit codes and what the first printed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = os.environ["XLA_FLAGS"].replace("--xla_force_host_platform_device_count=8", "")
    env = os.environ | {"XLA_FLAGS": flags, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "tests.devices._process", str(port), str(n)]
    running = [
        subprocess.Popen(
            [*command, str(i), str(out), *map(str, die)],
            cwd=ROOT,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for i in range(n)
    ]
    texts = [process.communicate(timeout=300)[0] for process in running]
    return [process.returncode for process in running], texts


def _weights(text, name):
    (line,) = [line for line in text.splitlines() if line.startswith(f"{name} ")]
    return np.frombuffer(bytes.fromhex(line.split()[1]), np.float32)


def test_processes_are_devices(tmp_path):
    """Two processes, each with its own rows, do what one does with all; the first writes. One that
    is killed ends the other, and what they had goes on: in two again as if nothing had been, and
    in one and then in four to the same end, but for rounding."""
    codes, texts = _run(2, tmp_path / "two")
    assert codes == [0, 0], texts
    whole = _weights(texts[0], "stream")
    mesh = jax.sharding.Mesh(jax.devices()[:DEVICES], ("batch",))
    alone = {"mesh": mesh, **OPTIONS, "epochs": 3, "metrics": {"score": score}}
    for name, data in {"stream": streamed(make_data(), 1, 0), "arrays": make_data()}.items():
        one, other = (_weights(text, name) for text in texts)
        np.testing.assert_array_equal(one, other)
        expected = fit(make_model(jax.random.key(0)), data, **alone)
        np.testing.assert_allclose(one, weights(expected), rtol=0, atol=1e-5)
        lines = (tmp_path / "two" / name / "metrics.jsonl").read_text().splitlines()
        for line, record in zip(lines, expected.history, strict=True):
            assert json.loads(line)["validation_score"] == record["validation_score"]

    # In the middle of the second epoch.
    codes, texts = _run(2, tmp_path / "killed", 2)
    assert all(codes), texts
    assert not any("stream " in text for text in texts)
    shutil.copytree(tmp_path / "killed", tmp_path / "others")
    codes, texts = _run(2, tmp_path / "killed")
    assert codes == [0, 0], texts
    np.testing.assert_array_equal(_weights(texts[0], "stream"), whole)
    codes, texts = _run(1, tmp_path / "others", 3)
    assert all(codes), texts
    codes, texts = _run(4, tmp_path / "others")
    assert codes == [0] * 4, texts
    np.testing.assert_allclose(_weights(texts[0], "stream"), whole, rtol=0, atol=1e-5)
