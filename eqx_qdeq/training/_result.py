"""What a training ends with."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from .._mesh import off
from ._loop import Session
from ._metrics import count_parameters, in_words


@dataclasses.dataclass(frozen=True, eq=False)
class FitResult:
    """What [`eqx_qdeq.training.fit`][] returns.

    !!! example

        ```python
        import equinox as eqx
        import jax, optax
        from eqx_qdeq import training

        data = training.load_dataset("digits", classes=(0, 1), limit=40)
        model = eqx.nn.Linear(16, 2, key=jax.random.key(0))
        result = training.fit(
            model, data, optimizer=optax.adam(0.05), epochs=1, progress=False
        )
        result.best_epoch, result.steps, len(result.history)  # (1, 1, 1)
        result  # 1 epochs, 1 steps, …
        ```

    **Attributes:**

    - `model`: the model after the epoch with the lowest validation loss.
    - `last_model`: the model after the last step.
    - `history`: one dictionary of numbers per epoch, as in the metrics file.
    - `best_epoch`: that of `model`, counted from 1.
    - `steps`: the number of training steps.
    - `state`, `last_state`: those of the two models; `None` for models without.
    - `seconds`: time spent on steps and validation, in all sessions of a resumed run, compilation
        included.
    """

    model: Any
    last_model: Any
    history: list[dict[str, Any]]
    best_epoch: int
    steps: int
    seconds: float
    state: Any = None
    last_state: Any = None

    def __repr__(self) -> str:
        return f"<FitResult: {type(self.model).__name__}, {self._extent()}>"

    def __str__(self) -> str:
        parts = [f"{self._extent()}; {count_parameters(self.model)} parameters"]
        # Of the epoch from which `model` is.
        record = self.history[self.best_epoch - 1]
        for name in ("train", "validation"):
            found = {k.removeprefix(f"{name}_"): v for k, v in record.items() if k.startswith(name)}
            text = in_words(found).replace(", solver steps", f"\n{'':<12}solver steps")
            parts.append(f"{name:<12}{text}")
        return "\n".join(parts)

    def _extent(self) -> str:
        epochs = f"{len(self.history)} epochs, {self.steps} steps, {self.seconds:.1f} s"
        return f"{epochs}, best epoch {self.best_epoch}"


def result_of(session: Session) -> FitResult:
    run = session.run
    params, state = jax.tree.map(jnp.asarray, run.best)
    return FitResult(
        model=eqx.combine(params, session.static),
        last_model=session.model,
        history=run.history,
        best_epoch=run.best_epoch,
        steps=session.step,
        seconds=run.seconds,
        state=state,
        last_state=off(session.devices, run.state.model_state),
    )
