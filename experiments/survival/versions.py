"""The core of the tests, with the versions of this environment.

    python -m experiments.survival.versions            also: make test-oldest, make test-newest
    python -m experiments.survival.versions --save     and a line for the page

Circuits, simulation, layers, cells, solvers, adjoints and equilibria, in double precision.
"""

import importlib.metadata
import os
import platform
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Annotated

import tyro

from .. import Off, save_record
from . import RESULTS

CORE = (
    "tests/circuits/test_gates.py",
    "tests/circuits/test_qujax.py",
    "tests/simulate/test_circuits_agree.py",
    "tests/cells/test_quantum_cell.py",
    "tests/solvers/test_linear.py",
    "tests/adjoints/test_exact.py",
    "tests/equilibrium/test_deq.py",
)
ROOMS = ("circuits", "simulate", "layers", "cells", "solvers", "adjoints", "equilibrium")
PACKAGES = ("jax", "equinox", "optimistix", "lineax", "diffrax", "jaxtyping", "numpy", "qujax")


def main(
    tests: tuple[str, ...] = CORE,
    whole: Annotated[bool, Off] = False,
    save: Annotated[bool, Off] = False,
    jobs: int = 0,
) -> None:
    """Runs them; ends with pytest's exit code.

    Args:
        tests: which tests.
        whole: all tests of these rooms.
        save: keep the counts in results/versions.jsonl.
        jobs: how many processes run them beside each other.
    """
    if whole:
        tests = tuple(f"tests/{room}" for room in ROOMS)
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        # Libraries warn of what other versions of their neighbors will do.
        options = ["-q", "-o", "filterwarnings=", f"--junitxml={report}", f"-n{jobs}"]
        run = subprocess.run(
            [sys.executable, "-m", "pytest", *options, *tests],
            env=os.environ | {"JAX_ENABLE_X64": "1"},
            cwd=Path(__file__).parents[2],
            check=False,
        )
        suite = ElementTree.parse(report).getroot().find("testsuite")
    if suite is None:
        raise SystemExit(run.returncode)
    count = {key: int(suite.get(key, 0)) for key in ("tests", "failures", "errors", "skipped")}
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    python = platform.python_version()
    print(f"Python {python}, " + ", ".join(f"{name} {v}" for name, v in versions.items()))
    if save:
        record = {"python": python, "versions": versions, "whole": whole} | count
        what = "all tests" if whole else "core"
        name = f"jax {versions['jax']}, Python {python}, {what}"
        save_record(RESULTS / "versions.jsonl", name, record)
    raise SystemExit(run.returncode)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
