"""experiments/long_range: its data, its results, its report."""

import jax
import numpy as np
import pytest

from experiments import load_records
from experiments.long_range import report
from experiments.long_range.tasks import TASKS

pytestmark = pytest.mark.usefixtures("once")


def test_every_node_of_a_chain_has_the_first_ones_bit():
    task = TASKS["chain"]
    features, labels = task.sample(jax.random.key(3), 7)
    assert features.shape == (7, 2) and set(np.unique(features[1:, 0])) == {0}
    assert all(labels == (features[0, 0] > 0))
    hears = np.asarray(task.adjacency(7))[0]
    np.testing.assert_array_equal(hears, [[abs(i - j) == 1 for j in range(7)] for i in range(7)])


def test_parity_is_counted_up_to_each_node():
    task = TASKS["parity"]
    features, labels = task.sample(jax.random.key(3), 9)
    negative = 0
    for bit, label in zip(features[:, 0], labels, strict=True):
        negative += bit < 0
        assert label == (negative % 2 == 0)
    hears = np.asarray(task.adjacency(9))[0]
    np.testing.assert_array_equal(hears, [[i - j == 1 for j in range(9)] for i in range(9)])


def test_no_result_is_better_than_what_can_be_known():
    """After L applications the first L nodes know the bit, the others have to guess."""
    records = load_records(report.RESULTS)
    results = [records[name] for name in records if name.startswith("chain-unrolled")]
    assert results
    for found in results:
        applied = int(found["model"].removeprefix("unrolled"))
        for length, numbers in found["tests"].items():
            known = min(applied / int(length), 1)
            # 512 samples: a guess is right for half of them, give or take 0.11 (5 deviations).
            assert numbers["accuracy"] <= known + (1 - known) * 0.61


def test_the_report_has_every_model_and_its_mean():
    runs = report.load(report.RESULTS)
    text = report.table(runs)
    for task, model in runs:
        some = report.collect(runs[task, model], "accuracy")
        length = max(some)
        assert f"| {report.TITLES[model]} |" in text
        assert f"{100 * np.mean(some[length]):.1f}" in text
    assert report.draw(runs).axes


def test_no_results_are_an_error(tmp_path):
    with pytest.raises(SystemExit, match="there are no results"):
        report.load(tmp_path / "results.jsonl")
