"""Samples for training, validation and test, and how they are split."""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, Float, PyTree

from ..._checks import check_at_least, check_choice, describe
from ._arrays import (
    as_labels,
    as_samples,
    as_targets,
    check_columns,
    check_finite,
    columns_of,
    DataError,
    on_device,
    Standardize,
)
from ._samples import check_shapes, Split, weights_of
from ._splits import set_aside
from ._stream import Stream


def _names(class_names: Sequence[str] | None) -> tuple[str, ...]:
    return () if class_names is None else tuple(map(str, class_names))


class Dataset(eqx.Module):
    """Data for training, for choosing the best model, and for the final test.

    !!! example

        ```python
        import numpy as np
        from eqx_qdeq import training

        x, y = np.random.default_rng(0).normal(size=(50, 3)), np.arange(50) % 2
        data = training.Dataset.from_arrays(x, y)
        len(data.train), len(data.validation), len(data.test)  # (32, 8, 10)
        ```

    **Attributes:**

    - `train`, `validation`, `test`: a [`eqx_qdeq.training.Split`][] each, or a
        [`eqx_qdeq.training.Stream`][] where the samples do not fit into memory.
    - `class_names`: the name of each label; none for a regression.
    - `feature_names`: the columns of a data frame; none of anything else.
    - `name`: where the data come from.
    - `preprocess`: what was done to the features of samples, a function of all of them;
        `None` if nothing was.
    - `target_scaling`: what was done to the targets of a regression; `None` if nothing was.

    **Raises:** [`eqx_qdeq.training.DataError`][] for splits whose samples or targets differ in
    shape, or labels that have no name.
    """

    train: Split | Stream
    validation: Split | Stream
    test: Split | Stream
    class_names: tuple[str, ...] = eqx.field(
        static=True, kw_only=True, converter=_names, default=None
    )
    feature_names: tuple[str, ...] = eqx.field(
        static=True, kw_only=True, converter=_names, default=None
    )
    name: str = eqx.field(static=True, kw_only=True, default="data")
    preprocess: Callable[..., np.ndarray] | None = eqx.field(kw_only=True, default=None)
    target_scaling: Standardize | None = eqx.field(kw_only=True, default=None)

    def __check_init__(self) -> None:
        if self.task == "regression" and self.class_names:
            raise DataError(
                f"{self.name}: `class_names` are of labels, which are integers; got targets of "
                f"{self.train.y.dtype}."
            )
        twice = sorted({n for n in self.class_names if self.class_names.count(n) > 1})
        if twice:
            raise DataError(f"{self.name}: `class_names` has {twice[0]!r} for several classes.")
        for part in ("train", "validation", "test"):
            split = getattr(self, part)
            _check_like(self.train, split, part, self.name)
            # A cross-entropy of a class without a logit would be NaN, or that of another class.
            largest = int(split.y.max()) if self.task == "classification" else -1
            if largest >= self.n_classes:
                raise DataError(
                    f"{self.name}: label {largest} in {part} is out of range for {self.n_classes} "
                    "classes; labels count from 0, and each has a name in `class_names`."
                )

    @property
    def task(self) -> str:
        """ "classification" for labels, "regression" for real targets."""
        is_real = jnp.issubdtype(self.train.y.dtype, jnp.floating)
        return "regression" if is_real else "classification"

    @property
    def n_classes(self) -> int:
        """The number of classes; 0 for a regression."""
        return len(self.class_names)

    @property
    def out_size(self) -> int:
        """How many numbers a model gives: the logits of a classification, the targets of a
        regression."""
        return self.n_classes or int(np.prod(self.train.y.shape[1:]))

    @property
    def in_size(self) -> int:
        """The number of features of a sample."""
        return sum(int(np.prod(leaf.shape[1:])) for leaf in jtu.tree_leaves(self.train.x))

    @classmethod
    def from_arrays(
        cls,
        x: PyTree,
        y: Any,
        *,
        validation: float | tuple = 0.2,
        test: float | tuple = 0.2,
        standardize: bool | None = None,
        task: str | None = None,
        class_names: Sequence[str] | None = None,
        sample_weight: Any = None,
        seed: int = 0,
        name: str = "data",
    ) -> "Dataset":
        """Splits samples into those for training, validation and test, and standardizes the
        features of a table.

        !!! example

            ```python
            import numpy as np
            from eqx_qdeq import training

            random = np.random.default_rng(0)
            x = random.normal(size=(100, 5))
            y = np.where(x[:, 0] > 0, "right", "left")
            data = training.Dataset.from_arrays(x, y)
            assert data.class_names == ("left", "right")
            assert [len(s) for s in (data.train, data.validation, data.test)] == [
                64,
                16,
                20,
            ]
            new = data.transform(random.normal(size=(3, 5)))  # for jax.vmap(model)
            ```

        **Arguments:**

        - `x`: the samples: an array of shape `(n, d)` or `(n, ...)`, lists, a data frame whose
            columns are numbers, or a pytree of arrays with a leading axis of `n`.
        - `y`: labels (integers, Booleans or strings, whichever they are), shape `(n,)`; or real
            targets, shape `(n,)` or `(n, k)`.
        - `test`: how much of the samples is set aside for the test, in (0, 1), the same share of
            each class; or the test samples themselves, as `(x, y)` or `(x, y, sample_weight)`.
        - `validation`: how much of what then remains chooses the best model; or those samples.
        - `standardize`: whether each feature, and each target of a regression, is shifted and
            scaled to mean 0 and variance 1 over the training samples. If left out, it is for tables
            `(n, d)`, and not for images and structures. Say `False` for tokens, which are integers
            to be looked up. New samples are treated alike by `transform`, and `to_targets` gives
            outputs back in the targets' units.
        - `task`: "classification" or "regression"; by the type of `y` if left out: floats are
            targets, all else is labels.
        - `class_names`: the name of each label, in sorted order; the labels themselves if left out.
        - `sample_weight`: how much each sample counts in training and evaluation, shape `(n,)`.
        - `seed`: which samples are in which split; the same on every machine.
        - `name`: where the data come from, for errors and checkpoints.

        **Returns:**

        A [`eqx_qdeq.training.Dataset`][].

        **Raises:** [`eqx_qdeq.training.DataError`][] for what cannot be learned from: no samples,
        unequal lengths, NaN, sparse matrices, columns that are not numbers, one class alone, a
        class too rare to be split.
        """
        if task is not None:
            check_choice("task", task, ("classification", "regression"))
        check_at_least("seed", seed, 0)
        _check_share("test", test, name)
        _check_share("validation", validation, name)
        x_host = as_samples(x, name)
        labels, names = as_targets(y, task, class_names, name)
        check_shapes(x_host, labels, name)
        check_finite(x_host, name)
        n = len(labels)
        weight = None if weights_of(sample_weight, n, name) is None else np.asarray(sample_weight)
        take = lambda rows: (
            jtu.tree_map(lambda leaf: leaf[rows], x_host),
            labels[rows],
            None if weight is None else weight[rows],
        )
        parts, rows = {}, np.arange(n)
        for part, given in (("test", test), ("validation", validation)):
            if isinstance(given, tuple):
                check_columns(given[0], columns_of(x), f"{name} ({part})")
                parts[part] = _given_part(given, x_host, labels, names, y, f"{name} ({part})")
            else:
                rows, aside = set_aside(labels, rows, given, seed, names, name)
                parts[part] = take(aside)
        parts["train"] = take(rows)
        if standardize is None:
            standardize = isinstance(x_host, np.ndarray) and x_host.ndim == 2
        scaling = target_scaling = None
        if standardize:
            if not isinstance(x_host, np.ndarray):
                raise DataError(
                    f"{name}: samples that are a {type(x).__name__} of arrays are not "
                    "standardized; do it yourself and leave `standardize` out."
                )
            # By the training samples alone: a test sees nothing of what it is tested on.
            train_x, train_y, train_weight = parts["train"]
            scaling = Standardize.fit(train_x, train_weight)
            if names is None:
                target_scaling = Standardize.fit(train_y, train_weight)
        splits = {}
        for part, (px, py, pw) in parts.items():
            px = px if scaling is None else scaling(px)
            py = py if target_scaling is None else target_scaling(py)
            splits[part] = Split(px, py, pw, name=f"{name} ({part})")
        return cls(
            **splits,
            class_names=names,
            feature_names=columns_of(x),
            name=name,
            preprocess=scaling,
            target_scaling=target_scaling,
        )

    def transform(self, x: PyTree) -> PyTree[Array]:
        """New samples as a model trained on these data takes them.

        **Arguments:**

        - `x`: samples as they were given to `from_arrays`, shape `(n, ...)`; of `load_dataset`,
            images or rows as those that it reads.

        **Returns:**

        What `jax.vmap(model)` takes, shape `(n, ...)`.

        **Raises:** [`eqx_qdeq.training.DataError`][] for samples of another shape.
        """
        check_columns(x, self.feature_names, "the new samples")
        host = as_samples(x, "the new samples")
        host = host if self.preprocess is None else self.preprocess(host)
        if _shapes(host) != _shapes(self.train.x):
            raise DataError(
                f"the new samples have shape {_shapes(host)}, those of {self.name} "
                f"{_shapes(self.train.x)}; they must agree."
            )
        check_finite(host, "the new samples")
        return jtu.tree_map(lambda leaf: on_device(leaf, "the new samples"), host)

    def to_targets(self, outputs: Float[Array | np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        """A regression's outputs in the units of the targets that were given.

        **Arguments:**

        - `outputs`: of a model, shape `(n, k)`, or `(n,)` for a single target.

        **Raises:** [`eqx_qdeq.training.DataError`][] for outputs of another shape, and for
        labels, which have no units.
        """
        if self.task == "classification":
            raise DataError(
                f"{self.name} has labels, and `to_targets` is of a regression; `class_names` of "
                "the largest logit is the class."
            )
        scaling = self.target_scaling
        return np.asarray(outputs) if scaling is None else scaling.undo(outputs)


def as_dataset(data: Any, seed: int = 0) -> Dataset:
    """A data set as it is, or one of `(x, y)` or `(x, y, sample_weight)`, taken as they are:
    a model trained on them takes new samples without further ado."""
    if isinstance(data, Dataset):
        return data
    if not isinstance(data, tuple) or len(data) not in (2, 3):
        raise TypeError(
            "`dataset` must be a Dataset, e.g. `load_dataset('digits')` or "
            f"`Dataset.from_arrays(x, y)`, or a pair `(x, y)`; got {describe(data)}."
        )
    x, y, *rest = data
    labels, names = as_targets(y, None, None, "data")
    weight = rest[0] if rest else None
    samples = as_samples(x, "data")
    check_shapes(samples, labels, "data")
    weights_of(weight, len(labels), "data")
    stay, aside = set_aside(labels, np.arange(len(labels)), 0.2, seed, names, "data")

    def part(rows: np.ndarray, name: str) -> Split:
        some = jtu.tree_map(lambda leaf: leaf[rows], samples)
        weights = None if weight is None else np.asarray(weight)[rows]
        return Split(some, labels[rows], weights, name=f"data ({name})")

    # What chooses the model is no test of it: `fit` looks at no test samples, and none are kept.
    validation = part(aside, "validation")
    return Dataset(part(stay, "train"), validation, validation, class_names=names)


def _check_like(train: Split | Stream, split: Split | Stream, part: str, name: str) -> None:
    """Raises a `DataError` for a split whose samples or targets are of another form."""

    form = lambda tree: jax.tree.map(lambda leaf: (leaf.shape[1:], str(leaf.dtype)), tree)
    # Of a plain array its shape alone, which is what is wrong nearly always.
    simple = isinstance(train.x, Array) and isinstance(split.x, Array)
    here, there = (s.x.shape[1:] if simple else form(s.x) for s in (split, train))
    if here != there:
        raise DataError(
            f"{name}: samples of {part} have shape {here}, those of train {there}; they must agree."
        )
    if form(split.y) != form(train.y):
        raise DataError(
            f"{name}: y of {part} has (shape, type) {form(split.y)}, that of train "
            f"{form(train.y)}; they must agree."
        )


def _check_share(part: str, given: Any, name: str) -> None:
    if isinstance(given, tuple) and len(given) in (2, 3):
        return
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 < given < 1:
        raise DataError(
            f"{name}: `{part}` must be a share in (0, 1), or the samples themselves as (x, y); "
            f"got {describe(given)}."
        )


def _shapes(tree: PyTree) -> PyTree[tuple[int, ...]]:
    """Of one sample."""
    return jtu.tree_map(lambda leaf: leaf.shape[1:], tree)


def _given_part(
    given: tuple,
    train_x: PyTree,
    labels: np.ndarray,
    names: tuple[str, ...] | None,
    y: Any,
    name: str,
) -> tuple:
    x, part_y, *weight = given
    part_x = as_samples(x, name)
    if _shapes(part_x) != _shapes(train_x):
        raise DataError(
            f"{name}: samples have shape {_shapes(part_x)}, those to train on "
            f"{_shapes(train_x)}; they must agree."
        )
    if names is None:
        targets, _ = as_targets(part_y, "regression", None, name)
        if targets.shape[1:] != labels.shape[1:]:
            raise DataError(
                f"{name}: targets have shape {targets.shape[1:]}, those to train on "
                f"{labels.shape[1:]}; they must agree."
            )
    else:
        # Labels mean what they mean in training, also where some do not occur.
        known = dict(zip(as_labels(y, name).tolist(), labels.tolist(), strict=True))
        wanted = as_labels(part_y, name).tolist()
        unknown = sorted({value for value in wanted if value not in known}, key=str)
        if unknown:
            raise DataError(f"{name}: labels {unknown} are not among those to train on.")
        targets = np.array([known[value] for value in wanted], np.int64)
    check_shapes(part_x, targets, name)
    return part_x, targets, weight[0] if weight else None
