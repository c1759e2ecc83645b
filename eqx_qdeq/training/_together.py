"""fit_together: several models of one structure, trained as one computation."""

import contextlib
import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PyTree

from ._fit import start
from ._leaves import fingerprint
from ._loop import Session, train
from ._options import DEFAULTS, gather, Options
from ._result import FitResult, result_of
from ._step import run_steps_together
from .data import Dataset


def fit_together(
    models: Sequence[Any],
    datasets: Dataset | Sequence[Dataset],
    *,
    seeds: Sequence[int],
    checkpoint_dirs: Sequence[str | os.PathLike[str]] | None = None,
    configs: Sequence[dict[str, Any]] | None = None,
    options: Options | None = None,
    **named: Any,
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
    - `checkpoint_dirs`: a folder for the checkpoint of each. These are the checkpoints of `fit`:
        `fit` goes on from one of them, and `fit_together` from those of runs that stand at the same
        step.
    - `configs`: what else identifies each run, as `config` of `fit`.
    - `optimizer`, `epochs`, `batch_size`, …: the options of [`eqx_qdeq.training.Options`][], by
        name, for all; but not `seed`, `callbacks`, `metrics_path`, `checkpoint_dir`,
        `checkpoint_every` and `config`, which are of one run.
    - `options`: all of them as one object; those that are also given by name replace its own.

    **Returns:**

    A [`eqx_qdeq.training.FitResult`][] for each. `seconds` is the time of all together.

    **Raises:** as `fit`; `ValueError` for models of different structures, data of different sizes,
    or checkpoints of different steps; `TypeError` for other options of `fit`.
    """
    shared = gather(options, named)
    # Rather refused than served by half: callbacks, say, could stop one run but not the others.
    for name in _ALONE:
        if name in named or getattr(shared, name) != DEFAULTS[name]:
            takes = [field.name for field in dataclasses.fields(Options)]
            raise TypeError(
                f"fit_together has no option `{name}`; it takes "
                f"{', '.join(name for name in takes if name not in _ALONE)}. Train the models "
                "with fit, one after the other, to use the others."
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
    # From here on each is a run like any other, with a checkpoint that `fit` would read.
    none = [None] * n
    each = zip(models, all_data, seeds, checkpoint_dirs or none, configs or none, strict=True)
    with contextlib.ExitStack() as locks:
        sessions = [
            start(
                model,
                data,
                dataclasses.replace(shared, seed=seed, checkpoint_dir=folder, config=config),
                locks,
            )
            for model, data, seed, folder, config in each
        ]
        _check_alike(sessions)
        first = sessions[0]
        # Stacked once: with the images it is large, and only the batches change.
        fixed = _stack([session.fixed(0) for session in sessions])

        def advance(epoch: int, stop: int) -> None:
            changes = (
                jnp.stack([session.batches(epoch) for session in sessions]),
                jnp.full_like(fixed.first, epoch * first.n_batches),
                _stack([session.settings_at(session.step) for session in sessions]),
            )
            # Not dataclasses.replace, which would check the shapes of a single run.
            here = eqx.tree_at(lambda f: (f.batches, f.first, f.settings), fixed, changes)
            states = _stack([session.run.state for session in sessions])
            states = run_steps_together((here, jnp.asarray(stop, jnp.int32)), states)
            for i, session in enumerate(sessions):
                session.run.state = _entry(states, jnp.asarray(i))

        # States are stacked at every stop, so as few stops as possible.
        train(sessions, advance, whole_epochs=True)
        return [result_of(session) for session in sessions]


_ALONE = ("seed", "callbacks", "metrics_path", "checkpoint_dir", "checkpoint_every", "config")
"""The options that make no sense for several runs in step."""


def _check_alike(sessions: list[Session]) -> None:
    def alike(name: str, values: list[Any]) -> None:
        different = [i for i, value in enumerate(values) if value != values[0]]
        if different:
            raise ValueError(
                f"{name} must be the same for all models that are trained together; that of model "
                f"{different[0]} is not that of model 0. Train it with fit."
            )

    alike("the structure and the untrained part", [fingerprint(s.static) for s in sessions])
    shapes = [jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), s.run.best) for s in sessions]
    alike("the shapes of the parameters", shapes)
    alike("the number of training samples", [len(s.train) for s in sessions])
    # Runs that stand at different steps, or of which one is over, are not in step.
    alike("the step that the checkpoint has reached", [s.step for s in sessions])
    alike("whether a callback has ended the run", [s.run.stopped for s in sessions])


def _stack(trees: list[PyTree]) -> PyTree:
    """Arrays stacked along a new first axis; of anything else, the first."""
    stack = lambda *leaves: jnp.stack(leaves) if eqx.is_array(leaves[0]) else leaves[0]
    return jax.tree.map(stack, *trees)


# One call for all leaves; the index is an array, so that it is compiled once for all runs.
@eqx.filter_jit
def _entry(tree: PyTree, i: Int[Array, ""]) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[i], tree)
