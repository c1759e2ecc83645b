"""experiments/graphs: its data, its folds and batches, its results, its report."""

import numpy as np
import pytest

import eqx_qdeq as qdeq
from experiments.graphs import report
from experiments.graphs.data import folds, load
from experiments.graphs.train import arrange, summary

pytestmark = pytest.mark.usefixtures("once")

# A path of three nodes and a single one.
TEXT = "2\n3 1\n5 1 1\n7 2 0 2\n5 1 1\n1 -1\n6 0\n"


def write(tmp_path, text):
    path = tmp_path / "SET.txt"
    path.write_text(text)
    return path


def test_the_reader(tmp_path):
    data = load(write(tmp_path, TEXT))
    path, alone = data.graphs
    assert data.labels.tolist() == [1, 0]
    # Tags 5, 6 and 7, one-hot, then a quarter of the degree.
    np.testing.assert_array_equal(path.features, [[1, 0, 0, 0.25], [0, 0, 1, 0.5], [1, 0, 0, 0.25]])
    matrix = np.zeros((3, 3))
    matrix[path.receivers, path.senders] = 1
    np.testing.assert_array_equal(matrix, [[1, 1, 0], [1, 1, 1], [0, 1, 1]])
    assert alone.features.tolist() == [[0, 1, 0, 0]] and len(alone.senders) == 1
    assert len(load(write(tmp_path, TEXT), 1).graphs) == 1


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "begins with the number of graphs"),
        ("1\n2 0 1\n", "a graph with `n label`"),
        ("1\n2 0\n0 1 1\n", "graph 0, node 1: not a node: None"),
        ("1\n1 0\n0 1\n", "graph 0, node 0: not a node"),
        ("1\n1 0\n0 x\n", "line 3, is not integers"),
        ("1\n2 0\n0 1 2\n0 1 0\n", "`senders.0.` must be from 0 to 1"),
        (TEXT + "1 0\n", "lines after the last"),
    ],
)
def test_what_is_no_such_file_is_named(text, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        load(write(tmp_path, text))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(SystemExit, match="is not there; EQX_QDEQ_DATA must name"):
        load(tmp_path / "MUTAG.txt")


def test_the_sets_are_the_published_ones(data_root):
    if not (data_root / "TU").is_dir():
        pytest.skip("needs the text files of TU")
    data = load(data_root / "TU" / "MUTAG.txt")
    assert len(data.graphs) == 188 and sorted(np.bincount(data.labels)) == [63, 125]
    assert sum(len(graph.mask) for graph in data.graphs) == 3371
    # Every edge in both directions, and a loop at every node.
    assert sum(len(graph.senders) for graph in data.graphs) == 2 * 3721 + 3371


def test_folds_are_stratified_and_take_turns():
    labels = np.repeat([0, 1], [60, 40])
    found = folds(labels)
    assert sorted(np.concatenate([test for _, _, test in found])) == list(range(100))
    for train, validation, test in found:
        assert sorted(np.concatenate([train, validation, test])) == list(range(100))
        assert labels[test].sum() == labels[validation].sum() == 4


def test_batches_have_every_graph_of_a_fold_once():
    graphs = [qdeq.Graph(np.ones((n, 1)), [], []) for n in (3, 4, 20, 21, 5, 3, 22)]
    buckets = qdeq.bucket_graphs(graphs, (10,))
    parts = [np.array([0, 1, 2, 3]), np.array([1, 4, 5, 6])]
    part = arrange(buckets, parts, 2, np.random.default_rng(0))
    for fold, wanted in enumerate(parts):
        own = []
        for (members, _), positions, counts in zip(
            buckets, part.positions, part.counts, strict=True
        ):
            assert positions.shape == counts.shape and positions.shape[0] == 2
            own += list(members[positions[:, fold][counts[:, fold] == 1]])
        assert sorted(own) == list(wanted)


def test_the_three_accuracies():
    # Two epochs, two folds: training loss, validation loss and share, test loss and share.
    curve = np.array(
        [
            [[1, 1], [0.5, 0.5], [0.9, 0.7], [0, 0], [0.6, 0.9]],
            [[1, 1], [0.4, 0.4], [0.8, 0.7], [0, 0], [0.9, 0.8]],
        ]
    )
    found = summary(curve)
    # The first fold's first epoch is the better one; the second one's tie, and the loss decides.
    assert found["chosen_epochs"] == [0, 1] and found["test"] == [0.6, 0.8]
    assert found["usual_epoch"] == 2 and found["usual"] == [0.9, 0.8]
    assert found["best"] == [0.9, 0.9]


def test_the_report_has_every_run():
    runs = report.load(report.RESULTS)
    nine = report.load(report.RESULTS, nine=True)
    text = report.accuracy(runs, nine) + report.differences(runs, nine)
    for data, model in runs:
        some = runs[data, model]
        assert all(len(found["test"]) == 10 for found in some)
        assert f"| {data} | {report.TITLES[model]} |" in text
        assert f"{100 * np.mean([found['test'] for found in some]):.1f} ±" in text
    assert report.draw(runs).axes
