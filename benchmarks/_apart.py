"""Measurements in a process of their own, where nothing was computed before."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def measured_apart(module: str, *arguments: int, **environment: str) -> dict[str, Any]:
    """What `python -m benchmarks.<module>` prints last, with these variables of the environment."""
    result = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)],
        cwd=Path(__file__).parents[1],
        env=os.environ | environment,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return json.loads(result.stdout.splitlines()[-1])
