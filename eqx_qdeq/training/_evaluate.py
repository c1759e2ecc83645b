"""evaluate: a model on every sample of a split, in chunks of few sizes."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float, Int, Num, PRNGKeyArray, PyTree

from .._checks import check_at_least, check_instance, describe
from .._mesh import along, Devices, devices, on
from ._by_content import numbers_as_arrays
from ._convergence import warn_unconverged, warn_unseen
from ._forward import Called, forward, in_inference, losing, over_batch
from ._look import Look, look
from ._losses import Loss, NAMED, resolve, sample_weights
from ._metrics import guess, Metrics, Report, Sums
from ._reading import ahead, place, read
from .data import DataError, Split, Stream

# Up to so many samples, a chunk has this size.
_SMALL = 256

OwnMetrics = Mapping[str, Callable[[np.ndarray, np.ndarray], Any]]
"""Metrics by name: functions `(y_true, y_pred)` to a number, as scikit-learn has them."""


class Chunk(NamedTuple):
    """Some samples of a split, all chunks of one size."""

    x: PyTree[Array]
    y: Num[Array, "n ..."]
    mask: Float[Array, " n"]  # 0 where the last one is filled up
    weight: Float[Array, " n"]  # in the loss
    rows: Int[Array, " n"]


class Chunks:
    """The samples of a split in chunks of one size, the last one filled up with samples of no
    weight; on the device, or read anew each time."""

    def __init__(
        self,
        split: Split | Stream,
        batch_size: int = 1024,
        by_class: np.ndarray | None = None,
        devices: Devices | None = None,
    ):
        check_at_least("batch_size", batch_size, 1)
        # Few sizes, as each is compiled: a small validation and test set share theirs. One size of
        # 1024 for all would be ten times the work for the digits' 108 validation samples.
        size = min(batch_size, _SMALL) if len(split) <= _SMALL else batch_size
        self._devices, parts = devices, 1
        if isinstance(split, Stream):
            size, parts = min(size, max(split.buffer // split.row_bytes, 1)), split.parts
        # Of each part equally many, and on each device.
        unit = math.lcm(parts, 1 if devices is None else len(devices))
        size = -(-size // unit) * unit
        self.y = np.asarray(split.y)
        self._weights = sample_weights(split.sample_weight, by_class, self.y)
        each, of_part = size // parts, len(split) // parts
        rows = np.arange(-(-of_part // each) * each).reshape(-1, 1, each)
        self._is_there = np.repeat(rows < of_part, parts, axis=1).reshape(-1, size)
        within = np.minimum(rows, of_part - 1)
        self._rows = (within + of_part * np.arange(parts)[:, None]).reshape(-1, size)
        self._held: Stream | list[Chunk] = (
            split if isinstance(split, Stream) else list(self._from_arrays(split))
        )

    def __iter__(self) -> Iterator[Chunk]:
        held = self._held
        return self._from_stream(held) if isinstance(held, Stream) else iter(held)

    def _from_arrays(self, split: Split) -> Iterator[Chunk]:
        host = jax.tree.map(np.asarray, split.x)
        for i, rows in enumerate(self._rows):
            x, y = jax.tree.map(lambda a, rows=rows: jnp.asarray(a[rows]), (host, self.y))
            yield self._chunk(i, *along(self._devices, (x, y)))

    def _from_stream(self, stream: Stream) -> Iterator[Chunk]:
        found = ahead(lambda rows: read(stream, rows, self._devices), self._rows)
        for i, some in enumerate(found):
            yield self._chunk(i, *place(some, self._rows[i].shape, self._devices))

    def _chunk(self, i: int, x: PyTree[Array], y: Array) -> Chunk:
        rows = self._rows[i]
        mask = self._is_there[i].astype(jax.dtypes.canonicalize_dtype(float))
        weight = mask
        if self._weights is not None:
            weight = mask * self._weights[rows].astype(mask.dtype)
        rest = tuple(map(jnp.asarray, (mask, weight, rows)))
        return Chunk(x, y, *along(self._devices, rest))

    def whole(self, parts: list[PyTree[Array]]) -> PyTree[np.ndarray]:
        """What was found of the chunks, in the order of the samples."""
        there = self._is_there.reshape(-1)
        order = np.argsort(self._rows.reshape(-1)[there], kind="stable")
        host = lambda *leaves: _wide(np.concatenate(list(map(np.asarray, leaves)))[there][order])
        return jax.tree.map(host, *parts)


def _wide(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float64) if array.dtype.kind == "f" else array


@eqx.filter_jit
def _evaluate_chunk(
    model: Any,
    state: PyTree,
    chunk: Chunk,
    how: Look,
    wants_outputs: bool,
    devices: Devices | None = None,
) -> tuple[Sums, Array | None, PyTree]:
    """Sums, the confusion matrix of a classification, and guesses or outputs if they are wanted."""
    if devices is None:
        return _evaluate_part(model, state, chunk, how, wants_outputs)

    def own(model: Any, state: PyTree, mine: Chunk) -> tuple[Sums, Array | None, PyTree]:
        sums, confusion, given = _evaluate_part(model, state, mine, how, wants_outputs)
        sums, confusion = sums.over(devices, confusion)
        whole = lambda a: jax.lax.all_gather(a, devices.samples, tiled=True)
        return sums, confusion, jax.tree.map(whole, given)

    whole, parts = PartitionSpec(), PartitionSpec(devices.samples)
    return devices.map(own, (model, state, chunk), (whole, whole, parts), whole)


def _evaluate_part(
    model: Any, state: PyTree, chunk: Chunk, how: Look, wants_outputs: bool
) -> tuple[Sums, Array | None, PyTree]:

    def one(x: PyTree, y: Array, key: PRNGKeyArray) -> tuple[Any, PyTree]:
        called = Called(None, None, None)
        if how.has_outputs:
            called = forward(model, x, key=key if how.needs_key else None, state=state)
        if not callable(how.loss):
            return (None, called.outputs, called.solves), None
        value, _, solves = losing(how.loss, model, x, y, key, state)
        return (value, called.outputs, solves or called.solves), None

    # By its row, so that a sample draws the same whatever the size of the chunks.
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(0), chunk.rows)
    (losses, outputs, solves), _ = over_batch(one, (0, 0, 0), state)(chunk.x, chunk.y, keys)
    if not callable(how.loss):
        outputs, losses = named_losses(how.loss, outputs, chunk.y)
    sums = Sums.of(how.report, losses, outputs, solves, chunk.y, chunk.mask, chunk.weight)
    if how.report.task != "classification":
        return sums, None, outputs if wants_outputs else None
    n_classes = outputs.shape[-1]
    # A guess of -1 would be counted in the last column, as Python counts; it is added as zero.
    guesses = guess(outputs)
    there = chunk.mask.reshape(-1, *[1] * (guesses.ndim - 1)) > 0
    counted = (there & (guesses >= 0)).astype(jnp.int32)
    confusion = jnp.zeros((n_classes, n_classes), jnp.int32).at[chunk.y, guesses].add(counted)
    return sums, confusion, guesses if wants_outputs else None


def named_losses(
    loss: str, outputs: Array, y: Num[Array, "n ..."]
) -> tuple[Array, Float[Array, " n"]]:
    """The loss of each sample, and the outputs in the shape of the targets."""
    if loss != "cross_entropy":
        outputs, y = outputs.reshape(y.shape), y.astype(outputs.dtype)
    return outputs, jax.vmap(NAMED[loss])(outputs, y)


def evaluate_chunks(
    model: Any,
    data: Chunks,
    how: Look,
    state: PyTree = None,
    metrics: OwnMetrics | None = None,
    devices: Devices | None = None,
) -> Metrics:
    """As `evaluate`, for samples already in chunks."""
    # Counts are added by NumPy, in 64 bits, which JAX may not have.
    totals, confusion, given = Sums.zero(how.report), 0, []
    model, state = on(devices, (in_inference(numbers_as_arrays(model)), state))
    for chunk in data:
        wanted = bool(metrics)
        sums, counts, outputs = _evaluate_chunk(model, state, chunk, how, wanted, devices)
        totals = totals + sums
        confusion = confusion if counts is None else confusion + np.asarray(counts, np.int64)
        given.append(outputs)
    is_classes = how.report.task == "classification"
    means = totals.means(how.report, spread(how.report, data.y))
    return Metrics(
        confusion=np.asarray(confusion) if is_classes else None,
        own=_own(metrics, _wide(data.y), data.whole(given)) if metrics else {},
        unseen=how.report.unseen,
        **means,
    )


def spread(report: Report, y: Any) -> Float[np.ndarray, " k"] | None:
    """The variance of each target of a regression, on the host in double precision."""
    if report.task != "regression":
        return None
    return np.var(np.asarray(y, np.float64).reshape(len(y), -1), axis=0)


def _own(metrics: OwnMetrics, truth: np.ndarray, guesses: PyTree) -> dict[str, float]:
    found = {}
    for name, metric in metrics.items():
        try:
            value = metric(truth, guesses)
        except Exception as error:
            error.add_note(f"in the metric {name!r}, called as metric(y_true, y_pred)")
            raise
        try:
            found[name] = float(value)
        except (TypeError, ValueError):
            raise TypeError(
                f"the metric {name!r} must give one number; it gave {describe(value)}. Of several "
                "numbers take the mean, or make each a metric of its own."
            ) from None
    return found


def check_metrics(metrics: OwnMetrics | None) -> None:
    """Raises for what are no metrics."""
    if metrics is None:
        return
    if not isinstance(metrics, Mapping) or not all(map(callable, metrics.values())):
        raise TypeError(
            "`metrics` must be functions (y_true, y_pred) by name, e.g. "
            f"{{'f1': sklearn.metrics.f1_score}}; got {describe(metrics)}."
        )
    taken = sorted(set(metrics) & {*vars(Metrics(0.0)), "gradient_norm"})
    if taken:
        raise ValueError(f"`metrics` has the name {taken[0]!r}, which is one of ours; rename it.")


def check_outputs_known(metrics: OwnMetrics | None, how: Look) -> None:
    """Raises if metrics would have nothing to look at."""
    if metrics and not how.has_outputs:
        raise ValueError(
            "`metrics` look at outputs, and `model(x)` gives none. Report what the loss knows in "
            "a callback, or let the model be called with x."
        )


def evaluate(
    model: Any,
    split: Split | Stream,
    batch_size: int = 1024,
    *,
    loss: Loss | None = None,
    metrics: OwnMetrics | None = None,
    state: PyTree = None,
    mesh: Mesh | None = None,
) -> Metrics:
    """Looks at every sample of a split, in inference mode: without dropout, and with the statistics
    that batch normalization has kept.

    !!! example

        ```python
        import equinox as eqx, jax, numpy as np
        from sklearn.metrics import f1_score
        from eqx_qdeq import training

        random = np.random.default_rng(0)
        test = training.Split(random.normal(size=(50, 3)), random.integers(0, 2, 50))
        model = eqx.nn.MLP(3, 2, 8, 1, key=jax.random.key(0))
        print(training.evaluate(model, test, metrics={"f1": f1_score}))
        ```

    **Arguments:**

    - `model`: any Equinox module of one sample, as for [`eqx_qdeq.training.fit`][].
    - `split`: the samples, or a stream of them.
    - `batch_size`: how many are looked at at a time; changes memory and time, not the results.
    - `loss`: as for `fit`. A function of your own gets the model in inference mode, and the same
        keys each time.
    - `metrics`: functions `(y_true, y_pred)` by name, as those of scikit-learn. `y_pred` are the
        guessed classes of a classification, and otherwise the outputs.
    - `state`: of a model that has one.
    - `mesh`: the devices among which the samples are parted, as for `fit`.

    **Returns:**

    [`eqx_qdeq.training.Metrics`][]; printed, it is a line of text.

    **Raises:** [`eqx_qdeq.training.DataError`][] for labels that the model does not have.
    Warns ([`eqx_qdeq.training.ConvergenceWarning`][]) of samples whose equilibrium was not found.
    """
    kinds = Split | Stream
    check_instance("split", split, kinds, "a Split, e.g. `dataset.test` or `Split(x, y)`")
    check_metrics(metrics)
    how = look(model, split.x, split.y, resolve(loss, split.y), state, name="the split")
    check_outputs_known(metrics, how)
    largest = int(split.y.max()) if how.report.task == "classification" else -1
    if largest >= how.n_logits > 0:
        raise DataError(
            f"label {largest} is out of range: the model has {how.n_logits} classes. Use the data "
            "that it was trained for."
        )
    over = None if mesh is None else devices(mesh)
    parts = Chunks(split, batch_size, devices=over)
    found = evaluate_chunks(model, parts, how, state, metrics, over)
    warn_unseen(how.report)
    warn_unconverged(model, how.report, "samples", found.fraction_converged, found.residual_max)
    return found
