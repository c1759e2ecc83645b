"""The baseline that every quantum classifier must face: multinomial logistic regression on the very
same features.

    python examples/logistic_regression.py --recipe paper-mnist4 --data-root DATA
"""

import warnings
from pathlib import Path

import numpy as np
import tyro
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from eqx_qdeq.training import load_recipe_data


def main(
    recipe: str = "digits-demo",
    data_root: Path | None = None,
    limit: int | None = None,
    smoke: bool = False,
) -> None:
    """Fits scikit-learn's logistic regression to a recipe's training data and tests it.

    Args:
        recipe: the recipe whose data and preprocessing are used.
        data_root: the folder with torchvision's data; EQX_QDEQ_DATA if left out.
        limit: use only so many training samples.
        smoke: a few samples only.
    """
    data = load_recipe_data(recipe, root=data_root, limit=200 if smoke else limit)
    # There is nothing to select, so the validation data help to fit.
    x = np.concatenate([data.train.x, data.validation.x])
    y = np.concatenate([data.train.y, data.validation.y])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = LogisticRegression(max_iter=500, C=100.0).fit(x, y)
    accuracy = model.score(np.asarray(data.test.x), np.asarray(data.test.y))
    n_parameters = model.coef_.size + model.intercept_.size
    print(f"recipe          {recipe}")
    print(f"samples         {len(x)} to fit, {len(data.test.y)} to test")
    print(f"parameters      {n_parameters}")
    print(f"test accuracy   {accuracy:.2%}")


if __name__ == "__main__":
    tyro.cli(main)
