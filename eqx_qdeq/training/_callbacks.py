"""Callbacks ready-made: early stopping, TensorBoard, Weights & Biases."""

import abc
import contextlib
import math
from collections.abc import Iterable, Iterator
from typing import Any

from .._checks import check_at_least, check_choice, check_within, describe

Record = dict[str, Any]
"""The numbers of an epoch by name: `epoch`, `train_loss`, `validation_accuracy` and so on."""

_LARGER_IS_BETTER = ("accuracy", "r2", "fraction_converged")


class AbstractCallback(abc.ABC):
    """The abstract base class of callbacks that look at more than one epoch. (Any function
    `callback(record, model)` is a callback as well.)

    A run that is resumed must do what one left alone does. So a callback is told the history of
    the epochs before, and decides from this and nothing else.

    !!! example

        ```python
        from eqx_qdeq import training


        class Best(training.AbstractCallback):  # prints each new best validation loss
            def start(self, history):
                losses = [record["validation_loss"] for record in history]
                self.best = min(losses, default=float("inf"))

            def __call__(self, record, model):
                if record["validation_loss"] < self.best:
                    self.best = record["validation_loss"]
                    print(self.best)

            def end(self):
                pass


        callback = Best()
        callback.start([])
        callback({"validation_loss": 0.5}, model=None)  # 0.5
        ```
    """

    @abc.abstractmethod
    def start(self, history: list[Record]) -> None:
        """Called when a training starts, or goes on, with the epochs so far."""

    @abc.abstractmethod
    def __call__(self, record: Record, model: Any) -> bool | None:
        """Called after each epoch with its numbers and the model then. If it returns true, the
        training ends, for good."""

    @abc.abstractmethod
    def end(self) -> None:
        """Called when the training ends, is interrupted, or fails."""


@contextlib.contextmanager
def watching(callbacks: Iterable[Any], history: list[Record]) -> Iterator[None]:
    """Tells the callbacks when a training starts and ends."""
    with contextlib.ExitStack() as stack:
        for callback in callbacks:
            if isinstance(callback, AbstractCallback):
                callback.start(list(history))
                stack.callback(callback.end)
        yield


class EarlyStopping(AbstractCallback):
    """Ends a training that gets no better.

    [`eqx_qdeq.training.FitResult`][] has the model of the epoch with the lowest validation loss in
    any case. A run that was killed and resumed stops after the same epoch.

    !!! example

        ```python
        import eqx_qdeq as qdeq, jax, optax
        from eqx_qdeq import training

        data = training.load_dataset("digits", classes=(0, 1), limit=40)
        model = qdeq.QDEQClassifier(4, 16, 2, depth=1, key=jax.random.key(0))
        result = training.fit(
            model,
            data,
            optimizer=optax.sgd(0.0),  # learns nothing
            epochs=50,
            progress=False,
            callbacks=[training.EarlyStopping(patience=2)],
        )
        assert len(result.history) == 3
        ```
    """

    def __init__(
        self,
        monitor: str = "validation_loss",
        *,
        patience: int = 10,
        min_delta: float = 0.0,
        mode: str = "auto",
    ):
        check_at_least("patience", patience, 1)
        check_within("min_delta", min_delta, 0.0, math.inf, "the least change that counts")
        check_choice("mode", mode, ("auto", "min", "max"))
        if not isinstance(monitor, str):
            raise TypeError(
                "`monitor` must be the name of a number of the history, e.g. 'validation_loss'; "
                f"got {describe(monitor)}."
            )
        self.monitor, self.patience, self.min_delta, self.mode = monitor, patience, min_delta, mode
        self._values: list[float] = []

    def start(self, history: list[Record]) -> None:
        self._values = [self._value(record) for record in history]

    def __call__(self, record: Record, model: Any) -> bool:
        self._values.append(self._value(record))
        return self._is_over()

    def end(self) -> None:
        pass

    def _is_over(self) -> bool:
        best, since = math.inf, 0
        for value in self._values:
            # Written so that what is no number is no progress.
            better = value < best - self.min_delta if math.isfinite(best) else value < best
            best, since = (value, 0) if better else (best, since + 1)
        return since >= self.patience

    def _value(self, record: Record) -> float:
        """The number of an epoch; the less, the better."""
        value = record.get(self.monitor)
        if not isinstance(value, int | float):
            known = (name for name, number in record.items() if isinstance(number, int | float))
            raise ValueError(
                f"`monitor` must be a number of the history: {', '.join(known)}; got "
                f"{self.monitor!r}."
            )
        larger = self.mode == "max" or (
            self.mode == "auto" and self.monitor.endswith(_LARGER_IS_BETTER)
        )
        return -float(value) if larger else float(value)


EarlyStopping.__init__.__doc__ = """**Arguments:**

- `monitor`: which number of the history is looked at.
- `patience`: the epochs without a better one after which the training ends.
- `min_delta`: how much better counts as better.
- `mode`: `"min"` if less is better, `"max"` if more is; `"auto"` takes more of an accuracy, an R²
    or a fraction of solves, and less of anything else, also of metrics of your own.

**Raises:** `ValueError` for numbers out of range, and in the first epoch for a name that the
history does not have.
"""


class TensorBoard(AbstractCallback):
    """Writes the numbers of each epoch for TensorBoard: `tensorboard --logdir ...`.

    What a run that was killed had written of epochs that are trained again is replaced.

    !!! example

        <!-- skip: needs tensorboardX or torch -->
        ```python
        import eqx_qdeq as qdeq, jax, optax
        from eqx_qdeq import training

        data = training.load_dataset("digits", classes=(0, 1))
        model = qdeq.QDEQClassifier(4, 16, 2, key=jax.random.key(0))
        callbacks = [training.TensorBoard("runs/first")]
        training.fit(model, data, optimizer=optax.adam(0.05), callbacks=callbacks)
        ```
    """

    def __init__(self, log_dir: Any):
        try:
            from tensorboardX import SummaryWriter
        except ImportError as error:
            raise ImportError(
                "TensorBoard needs tensorboardX: pip install tensorboardX tensorboard."
            ) from error
        self.log_dir, self._make, self._writer = str(log_dir), SummaryWriter, None

    def start(self, history: list[Record]) -> None:
        # From this step on, whatever was written before does not count.
        self._writer = self._make(self.log_dir, purge_step=len(history) + 1)

    def __call__(self, record: Record, model: Any) -> None:
        assert self._writer is not None
        for name, value in _numbers(record):
            self._writer.add_scalar(name, value, record["epoch"])
        self._writer.flush()

    def end(self) -> None:
        if self._writer is not None:
            self._writer.close()


TensorBoard.__init__.__doc__ = """**Arguments:**

- `log_dir`: the folder, one for each run.

**Raises:** `ImportError` without tensorboardX.
"""


class WandB(AbstractCallback):
    """Logs the numbers of each epoch to Weights & Biases.

    To go on with a run there when a training is resumed, name it: `WandB(id="...",
    resume="allow")`.

    !!! example

        <!-- skip: needs wandb and an account -->
        ```python
        import eqx_qdeq as qdeq, jax, optax
        from eqx_qdeq import training

        data = training.load_dataset("digits", classes=(0, 1))
        model = qdeq.QDEQClassifier(4, 16, 2, key=jax.random.key(0))
        callbacks = [training.WandB(project="qdeq")]
        training.fit(model, data, optimizer=optax.adam(0.05), callbacks=callbacks)
        ```
    """

    def __init__(self, **init: Any):
        try:
            import wandb
        except ImportError as error:
            raise ImportError("WandB needs wandb: pip install wandb.") from error
        self.init, self._start, self._run = init, wandb.init, None

    def start(self, history: list[Record]) -> None:
        self._run = self._start(**self.init)

    def __call__(self, record: Record, model: Any) -> None:
        assert self._run is not None
        self._run.log(dict(_numbers(record)), step=record["epoch"])

    def end(self) -> None:
        if self._run is not None:
            self._run.finish()


WandB.__init__.__doc__ = """**Arguments:**

- `init`: those of `wandb.init`, e.g. `project`.

**Raises:** `ImportError` without wandb.
"""


def _numbers(record: Record) -> Iterator[tuple[str, float]]:
    """The numbers of an epoch, those of one part of the data in a group."""
    for name, value in record.items():
        if isinstance(value, int | float) and name not in ("epoch", "step"):
            part, _, rest = name.partition("_")
            yield (f"{part}/{rest}" if part in ("train", "validation") else name), float(value)
