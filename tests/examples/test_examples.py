"""The examples as commands: what they print and write, and how they fail."""

import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import tyro

pytestmark = pytest.mark.usefixtures("once")

EXAMPLES = Path(__file__).parents[2] / "examples"


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look themselves up here
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def train(tmp_path, monkeypatch, capsys):
    """Runs train_classifier.py in an empty folder: exit code, output, errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EQX_QDEQ_DATA", str(tmp_path / "none"))
    module = _load("train_classifier")

    def run(*arguments):
        code = module.main(tyro.cli(module.Options, args=arguments))
        return code, *capsys.readouterr()

    return run


def test_train_and_evaluate(train, tmp_path):
    code, output, error = train("--smoke", "--model", "classical", "--out", "here")
    assert code == 0, error
    for part in ("test accuracy", "parameters", "solver steps", "residual", "training"):
        assert part in output
    names = sorted(path.name for path in (tmp_path / "here").iterdir())
    assert names == [
        "checkpoint.eqx", "confusion.png", "metrics.jsonl", "model.eqx", "run.json", "test.json",
        "training.png",
    ]  # fmt: skip
    test = json.loads((tmp_path / "here" / "test.json").read_text())
    assert f"test accuracy   {test['accuracy']:.2%}" in output
    # The file says itself which recipe it is of.
    code, output, error = train("--evaluate", "here/model.eqx")
    assert code == 0, error
    assert output.startswith("here/model.eqx: accuracy ") and output.count("\n") == 1


@pytest.mark.parametrize(
    "arguments,message",
    [
        (("--recipe", "nothing"), "unknown recipe 'nothing'; choose one of digits-demo, "),
        (("--task", "mnist5"), "unknown recipe 'ours-mnist5'; choose one of"),
        ((), "name a --recipe or a --task; recipes: digits-demo, "),
        (("--recipe", "paper-mnist4"), "download=True|pip install"),
        (("--evaluate", "model.eqx", "--recipe", "digits-demo"), "no file 'model.eqx'"),
        (("--evaluate", "other.txt", "--recipe", "digits-demo"), "'other.txt' is not a model file"),
        (("--recipe", "digits-demo", "--out", "full"), "'full' has other files in it"),
        (("--recipe", "digits-demo", "--epochs", "0"), "`epochs` must be at least 1; got 0"),
        (("--task", "digits", "--seed", "-1"), "`seed` must not be negative; got -1"),
    ],
)
def test_errors_are_one_line(arguments, message, train, tmp_path):
    (tmp_path / "other.txt").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    code, output, error = train(*arguments)
    assert code == 2 and output == ""
    (line,) = error.splitlines()
    assert line.startswith("error: ") and re.search(message, line)
    assert sorted(tmp_path.rglob("*")) == before


def test_demo(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    _load("demo").main(smoke=True)
    output = capsys.readouterr().out
    for part in ("test accuracy", "parameters", "solver steps", "residual", "demo.png"):
        assert part in output
    assert (tmp_path / "demo.png").stat().st_size > 10_000


def test_train_with_shots(capsys):
    _load("train_with_shots").main(gradient="shift", shots=10, batch=2, smoke=True)
    output = capsys.readouterr().out
    for part in ("loss", "accuracy, sampled", "accuracy, exact", "floor", "shots"):
        assert part in output
