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

from . import DOCS, fill_page, load_records, markdown, Off, save_record

RESULTS = Path(__file__).with_suffix(".jsonl")
TABLES = ("iris", "wine", "breast_cancer", "diabetes", "digits")
_SCALED: Callable[[Any], Any] = lambda model: make_pipeline(StandardScaler(), model)


def _as_image(n_features: int, is_real: bool) -> Any:
    # Wires for as many amplitudes; a classifier sees the features as they are, as it does pixels.
    n_qubits = max(4, (n_features - 1).bit_length())
    if is_real:
        return QuantumEquilibriumRegressor(n_qubits, features="image", random_state=0)
    return QuantumEquilibriumClassifier(
        n_qubits, features="image", standardize=False, random_state=0
    )


# Of the number of features, and whether targets are real.
MODELS: dict[str, Callable[[int, bool], Any]] = {
    "equilibrium, as a table": lambda d, is_real: (
        QuantumEquilibriumRegressor if is_real else QuantumEquilibriumClassifier
    )(random_state=0),
    "equilibrium, as an image": _as_image,
    "linear": lambda d, is_real: _SCALED(Ridge() if is_real else LogisticRegression(max_iter=1000)),
    "support vectors": lambda d, is_real: _SCALED(SVR() if is_real else SVC()),
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
        found = cross_val_score(MODELS[model](x.shape[1], is_real), x, y, cv=folds)
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

    there = [t for t in TABLES if any(f"{t}/{model}" in records for model in MODELS)]
    rows = [[t + " (R²)" * (t == "diabetes"), *(cell(t, m) for m in MODELS)] for t in there]
    return markdown(["", *MODELS], rows)


def main(results: Path = RESULTS, smoke: Annotated[bool, Off] = False) -> None:
    """Cross-validates every model on every table, and puts the scores into the page.

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
    text = as_markdown(load_records(results))
    print(text)
    if results == RESULTS:
        fill_page(DOCS / "your-data.md", {"tables": text})


if __name__ == "__main__":
    tyro.cli(main)
