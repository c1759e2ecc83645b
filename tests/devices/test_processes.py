"""Several processes, each with some of the devices, over the loopback."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

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


def _weights(text):
    (line,) = [line for line in text.splitlines() if line.startswith("weights ")]
    return np.frombuffer(bytes.fromhex(line.split()[1]), np.float32)


def test_processes_are_devices(tmp_path):
    """Two processes do what one does with as many devices; the first writes. One that is killed
    ends the other, and what they had goes on, in two again, as if nothing had been."""
    codes, (alone,) = _run(1, tmp_path / "one")
    assert codes == [0], alone
    codes, texts = _run(2, tmp_path / "two")
    assert codes == [0, 0], texts
    whole = _weights(texts[0])
    np.testing.assert_array_equal(whole, _weights(texts[1]))
    np.testing.assert_allclose(whole, _weights(alone), rtol=0, atol=1e-5)
    assert len((tmp_path / "two" / "metrics.jsonl").read_text().splitlines()) == 3

    codes, texts = _run(2, tmp_path / "killed", 2)
    assert all(codes), texts
    assert not any("weights " in text for text in texts)
    codes, texts = _run(2, tmp_path / "killed")
    assert codes == [0, 0], texts
    np.testing.assert_array_equal(_weights(texts[0]), whole)
