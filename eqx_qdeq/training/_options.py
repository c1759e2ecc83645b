"""How to train: every option, its default and its meaning, listed once."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import optax
from jax.sharding import Mesh

from .._checks import check_at_least, check_instance, describe
from .._mesh import devices
from ._evaluate import check_metrics, OwnMetrics
from ._losses import ClassWeight, Loss

Callback = Callable[[dict[str, Any], Any], Any]
"""What is called after each epoch, as `callback(record, model)`, with the epoch's numbers by name
and the model then. If it returns true, the training ends. One that looks at more than an epoch is
an [`eqx_qdeq.training.AbstractCallback`][]."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Options:
    r"""How to train: what [`eqx_qdeq.training.fit`][] and
    [`eqx_qdeq.training.fit_together`][] take as keyword arguments. Change some with
    `dataclasses.replace(options, epochs=5)`.

    !!! example

        ```python
        import dataclasses
        import optax
        from eqx_qdeq import training

        options = training.Options(optimizer=optax.adam(0.05), epochs=20, batch_size=64)
        shorter = dataclasses.replace(options, epochs=5)
        ```

    **Arguments:**

    - `optimizer`: an Optax optimizer; schedules count steps, of which an epoch has
        ⌈training samples / `batch_size`⌉.
    - `epochs`: passes over the training samples.
    - `batch_size`: samples per step.
    - `loss`: `"cross_entropy"`, `"mean_square"` or `"huber"`, or a function
        `loss(model, x, y, key)` of one sample (with `state`, `loss(model, state, x, y, key)` that
        returns the loss and the new state). If left out, cross-entropy for labels and mean square
        for real targets. A function gets a key for whatever is random in it.
    - `metrics`: functions `(y_true, y_pred)` by name, e.g. of scikit-learn, for the validation
        samples after each epoch; see [`eqx_qdeq.training.evaluate`][].
    - `class_weight`: how much each class counts in the loss: a number for each, as a list or a
        dictionary (a class that is left out counts 1); or `"balanced"`, by which all classes count
        alike, as in scikit-learn. Multiplies the samples' own weights.
    - `accumulate_steps`: the gradients of so many steps are averaged before the parameters change
        (`optax.MultiSteps`): batches that large without the memory for them. Schedules then count
        changes. Steps at the very end that are too few for a change make none.
    - `state`: of a model that has one, called as `model(x, state)`, as `equinox.nn.make_with_state`
        makes it. The axis over the batch is named `"batch"`.
    - `seed`: of the order of the samples, the dropout and the probes of the penalty.
    - `clip`: the largest Euclidean norm of the gradient of all parameters; not clipped if left out.
    - `jacobian_penalty`: the weight of the Jacobian penalty, the mean of
        $\|\partial f/\partial z\|_F^2 / m$, estimated with one Gaussian probe per sample and step,
        as in the paper.
    - `warmup_steps`, `warmup_layers`: for the first so many steps, train
        `model.unrolled(warmup_layers)`, which has the same parameters.
    - `shared_dropout`: one dropout mask for a whole batch, as in the paper, or one per sample. If
        left out, the first for classifiers of [`eqx_qdeq`][] and the like (with
        `solve_with_penalty`), the second for any other model.
    - `mesh`: the devices among which each batch is parted, a `jax.sharding.Mesh` with one axis, or
        with one named `"batch"`; see [scaling](../scaling.md). Each solves for its own samples, and
        the gradients are added up once in a step. It changes rounding and nothing else: a run may
        go on with other devices than it began with. Along an axis named `"amplitudes"` lies each
        sample's state, for circuits that do not fit on one device. On one device if left out.
    - `drop_last`: leave out the samples of an epoch that do not fill a batch. Otherwise the last
        batch is smaller, and its mean is over fewer samples.
    - `trainable`: which arrays are trained, as the filter of `equinox.partition`.
    - `learning_rate`: a number or schedule, for reports only; the optimizer has its own. One made
        with `optax.inject_hyperparams` need not be told.
    - `callbacks`: called after each epoch as `callback(record, model)` with the epoch's numbers
        and the model then. One that returns true ends the training, for good.
    - `progress`: whether to show a progress bar.
    - `metrics_path`: a file that gets one line of JSON per epoch.
    - `checkpoint_dir`: a folder for the checkpoint of this run. One process at a time has it, by a
        lock that the system takes back however the process ends; over NFS it needs a mount with
        locks, and on Windows there is none.
    - `checkpoint_every`: a checkpoint every so many steps; after each epoch if left out. There is
        always one at the start and one at the end.
    - `resume`: whether to go on from the checkpoint if there is one. If false, one that is there
        is an error.
    - `config`: anything more that identifies the run, e.g. how its data was made; kept in the
        checkpoint, and a run with another one is not resumed.

    **Raises:** `ValueError` for arguments out of range.
    """

    optimizer: optax.GradientTransformation
    epochs: int
    batch_size: int = 256
    loss: Loss | None = None
    metrics: OwnMetrics | None = None
    class_weight: ClassWeight | None = None
    accumulate_steps: int = 1
    state: Any = None
    seed: int = 0
    clip: float | None = None
    jacobian_penalty: float = 0.0
    warmup_steps: int = 0
    warmup_layers: int = 2
    shared_dropout: bool | None = None
    drop_last: bool = False
    mesh: Mesh | None = None
    trainable: Any = eqx.is_inexact_array
    # From here on: what is reported and kept.
    learning_rate: float | Callable | None = None
    callbacks: Sequence[Callback] = ()
    progress: bool = True
    metrics_path: str | os.PathLike[str] | None = None
    checkpoint_dir: str | os.PathLike[str] | None = None
    checkpoint_every: int | None = None
    resume: bool = True
    config: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        check_instance(
            "optimizer",
            self.optimizer,
            optax.GradientTransformation,
            "an Optax optimizer, e.g. `optax.adam(1e-3)`",
        )
        check_metrics(self.metrics)
        if self.mesh is not None:
            devices(self.mesh)
        callbacks = self.callbacks
        if callable(callbacks) or not all(map(callable, callbacks)):
            raise TypeError(f"`callbacks` must be a list of functions; got {describe(callbacks)}.")
        if any(isinstance(callback, type) for callback in callbacks):
            raise TypeError(f"`callbacks` has a class, {callbacks}; make an object of it, `C()`.")
        if self.seed is None:
            raise TypeError("`seed` must be an integer; got None.")
        for name in ("checkpoint_dir", "metrics_path"):
            given = getattr(self, name)
            if given is not None and (given == "" or not isinstance(given, str | os.PathLike)):
                raise TypeError(f"`{name}` must be a path; got {describe(given)}.")
        least = {"epochs": 1, "batch_size": 1, "warmup_layers": 1, "checkpoint_every": 1}
        least |= {"accumulate_steps": 1}
        for name, at_least in (least | {"seed": 0, "warmup_steps": 0}).items():
            value = getattr(self, name)
            if value is not None:
                check_at_least(name, value, at_least)
        # Written so that NaN is refused too.
        if self.clip is not None and not self.clip > 0:
            raise ValueError(f"`clip` must be positive; got {self.clip}.")
        if not self.jacobian_penalty >= 0:
            raise ValueError(
                f"`jacobian_penalty` must not be negative; got {self.jacobian_penalty}."
            )


DEFAULTS = {
    field.name: field.default
    for field in dataclasses.fields(Options)
    if field.default is not dataclasses.MISSING
}


def gather(options: Options | None, named: dict[str, Any]) -> Options:
    """The options that a caller gave, as one object, by name, or as an object with changes."""
    # Its name until Optax's spelling was taken over.
    if "optimiser" in named:
        raise TypeError("`optimiser` is spelled `optimizer`, as in Optax.")
    known = [field.name for field in dataclasses.fields(Options)]
    unknown = [name for name in named if name not in known]
    if unknown:
        raise TypeError(f"fit has no option `{unknown[0]}`; it has {', '.join(known)}.")
    if options is None:
        return Options(**named)
    check_instance("options", options, Options, "a training.Options")
    return dataclasses.replace(options, **named)
