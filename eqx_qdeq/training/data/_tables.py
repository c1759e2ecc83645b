"""Tables that scikit-learn has, by name."""

import os
from pathlib import Path

import numpy as np

from ..._checks import need
from ._arrays import DataError

# name -> scikit-learn's function
_LOADERS = {
    "iris": "load_iris",
    "wine": "load_wine",
    "breast_cancer": "load_breast_cancer",
    "diabetes": "load_diabetes",
    "california_housing": "fetch_california_housing",
}
TABLES = tuple(_LOADERS)

# As scikit-learn calls the file that it makes of the download.
_CALIFORNIA = "cal_housing_py3.pkz"


def read_table(
    name: str, root: str | os.PathLike[str] | None, download: bool
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...] | None]:
    """Features, labels or real targets, and the classes' names or `None`."""
    try:
        datasets = need("sklearn.datasets", "train", f"the table {name}")
    except ImportError as error:
        raise DataError(str(error)) from None
    options = {}
    if name == "california_housing":
        default = os.environ.get("SCIKIT_LEARN_DATA") or Path.home() / "scikit_learn_data"
        folder = Path(root if root is not None else default)
        # Looked for first: scikit-learn would make the folder.
        if not download and not (folder / _CALIFORNIA).is_file():
            raise DataError(
                f"{name} is not in '{folder}': fetch it with load_dataset({name!r}, "
                f"root={str(folder)!r}, download=True), or let SCIKIT_LEARN_DATA or `root` name "
                "the folder that scikit-learn has put it into."
            )
        options = {"data_home": str(folder), "download_if_missing": download}
    try:
        table = getattr(datasets, _LOADERS[name])(**options)
    except Exception as error:
        raise DataError(f"{name} could not be read: {error}") from error
    x, y = np.asarray(table.data, np.float64), np.asarray(table.target)
    if name in ("diabetes", "california_housing"):
        return x, y.astype(np.float64), None
    return x, y.astype(np.int64), tuple(map(str, table.target_names))
