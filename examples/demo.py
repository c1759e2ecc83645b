"""Trains the 4-qubit quantum deep equilibrium model on scikit-learn's handwritten digits 0, 3, 6
and 9, says how well it does on those it has not seen, and draws what happened.

    python examples/demo.py
"""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from eqx_qdeq import plotting, training


def main(
    out: Path = Path("demo.png"),
    seed: int = 0,
    smoke: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
) -> None:
    """Trains a 4-qubit model on handwritten digits.

    Args:
        out: the figure to write.
        seed: of the initial angles, the validation split and the order of the samples.
        smoke: a little of everything, in seconds.
    """
    recipe = training.recipes["digits-demo"]
    if smoke:
        recipe = dataclasses.replace(recipe, epochs=2)
    result = training.run_recipe(recipe, seed=seed, limit=120 if smoke else None)

    # How the equilibria of test images are found: by the solver, and by plain iteration.
    deq, images = result.fit.model.deq, result.dataset.test.x
    residuals = {
        "plain iteration": training.plain_iteration_history(deq, images, 12),
        "the solver": training.residual_history(deq, images, 6),
    }
    figure = plotting.plot_summary(
        result.fit.history, residuals, result.test.confusion, result.dataset.class_names
    )
    figure.savefig(out)
    print(result)
    print(f"figure          {out}")


if __name__ == "__main__":
    tyro.cli(main)
