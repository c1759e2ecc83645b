"""The progress bar, and how many steps go between two of its updates."""

from types import TracebackType
from typing import Any

from ._errors import TrainingError

_FASTEST, _SLOWEST = 0.1, 0.5  # seconds between updates


class Progress:
    """A tqdm bar over the steps of a run; a context manager."""

    def __init__(self, total: int, done: int, epochs: int, enabled: bool):
        self._bar: Any = None
        self._epochs = epochs
        if enabled:
            try:
                from tqdm import tqdm
            except ImportError:
                raise TrainingError(
                    'the progress bar needs tqdm: pip install "eqx-qdeq[train]", or progress=False'
                ) from None
            self._bar = tqdm(total=total, initial=done, unit="step", dynamic_ncols=True)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self, steps: int, epoch: int, means: dict[str, float]) -> None:
        """Shows the means over the epoch so far."""
        if self._bar is None:
            return
        self._bar.set_description(f"epoch {epoch}/{self._epochs}", refresh=False)
        self._bar.set_postfix_str(describe(means), refresh=False)
        self._bar.update(steps)


def describe(means: dict[str, float]) -> str:
    """Means as short text."""
    text = f"loss {means['loss']:.4f}, accuracy {means['accuracy']:.1%}"
    if "solver_steps" in means:
        text += (
            f", steps {means['solver_steps']:.1f}, residual {means['residual']:.0e}, "
            f"converged {means['fraction_converged']:.0%}"
        )
    return text


class Pace:
    """How many steps to run at a time, so that the bar moves and Python costs nothing."""

    def __init__(self) -> None:
        self.steps = 1

    def adapt(self, n_run: int, seconds: float) -> None:
        """Takes note of how long the last steps took."""
        if seconds > _SLOWEST:
            self.steps = max(self.steps // 2, 1)
        elif seconds < _FASTEST and n_run == self.steps:
            self.steps *= 4
