"""The loop over epochs: compiled steps, validation, reports and checkpoints, in that order."""

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, PyTree

from .._mesh import Devices, off
from ._batches import epoch_batches
from ._by_content import ByContent, numbers_as_arrays
from ._callbacks import watching
from ._checkpoint import Checkpoints, is_first, MetricsFile, Run, to_host
from ._convergence import warn_unconverged
from ._evaluate import Chunks, evaluate_chunks
from ._look import Look
from ._options import Options
from ._progress import in_short, progress_bar, TrainingError
from ._reading import Reader
from ._step import finite_rows, Fixed, Settings
from .data import Split, Stream

_FASTEST, _SLOWEST = 0.1, 0.5  # seconds between updates of the progress bar
# Of the solves of an epoch. A single one fails now and then, and training goes on.
_FEW = 0.01


@dataclasses.dataclass(frozen=True)
class Session:
    """A training that has started: where it stands, and what carries it on."""

    options: Options  # with a batch no larger than the data
    static: PyTree  # the part of the model that is not trained
    look: Look
    train: Split | Stream
    weight: Array | None  # of the training samples in the loss
    reader: Reader | None  # of a stream
    spread: np.ndarray | None  # the variances of the training targets
    validation: Chunks
    run: Run
    checkpoints: Checkpoints
    metrics: MetricsFile
    update: ByContent | optax.GradientTransformationExtraArgs
    devices: Devices | None

    @property
    def n_batches(self) -> int:
        """The steps of an epoch."""
        n, size = len(self.train), self.options.batch_size
        return n // size if self.options.drop_last else -(-n // size)

    @property
    def total(self) -> int:
        """The steps of the whole training."""
        return self.options.epochs * self.n_batches

    @property
    def step(self) -> int:
        """How many steps are done."""
        # The state is the only place that knows: it is what a checkpoint has.
        return int(self.run.state.step)

    @property
    def model(self) -> Any:
        """The model as it is now."""
        return eqx.combine(off(self.devices, self.run.state.params), self.static)

    def stretch(self, step: int) -> range:
        """The steps of which the samples are at hand together with those of this one: an epoch's,
        or as many as are read of a stream at a time."""
        if self.reader is not None:
            return self.reader.stretch(step)
        first = step // self.n_batches * self.n_batches
        return range(first, first + self.n_batches)

    def fixed(self, step: int, before: Fixed | None = None) -> Fixed:
        """What the steps of a stretch need, but for their settings; `before` is what others
        needed."""
        first = self.stretch(step).start
        changes: dict[str, Any] = {"first": jnp.asarray(first, jnp.int32)}
        if self.reader is not None:
            x, y, weight, batches = self.reader.at(first)
            changes |= {"x": x, "y": y, "weight": weight, "batches": batches}
        else:
            changes["batches"] = jnp.asarray(self.order(first // self.n_batches))
        if before is not None:
            return dataclasses.replace(before, **changes)
        whole = {"x": self.train.x, "y": self.train.y, "weight": self.weight} | changes
        key, settings = jax.random.key(self.options.seed), self.settings_at(0)
        static, by_step = numbers_as_arrays(self.static), self.reader is not None
        return Fixed(static, **whole, key=key, settings=settings, by_step=by_step)

    def order(self, epoch: int) -> np.ndarray:
        """The rows of an epoch's batches."""
        return order(self.train, self.options, epoch)

    def settings_at(self, step: int) -> Settings:
        """Those of the steps from this one on, until the next stop."""
        options = self.options
        number = lambda value: jnp.asarray(value, jnp.result_type(float)) if value else None
        # Of gradients that are accumulated the mean is clipped, by the optimizer.
        clip = number(options.clip) if options.accumulate_steps == 1 else None
        penalty = number(options.jacobian_penalty)
        layers = options.warmup_layers if step < options.warmup_steps else 0
        shared = bool(options.shared_dropout)
        return Settings(self.look, self.update, clip, penalty, layers, shared, self.devices)

    def means(self) -> dict[str, float]:
        """Named means over the epoch so far."""
        return self.run.state.sums.means(self.look.in_training, self.spread)

    def standing(self) -> str:
        """Where a run stands that was there before, in one line."""
        path, epoch = self.checkpoints.path, self.step // self.n_batches
        so_far = f"{epoch} of {self.options.epochs} epochs ({self.step} steps)"
        if self.run.stopped:
            return f"'{path}': ended by a callback after {so_far}; nothing is left to do."
        if self.step >= self.total:
            return f"'{path}': finished, {so_far}; more `epochs` would go on from here."
        return f"'{path}': resumed after {so_far}."

    def next_stop(self, pace: int) -> int:
        """The step at which to look up: at most `pace` steps on."""
        step, every = self.step, self.options.checkpoint_every
        stops = [step + pace, self.stretch(step).stop]
        # The warm-up is another compiled function, so its end is a stop.
        if step < self.options.warmup_steps:
            stops.append(self.options.warmup_steps)
        if every is not None:
            stops.append((step // every + 1) * every)
        return min(stops)

    def look_up(self, seconds: float) -> None:
        """Reports and saves what is due after steps that took so long."""
        self.run.seconds += max(seconds, 0.0)  # whatever the clock does
        at_end = self.step % self.n_batches == 0
        if at_end:
            self._close_epoch()
        every = self.options.checkpoint_every
        due = at_end if every is None else self.step % every == 0
        # First the checkpoint: an epoch in the metrics file is never lost.
        if due or self.run.stopped or self.step == self.total:
            self.checkpoints.write(self.run)
        if at_end:
            self.metrics.append(self.run.history[-1])

    def _close_epoch(self) -> None:
        """Validates, and notes what the epoch was like."""
        started = time.perf_counter()
        run, model, epoch = self.run, self.model, self.step // self.n_batches
        # Without dropout and after the epoch, where the training numbers are means during it.
        state, metrics = run.state.model_state, self.options.metrics
        found = evaluate_chunks(model, self.validation, self.look, state, metrics, self.devices)
        record: dict[str, Any] = {"epoch": epoch, "step": self.step}
        record |= {f"train_{name}": value for name, value in self.means().items()}
        record |= {f"validation_{name}": value for name, value in found.to_dict().items()}
        # Means over steps, where losses are means over samples.
        record["gradient_norm"] = float(run.state.gradient_norm) / self.n_batches
        if self.options.jacobian_penalty:
            record["jacobian_penalty"] = float(run.state.penalty) / self.n_batches
        rate = self._rate()
        if rate is not None:
            record["learning_rate"] = rate
        if not any(map(self._unconverged, run.history)):
            self._warn(record, self._unconverged(record))
        run.seconds += max(time.perf_counter() - started, 0.0)
        record["seconds"] = round(run.seconds, 3)
        run.history.append(record)
        # A validation loss that is not a number is never the best, but some model has to be. It is
        # copied to the host, as the next step overwrites the parameters.
        if found.loss < run.best_loss or run.best_epoch == 0:
            run.best, run.best_epoch = to_host((run.state.params, state)), epoch
            run.best_loss = found.loss if math.isfinite(found.loss) else math.inf
        run.state = run.state.fresh_sums()
        # All are called, also after one that asks to stop: one may log, another may stop early.
        answers = [bool(callback(record, model)) for callback in self.options.callbacks]
        run.stopped = self.everywhere(float(any(answers))) > 0

    def everywhere(self, number: float) -> float:
        """The largest such number of all processes that train."""
        return number if self.devices is None else self.devices.largest(number)

    def warn_of_best(self) -> None:
        """At the end, if solves of the best model failed and nothing was said before."""
        history = self.run.history
        if history and not any(map(self._unconverged, history)):
            best = history[self.run.best_epoch - 1]
            self._warn(best, [part for part in self._unconverged(best, 0.0) if part != "train"])

    def _warn(self, record: dict[str, Any], parts: list[str]) -> None:
        for part in parts:
            where = f"{part} samples of epoch {record['epoch']}".replace("train ", "training ")
            found = (record[f"{part}_{name}"] for name in ("fraction_converged", "residual_max"))
            if warn_unconverged(self.model, self.look.report, where, *found):
                return

    def _unconverged(self, record: dict[str, Any], few: float = _FEW) -> list[str]:
        """The parts of the data of which more than a few solves failed in an epoch."""
        # A warm-up trains the unrolled model, in which nothing is solved.
        warm = (record["epoch"] - 1) * self.n_batches < self.options.warmup_steps
        parts = ["validation"] if warm else ["train", "validation"]
        return [part for part in parts if record.get(f"{part}_fraction_converged", 1) < 1 - few]

    def _rate(self) -> float | None:
        """The learning rate of the step that comes next, if it can be known."""
        rate = self.options.learning_rate
        # An optimizer does not tell its schedule; one with injected hyperparameters keeps the rate
        # in its state.
        if callable(rate):
            return float(rate(self.step // self.options.accumulate_steps))
        if rate is None:
            found = optax.tree.get_all_with_path(self.run.state.opt_state, "learning_rate")
            rate = float(found[0][1]) if len(found) == 1 else None
        return rate

    def check_finite(self, whose: str = "") -> None:
        """Raises if a step was undone."""
        if bool(self.run.state.finite):
            return
        rate = self._rate()
        known = "" if rate is None else f", learning rate {rate:.3g}"
        epoch = self.step // self.n_batches
        where = f"in step {self.step + 1}{whose} (epoch {epoch + 1}{known})"
        fixed = dataclasses.replace(self.fixed(self.step), settings=self.settings_at(self.step))
        finite, all_are = map(np.asarray, finite_rows(fixed, self.run.state))
        rows = self.order(epoch)[self.step % self.n_batches]
        if all_are:
            raise TrainingError(
                f"the parameters or the optimizer's state became NaN or infinite {where}, though "
                "its loss and gradient are finite. Lower the learning rate; the last checkpoint "
                "is from before."
            )
        raise TrainingError(
            f"the loss or its gradient became NaN or infinite {where}, {_blame(rows, finite)}. "
            "Lower the learning rate or set `clip`; the last checkpoint is from before."
        )


def order(train: Split | Stream, options: Options, epoch: int) -> np.ndarray:
    """The rows of an epoch's batches; `options.batch_size` is no larger than the data."""
    return epoch_batches(
        len(train),
        options.batch_size,
        options.seed,
        epoch,
        options.drop_last,
        # A model with state may look at the whole batch, so that copies of one sample in it would
        # weigh in its statistics.
        others=options.state is not None,
        parts=train.parts if isinstance(train, Stream) else 1,
    )


def _blame(rows: np.ndarray, finite: np.ndarray) -> str:
    """Which samples of the step that was undone make it so by themselves."""
    bad, n = rows[~finite], int(np.sum(rows >= 0))
    if len(bad) == 0:
        return f"though for none of its {n} samples alone"
    if len(bad) == n:
        return f"for each of its {n} samples"
    shown = ", ".join(map(str, sorted(bad)[:10])) + (", …" if len(bad) > 10 else "")
    return f"for {len(bad)} of its {n} samples: rows {shown} of the training data"


def train(
    sessions: Sequence[Session], advance: Callable[[int, int], None], *, whole_epochs: bool = False
) -> None:
    """Takes trainings that are in step to their last epoch, from wherever they stand.

    `advance(epoch, stop)` takes all of them through the steps of an epoch up to `stop`. It is asked
    for whole epochs, or for as many steps as keep the bar moving while Python costs nothing.
    """
    first = sessions[0]
    # The first step compiles, and may take long: nothing is known of the pace before it. Where the
    # loop is interrupted changes no number, so the pace may depend on the clock.
    pace = first.n_batches if whole_epochs else 1
    # Runs in step have no callbacks.
    watched = watching(first.options.callbacks, first.run.history)
    shown = first.options.progress and is_first()
    with watched, progress_bar(shown, first.step, first.total) as bar:
        if bar is not None:
            bar.set_description("compiling")
            for session in sessions:
                if session.step > 0:
                    bar.write(session.standing())
        while first.step < first.total and not first.run.stopped:
            started = time.perf_counter()
            step, stop = first.step, first.next_stop(pace)
            epoch = step // first.n_batches
            advance(epoch, stop)
            # Before any of them is saved; and it waits for the steps, so that the time is theirs.
            for i, session in enumerate(sessions):
                session.check_finite(f" of model {i}" if len(sessions) > 1 else "")
            seconds = first.everywhere(time.perf_counter() - started)
            if bar is not None:
                bar.set_description(f"epoch {epoch + 1}/{first.options.epochs}", refresh=False)
                bar.set_postfix_str(in_short(first.means()), refresh=False)
                bar.update(stop - step)
            for session in sessions:
                session.look_up(seconds)
            if whole_epochs:
                continue
            # Down by halves and up by fours: a pause of the machine costs little, and from one step
            # to thousands it takes six looks.
            if seconds > _SLOWEST:
                pace = max(pace // 2, 1)
            # Steps that ended early, at the end of an epoch, say nothing about a longer stretch.
            elif seconds < _FASTEST and stop - step == pace:
                pace *= 4
    for session in sessions:
        session.warn_of_best()
