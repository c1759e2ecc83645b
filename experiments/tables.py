"""The estimators on tables that scikit-learn has, beside its own: five-fold cross-validation with
everybody's defaults.

    python -m experiments.tables

What is in `tables.jsonl` is not run again.
"""

import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from sklearn import datasets
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import cross_val_score, KFold, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR

from eqx_qdeq.sklearn import QuantumEquilibriumClassifier, QuantumEquilibriumRegressor

from . import load_records, markdown, Off, save_record

RESULTS = Path(__file__).with_suffix(".jsonl")
TABLES = ("iris", "wine", "breast_cancer", "digits", "diabetes")
_SCALED: Callable[[Any], Any] = lambda model: make_pipeline(StandardScaler(), model)

# name -> (classifier, regressor)
MODELS: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "equilibrium, as a table": (
        lambda: QuantumEquilibriumClassifier(random_state=0),
        lambda: QuantumEquilibriumRegressor(random_state=0),
    ),
    "equilibrium, as an image": (
        lambda: QuantumEquilibriumClassifier(features="image", n_qubits=6, random_state=0),
        lambda: QuantumEquilibriumRegressor(features="image", random_state=0),
    ),
    "linear": (lambda: _SCALED(LogisticRegression(max_iter=1000)), lambda: _SCALED(Ridge())),
    "support vectors": (lambda: _SCALED(SVC()), lambda: _SCALED(SVR())),
}


def score(table: str, model: str, limit: int | None = None) -> dict[str, float]:
    """Mean and standard deviation over folds of the accuracy, or of R² for real targets."""
    x, y = getattr(datasets, f"load_{table}")(return_X_y=True)
    is_real = table == "diabetes"
    if limit is not None:
        few = np.random.default_rng(0).permutation(len(y))[:limit]
        x, y = x[few], y[few]
    folds = (KFold if is_real else StratifiedKFold)(5, shuffle=True, random_state=0)
    started = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = cross_val_score(MODELS[model][is_real](), x, y, cv=folds)
    seconds = time.perf_counter() - started
    return {
        "mean": round(float(found.mean()), 4),
        "deviation": round(float(found.std()), 4),
        "seconds": round(seconds, 2),
    }


def as_markdown(records: dict[str, dict[str, Any]]) -> str:
    def cell(table: str, model: str) -> str:
        record = records.get(f"{table}/{model}")
        shown = "{:.3f} ± {:.3f}" if table == "diabetes" else "{:.1%} ± {:.1%}"
        return "" if record is None else shown.format(record["mean"], record["deviation"])

    rows = [[t + " (R²)" * (t == "diabetes"), *(cell(t, m) for m in MODELS)] for t in TABLES]
    return markdown(["", *MODELS], rows)


def main(results: Path = RESULTS, smoke: Annotated[bool, Off] = False) -> None:
    """Cross-validates every model on every table, and prints the table of the docs.

    Args:
        results: the file of the results.
        smoke: one table and a few samples only, written nowhere.
    """
    if smoke:
        print({model: score("iris", model, 40) for model in MODELS})
        return
    for table in TABLES:
        for model in MODELS:
            name = f"{table}/{model}"
            if name not in load_records(results):
                save_record(results, name, score(table, model))
                print(name, load_records(results)[name], flush=True)
    print(as_markdown(load_records(results)))


if __name__ == "__main__":
    tyro.cli(main)
