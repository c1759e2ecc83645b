"""fit: the training loop."""

import dataclasses
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

from ._checkpoint import Checkpoints, digest, MetricsFile, Run, to_host
from ._dataset import Dataset
from ._files import fingerprint, to_json
from ._loop import Callback, Loop
from ._metrics import chunks, forward
from ._step import make_state, Settings


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


def fit(
    model: Any,
    dataset: Dataset,
    *,
    optimiser: optax.GradientTransformation,
    epochs: int,
    batch_size: int = 256,
    seed: int = 0,
    clip: float | None = None,
    jacobian_penalty: float = 0.0,
    warmup_steps: int = 0,
    warmup_layers: int = 2,
    shared_dropout: bool = True,
    drop_last: bool = False,
    trainable: Any = eqx.is_inexact_array,
    learning_rate: float | Callable | None = None,
    callbacks: Sequence[Callback] = (),
    progress: bool = True,
    metrics_path: str | os.PathLike[str] | None = None,
    checkpoint_dir: str | os.PathLike[str] | None = None,
    checkpoint_every: int | None = None,
    resume: bool = True,
    config: dict[str, Any] | None = None,
) -> FitResult:
    r"""Trains a classifier: minimises the mean cross-entropy, plus `jacobian_penalty` times the
    mean of $\|\partial f/\partial z\|_F^2 / m$, by any Optax optimiser.

    A run with a `checkpoint_dir` that is killed, at any moment, and started again with the same
    arguments ends with the same weights, bit by bit, as one left alone. (On GPUs this needs
    `XLA_FLAGS=--xla_gpu_deterministic_ops=true`.)

    **Arguments:**

    - `model`: a classifier of [`eqx_qdeq`][], or any Equinox module called as `model(x, key=key)`
        that takes one sample to logits. One with `solve` is also asked how its solves went.
    - `dataset`: the data.
    - `optimiser`: an Optax optimiser; schedules count steps, of which an epoch has
        ⌈training samples / `batch_size`⌉.
    - `epochs`: passes over the training samples.
    - `batch_size`: samples per step.
    - `seed`: of the order of the samples, the dropout and the probes of the penalty.
    - `clip`: the largest Euclidean norm of the gradient of all parameters; not clipped if left out.
    - `jacobian_penalty`: the weight of the Jacobian penalty, estimated with one Gaussian probe per
        sample and step, as in the paper.
    - `warmup_steps`, `warmup_layers`: for the first so many steps, train
        `model.unrolled(warmup_layers)`, which has the same parameters.
    - `shared_dropout`: one dropout mask for a whole batch, as in the paper, or one per sample.
    - `drop_last`: leave out the samples of an epoch that do not fill a batch. Otherwise the last
        batch is smaller, and its mean is over fewer samples.
    - `trainable`: which arrays are trained, as the filter of `equinox.partition`.
    - `learning_rate`: a number or schedule, for reports only; the optimiser has its own. One made
        with `optax.inject_hyperparams` need not be told.
    - `callbacks`: called after each epoch as `callback(record, model)` with the epoch's numbers
        and the model then. One that returns true ends the training, for good.
    - `progress`: whether to show a progress bar.
    - `metrics_path`: a file that gets one line of JSON per epoch.
    - `checkpoint_dir`: a folder for the checkpoint of this run.
    - `checkpoint_every`: a checkpoint every so many steps; after each epoch if left out. There is
        always one at the start and one at the end.
    - `resume`: whether to go on from the checkpoint if there is one. If false, one that is there
        is an error.
    - `config`: anything more that identifies the run, e.g. the learning rate; kept in the
        checkpoint, and a run with another one is not resumed.

    **Returns:**

    A [`eqx_qdeq.training.FitResult`][].

    **Raises:**

    - `ValueError` for arguments out of range, or a model that does not fit the data.
    - [`eqx_qdeq.training.TrainingError`][] if the loss or its gradient is not finite, naming the
        step; the last good checkpoint stays.
    - [`eqx_qdeq.training.CheckpointError`][] for a checkpoint that is damaged or of another run.
    """
    session = start(
        model,
        dataset,
        optimiser=optimiser,
        epochs=epochs,
        batch_size=batch_size,
        seed=seed,
        clip=clip,
        jacobian_penalty=jacobian_penalty,
        warmup_steps=warmup_steps,
        warmup_layers=warmup_layers,
        shared_dropout=shared_dropout,
        drop_last=drop_last,
        trainable=trainable,
        learning_rate=learning_rate,
        callbacks=callbacks,
        metrics_path=metrics_path,
        checkpoint_dir=checkpoint_dir,
        checkpoint_every=checkpoint_every,
        resume=resume,
        config=config,
    )
    session.loop.run(session.run, session.checkpoints, session.metrics, progress)
    return session.result()


@dataclasses.dataclass(frozen=True)
class Session:
    """A training that has started: where it stands, and what carries it on."""

    loop: Loop
    run: Run
    checkpoints: Checkpoints
    metrics: MetricsFile

    def result(self) -> FitResult:
        run, static = self.run, self.loop.static
        return FitResult(
            model=eqx.combine(jax.tree.map(jnp.asarray, run.best), static),
            last_model=eqx.combine(run.state.params, static),
            history=run.history,
            best_epoch=run.best_epoch,
            steps=int(run.state.step),
            seconds=run.seconds,
        )


def start(
    model: Any,
    dataset: Dataset,
    *,
    optimiser: optax.GradientTransformation,
    epochs: int,
    batch_size: int = 256,
    seed: int = 0,
    clip: float | None = None,
    jacobian_penalty: float = 0.0,
    warmup_steps: int = 0,
    warmup_layers: int = 2,
    shared_dropout: bool = True,
    drop_last: bool = False,
    trainable: Any = eqx.is_inexact_array,
    learning_rate: float | Callable | None = None,
    callbacks: Sequence[Callback] = (),
    metrics_path: str | os.PathLike[str] | None = None,
    checkpoint_dir: str | os.PathLike[str] | None = None,
    checkpoint_every: int | None = None,
    resume: bool = True,
    config: dict[str, Any] | None = None,
) -> Session:
    """Checks the arguments of `fit` and takes up the run's checkpoint, or writes its first."""
    _check_least(1, epochs=epochs, batch_size=batch_size, warmup_layers=warmup_layers)
    _check_least(0, seed=seed, warmup_steps=warmup_steps)
    if checkpoint_every is not None:
        _check_least(1, checkpoint_every=checkpoint_every)
    if clip is not None and not clip > 0:
        raise ValueError(f"`clip` must be positive; got {clip}.")
    if not jacobian_penalty >= 0:
        raise ValueError(f"`jacobian_penalty` must not be negative; got {jacobian_penalty}.")
    _check_model(model, dataset, needs_solve=jacobian_penalty > 0 or warmup_steps > 0)

    batch_size = min(batch_size, len(dataset.train))
    params, static = eqx.partition(model, trainable)
    identity = {
        "config": config,
        "model": getattr(model, "config", None),
        "untrained part": fingerprint(static),
        "training data": [dataset.name, digest(dataset.train)],
        "validation data": digest(dataset.validation),
        "batch_size": batch_size,
        "seed": seed,
        "clip": clip,
        "jacobian_penalty": float(jacobian_penalty),
        "warm-up": [warmup_steps, warmup_layers] if warmup_steps else None,
        "shared_dropout": shared_dropout,
        "drop_last": drop_last,
        "precision": str(dataset.train.x.dtype),
    }
    # Compared with what comes back from a file, where tuples are lists.
    checkpoints = Checkpoints(
        None if checkpoint_dir is None else Path(checkpoint_dir), json.loads(to_json(identity))
    )
    metrics = MetricsFile(None if metrics_path is None else Path(metrics_path))
    run = Run(make_state(params, optimiser, hasattr(model, "solve")), to_host(params))
    resumed = checkpoints.read(run, resume)
    metrics.start(None if resumed is None else resumed.history)
    if resumed is None:
        checkpoints.write(run)
    else:
        run = resumed
    loop = Loop(
        static=static,
        train=dataset.train,
        validation=chunks(dataset.validation),
        settings=Settings(optimiser, clip, float(jacobian_penalty), 0, shared_dropout),
        epochs=epochs,
        batch_size=batch_size,
        seed=seed,
        drop_last=drop_last,
        warmup_steps=warmup_steps,
        warmup_layers=warmup_layers,
        learning_rate=learning_rate,
        callbacks=callbacks,
        checkpoint_every=checkpoint_every,
    )
    return Session(loop, run, checkpoints, metrics)


def _check_least(least: int, **arguments: int) -> None:
    for name, value in arguments.items():
        if value < least:
            raise ValueError(f"`{name}` must be at least {least}; got {value}.")


def _check_model(model: Any, dataset: Dataset, needs_solve: bool) -> None:
    if needs_solve and not hasattr(model, "solve"):
        raise ValueError(
            "`jacobian_penalty` and `warmup_steps` need a classifier of eqx_qdeq, or a model with "
            f"`solve_with_penalty` and `unrolled`; got {type(model).__name__}."
        )
    logits = eqx.filter_eval_shape(lambda m, x: forward(m, x, None)[0], model, dataset.train.x[0])
    if logits.shape != (dataset.n_classes,):
        raise ValueError(
            f"the model gives logits of shape {logits.shape} for one sample, where "
            f"{dataset.name} has {dataset.n_classes} classes."
        )
