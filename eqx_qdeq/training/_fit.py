"""fit: the training loop."""

import contextlib
import dataclasses
import functools as ft
import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, overload, ParamSpec, Protocol

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
import optax

from .._checks import describe
from .._mesh import check_enough, Devices, devices, on
from ._checkpoint import Checkpoints, digest, MetricsFile, Run, to_host
from ._convergence import warn_unseen
from ._evaluate import check_outputs_known, Chunks, spread
from ._identity import model_identity, optimizer_identity, settings
from ._look import Look, look
from ._loop import order, Session, train
from ._losses import class_weights, resolve, sample_weights
from ._metrics import count_parameters
from ._options import gather, Options
from ._reading import Reader
from ._result import FitResult, result_of
from ._step import Fixed, make_state, make_update, run_steps
from ._writing import CheckpointError
from .data import as_dataset, Dataset, Stream

_P = ParamSpec("_P")
Data = Dataset | tuple
"""A data set, or arrays `(x, y)`, of which a fifth is set aside for validation."""


class _Fit(Protocol[_P]):
    """The options of a training by name, or as one object with changes by name."""

    @overload
    def __call__(
        self, model: Any, dataset: Data, *args: _P.args, **named: _P.kwargs
    ) -> FitResult: ...

    @overload
    def __call__(
        self, model: Any, dataset: Data, *, options: Options, **changes: Any
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
def fit(model: Any, dataset: Data, *, options: Options | None = None, **named: Any) -> FitResult:
    r"""Trains a model: minimizes the mean of a loss over the samples, plus `jacobian_penalty` times
    the mean of $\|\partial f/\partial z\|_F^2 / m$, by any Optax optimizer.

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

    - `model`: any Equinox module of one sample, called as `model(x)` or, if it takes a key,
        `model(x, key=key)`; with `state`, as `model(x, state)` or `model(x, state, key=key)`, which
        return the new state as well. How the solves inside went is reported (see
        [`eqx_qdeq.solves`][]). In evaluation it is in Equinox's inference mode, and its key is
        `None` if it does without.
    - `dataset`: a [`eqx_qdeq.training.Dataset`][]; or `(x, y)` or `(x, y, sample_weight)`, of which
        a fifth is set aside for validation.
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
    chosen = gather(options, named)
    data = as_dataset(dataset, chosen.seed)
    with contextlib.ExitStack() as locks:
        over = None if chosen.mesh is None else devices(chosen.mesh)
        session = start(model, data, chosen, locks, over)
        run, held, fixed = session.run, range(0), None

        def advance(now: int, stop: int) -> None:
            nonlocal held, fixed
            # Kept for an epoch: a permutation of all samples may take as long as a step.
            if fixed is None or session.step not in held:
                held = session.stretch(session.step)
                fixed = _on(over, session.fixed(session.step, fixed))
            settings = session.settings_at(session.step)
            settings, end = on(over, (settings, jnp.asarray(stop, jnp.int32)))
            here = dataclasses.replace(fixed, settings=settings)
            run.state = run_steps((here, end), on(over, run.state))

        train([session], advance)
        return result_of(session)


def _on(devices: Devices | None, fixed: Fixed) -> Fixed:
    """What does not change, on all devices; but of a stream each has its own samples already."""
    if devices is None or not fixed.by_step:
        return on(devices, fixed)
    samples = lambda f: (f.x, f.y)
    rest = on(devices, eqx.tree_at(samples, fixed, (None, None)))
    return eqx.tree_at(samples, rest, samples(fixed), is_leaf=lambda leaf: leaf is None)


def start(
    model: Any,
    dataset: Dataset,
    options: Options,
    locks: contextlib.ExitStack,
    devices: Devices | None,
) -> Session:
    """Takes up the checkpoint of a run, or writes its first. Its files are held by `locks`."""
    known = _checked(model, dataset, options)
    # A batch larger than the data would be mostly filling.
    options = dataclasses.replace(
        options,
        batch_size=min(options.batch_size, len(dataset.train)),
        # As the paper's models do.
        shared_dropout=hasattr(model, "solve_with_penalty")
        if options.shared_dropout is None
        else options.shared_dropout,
    )
    train, validation = dataset.train, dataset.validation
    if devices is not None:
        check_enough(devices, options.batch_size, "`batch_size`, with the data at hand,")
    if isinstance(train, Stream) and options.batch_size % train.parts:
        raise ValueError(
            f"`batch_size` is {options.batch_size}, of which the {train.parts} parts of "
            f"{train.name} cannot have equally many samples each; use a multiple."
        )
    by_class = class_weights(options.class_weight, train.y, dataset.n_classes)
    weight = sample_weights(train.sample_weight, by_class, train.y)
    params, static = _partition(model, options.trainable)
    optimizer = _accumulating(options)
    state = make_state(params, optimizer, known.in_training, options.state)
    run = Run(state, to_host((params, options.state)))
    update = make_update(optimizer, run.state)
    # All that decides the numbers of a run, but for the number of epochs, which may grow.
    identity = lambda: {
        "config": options.config,
        "model": getattr(model, "config", None),
        # Before the data, which are split by it where they came as a pair.
        "seed": options.seed,
        "training data": [dataset.name, digest(train)],
        "validation data": digest(validation),
        "loss": _name(options.loss),
        "class_weight": None if by_class is None else by_class.tolist(),
        "accumulate_steps": options.accumulate_steps if options.accumulate_steps > 1 else None,
        "batch_size": options.batch_size,
        "clip": options.clip,
        "jacobian_penalty": float(options.jacobian_penalty),
        "warm-up": [options.warmup_steps, options.warmup_layers] if options.warmup_steps else None,
        "shared_dropout": options.shared_dropout,
        "drop_last": options.drop_last,
        "precision": str(jnp.result_type(float)),
        **model_identity(model, params),
        **optimizer_identity(update, run.state),
        "optimizer's settings": settings(options.optimizer),
    }
    checkpoints = Checkpoints(_path(options.checkpoint_dir), identity)
    metrics = MetricsFile(_path(options.metrics_path))
    if checkpoints.path is not None and checkpoints.path == metrics.path:
        raise CheckpointError(f"'{metrics.path}' cannot be both the checkpoint and the metrics.")
    locks.enter_context(checkpoints.held())
    locks.enter_context(metrics.held())
    resumed = checkpoints.read(run, options.resume)
    checkpoints.agree(resumed)
    metrics.start(None if resumed is None else resumed.history)
    # The first checkpoint comes before the first step: from then on a folder belongs to a run.
    if resumed is None:
        checkpoints.write(run)
    else:
        run = resumed
    weight = None if weight is None else jnp.asarray(weight, jnp.result_type(float))
    reader = None
    if isinstance(train, Stream):
        # Epochs follow one another, and of each there are several stretches.
        epochs = ft.lru_cache(2)(ft.partial(order, train, options))
        host = None if weight is None else np.asarray(weight)
        reader = Reader(train, host, epochs, options.epochs, devices)
        locks.callback(reader.close)
    session = Session(
        options,
        static,
        known,
        train,
        weight,
        reader,
        spread(known.in_training, train.y),
        Chunks(validation, by_class=by_class, devices=devices),
        run,
        checkpoints,
        metrics,
        update,
        devices,
    )
    done = session.step // session.n_batches
    if session.step > session.total:
        raise CheckpointError(
            f"'{checkpoints.path}' is of a run that has gone through {done} epochs, more than "
            f"`epochs`={options.epochs}; ask for {done} or more, or choose another folder."
        )
    if session.total < options.accumulate_steps:
        raise ValueError(
            f"`accumulate_steps` is {options.accumulate_steps} and the whole run has "
            f"{session.total} steps, so that nothing would be trained; use at most {session.total}."
        )
    return session


def _partition(model: Any, trainable: Any) -> tuple[Any, Any]:
    """What is trained of a model, and the rest; refuses filters by which nothing is."""
    try:
        params, static = eqx.partition(model, trainable)
    except (TypeError, ValueError) as error:
        raise ValueError(
            "`trainable` must be a function of leaves, e.g. `equinox.is_inexact_array`, or a tree "
            f"like the model with Booleans for leaves; got {describe(trainable)}: {error}"
        ) from None
    if not any(map(eqx.is_inexact_array, jtu.tree_leaves(params))):
        there = count_parameters(model)
        raise ValueError(
            f"`trainable` selects none of the {there} trainable numbers of the model, and nothing "
            "would be trained; e.g. `equinox.is_inexact_array` selects all."
            if there
            else "the model has no floating-point arrays, so that there is nothing to train."
        )
    return params, static


def _name(loss: Any) -> str | None:
    """What identifies a loss, in every process."""
    named = loss if isinstance(loss, str) else getattr(loss, "__qualname__", type(loss).__name__)
    return None if loss is None else named


def _accumulating(options: Options) -> optax.GradientTransformation:
    """The optimizer that changes the parameters once in so many steps."""
    optimizer, every = options.optimizer, options.accumulate_steps
    if every == 1:
        return optimizer
    # What is clipped is the gradient that counts, the mean.
    if options.clip is not None:
        optimizer = optax.chain(optax.clip_by_global_norm(options.clip), optimizer)
    return optax.MultiSteps(optimizer, every).gradient_transformation()


def _path(given: str | os.PathLike[str] | None) -> Path | None:
    return None if given is None else Path(given)


def _checked(model: Any, dataset: Dataset, options: Options) -> Look:
    """Refuses what cannot be trained, before anything is compiled or written."""
    train, loss = dataset.train, resolve(options.loss, dataset.train.y)
    known = look(
        model,
        train.x,
        train.y,
        loss,
        options.state,
        n_classes=dataset.n_classes,
        name=dataset.name,
    )
    check_outputs_known(options.metrics, known)
    warn_unseen(known.report)
    if options.jacobian_penalty > 0 or options.warmup_steps > 0:
        if not hasattr(model, "solve"):
            raise ValueError(
                "`jacobian_penalty` and `warmup_steps` need a classifier of eqx_qdeq, or a model "
                f"with `solve_with_penalty` and `unrolled`; got {type(model).__name__}."
            )
        if options.jacobian_penalty > 0 and (callable(loss) or options.state is not None):
            raise ValueError(
                "`jacobian_penalty` is added to losses by name of models without state; add "
                "eqx_qdeq.jacobian_penalty to your own loss instead."
            )
    return known
