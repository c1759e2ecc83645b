"""Runs an example as its reader would, small."""

import importlib.util
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
NUMBER = r"-?\d+(?:\.\d+)?(?:e[+-]\d+)?"


@pytest.fixture
def checked(tmp_path, monkeypatch, capsys) -> Callable[[str, str], list[float]]:
    """Runs an example with --smoke in an empty folder, with no data but scikit-learn's. Of its
    checked line, which must be of the given pattern, the numbers; `#` stands for one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EQX_QDEQ_DATA", str(tmp_path / "none"))

    def run(name: str, pattern: str) -> list[float]:
        file = EXAMPLES / f"{name}.py"
        spec = importlib.util.spec_from_file_location(file.stem, file)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, file.stem, module)
        spec.loader.exec_module(module)
        module.main(smoke=True)
        *_, line = capsys.readouterr().out.splitlines()
        found = re.fullmatch("checked: " + pattern.replace("#", f"({NUMBER})"), line)
        assert found, line
        assert (tmp_path / f"{file.stem}.png").stat().st_size > 10_000
        return [float(number) for number in found.groups()]

    return run
