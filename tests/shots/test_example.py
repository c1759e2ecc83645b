"""The example as a command."""

import runpy
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "train_with_shots.py"


def test_train_with_shots(capsys, once):
    runpy.run_path(str(EXAMPLE))["main"](gradient="shift", shots=10, batch=2, smoke=True)
    output = capsys.readouterr().out
    for part in ("loss", "accuracy, sampled", "accuracy, exact", "floor", "shots"):
        assert part in output
