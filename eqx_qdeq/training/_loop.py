"""The loop over epochs: compiled steps, validation, reports and checkpoints, in that order."""

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

from ._checkpoint import Checkpoints, MetricsFile, Run, to_host
from ._dataset import Split
from ._errors import TrainingError
from ._metrics import evaluate_chunks
from ._progress import Pace, Progress
from ._step import epoch_batches, Fixed, run_steps, Settings, State

Callback = Callable[[dict[str, Any], Any], Any]


@dataclasses.dataclass
class Loop:
    """What a training loop needs beside where it stands."""

    static: PyTree
    train: Split
    validation: list[tuple[Array, Array, Array]]
    settings: Settings
    epochs: int
    batch_size: int
    seed: int
    drop_last: bool
    warmup_steps: int
    warmup_layers: int
    learning_rate: float | Callable | None
    callbacks: Sequence[Callback]
    checkpoint_every: int | None

    @property
    def n_batches(self) -> int:
        n = len(self.train)
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)

    def run(self, run: Run, checkpoints: Checkpoints, metrics: MetricsFile, progress: bool) -> None:
        """Trains to the last epoch, from wherever `run` stands."""
        total, pace = self.epochs * self.n_batches, Pace()
        step = int(run.state.step)
        with Progress(total, min(step, total), self.epochs, progress) as bar:
            while step < total and not run.stopped:
                epoch = step // self.n_batches
                step = self._epoch(run, epoch, checkpoints, bar, pace)
                # First the checkpoint: an epoch in the metrics file is never lost.
                if self._due(step, at_end=True) or run.stopped or step == total:
                    checkpoints.write(run)
                metrics.append(run.history[-1])

    def _epoch(
        self, run: Run, epoch: int, checkpoints: Checkpoints, bar: Progress, pace: Pace
    ) -> int:
        """The rest of an epoch; returns the step after it."""
        last = (epoch + 1) * self.n_batches
        fixed = self.fixed(epoch)
        step = int(run.state.step)
        means: dict[str, float] = {}
        while step < last:
            started = time.perf_counter()
            stop = self.next_stop(step, last, pace.steps)
            now = dataclasses.replace(fixed, settings=self.settings_at(step))
            run.state = run_steps((now, jnp.asarray(stop, jnp.int32)), run.state)
            self.check_finite(run.state)
            seconds = time.perf_counter() - started
            run.seconds += seconds
            pace.adapt(stop - step, seconds)
            means = run.state.means()
            bar.update(stop - step, epoch + 1, means)
            step = stop
            if step < last and self._due(step, at_end=False):
                checkpoints.write(run)
        self.close_epoch(run, epoch, means)
        return step

    def fixed(self, epoch: int) -> Fixed:
        """What the steps of an epoch need, but for their settings."""
        return Fixed(
            self.static,
            self.train.x,
            self.train.y,
            self.batches(epoch),
            jnp.asarray(epoch * self.n_batches, jnp.int32),
            jax.random.key(self.seed),
            self.settings,
        )

    def batches(self, epoch: int) -> Array:
        """The rows of an epoch's batches."""
        return jnp.asarray(
            epoch_batches(len(self.train), self.batch_size, self.seed, epoch, self.drop_last)
        )

    def settings_at(self, step: int) -> Settings:
        """Those of the steps from this one on, until the next stop."""
        layers = self.warmup_layers if step < self.warmup_steps else 0
        return self.settings._replace(unrolled_layers=layers)

    def next_stop(self, step: int, last: int, pace: int) -> int:
        """The step at which to look up: at most `pace` steps on."""
        stops = [last, step + pace]
        if step < self.warmup_steps:
            stops.append(self.warmup_steps)
        if self.checkpoint_every is not None:
            stops.append((step // self.checkpoint_every + 1) * self.checkpoint_every)
        return min(stops)

    def _due(self, step: int, at_end: bool) -> bool:
        if self.checkpoint_every is None:
            return at_end
        return step % self.checkpoint_every == 0

    def close_epoch(self, run: Run, epoch: int, means: dict[str, float]) -> None:
        """Validates, and writes down what the epoch was like."""
        started = time.perf_counter()
        model = eqx.combine(run.state.params, self.static)
        found = evaluate_chunks(model, self.validation).to_dict()
        record: dict[str, Any] = {"epoch": epoch + 1, "step": int(run.state.step)}
        record |= {f"train_{name}": value for name, value in means.items()}
        record |= {f"validation_{name}": value for name, value in found.items()}
        record["gradient_norm"] = float(run.state.gradient_norm) / self.n_batches
        if self.settings.jacobian_penalty:
            record["jacobian_penalty"] = float(run.state.penalty) / self.n_batches
        rate = self._rate(run.state)
        if rate is not None:
            record["learning_rate"] = rate
        run.seconds += time.perf_counter() - started
        record["seconds"] = round(run.seconds, 3)
        run.history.append(record)
        # A validation loss that is not a number is never the best, but some model has to be.
        if found["loss"] < run.best_loss or run.best_epoch == 0:
            run.best, run.best_epoch = to_host(run.state.params), epoch + 1
            run.best_loss = found["loss"] if math.isfinite(found["loss"]) else math.inf
        run.state = run.state.fresh_sums()
        # All are called, also after one that asks to stop.
        answers = [bool(callback(record, model)) for callback in self.callbacks]
        run.stopped = any(answers)

    def _rate(self, state: State) -> float | None:
        """The learning rate of the step that comes next, if it can be known."""
        rate = self.learning_rate
        if callable(rate):
            return float(rate(int(state.step)))
        if rate is None:
            found = optax.tree.get_all_with_path(state.opt_state, "learning_rate")
            rate = float(found[0][1]) if len(found) == 1 else None
        return rate

    def check_finite(self, state: State) -> None:
        """Raises if a step was undone."""
        if bool(state.finite):
            return
        step = int(state.step)
        rate = self._rate(state)
        known = "" if rate is None else f", learning rate {rate:.3g}"
        raise TrainingError(
            f"the loss or its gradient became NaN or infinite in step {step + 1} (epoch "
            f"{step // self.n_batches + 1}{known}). Lower the learning rate or set `clip`; the "
            "last checkpoint is from before."
        )
