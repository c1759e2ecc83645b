"""A quantum equilibrium in scikit-learn: a pipeline, cross-validation and a search over a grid.

python examples/sklearn_pipeline.py
"""

from pathlib import Path

import numpy as np
import tyro
from matplotlib.figure import Figure
from sklearn.datasets import load_wine
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import ConfusionMatrixDisplay
from sklearn.model_selection import (
    cross_val_predict,
    GridSearchCV,
    StratifiedKFold,
    train_test_split,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm.auto import tqdm

from eqx_qdeq.sklearn import QuantumEquilibriumClassifier


def main(epochs: int = 40, out: Path = Path("sklearn_pipeline.png"), smoke: bool = False) -> None:
    """Classifies scikit-learn's wines by their chemistry.

    Args:
        epochs: passes over the training samples in each fit.
        out: the figure to write.
        smoke: few epochs, and a smaller grid.
    """
    epochs, components, depths = (5, (4,), (1,)) if smoke else (epochs, (2, 4, 8), (1, 2, 4))
    x, y = load_wine(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(x, y, stratify=y, random_state=0)
    folds = StratifiedKFold(3, shuffle=True, random_state=0)

    # A search over one, for each of the other, so that a bar can tell how far it is.
    searches = {}
    for depth in tqdm(depths, desc="searches"):
        classifier = QuantumEquilibriumClassifier(depth=depth, epochs=epochs, random_state=0)
        pipeline = make_pipeline(StandardScaler(), PCA(), classifier)
        search = GridSearchCV(pipeline, {"pca__n_components": components}, cv=folds)
        searches[depth] = search.fit(train_x, train_y)
    depth = max(searches, key=lambda depth: searches[depth].best_score_)
    best = searches[depth].best_estimator_
    accuracy = best.score(test_x, test_y)

    # Every wine by a model that has not seen it; and what a linear model makes of them.
    ours = cross_val_predict(best, x, y, cv=folds)
    linear = cross_val_predict(
        make_pipeline(StandardScaler(), LogisticRegression()), x, y, cv=folds
    )

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    curves, confusion = figure.subplots(1, 2)
    for n, search in searches.items():
        scores = 100 * search.cv_results_["mean_test_score"]
        curves.plot(components, scores, "o-", label=f"depth {n}")
    curves.set(title="Grid search", xlabel="principal components", ylabel="accuracy in %")
    curves.legend()
    ConfusionMatrixDisplay.from_predictions(y, ours, ax=confusion, colorbar=False, cmap="Blues")
    confusion.set_title("All wines, cross-validated")
    figure.savefig(out, dpi=100)
    print(f"figure {out}")
    print(
        f"checked: depth {depth}, {best['pca'].n_components_} components; {accuracy:.1%} of "
        f"{len(test_x)} test wines; cross-validated {np.sum(ours == y)} of {len(y)}, logistic "
        f"regression {np.sum(linear == y)}"
    )


if __name__ == "__main__":
    tyro.cli(main, config=(tyro.conf.FlagCreatePairsOff,))
