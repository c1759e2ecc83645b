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

from .._checks import check_instance
from .._mesh import check_runs, devices, on, RUNS
from ._by_content import numbers_as_arrays
from ._fit import start
from ._loop import Session, train
from ._options import DEFAULTS, gather, Options
from ._result import FitResult, result_of
from ._step import run_steps_together
from .data import Dataset, Stream


def fit_together(
    models: Sequence[Any],
    datasets: Dataset | Sequence[Dataset],
    *,
    seeds: Sequence[int] | None = None,
    checkpoint_dirs: Sequence[str | os.PathLike[str]] | None = None,
    configs: Sequence[dict[str, Any]] | None = None,
    options: Options | None = None,
    **named: Any,
) -> list[FitResult]:
    """Trains several models of one structure at once, each as [`eqx_qdeq.training.fit`][] would
    train it alone: the steps of all are one computation, by `vmap`. Results differ by rounding,
    which a long training may amplify, as between two machines.

    Seeds, gains, rates of noise, learning rates and the numbers of `clip` and `jacobian_penalty`
    may differ: a sweep over them is compiled once. That is faster where one training leaves the
    hardware idle, as small circuits leave a GPU. On a CPU it takes as long as one training after
    the other, which is compiled once as well.

    !!! example

        ```python
        import eqx_qdeq as qdeq, jax, optax
        from eqx_qdeq import training

        data = training.load_dataset("digits", classes=(0, 1), limit=40)
        model = qdeq.QDEQClassifier(4, 16, 2, depth=1, key=jax.random.key(0))
        noises = [qdeq.noise.NoiseModel.depolarizing(p) for p in (0.0, 0.01)]
        results = training.fit_together(
            [qdeq.with_noise(model, noise) for noise in noises],
            data,
            optimizer=[optax.adam(rate) for rate in (0.05, 0.1)],
            epochs=1,
            progress=False,
        )
        ```

    **Arguments:**

    - `models`: the models, of one architecture: with other parameters, gains or rates of noise.
    - `datasets`: the data of each, with equally many training samples; or one for all.
    - `seeds`: the seed of each; 0 for all if left out.
    - `checkpoint_dirs`: a folder for the checkpoint of each. These are the checkpoints of `fit`:
        `fit` goes on from one of them, and `fit_together` from those of runs that stand at the same
        step.
    - `configs`: what else identifies each run, as `config` of `fit`.
    - `optimizer`, `epochs`, `batch_size`, …: the options of [`eqx_qdeq.training.Options`][], by
        name, for all. A `mesh` with an axis named `"runs"` has as many models on each of its
        parts. But not `seed`, `callbacks`, `metrics_path`, `checkpoint_dir`,
        `checkpoint_every` and `config`, which are of one run. A list of `optimizer`, `clip`,
        `jacobian_penalty` or `learning_rate` has one for each: optimizers of one kind with other
        numbers, e.g. `[optax.adam(rate) for rate in rates]`.
    - `options`: all of them as one object; those that are also given by name replace its own.

    **Returns:**

    A [`eqx_qdeq.training.FitResult`][] for each. `seconds` is the time of all together.

    **Raises:** as `fit`; `ValueError` for models of different structures, data of different sizes,
    or checkpoints of different steps; `TypeError` for other options of `fit`.
    """
    check_instance("models", models, Sequence, "a list of models")
    lists = {name: named[name] for name in _EACH if isinstance(named.get(name), list)}
    n = len(models)
    lists |= {"seeds": seeds, "checkpoint_dirs": checkpoint_dirs, "configs": configs}
    if not isinstance(datasets, Dataset):
        lists["datasets"] = list(datasets)
    for name, given in lists.items():
        if given is not None and len(given) != n:
            raise ValueError(
                f"`{name}` must have one entry for each of {n} models; has {len(given)}."
            )
    if n == 0:
        raise ValueError("`models` is empty; give at least one model.")
    # Rather refused than served by half: callbacks, say, could stop one run but not the others.
    for name in _ALONE:
        if name in named or getattr(options, name, DEFAULTS[name]) != DEFAULTS[name]:
            takes = [field.name for field in dataclasses.fields(Options)]
            raise TypeError(
                f"fit_together has no option `{name}`; it takes "
                f"{', '.join(name for name in takes if name not in _ALONE)}, and `seeds`, "
                "`checkpoint_dirs` and `configs`, one for each. Train the models with fit, one "
                "after the other, to use the others."
            )
    firsts = {name: lists[name][0] for name in _EACH if name in lists}
    shared = gather(options, named | firsts)
    own = {"seed": seeds, "checkpoint_dir": checkpoint_dirs, "config": configs}
    own |= {name: lists.get(name) for name in _EACH}
    # From here on each is a run like any other, with a checkpoint that `fit` would read.
    with contextlib.ExitStack() as locks:
        sessions = []
        over = None if shared.mesh is None else devices(shared.mesh, runs=True)
        if over is not None:
            check_runs(over, n)
        for i, model in enumerate(models):
            changes = {name: values[i] for name, values in own.items() if values is not None}
            data = datasets if isinstance(datasets, Dataset) else lists["datasets"][i]
            if isinstance(data.train, Stream):
                raise ValueError(
                    f"{data.name} is trained on a Stream, of which each model reads other samples "
                    "at a time; train the models with fit, one after the other."
                )
            alone = dataclasses.replace(shared, **changes)
            sessions.append(start(model, data, alone, locks, over))
        _check_alike(sessions)
        first = sessions[0]
        # Stacked once: with the images it is large, and only the batches change.
        fixed = on(over, _stack([session.fixed(0) for session in sessions]), RUNS)

        def advance(epoch: int, stop: int) -> None:
            changes = (
                jnp.stack([jnp.asarray(session.order(epoch)) for session in sessions]),
                jnp.full_like(fixed.first, epoch * first.n_batches),
                _stack([session.settings_at(session.step) for session in sessions]),
            )
            # Not dataclasses.replace, which would check the shapes of a single run.
            here = eqx.tree_at(lambda f: (f.batches, f.first, f.settings), fixed, changes)
            states = _stack([session.run.state for session in sessions])
            here, states = on(over, (here, states), RUNS)
            states = run_steps_together((here, on(over, jnp.asarray(stop, jnp.int32))), states)
            for i, session in enumerate(sessions):
                session.run.state = _entry(states, jnp.asarray(i))

        # States are stacked at every stop, so as few stops as possible.
        train(sessions, advance, whole_epochs=True)
        return [result_of(session) for session in sessions]


_ALONE = ("seed", "callbacks", "metrics_path", "checkpoint_dir", "checkpoint_every", "config")
"""The options that make no sense for several runs in step."""

_EACH = ("optimizer", "clip", "jacobian_penalty", "learning_rate")
"""The options whose numbers may be those of one run."""


def _check_alike(sessions: list[Session]) -> None:
    def alike(name: str, values: list[Any]) -> None:
        different = [i for i, value in enumerate(values) if value != values[0]]
        if different:
            raise ValueError(
                f"{name} must be the same for all models that are trained together; that of model "
                f"{different[0]} is not that of model 0. Train it with fit."
            )

    # What is compiled is the structure and all that is no array; arrays are stacked.
    first = _program(numbers_as_arrays(sessions[0].static))
    for i, session in enumerate(sessions[1:], start=1):
        program = _program(numbers_as_arrays(session.static))
        for path in [p for p in first | program if first.get(p) != program.get(p)][:1]:
            raise ValueError(
                "models that are trained together must be of one structure, but for the numbers of "
                f"arrays, gains and noise; at `{path or 'model'}` model 0 has "
                f"{first.get(path, 'nothing')} and model {i} has {program.get(path, 'nothing')}. "
                "Train them with fit."
            )
    alike("the structure", [jax.tree.structure(s.static) for s in sessions])
    settings = [s.settings_at(s.step) for s in sessions]
    kinds = "the kind of the optimizer, and whether there are `clip` and `jacobian_penalty`,"
    alike(kinds, [jax.tree.structure(s) for s in settings])
    alike(kinds, [_program(s) for s in settings])
    shapes = [jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), s.run.best) for s in sessions]
    alike("the shapes of the parameters", shapes)
    alike("the number of training samples", [len(s.train) for s in sessions])
    # Runs that stand at different steps, or of which one is over, are not in step.
    alike("the step that the checkpoint has reached", [s.step for s in sessions])
    alike("whether a callback has ended the run", [s.run.stopped for s in sessions])


def _program(tree: PyTree) -> dict[str, Any]:
    """What is compiled of a tree, by its paths: of arrays shape and type, and all else as it is."""
    shown = lambda leaf: f"{leaf.dtype}{list(leaf.shape)}" if eqx.is_array(leaf) else leaf
    return {
        jax.tree_util.keystr(path): shown(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def _stack(trees: list[PyTree]) -> PyTree:
    """Arrays stacked along a new first axis; of anything else, the first."""
    stack = lambda *leaves: jnp.stack(leaves) if eqx.is_array(leaves[0]) else leaves[0]
    return jax.tree.map(stack, *trees)


# One call for all leaves; the index is an array, so that it is compiled once for all runs.
@eqx.filter_jit
def _entry(tree: PyTree, i: Int[Array, ""]) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[i], tree)
