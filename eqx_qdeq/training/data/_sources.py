"""Where images come from, as they are stored."""

import os
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ._dataset import DataError, stratified_split

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
DATASETS = ("digits", *_TORCHVISION)

# Grey is all that is used of CIFAR-10's colours, and takes a third of the space.
_GREY_CIFAR = "cifar10_gray.npz"


class Raw(NamedTuple):
    """What is stored: images and labels of "train" and "test"; `class_names[i]` names the label
    `labels[i]`."""

    parts: dict[str, tuple[np.ndarray, np.ndarray]]
    labels: tuple[int, ...]
    class_names: tuple[str, ...]


def read(name: str | os.PathLike[str], root: str | os.PathLike[str] | None, download: bool) -> Raw:
    """Reads a data set by its name or path."""
    text = os.fspath(name)
    if text == "digits":
        return _read_digits()
    if text in _TORCHVISION:
        folder = data_root(root)
        grey = folder / _GREY_CIFAR
        if text == "cifar10" and grey.is_file() and not (folder / "cifar-10-batches-py").exists():
            raw = _read_npz(grey)
            return raw._replace(class_names=tuple(_CIFAR[label] for label in raw.labels))
        return _read_torchvision(text, folder, download)
    if text.endswith(".npz"):
        return _read_npz(Path(text))
    raise DataError(
        f"unknown dataset {text!r}; choose {', '.join(DATASETS)}, or the path of an .npz file."
    )


def data_root(root: str | os.PathLike[str] | None) -> Path:
    """The folder of the image data: the argument, else `EQX_QDEQ_DATA`, else `data`."""
    return Path(root if root is not None else os.environ.get("EQX_QDEQ_DATA") or "data")


def to_pixels(images: np.ndarray) -> np.ndarray:
    """Stored images as grey pixels: integers are taken to run from 0 to 255, floats are left
    alone, colours weighted as in ITU-R BT.601 (as the authors of the paper do)."""
    if np.issubdtype(images.dtype, np.integer):
        images = images.astype(np.float32) / np.float32(255)
    elif not np.issubdtype(images.dtype, np.floating):
        raise DataError(f"images must be integers or floats; got {images.dtype}.")
    # Pooling sums hundreds of pixels, too many for halves.
    elif images.dtype == np.float16:
        images = images.astype(np.float32)
    # Luma as the eye weighs the colours: Y = 0.2989 R + 0.587 G + 0.114 B.
    if images.ndim == 4 and images.shape[-1] == 3:
        images = images @ np.array([0.2989, 0.587, 0.114], images.dtype)
    elif images.ndim == 4 and images.shape[-1] == 1:
        images = images[..., 0]
    return images


def _read_digits() -> Raw:
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise DataError(
            'the digits come with scikit-learn: pip install "eqx-qdeq[train]"'
        ) from None
    x, y = load_digits(return_X_y=True)
    images = (np.asarray(x, np.float32) / 16).reshape(-1, 8, 8)
    labels = np.asarray(y, np.int64)
    # There is no official test set: the same quarter of each class in every run.
    train, test = stratified_split(labels, 0.25, seed=0)
    parts = {"train": (images[train], labels[train]), "test": (images[test], labels[test])}
    return Raw(parts, tuple(range(10)), _DIGITS)


def _read_torchvision(name: str, root: Path, download: bool) -> Raw:
    class_name, class_names = _TORCHVISION[name]
    try:
        from torchvision import datasets
    except ImportError:
        raise DataError(f'{name} is read by torchvision: pip install "eqx-qdeq[vision]"') from None
    make: Any = getattr(datasets, class_name)
    try:
        found = {p: make(root, train=p == "train", download=download) for p in ("train", "test")}
    except Exception as error:
        if download:
            raise DataError(f"could not fetch {class_name} into '{root}': {error}") from error
        # What torchvision raises where files are not there, or not whole.
        if isinstance(error, RuntimeError):
            raise DataError(
                f"{class_name} is not in '{root}': fetch it with load_dataset({name!r}, "
                f"root={str(root)!r}, download=True), or let EQX_QDEQ_DATA or `root` name the "
                "folder that has it."
            ) from error
        raise DataError(f"{class_name} in '{root}' cannot be read: {error}") from error
    parts = {p: (np.asarray(data.data), np.asarray(data.targets)) for p, data in found.items()}
    return Raw(parts, tuple(range(10)), class_names)


def _read_npz(path: Path) -> Raw:
    if not path.is_file():
        raise DataError(f"there is no file '{path}'; give the path of an .npz file.")
    names = ("x_train", "y_train", "x_test", "y_test")
    try:
        # No pickles: they may run code. NumPy leaves a file open that it cannot read, unless it is
        # ours.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            missing = [name for name in names if name not in file.files]
            if missing:
                raise DataError(
                    f"'{path}' lacks {', '.join(missing)}; it has {', '.join(file.files)}. It "
                    f"must have {', '.join(names)}."
                )
            stored = {part: (file[f"x_{part}"], file[f"y_{part}"]) for part in ("train", "test")}
    except DataError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"'{path}' is not a readable .npz file: {error}") from error
    parts = {}
    for part, (x, y) in stored.items():
        # A column of labels, as MATLAB and some tools write it, is a vector.
        flat = y.reshape(-1) if y.ndim == 2 and y.shape[1] == 1 else y
        if flat.ndim != 1 or not np.issubdtype(flat.dtype, np.integer):
            raise DataError(
                f"'{path}': y_{part} must be integers of shape (n,); got {y.dtype} of shape "
                f"{y.shape}."
            )
        if len(x) != len(flat):
            raise DataError(f"'{path}': {len(x)} samples in x_{part} but {len(flat)} labels.")
        parts[part] = x, flat
    labels, in_test = (tuple(np.unique(y).tolist()) for _, y in parts.values())
    unseen = sorted(set(in_test) - set(labels))
    if unseen:
        raise DataError(
            f"'{path}': labels {unseen} of y_test are out of range, y_train has {list(labels)}."
        )
    return Raw(parts, labels, tuple(map(str, labels)))
