"""Which samples are set aside: the same share of each class, the same on every machine."""

import numpy as np
from jaxtyping import Int

from ._arrays import DataError


def set_aside(
    labels: np.ndarray,
    rows: np.ndarray,
    fraction: float,
    seed: int,
    names: tuple[str, ...] | None,
    name: str,
) -> tuple[np.ndarray, np.ndarray]:
    """The rows that stay and those set aside: a share of each class, or of all targets."""
    if len(rows) < 2:
        raise DataError(f"{name}: {len(rows)} samples cannot be split; give more.")
    if names is None:
        stay, aside = random_split(len(rows), fraction, seed)
        return rows[stay], rows[aside]
    found, counts = np.unique(labels[rows], return_counts=True)
    if counts.min() < 2:
        raise DataError(
            f"{name}: class {names[found[counts.argmin()]]!r} has too few samples to be in every "
            "split (three, or two for one split). Leave it out, or give "
            'the splits as (x, y); for whole numbers that are targets, task="regression".'
        )
    stay, aside = stratified_split(labels[rows], fraction, seed)
    return rows[stay], rows[aside]


def random_split(
    n: int, fraction: float, seed: int
) -> tuple[Int[np.ndarray, " a"], Int[np.ndarray, " b"]]:
    """As `stratified_split`, where there are no classes."""
    return stratified_split(np.zeros(n, int), fraction, seed)


def stratified_split(
    y: Int[np.ndarray, " n"], fraction: float, seed: int
) -> tuple[Int[np.ndarray, " a"], Int[np.ndarray, " b"]]:
    """Sets a fraction of each class aside.

    !!! example

        ```python
        import numpy as np
        from eqx_qdeq import training

        labels = np.array([0] * 8 + [1] * 4)
        rest, aside = training.stratified_split(labels, 0.25, seed=0)
        labels[aside]  # [0 0 1]
        ```

    **Arguments:**

    - `y`: the labels.
    - `fraction`: how much of each class, in (0, 1); rounded, but at least one sample.
    - `seed`: a non-negative integer; the same seed gives the same split everywhere.

    **Returns:**

    The indices that stay and those set aside, both ascending.

    **Raises:** [`eqx_qdeq.training.DataError`][] for a class with fewer than two samples.
    """
    if not 0 < fraction < 1:
        raise DataError(f"the fraction set aside must be between 0 and 1; got {fraction}.")
    # NumPy promises the stream of a named bit generator; `default_rng` may change its own.
    generator = np.random.Generator(np.random.Philox(seed))
    # Class by class, since of a rare class a plain draw may set nothing aside, or everything.
    aside = []
    for label in np.unique(y):
        members = np.flatnonzero(y == label)
        if len(members) < 2:
            raise DataError(f"label {label} has one sample; a split needs at least two of each.")
        # Both sides need one: an empty class cannot be learned, nor be validated.
        count = min(max(round(fraction * len(members)), 1), len(members) - 1)
        aside.append(generator.permutation(members)[:count])
    chosen = np.sort(np.concatenate(aside))
    # In the order of the data, not class by class.
    return np.setdiff1d(np.arange(len(y)), chosen), chosen
