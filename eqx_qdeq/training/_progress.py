"""How far a training is, while it runs."""

import contextlib
from typing import Any

from .._checks import need


class TrainingError(RuntimeError):
    """A training run that cannot go on.

    !!! example

        ```python
        import equinox as eqx
        import jax, jax.numpy as jnp, optax
        from eqx_qdeq import training

        data = training.load_dataset("digits", classes=(0, 1), limit=40)
        model = eqx.nn.Linear(16, 2, key=jax.random.key(0))
        model = eqx.tree_at(lambda m: m.bias, model, jnp.full(2, jnp.nan))
        try:
            training.fit(
                model, data, optimizer=optax.adam(0.05), epochs=1, progress=False
            )
        except training.TrainingError as error:
            print(error)
        ```
    """


def progress_bar(shown: bool, step: int, total: int) -> Any:
    """A tqdm bar over the steps of a training, as a context; or one of `None`."""
    if not shown:
        return contextlib.nullcontext()
    # Here, so that training without a bar needs no tqdm.
    tqdm = need("tqdm.auto", "train", "the progress bar (or progress=False)", TrainingError).tqdm
    return tqdm(total=total, initial=min(step, total), unit="step", dynamic_ncols=True)


def in_short(means: dict[str, float]) -> str:
    """The means over the epoch so far, as short text."""
    text = f"loss {means['loss']:.4f}"
    if "accuracy" in means:
        text += f", accuracy {means['accuracy']:.1%}"
    if "r2" in means:
        text += f", R² {means['r2']:.3f}"
    if "solver_steps" in means:
        text += (
            f", steps {means['solver_steps']:.1f}, residual {means['residual']:.0e}, "
            f"converged {means['fraction_converged']:.0%}"
        )
    return text
