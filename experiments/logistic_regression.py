"""The baseline that every quantum classifier must face: multinomial logistic regression on the very
same features.

    python -m experiments.logistic_regression --recipe paper-mnist4 --data-root DATA
"""

import warnings
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import tyro
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from eqx_qdeq.training import Dataset, load_recipe_data

from . import Off


class Baseline(NamedTuple):
    accuracy: float
    n_parameters: int


def logistic_regression(data: Dataset, max_iter: int = 500) -> Baseline:
    """The test accuracy of scikit-learn's logistic regression, and how many numbers it fits."""
    # There is nothing to select, so the validation data help to fit.
    x = np.concatenate([data.train.x, data.validation.x])
    y = np.concatenate([data.train.y, data.validation.y])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = LogisticRegression(max_iter=max_iter, C=100.0).fit(x, y)
    accuracy = model.score(np.asarray(data.test.x), np.asarray(data.test.y))
    return Baseline(float(accuracy), int(model.coef_.size + model.intercept_.size))


def main(
    recipe: str = "digits-demo",
    data_root: Path | None = None,
    limit: int | None = None,
    smoke: Annotated[bool, Off] = False,
) -> None:
    """Fits scikit-learn's logistic regression to a recipe's training data and tests it.

    Args:
        recipe: the recipe whose data and preprocessing are used.
        data_root: the folder with torchvision's data; EQX_QDEQ_DATA if left out.
        limit: use only so many training samples.
        smoke: a few samples only.
    """
    data = load_recipe_data(recipe, root=data_root, limit=200 if smoke else limit)
    found = logistic_regression(data)
    print(f"recipe          {recipe}")
    n_fitted = len(data.train) + len(data.validation)
    print(f"samples         {n_fitted} to fit, {len(data.test)} to test")
    print(f"parameters      {found.n_parameters}")
    print(f"test accuracy   {found.accuracy:.2%}")


if __name__ == "__main__":
    tyro.cli(main)
