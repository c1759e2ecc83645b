"""load_dataset: from the name of a data set to splits ready for training."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ._dataset import check_finite, DataError, Dataset, Split, stratified_split
from ._preprocess import Flatten, Preprocess, unit_norm_preprocess
from ._sources import Raw, read, to_pixels


def load_dataset(
    name: str | os.PathLike[str],
    *,
    classes: Sequence[int | str] | None = None,
    preprocess: Preprocess | None = None,
    root: str | os.PathLike[str] | None = None,
    download: bool = False,
    val_fraction: float = 0.2,
    seed: int = 0,
    limit: int | None = None,
) -> Dataset:
    """Reads images, selects classes, makes features of the pixels, and sets a stratified part of
    the training samples aside for validation.

    !!! example

        ```python
        from eqx_qdeq import training

        data = training.load_dataset("digits", classes=(0, 3, 6, 9))
        assert data.train.x.shape == (434, 16) and data.class_names == (
            "0",
            "3",
            "6",
            "9",
        )
        ```

    **Arguments:**

    - `name`: "digits" (scikit-learn's, 8×8; a fixed quarter of each class is the test set),
        "mnist", "fashion_mnist", "cifar10" (through torchvision, in grey), or the path of an
        `.npz` file with `x_train`, `y_train`, `x_test`, `y_test`. Integer pixels run from 0 to
        255; floating-point ones are taken as they are.
    - `classes`: which classes, by label or name; they become the labels 0, 1, … in this order.
        All of them if left out.
    - `preprocess`: a function from grey images `(n, height, width)` in [0, 1] to features;
        `unit_norm_preprocess(4)` for images and the identity for feature vectors if left out.
    - `root`: the folder of the image data as torchvision lays it out; if left out, the one named by
        the environment variable `EQX_QDEQ_DATA`, or "data". A `cifar10_gray.npz` there, with the
        arrays of an `.npz` file as above, serves for CIFAR-10 where torchvision's files are not.
    - `download`: whether to fetch what is missing.
    - `val_fraction`: how much of each class of the training samples becomes validation.
    - `seed`: which samples those are.
    - `limit`: at most so many samples for training and validation together, and for the test;
        stratified. For trials.

    **Returns:**

    A [`eqx_qdeq.training.Dataset`][].

    **Raises:** [`eqx_qdeq.training.DataError`][] with what to do, for data that are missing, not
    finite, or without what is asked for.
    """
    if seed < 0:
        raise DataError(f"`seed` must not be negative; got {seed}.")
    if limit is not None and limit < 1:
        raise DataError(f"`limit` must be at least 1; got {limit}.")
    raw = read(name, root, download)
    chosen = _choose(raw, classes, str(name))
    label = Path(os.fspath(name)).stem
    parts = {}
    for part, (x, y) in raw.parts.items():
        x, y = _select(x, y, [raw.labels[i] for i in chosen])
        # The part that is set aside is exact to rounding in each class, so it serves as the few.
        if limit is not None and limit < len(y):
            _, few = stratified_split(y, limit / len(y), seed)
            x, y = x[few], y[few]
        if len(y) == 0:
            raise DataError(f"{label}: no {part} samples of the chosen classes.")
        # Before the split: preprocessing is not fitted to data, and learns nothing of validation.
        parts[part] = _features(x, preprocess, f"{label} ({part})"), y
    x, y = parts["train"]
    stay, aside = stratified_split(y, val_fraction, seed)
    return Dataset(
        Split(x[stay], y[stay], name=f"{label} (train)"),
        Split(x[aside], y[aside], name=f"{label} (validation)"),
        Split(*parts["test"], name=f"{label} (test)"),
        class_names=[raw.class_names[i] for i in chosen],
        name=label,
    )


def _choose(raw: Raw, classes: Sequence[int | str] | None, name: str) -> list[int]:
    """The positions of the chosen classes among those that there are."""
    if classes is None:
        return list(range(len(raw.labels)))
    # A single name is one class, not one per letter.
    wanted = [classes] if isinstance(classes, str) else list(classes)
    if len(wanted) < 2:
        raise DataError(f"`classes` must choose at least two classes; got {wanted}.")
    # By name or by number: in CIFAR-10 both "cat" and 3 are the same class.
    known = {name: i for i, name in enumerate(raw.class_names)}
    known |= {str(label): i for i, label in enumerate(raw.labels)}
    found = []
    for one in wanted:
        if str(one) not in known:
            raise DataError(
                f"unknown class {one!r}; {name} has {', '.join(raw.class_names)}"
                + ("." if str(raw.labels[0]) == raw.class_names[0] else ", or their numbers.")
            )
        found.append(known[str(one)])
    if len(set(found)) != len(found):
        raise DataError(f"`classes` names a class twice: {wanted}.")
    return found


def _select(x: np.ndarray, y: np.ndarray, labels: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """The samples of these classes, their labels counted from 0 in this order."""
    new = np.full(len(y), -1)
    for position, label in enumerate(labels):
        new[y == label] = position
    keep = new >= 0
    return x[keep], new[keep]


def _features(x: np.ndarray, preprocess: Preprocess | None, name: str) -> np.ndarray:
    pixels = to_pixels(x)
    check_finite(pixels, name)
    if preprocess is None:
        preprocess = Flatten() if pixels.ndim == 2 else unit_norm_preprocess(4)
    features = np.asarray(preprocess(pixels))
    if features.ndim < 2 or len(features) != len(x):
        raise DataError(
            f"`preprocess` must give one row of features per sample; {len(x)} samples became an "
            f"array of shape {features.shape}."
        )
    return features
