"""The three tasks: arrays as a user brings them, and the same split for everybody."""

from typing import Any, NamedTuple

import numpy as np
from sklearn.datasets import load_diabetes, load_wine
from sklearn.model_selection import train_test_split

from eqx_qdeq.training import load_dataset, unit_norm_preprocess


class Task(NamedTuple):
    """Samples to fit and samples to test, how long to train, and what is measured."""

    x: np.ndarray
    y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray
    epochs: int
    measure: str  # "accuracy" or "R²"


def table(seed: int) -> Task:
    """Wine: 178 wines, 13 numbers of each, three growers."""
    data: Any = load_wine()
    return _split(data.data, data.target, seed, 30, "accuracy")


def regression(seed: int) -> Task:
    """Diabetes: 442 patients, 10 numbers of each, how the disease went on."""
    data: Any = load_diabetes()
    return _split(data.data, data.target, seed, 60, "R²")


def images(seed: int) -> Task:
    """Digits: all ten, 8×8 pixels of unit norm. The test set is the same for all seeds."""
    data = load_dataset("digits", preprocess=unit_norm_preprocess(side=8), seed=seed)
    parts = (data.train, data.validation)
    x, y = (np.concatenate([np.asarray(getattr(part, name)) for part in parts]) for name in "xy")
    return Task(x, y, np.asarray(data.test.x), np.asarray(data.test.y), 20, "accuracy")


def _split(x: np.ndarray, y: np.ndarray, seed: int, epochs: int, measure: str) -> Task:
    classes = y if measure == "accuracy" else None
    parts = train_test_split(x, y, test_size=0.25, random_state=seed, stratify=classes)
    x, test_x, y, test_y = map(np.asarray, parts)
    return Task(x, y, test_x, test_y, epochs, measure)


TASKS = {"table": table, "regression": regression, "images": images}
