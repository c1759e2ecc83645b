"""fit: the training loop."""

import contextlib
import dataclasses
import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, overload, ParamSpec, Protocol

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._checks import check_instance, describe
from ._checkpoint import Checkpoints, digest, MetricsFile, Run, to_host
from ._identity import model_identity, optimizer_identity
from ._loop import Session, train
from ._metrics import chunks, count_parameters, logits_shape, Metrics
from ._options import gather, Options
from ._step import make_state, make_update, run_steps
from ._writing import CheckpointError
from .data import Dataset

_P = ParamSpec("_P")


@dataclasses.dataclass(frozen=True, eq=False)
class FitResult:
    """What [`eqx_qdeq.training.fit`][] returns.

    **Attributes:**

    - `model`: the model after the epoch with the lowest validation loss.
    - `last_model`: the model after the last step.
    - `history`: one dictionary of numbers per epoch, as in the metrics file.
    - `best_epoch`: that of `model`, counted from 1.
    - `steps`: the number of training steps.
    - `seconds`: time spent on steps and validation, in all sessions of a resumed run, compilation
        included.
    """

    model: Any
    last_model: Any
    history: list[dict[str, Any]]
    best_epoch: int
    steps: int
    seconds: float

    def __repr__(self) -> str:
        return f"<FitResult: {type(self.model).__name__}, {self._extent()}>"

    def __str__(self) -> str:
        parts = [f"{self._extent()}; {count_parameters(self.model)} parameters"]
        # Of the epoch from which `model` is.
        record = self.history[self.best_epoch - 1]
        for name in ("train", "validation"):
            fields = [field.name for field in dataclasses.fields(Metrics)]
            found: dict[str, Any] = {field: record.get(f"{name}_{field}") for field in fields}
            found["confusion"] = np.zeros((0, 0), int)  # which no record has
            text = str(Metrics(**found))
            parts.append(f"{name:<12}" + text.replace(", solver steps", f"\n{'':<12}solver steps"))
        return "\n".join(parts)

    def _extent(self) -> str:
        epochs = f"{len(self.history)} epochs, {self.steps} steps, {self.seconds:.1f} s"
        return f"{epochs}, best epoch {self.best_epoch}"


class _Fit(Protocol[_P]):
    """The options of a training by name, or as one object with changes by name."""

    @overload
    def __call__(
        self, model: Any, dataset: Dataset, *args: _P.args, **named: _P.kwargs
    ) -> FitResult: ...

    @overload
    def __call__(
        self, model: Any, dataset: Dataset, *, options: Options, **changes: Any
    ) -> FitResult: ...


def _with_the_options_of(
    options: Callable[_P, Options],
) -> Callable[[Callable[..., FitResult]], _Fit[_P]]:
    """Names each option in a signature, as editors, type checkers and `help` show it."""

    # A ParamSpec over the options' constructor: type checkers see each option with its type and
    # default, from the one place where they are listed.
    def name_them(function: Any) -> Any:
        own, theirs = (inspect.signature(f).parameters.values() for f in (function, options))
        parameters = [p for p in own if p.kind is not p.VAR_KEYWORD] + list(theirs)
        function.__signature__ = inspect.Signature(parameters, return_annotation=FitResult)
        return function

    return name_them


@_with_the_options_of(Options)
def fit(model: Any, dataset: Dataset, *, options: Options | None = None, **named: Any) -> FitResult:
    r"""Trains a classifier: minimizes the mean cross-entropy, plus `jacobian_penalty` times the
    mean of $\|\partial f/\partial z\|_F^2 / m$, by any Optax optimizer.

    A run with a `checkpoint_dir` that is killed, at any moment, and started again with the same
    arguments ends with the same weights, bit by bit, as one left alone. (On GPUs this needs
    `XLA_FLAGS=--xla_gpu_deterministic_ops=true`.)

    A checkpoint knows its run: the data, the seed and the options, the initial model up to
    rounding, its structure and the code of your own classes and functions in it, and what the
    optimizer does at any step. With something else of these the run is refused, by name; only
    `epochs` may grow (which changes a schedule that is made from them).

    The first call compiles. Another one with data and a model of the same shapes does not, also
    with another learning rate or gain, or a new optimizer of the same kind; only one that searches
    along a line is compiled for each object.

    !!! example

        ```python
        import eqx_qdeq as qdeq, jax, optax
        from eqx_qdeq import training

        data = training.load_dataset("digits", classes=(0, 1), limit=40)
        model = qdeq.QDEQClassifier(4, 16, 2, depth=2, key=jax.random.key(0))
        result = training.fit(
            model, data, optimizer=optax.adam(0.05), epochs=1, progress=False
        )
        assert result.steps == 1
        ```

    **Arguments:**

    - `model`: a classifier of [`eqx_qdeq`][], or any Equinox module called as `model(x, key=key)`
        that takes one sample to logits. One with `solve` is also asked how its solves went.
    - `dataset`: the data.
    - `optimizer`, `epochs`, `batch_size`, …: the options of [`eqx_qdeq.training.Options`][], by
        name. Only the first two have no defaults.
    - `options`: all of them as one object; those that are also given by name replace its own.

    **Returns:**

    A [`eqx_qdeq.training.FitResult`][].

    **Raises:**

    - `ValueError` for arguments out of range, or a model that does not fit the data.
    - [`eqx_qdeq.training.TrainingError`][] if the loss, its gradient, the new parameters or the
        optimizer's state are not finite, naming the step; the last good checkpoint stays.
    - [`eqx_qdeq.training.CheckpointError`][] for a checkpoint that is damaged, of another run, or
        in use by another process, and for paths that cannot be read or written.

    Warns once ([`eqx_qdeq.training.ConvergenceWarning`][]) of equilibria that were not found.
    """
    with contextlib.ExitStack() as locks:
        session = start(model, dataset, gather(options, named), locks)
        run, epoch = session.run, session.step // session.n_batches
        fixed = session.fixed(epoch)

        def advance(now: int, stop: int) -> None:
            nonlocal epoch, fixed
            # Kept for an epoch: a permutation of all samples may take as long as a step.
            if now != epoch:
                epoch, fixed = now, session.fixed(now)
            here = dataclasses.replace(fixed, settings=session.settings_at(session.step))
            run.state = run_steps((here, jnp.asarray(stop, jnp.int32)), run.state)

        train([session], advance)
        return result_of(session)


def start(model: Any, dataset: Dataset, options: Options, locks: contextlib.ExitStack) -> Session:
    """Takes up the checkpoint of a run, or writes its first. Its files are held by `locks`."""
    _check_model(model, dataset, options)
    # A batch larger than the data would be mostly filling.
    options = dataclasses.replace(options, batch_size=min(options.batch_size, len(dataset.train)))
    params, static = eqx.partition(model, options.trainable)
    run = Run(make_state(params, options.optimizer, hasattr(model, "solve")), to_host(params))
    update = make_update(options.optimizer, run.state)
    # All that decides the numbers of a run, but for the number of epochs, which may grow.
    identity = lambda: {
        "config": options.config,
        "model": getattr(model, "config", None),
        "training data": [dataset.name, digest(dataset.train)],
        "validation data": digest(dataset.validation),
        "batch_size": options.batch_size,
        "seed": options.seed,
        "clip": options.clip,
        "jacobian_penalty": float(options.jacobian_penalty),
        "warm-up": [options.warmup_steps, options.warmup_layers] if options.warmup_steps else None,
        "shared_dropout": options.shared_dropout,
        "drop_last": options.drop_last,
        "precision": str(dataset.train.x.dtype),
        **model_identity(model, params),
        **optimizer_identity(update, run.state),
    }
    checkpoints = Checkpoints(_path(options.checkpoint_dir), identity)
    metrics = MetricsFile(_path(options.metrics_path))
    if checkpoints.path is not None and checkpoints.path == metrics.path:
        raise CheckpointError(f"'{metrics.path}' cannot be both the checkpoint and the metrics.")
    locks.enter_context(checkpoints.held())
    locks.enter_context(metrics.held())
    resumed = checkpoints.read(run, options.resume)
    metrics.start(None if resumed is None else resumed.history)
    # The first checkpoint comes before the first step: from then on a folder belongs to a run.
    if resumed is None:
        checkpoints.write(run)
    else:
        run = resumed
    validation = chunks(dataset.validation)
    return Session(options, static, dataset.train, validation, run, checkpoints, metrics, update)


def _path(given: str | os.PathLike[str] | None) -> Path | None:
    return None if given is None else Path(given)


def result_of(session: Session) -> FitResult:
    run = session.run
    return FitResult(
        model=eqx.combine(jax.tree.map(jnp.asarray, run.best), session.static),
        last_model=session.model,
        history=run.history,
        best_epoch=run.best_epoch,
        steps=session.step,
        seconds=run.seconds,
    )


def _check_model(model: Any, dataset: Dataset, options: Options) -> None:
    check_instance(
        "dataset", dataset, Dataset, "a Dataset, e.g. `load_dataset('digits')` or of three Splits"
    )
    if isinstance(model, type) or not (callable(model) or hasattr(model, "solve")):
        raise TypeError(
            "`model` must be an Equinox module of one sample, e.g. a QDEQClassifier; got "
            f"{describe(model)}."
        )
    needs_solve = options.jacobian_penalty > 0 or options.warmup_steps > 0
    if needs_solve and not hasattr(model, "solve"):
        raise ValueError(
            "`jacobian_penalty` and `warmup_steps` need a classifier of eqx_qdeq, or a model with "
            f"`solve_with_penalty` and `unrolled`; got {type(model).__name__}."
        )
    # Before anything is compiled or written.
    shape = logits_shape(model, dataset.train)
    if shape != (dataset.n_classes,):
        raise ValueError(
            f"the model gives logits of shape {shape} for one sample, where "
            f"{dataset.name} has {dataset.n_classes} classes."
        )
