"""The chain example: its data against plain loops, and the command from a run to the report."""

import importlib.util
import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / "examples" / "chain"


@pytest.fixture
def chain(monkeypatch, x64):
    if x64:
        pytest.skip("the float32 run covers it; the command is the same")
    monkeypatch.syspath_prepend(str(FOLDER))
    spec = importlib.util.spec_from_file_location("chain_main", FOLDER / "main.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "chain_main", module)
    spec.loader.exec_module(module)
    yield module
    sys.modules.pop("report", None)


@pytest.mark.parametrize("task", ["chain", "parity"])
def test_data(chain, task):
    """Ten nodes hold three chains of three, and one node that does not count."""
    (features, adjacency), target, mask = chain.sample(task, jnp.asarray(3), 10, jax.random.key(0))
    # The informative features' noise has deviation 0.1, so rounding recovers them.
    signal = np.round(np.asarray(features))
    for start in (0, 3, 6):
        product = 1.0
        for i in range(start, start + 3):
            product *= signal[i, 0] if task == "parity" or i == start else 1.0
            assert target[i] == product
            left = np.zeros(10)
            left[i - 1] = i > start
            np.testing.assert_array_equal(adjacency[0, i], left)
    np.testing.assert_array_equal(adjacency[1], adjacency[0].T)
    np.testing.assert_array_equal(adjacency[2], np.eye(10))
    assert mask.tolist() == [True] * 9 + [False]


def test_command(chain, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(chain, "CURRICULUM", (2, 4))
    monkeypatch.setattr(chain, "LENGTHS", (4, 100))
    for model in ("implicit", "L2"):
        chain.main("chain", model, smoke=True, out=tmp_path)
    record = json.loads((tmp_path / "chain-implicit-0.json").read_text())
    other = json.loads((tmp_path / "chain-L2-0.json").read_text())
    assert record["parameters"] == other["parameters"] <= 150
    capsys.readouterr()
    chain.main(report_only=True, out=tmp_path)
    output = capsys.readouterr().out
    assert f"{100 * record['accuracy']['100']:.1f}" in output
    assert {"accuracy.png", "wave.png"} <= {path.name for path in tmp_path.iterdir()}
