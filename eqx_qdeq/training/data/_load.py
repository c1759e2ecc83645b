"""load_dataset: from the name of a data set, as it is stored, to splits ready for training."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..._checks import need, short
from ._arrays import as_samples, check_finite, DataError
from ._dataset import Dataset
from ._files import read_idx, read_npz
from ._preprocess import Flatten, Preprocess, unit_norm_preprocess
from ._samples import check_shapes, Split
from ._splits import random_split, stratified_split
from ._tables import read_table, TABLES

# --- Where samples come from. ---

_DIGITS = tuple(str(digit) for digit in range(10))
_FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker",
            "Bag", "Ankle boot")  # fmt: skip
_CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

# name -> (torchvision's class, its class names)
_TORCHVISION = {
    "mnist": ("MNIST", _DIGITS),
    "fashion_mnist": ("FashionMNIST", _FASHION),
    "cifar10": ("CIFAR10", _CIFAR),
}

_PARTS = ("train", "test")

# Gray is all that is used of CIFAR-10's colors, and takes a third of the space.
_GRAY_CIFAR = "cifar10_gray.npz"


class _Raw(NamedTuple):
    """What is stored: images or rows of a table, and labels, of "train" and "test";
    `class_names[i]` names the label `labels[i]`. Without labels they are real targets."""

    parts: dict[str, tuple[np.ndarray, np.ndarray]]
    labels: tuple[int, ...]
    class_names: tuple[str, ...]
    is_table: bool = False


def _read(
    name: str | os.PathLike[str], root: str | os.PathLike[str] | None, download: bool
) -> _Raw:
    """Reads a data set by its name or path."""
    text = os.fspath(name)
    if text == "digits":
        return _read_digits()
    if text in TABLES:
        return _read_table(text, root, download)
    if text in _TORCHVISION:
        folder = Path(root if root is not None else os.environ.get("EQX_QDEQ_DATA") or "data")
        gray = folder / _GRAY_CIFAR
        if text == "cifar10" and gray.is_file() and not (folder / "cifar-10-batches-py").exists():
            raw = _read_npz(gray)
            return raw._replace(class_names=tuple(_CIFAR[label] for label in raw.labels))
        if text != "cifar10":
            return _read_mnist(text, folder, download)
        found = _torchvision(text, folder, download)
        parts = {p: (np.asarray(data.data), np.asarray(data.targets)) for p, data in found.items()}
        return _Raw(parts, tuple(range(10)), _CIFAR)
    if text.endswith(".npz"):
        return _read_npz(Path(text))
    known = ", ".join(("digits", *_TORCHVISION, *TABLES))
    raise DataError(f"unknown dataset {text!r}; choose {known}, or the path of an .npz file.")


def _to_pixels(images: np.ndarray, name: str) -> np.ndarray:
    """Stored images as gray pixels: integers are taken to run from 0 to 255, floats are left
    alone, colors weighted as in ITU-R BT.601 (as the authors of the paper do)."""
    if np.issubdtype(images.dtype, np.integer):
        low, high = images.min(), images.max()
        if low < 0 or high > 255:
            raise DataError(
                f"{name}: integers are pixels from 0 to 255; got {low} to {high}. Store features "
                "as floating-point numbers, which are taken as they are."
            )
        images = images.astype(np.float32) / np.float32(255)
    elif not np.issubdtype(images.dtype, np.floating):
        raise DataError(f"{name}: images must be integers or floats; got {images.dtype}.")
    # Pooling sums hundreds of pixels, too many for halves.
    elif images.dtype == np.float16:
        images = images.astype(np.float32)
    # Luma as the eye weighs the colors: Y = 0.2989 R + 0.587 G + 0.114 B.
    if images.ndim == 4 and images.shape[-1] == 3:
        images = images @ np.array([0.2989, 0.587, 0.114], images.dtype)
    elif images.ndim == 4 and images.shape[-1] == 1:
        images = images[..., 0]
    return images


def _read_digits() -> _Raw:
    x, y = need("sklearn.datasets", "train", '"digits"', DataError).load_digits(return_X_y=True)
    images = (np.asarray(x, np.float32) / 16).reshape(-1, 8, 8)
    labels = np.asarray(y, np.int64)
    # There is no official test set: the same quarter of each class in every run.
    train, test = stratified_split(labels, 0.25, seed=0)
    parts = {name: (images[i], labels[i]) for name, i in (("train", train), ("test", test))}
    return _Raw(parts, tuple(range(10)), _DIGITS)


def _read_table(name: str, root: str | os.PathLike[str] | None, download: bool) -> _Raw:
    x, y, class_names = read_table(name, root, download)
    # As for the digits: the same quarter in every run.
    if class_names is None:
        train, test = random_split(len(y), 0.25, seed=0)
    else:
        train, test = stratified_split(y, 0.25, seed=0)
    parts = {name: (x[i], y[i]) for name, i in (("train", train), ("test", test))}
    names = class_names or ()
    return _Raw(parts, tuple(range(len(names))), names, is_table=True)


def _read_mnist(name: str, root: Path, download: bool) -> _Raw:
    class_name, class_names = _TORCHVISION[name]
    folder = root / class_name / "raw"
    files = {
        (part, what): folder / f"{start}-{what}-idx{axes}-ubyte"
        for part, start in (("train", "train"), ("test", "t10k"))
        for what, axes in (("images", 3), ("labels", 1))
    }
    # As it is, or packed, as it is handed out.
    found = {k: p if p.is_file() else p.with_name(f"{p.name}.gz") for k, p in files.items()}
    missing = [path for path in found.values() if not path.is_file()]
    if missing and download:
        _torchvision(name, root, download)
        found, missing = files, []
    if len(missing) == len(found):
        raise _not_there(name, root)
    if missing:
        absent = " and ".join(f"'{files[k].name}'" for k, p in found.items() if p in missing)
        raise DataError(f"'{folder}' lacks {absent}; fetch all with download=True, or remove it.")
    parts = {p: (read_idx(found[p, "images"], 3), read_idx(found[p, "labels"], 1)) for p in _PARTS}
    _check_parts(parts, f"{class_name} in '{folder}'")
    for part, (_, y) in parts.items():
        if y.max() > 9:
            raise DataError(f"'{found[part, 'labels']}' has the label {y.max()}; they are 0 to 9.")
    parts = {part: (x, y.astype(np.int64)) for part, (x, y) in parts.items()}
    return _Raw(parts, tuple(range(10)), class_names)


def _torchvision(name: str, root: Path, download: bool) -> dict[str, Any]:
    """The two parts as torchvision gives them, fetched if need be."""
    class_name, _ = _TORCHVISION[name]
    datasets = need("torchvision.datasets", "vision", name, DataError)
    make: Any = getattr(datasets, class_name)
    try:
        return {part: make(root, train=part == "train", download=download) for part in _PARTS}
    except Exception as error:
        if download:
            raise DataError(f"could not fetch {class_name} into '{root}': {error}") from error
        # What torchvision raises where files are not there, or not whole.
        if isinstance(error, RuntimeError):
            raise _not_there(name, root) from error
        raise DataError(f"{class_name} in '{root}' cannot be read: {error}") from error


def _not_there(name: str, root: Path) -> DataError:
    return DataError(
        f"{_TORCHVISION[name][0]} is not in '{root}': fetch it with load_dataset({name!r}, "
        f"root={str(root)!r}, download=True), or let EQX_QDEQ_DATA or `root` name the "
        "folder that has it."
    )


def _read_npz(path: Path) -> _Raw:
    if not path.is_file():
        raise DataError(f"there is no file '{path}'; give the path of an .npz file.")
    names = tuple(f"{what}_{part}" for part in _PARTS for what in "xy")
    stored = read_npz(path, names)
    parts = {}
    for part in _PARTS:
        x, y = stored[f"x_{part}"], stored[f"y_{part}"]
        # A column of labels, as MATLAB and some tools write it, is a vector.
        y = y.reshape(-1) if y.ndim == 2 and y.shape[1] == 1 else y
        try:
            x = as_samples(x, f"'{path}' ({part})")
        except TypeError as error:  # no real numbers: of a file that is a fault of the data
            raise DataError(str(error)) from None
        if not np.issubdtype(y.dtype, np.integer):
            raise DataError(
                f"'{path}' ({part}): labels must be integers; got {y.dtype}. Real targets are read "
                "by Dataset.from_arrays."
            )
        parts[part] = x, y
    _check_parts(parts, f"'{path}'")
    labels, in_test = (tuple(np.unique(y).tolist()) for _, y in parts.values())
    unseen = sorted(set(in_test) - set(labels))
    if unseen:
        raise DataError(
            f"'{path}': labels {short(unseen)} of y_test are out of range, y_train has "
            f"{short(list(labels))}."
        )
    return _Raw(parts, labels, tuple(map(str, labels)))


def _check_parts(parts: dict[str, tuple[np.ndarray, np.ndarray]], name: str) -> None:
    """Whether these are samples of one size and their labels: before classes are selected, by masks
    of the labels that go on the samples."""
    for part, (x, y) in parts.items():
        check_shapes(x, y, f"{name} ({part})")
        if 0 in x.shape:
            what = "samples" if len(x) == 0 else "features"
            raise DataError(f"{name} ({part}): no {what}; the shape is {x.shape}.")
    y = parts["train"][1]
    if (y == y[0]).all():
        raise DataError(f"{name} (train): all labels are {y[0]}; at least two classes are needed.")
    here, there = (x.shape[1:] for x, _ in parts.values())
    if here != there:
        raise DataError(f"{name}: samples of train have shape {here}, those of test {there}.")


# --- From there to splits. ---


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
    """Reads images or a table, selects classes, makes features of the pixels, and sets a part of
    the training samples aside for validation, the same share of each class.

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
        "mnist", "fashion_mnist", "cifar10" (through torchvision, in gray), or the path of an
        `.npz` file with `x_train`, `y_train`, `x_test`, `y_test`. Integer pixels run from 0 to
        255; floating-point ones are taken as they are. Or a table that scikit-learn has: "iris",
        "wine", "breast_cancer" (classes), "diabetes", "california_housing" (real targets), whose
        test set is a fixed quarter of it as well.
    - `classes`: which classes, by label or name; they become the labels 0, 1, … in this order.
        All of them if left out.
    - `preprocess`: a function from gray images `(n, height, width)` in [0, 1] to features;
        `unit_norm_preprocess(4)` for images and the identity for feature vectors if left out. Of a
        table, a function of its rows; if left out, they and real targets are standardized, as by
        [`eqx_qdeq.training.Dataset.from_arrays`][].
    - `root`: the folder of the image data as torchvision lays it out; if left out, the one named by
        the environment variable `EQX_QDEQ_DATA`, or "data". For "california_housing" scikit-learn's
        folder. A `cifar10_gray.npz` there, with the
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
    raw = _read(name, root, download)
    if classes is not None and not raw.labels:
        raise DataError(f"`classes` are of a classification; the targets of {name} are real.")
    chosen, label = _choose(raw, classes, str(name)), Path(os.fspath(name)).stem
    parts, features = {}, _Features(preprocess)
    for part, (x, y) in raw.parts.items():
        if raw.labels:
            x, y = _select(x, y, [raw.labels[i] for i in chosen])
        # The part that is set aside is exact to rounding in each class, so it serves as the few.
        if limit is not None and limit < len(y):
            split = stratified_split if raw.labels else lambda y, *how: random_split(len(y), *how)
            _, few = split(y, limit / len(y), seed)
            x, y = x[few], y[few]
        if len(y) == 0:
            raise DataError(f"{label}: no {part} samples of the chosen classes.")
        # Before the split: preprocessing is not fitted to data, and learns nothing of validation.
        parts[part] = features(x, f"{label} ({part})"), y
    x, y = parts["train"]
    if raw.is_table:
        data = Dataset.from_arrays(
            x,
            y,
            validation=val_fraction,
            test=parts["test"],
            standardize=preprocess is None,
            class_names=[raw.class_names[i] for i in chosen] or None,
            seed=seed,
            name=label,
        )
        return data if preprocess is None else dataclasses.replace(data, preprocess=features)
    stay, aside = stratified_split(y, val_fraction, seed)
    return Dataset(
        Split(x[stay], y[stay], name=f"{label} (train)"),
        Split(x[aside], y[aside], name=f"{label} (validation)"),
        Split(*parts["test"], name=f"{label} (test)"),
        class_names=[raw.class_names[i] for i in chosen],
        name=label,
        preprocess=features,
    )


def _choose(raw: _Raw, classes: Sequence[int | str] | None, name: str) -> list[int]:
    """The positions of the chosen classes among those that there are."""
    if classes is None:
        return list(range(len(raw.labels)))
    # A single name is one class, not one per letter.
    wanted = [classes] if isinstance(classes, str | int) else list(classes)
    if len(wanted) < 2:  # one logit alone has no loss
        raise DataError(f"`classes` must choose at least two classes; got {wanted}.")
    # By name or by number: in CIFAR-10 both "cat" and 3 are the same class.
    known = {name: i for i, name in enumerate(raw.class_names)}
    known |= {str(label): i for i, label in enumerate(raw.labels)}
    unknown = [one for one in wanted if str(one) not in known]
    if unknown:
        numbers = "" if str(raw.labels[0]) == raw.class_names[0] else ", or their numbers"
        there = ", ".join(raw.class_names)
        raise DataError(f"unknown class {unknown[0]!r}; {name} has {there}{numbers}.")
    found = [known[str(one)] for one in wanted]
    if len(set(found)) != len(found):
        raise DataError(f"`classes` names a class twice: {wanted}.")
    return found


def _select(x: np.ndarray, y: np.ndarray, labels: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """The samples of these classes, their labels counted from 0 in this order."""
    # -1 is in no class. By masks, not by a table: labels of files may be any integers.
    new = np.full(len(y), -1)
    for position, label in enumerate(labels):
        new[y == label] = position
    return x[new >= 0], new[new >= 0]


@dataclasses.dataclass(frozen=True)
class _Features:
    """From images or rows as they are stored to features."""

    preprocess: Preprocess | None

    def __call__(self, x: np.ndarray, name: str = "the new samples") -> np.ndarray:
        pixels, preprocess = _to_pixels(x, name), self.preprocess
        check_finite(pixels, name)
        if preprocess is None:
            preprocess = Flatten() if pixels.ndim == 2 else unit_norm_preprocess(4)
        features = np.asarray(preprocess(pixels))
        # A function that forgets the axis of samples would pair features with others' labels.
        if features.ndim < 2 or len(features) != len(x):
            raise DataError(
                f"`preprocess` must give one row of features per sample; {len(x)} samples became "
                f"an array of shape {features.shape}."
            )
        return features
