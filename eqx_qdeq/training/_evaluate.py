"""evaluate: a model on every sample of a split, in chunks of few sizes."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float, Int, Num, PRNGKeyArray, PyTree

from .._checks import check_at_least, check_instance, describe
from .._mesh import check_enough, Devices, devices, on
from ._by_content import numbers_as_arrays
from ._convergence import warn_unconverged, warn_unseen
from ._forward import Called, forward, in_inference, losing, over_batch
from ._look import Look, look
from ._losses import Loss, NAMED, resolve, sample_weights
from ._metrics import guess, Metrics, Report, Sums
from .data import DataError, Split

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


def chunks(
    split: Split,
    batch_size: int = 1024,
    by_class: np.ndarray | None = None,
    devices: Devices | None = None,
) -> list[Chunk]:
    """The samples in chunks of one size, the last one filled up with samples of no weight."""
    check_at_least("batch_size", batch_size, 1)
    # Few sizes, as each is compiled: a small validation and test set share theirs. One size of 1024
    # for all would be ten times the work for the digits' 108 validation samples.
    batch_size = min(batch_size, _SMALL) if len(split) <= _SMALL else batch_size
    batch_size = batch_size if devices is None else devices.padded(batch_size)
    x, y = jax.tree.map(np.asarray, (split.x, split.y))
    weights = sample_weights(split.sample_weight, by_class, y)
    result = []
    for start in range(0, len(y), batch_size):
        rows = np.arange(start, start + batch_size)
        mask = (rows < len(y)).astype(jax.dtypes.canonicalize_dtype(float))
        rows = np.minimum(rows, len(y) - 1)
        weight = mask if weights is None else mask * weights[rows].astype(mask.dtype)
        some_x = jax.tree.map(lambda a, rows=rows: jnp.asarray(a[rows]), x)
        chunk = Chunk(some_x, *map(jnp.asarray, (y[rows], mask, weight, rows)))
        result.append(on(devices, chunk))
    return result


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

    def own(model: Any, state: PyTree, chunk: Chunk) -> tuple[Sums, Array | None, PyTree]:
        mine = devices.own(chunk)
        sums, confusion, given = _evaluate_part(model, state, mine, how, wants_outputs)
        sums, confusion = sums.over(devices, confusion)
        whole = lambda a: jax.lax.all_gather(a, devices.samples, tiled=True)
        return sums, confusion, jax.tree.map(whole, given)

    whole = PartitionSpec()
    return devices.map(own, (model, state, chunk), (whole,) * 3, whole)


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
    data: list[Chunk],
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
    truth = _rows(data, [chunk.y for chunk in data])
    means = totals.means(how.report, spread(how.report, truth))
    return Metrics(
        confusion=np.asarray(confusion) if is_classes else None,
        own=_own(metrics, truth, _rows(data, given)) if metrics else {},
        unseen=how.report.unseen,
        **means,
    )


def spread(report: Report, y: Any) -> Float[np.ndarray, " k"] | None:
    """The variance of each target of a regression, on the host in double precision."""
    if report.task != "regression":
        return None
    return np.var(np.asarray(y, np.float64).reshape(len(y), -1), axis=0)


def _rows(data: list[Chunk], parts: list[PyTree]) -> Any:
    """What is of samples, without the filling."""
    keep = [np.asarray(chunk.mask) > 0 for chunk in data]
    host = lambda *leaves: np.concatenate(
        [np.asarray(a)[k] for a, k in zip(leaves, keep, strict=True)]
    )
    whole = jax.tree.map(host, *parts)
    return jax.tree.map(lambda a: a.astype(np.float64) if a.dtype.kind == "f" else a, whole)


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
    split: Split,
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
    - `split`: the samples.
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
    check_instance("split", split, Split, "a Split, e.g. `dataset.test` or `Split(x, y)`")
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
    if over is not None:
        check_enough(over, min(len(split), batch_size), "`batch_size`, with the samples at hand,")
    parts = chunks(split, batch_size, devices=over)
    found = evaluate_chunks(model, parts, how, state, metrics, over)
    warn_unseen(how.report)
    warn_unconverged(model, how.report, "samples", found.fraction_converged, found.residual_max)
    return found
