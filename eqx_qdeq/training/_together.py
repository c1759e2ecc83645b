"""fit_together: several trainings as one computation."""

import os
import time
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PyTree

from ._dataset import Dataset
from ._files import fingerprint
from ._fit import FitResult, Session, start
from ._progress import Progress
from ._step import Fixed, run_steps_together

_SHARED = (
    "optimiser",
    "batch_size",
    "clip",
    "jacobian_penalty",
    "warmup_steps",
    "warmup_layers",
    "shared_dropout",
    "drop_last",
    "trainable",
    "learning_rate",
    "resume",
)
"""The options of `fit` that make sense for several runs in step."""


def fit_together(
    models: Sequence[Any],
    datasets: Dataset | Sequence[Dataset],
    *,
    seeds: Sequence[int],
    epochs: int,
    checkpoint_dirs: Sequence[str | os.PathLike[str]] | None = None,
    configs: Sequence[dict[str, Any]] | None = None,
    progress: bool = True,
    **options: Any,
) -> list[FitResult]:
    """Trains several models of one structure at once, each as [`eqx_qdeq.training.fit`][] would
    train it alone: the steps of all are one computation, by `vmap`. Results differ by rounding,
    which a long training may amplify, as between two machines.

    That is faster where one training leaves the hardware idle, as small circuits leave a GPU. On a
    CPU it takes as long as one training after the other.

    **Arguments:**

    - `models`: the models, e.g. of one architecture with different keys.
    - `datasets`: the data of each, with equally many training samples; or one for all.
    - `seeds`: the seed of each.
    - `epochs`: passes over the training samples.
    - `checkpoint_dirs`: a folder for the checkpoint of each. These are the checkpoints of `fit`:
        `fit` goes on from one of them, and `fit_together` from those of runs that stand at the same
        step.
    - `configs`: what else identifies each run, as `config` of `fit`.
    - `progress`: whether to show a progress bar.
    - `options`: any of `optimiser`, `batch_size`, `clip`, `jacobian_penalty`, `warmup_steps`,
        `warmup_layers`, `shared_dropout`, `drop_last`, `trainable`, `learning_rate` and `resume`,
        as for `fit`, for all.

    **Returns:**

    A [`eqx_qdeq.training.FitResult`][] for each. `seconds` is the time of all together.

    **Raises:** as `fit`; `ValueError` for models of different structures, data of different sizes,
    or checkpoints of different steps; `TypeError` for other options of `fit`.
    """
    for name in options:
        if name not in _SHARED:
            raise TypeError(
                f"fit_together has no option `{name}`; it takes {', '.join(_SHARED)}. Train the "
                "models with fit, one after the other, to use the others."
            )
    n = len(models)
    all_data = [datasets] * n if isinstance(datasets, Dataset) else list(datasets)
    lists = {"datasets": all_data, "seeds": seeds}
    lists |= {"checkpoint_dirs": checkpoint_dirs, "configs": configs}
    for name, given in lists.items():
        if given is not None and len(given) != n:
            raise ValueError(
                f"`{name}` must have one entry for each of {n} models; has {len(given)}."
            )
    sessions = [
        start(
            models[i],
            all_data[i],
            seed=seeds[i],
            epochs=epochs,
            checkpoint_dir=None if checkpoint_dirs is None else checkpoint_dirs[i],
            config=None if configs is None else configs[i],
            **options,
        )
        for i in range(n)
    ]
    _check_alike(sessions)
    first = sessions[0]
    total = epochs * first.loop.n_batches
    step = int(first.run.state.step)
    # Stacked once: with the images it is large, and only the batches change.
    fixed = _stack([session.loop.fixed(0) for session in sessions])
    with Progress(total, min(step, total), epochs, progress) as bar:
        while step < total:
            step = _epoch(sessions, fixed, step, bar)
    return [session.result() for session in sessions]


def _check_alike(sessions: list[Session]) -> None:
    def alike(name: str, values: list[Any]) -> None:
        different = [i for i, value in enumerate(values) if value != values[0]]
        if different:
            i = different[0]
            raise ValueError(
                f"{name} must be the same for all models that are trained together; that of model "
                f"{i} is not that of model 0. Train it with fit."
            )

    alike("the structure and the untrained part", [fingerprint(s.loop.static) for s in sessions])
    shapes = [jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), s.run.best) for s in sessions]
    alike("the shapes of the parameters", shapes)
    alike("the number of training samples", [len(s.loop.train) for s in sessions])
    alike("the step that the checkpoint has reached", [int(s.run.state.step) for s in sessions])


def _epoch(sessions: list[Session], fixed: Fixed, step: int, bar: Progress) -> int:
    """The rest of an epoch of all runs, or what there is of it up to the end of the warm-up;
    returns the step after it."""
    started = time.perf_counter()
    loop = sessions[0].loop
    epoch = step // loop.n_batches
    last = (epoch + 1) * loop.n_batches
    stop = loop.next_stop(step, last, loop.n_batches)
    # Not dataclasses.replace, which would check the shapes of a single run.
    fixed = eqx.tree_at(
        lambda f: (f.batches, f.first, f.settings),
        fixed,
        (
            jnp.stack([session.loop.batches(epoch) for session in sessions]),
            jnp.full_like(fixed.first, epoch * loop.n_batches),
            loop.settings_at(step),
        ),
    )
    states = _stack([session.run.state for session in sessions])
    states = run_steps_together((fixed, jnp.asarray(stop, jnp.int32)), states)
    for i, session in enumerate(sessions):
        session.run.state = _entry(states, jnp.asarray(i))
        session.loop.check_finite(session.run.state)
    seconds = time.perf_counter() - started
    bar.update(stop - step, epoch + 1, sessions[0].run.state.means())
    for session in sessions:
        session.run.seconds += seconds
        if stop == last:
            session.loop.close_epoch(session.run, epoch, session.run.state.means())
            session.checkpoints.write(session.run)
    return stop


def _stack(trees: list[PyTree]) -> PyTree:
    """Arrays stacked along a new first axis; of anything else, the first."""
    stack = lambda *leaves: jnp.stack(leaves) if eqx.is_array(leaves[0]) else leaves[0]
    return jax.tree.map(stack, *trees)


@eqx.filter_jit
def _entry(tree: PyTree, i: Int[Array, ""]) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[i], tree)
