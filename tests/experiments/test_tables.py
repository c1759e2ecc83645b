"""The study of tables: its scores are scikit-learn's, its results are the page's."""

import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from experiments import DOCS, load_records
from experiments.tables import as_markdown, RESULTS, score

pytestmark = pytest.mark.usefixtures("once")


def test_scores_are_of_five_stratified_folds():
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    theirs = cross_val_score(model, *load_iris(return_X_y=True), cv=folds)
    ours = score("iris", "linear")
    assert abs(ours["mean"] - theirs.mean()) < 1e-4
    assert abs(ours["deviation"] - theirs.std()) < 1e-4


def test_the_page_has_the_table_of_the_results():
    assert as_markdown(load_records(RESULTS)) in (DOCS / "your-data.md").read_text("utf-8")
