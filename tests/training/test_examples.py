"""The examples as commands: what they print and write, and how they fail."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from eqx_qdeq.training import recipes, run_recipe

ROOT = Path(__file__).parents[2]


def _run(folder: Path, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "EQX_QDEQ_DATA": str(folder / "none")}
    command = [sys.executable, str(ROOT / "examples" / script), *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )


def test_train_and_evaluate(tmp_path):
    small = ("--smoke", "--model", "classical", "--out", "here")
    done = _run(tmp_path, "train_classifier.py", *small)
    assert done.returncode == 0, done.stderr
    for part in ("test accuracy", "parameters", "solver steps", "residual", "training"):
        assert part in done.stdout
    names = sorted(path.name for path in (tmp_path / "here").iterdir())
    assert names == [
        "checkpoint.eqx", "confusion.png", "metrics.jsonl", "model.eqx", "run.json", "test.json",
        "training.png",
    ]  # fmt: skip
    test = json.loads((tmp_path / "here" / "test.json").read_text())
    # The file says itself which recipe it is of.
    tested = _run(tmp_path, "train_classifier.py", "--evaluate", "here/model.eqx")
    assert tested.returncode == 0, tested.stderr
    assert tested.stdout.startswith("here/model.eqx: accuracy ")
    assert test["parameters"] > 50


@pytest.mark.parametrize(
    "arguments,message",
    [
        (("--recipe", "nothing"), "unknown recipe 'nothing'; choose one of digits-demo, "),
        (("--task", "mnist5"), "unknown recipe 'ours-mnist5'; choose one of"),
        ((), "name a --recipe or a --task"),
        (("--recipe", "paper-mnist4"), "download=True|pip install"),
        (("--evaluate", "model.eqx", "--recipe", "digits-demo"), "no file 'model.eqx'"),
        (("--evaluate", "other.txt", "--recipe", "digits-demo"), "'other.txt' is not a model file"),
        (("--recipe", "digits-demo", "--out", "full"), "'full' has other files in it"),
        (("--recipe", "digits-demo", "--epochs", "0"), "`epochs` must be at least 1; got 0"),
    ],
)
def test_errors_are_one_line(arguments, message, tmp_path):
    (tmp_path / "other.txt").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    failed = _run(tmp_path, "train_classifier.py", *arguments)
    assert failed.returncode == 2
    (line,) = failed.stderr.splitlines()
    assert line.startswith("error: ") and re.search(message, line)
    assert sorted(tmp_path.rglob("*")) == before


def test_demo(tmp_path):
    done = _run(tmp_path, "demo.py", "--smoke")
    assert done.returncode == 0, done.stderr
    for part in ("test accuracy", "parameters", "solver steps", "residual", "demo.png"):
        assert part in done.stdout
    assert (tmp_path / "demo.png").stat().st_size > 10_000


def test_papers_model_on_real_digits(data_root):
    """A few epochs of the paper's recipe go where a hundred would."""
    pytest.importorskip("torchvision", reason='reads MNIST: pip install "eqx-qdeq[vision]"')
    recipe = dataclasses.replace(recipes["paper-mnist4"], epochs=4)
    result = run_recipe(recipe, root=data_root, limit=6000, progress=False)
    assert result.test.accuracy > 0.6
    assert result.test.fraction_converged is not None and result.test.fraction_converged > 0.99
