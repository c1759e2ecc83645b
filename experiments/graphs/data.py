"""Graph classification data of the TU Dortmund collection, and its folds.

C. Morris, N. M. Kriege, F. Bause, K. Kersting, P. Mutzel and M. Neumann, "TUDataset: a collection
of benchmark datasets for learning with graphs", 2020, arXiv:2007.08663.
"""

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from sklearn.model_selection import StratifiedKFold

import eqx_qdeq as qdeq


@dataclasses.dataclass(frozen=True)
class Source:
    """How a set is batched, and how long it is trained."""

    buckets: tuple[int, ...]
    batch: int
    epochs: int


SOURCES = {
    "MUTAG": Source((), 32, 60),
    # Few sizes: each is a program of its own, with a circuit at every node.
    "PROTEINS": Source((40, 128), 64, 12),
    "NCI1": Source((32, 64), 128, 20),
}


@dataclasses.dataclass(frozen=True)
class Graphs:
    """Labeled graphs. Each undirected edge is there in both directions, and each node hears
    itself."""

    graphs: list[qdeq.Graph]
    labels: np.ndarray


def folder() -> Path:
    """The folder with the text files, `TU` in the one that EQX_QDEQ_DATA names."""
    root = os.environ.get("EQX_QDEQ_DATA")
    if not root:
        raise SystemExit(
            "set EQX_QDEQ_DATA to the folder that has TU/MUTAG.txt, TU/PROTEINS.txt and "
            "TU/NCI1.txt (https://github.com/weihua916/powerful-gnns, dataset.zip)."
        )
    return Path(root) / "TU"


def load(path: Path, n_graphs: int | None = None) -> Graphs:
    """Reads a file: the number of graphs; for each a line `n label`, and for each of its n nodes a
    line `tag degree neighbor neighbor …`, neighbors counted from 0.

    A node's features are its tag, one-hot, and a quarter of its degree.
    """
    lines = _lines(path)
    (count,) = _exactly(next(lines, None), 1, path)
    read, labels = [], []
    for _ in range(count):
        n, label = _exactly(next(lines, None), 2, path)
        rows = [next(lines, None) for _ in range(n)]
        tags, edges = [], []
        for node, row in enumerate(rows):
            if row is None or len(row) < 2 or len(row) != 2 + row[1]:
                raise ValueError(f"{path}: graph {len(labels)}, node {node}: not a node: {row}.")
            tags.append(row[0])
            edges += [(other, node) for other in row[2:]]
        read.append((tags, np.array(edges, int).reshape(-1, 2)))
        labels.append(label)
    if next(lines, None) is not None:
        raise ValueError(f"{path}: there are lines after the last of {count} graphs.")
    kinds = sorted({tag for tags, _ in read for tag in tags})
    graphs = [_graph(kinds, *one) for one in read[:n_graphs]]
    _, classes = np.unique(np.array(labels), return_inverse=True)
    return Graphs(graphs, classes[:n_graphs])


def _graph(kinds: list[int], tags: list[int], edges: np.ndarray) -> qdeq.Graph:
    nodes = np.arange(len(tags))
    features = np.zeros((len(tags), len(kinds) + 1), np.float32)
    features[nodes, [kinds.index(tag) for tag in tags]] = 1
    features[:, -1] = np.bincount(edges[:, 1], minlength=len(tags)) / 4
    return qdeq.Graph(features, np.append(edges[:, 0], nodes), np.append(edges[:, 1], nodes))


def _lines(path: Path) -> Iterator[list[int]]:
    if not path.is_file():
        raise SystemExit(f"{path} is not there; EQX_QDEQ_DATA must name the folder above TU.")
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                yield [int(word) for word in line.split()]
            except ValueError:
                raise ValueError(f"{path}, line {number}, is not integers: {line[:40]!r}") from None


def _exactly(row: list[int] | None, n: int, path: Path) -> list[int]:
    if row is None or len(row) != n:
        what = "the file begins with the number of graphs" if n == 1 else "a graph with `n label`"
        raise ValueError(f"{path}: {what}; got {row}.")
    return row


def folds(labels: np.ndarray, n_folds: int = 10) -> list[tuple[np.ndarray, ...]]:
    """Stratified folds: the positions for training, validation and test. The fold after the one
    that is tested is the one that is validated on; they are the same for all models and seeds."""
    split = StratifiedKFold(n_folds, shuffle=True, random_state=0)
    parts = [test for _, test in split.split(labels, labels)]
    return [
        (
            np.concatenate([p for j, p in enumerate(parts) if j not in (i, (i + 1) % n_folds)]),
            parts[(i + 1) % n_folds],
            parts[i],
        )
        for i in range(n_folds)
    ]
