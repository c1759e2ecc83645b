"""Where an equilibrium is needed: four systems on the way to a phase transition.

    python -m experiments.transitions                      all runs that are missing
    python -m experiments.transitions --only "mott-*"
    python -m experiments.transitions.report               the tables and the figures

Mean fields with answers on paper, or by diagonalization: at each of them an equilibrium found by
five solvers, and 1 to 50 applications of the same map; the errors of the observable and of its
derivative, evaluations and time. The same with shots; and the slopes of trained classifiers of
images.
"""

import tempfile
from pathlib import Path
from typing import Annotated

import jax
import tyro

from .. import Off, progress, Record, save_record, to_do
from .measure import APPLIED, execute, execute_sampled, slope_of_images, SOLVERS
from .report import main as report, RESULTS
from .systems import SYSTEMS

MODELS = (*SOLVERS, *map(str, APPLIED))
RECIPES = ("ours-mnist4", "ours-mnist10", "ours-fashion10")


def main(
    only: str = "*",
    results: Path = RESULTS,
    list: Annotated[bool, Off] = False,
    smoke: Annotated[bool, Off] = False,
) -> None:
    """Measures what is missing.

    Args:
        only: which runs, a pattern for names such as "mott-newton".
        results: the file of the records.
        list: only print the names, and which are done.
        smoke: two models of one system, somewhere else, and their report.
    """
    if smoke:
        with tempfile.TemporaryDirectory() as folder:
            _smoke(Path(folder))
        return
    runs: dict[str, tuple[str, ...]] = {
        f"{name}-{model}": ("exact", name, model) for name in SYSTEMS for model in MODELS
    }
    # Not run: within 50 applications this map does not contract.
    del runs["pair-picard"]
    for name, system in SYSTEMS.items():
        if system.shots:
            models = ("equilibrium", "5", "50")
            runs |= {f"shots-{name}-{model}": ("shots", name, model) for model in models}
    runs |= {f"images-{recipe}": ("images", recipe) for recipe in RECIPES}
    for name, run in progress(to_do(results, runs, only, show=list)):
        save_record(results, name, _execute(*run))


def _execute(kind: str, *what: str) -> Record:
    measure = {"exact": execute, "shots": execute_sampled, "images": slope_of_images}[kind]
    with jax.enable_x64(kind != "images"):
        return measure(*what)


def _smoke(folder: Path) -> None:
    with jax.enable_x64(True):
        for model in ("newton", "5"):
            record = execute("ferromagnet", model, (0.5, 0.1))
            save_record(folder / "results.jsonl", f"ferromagnet-{model}", record)
    report(folder / "results.jsonl", folder / "page.md", folder)
    print((folder / "page.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    tyro.cli(main)
