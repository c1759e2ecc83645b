"""A regression whose circuit is measured with finitely many shots: predictions with error bars.

python examples/regression.py
"""

from pathlib import Path

import equinox as eqx
import jax
import numpy as np
import optax
import tyro
from matplotlib.figure import Figure
from tqdm.auto import tqdm

import eqx_qdeq as qdeq
from eqx_qdeq import training


def main(
    epochs: int = 100, repeats: int = 50, out: Path = Path("regression.png"), smoke: bool = False
) -> None:
    """Predicts how diabetes goes on after a year, and how sure shots are of it.

    Args:
        epochs: passes over the training samples.
        repeats: how often each prediction is measured.
        out: the figure to write.
        smoke: a little of everything.
    """
    epochs, repeats = (2, 20) if smoke else (epochs, repeats)
    data = training.load_dataset("diabetes")  # ten features of 442 patients, standardized
    model = qdeq.QDEQRegressor(4, data.in_size, depth=2, key=jax.random.key(0))
    schedule = optax.cosine_decay_schedule(0.02, epochs * -(-len(data.train) // 32))
    result = training.fit(
        model,
        data,
        optimizer=optax.adamw(schedule, weight_decay=1e-2),
        epochs=epochs,
        batch_size=32,
    )
    model, test = result.model, data.test
    r2 = training.evaluate(model, test).r2

    # The same model, its circuit measured; other keys are other shots.
    keys = jax.random.split(jax.random.key(1), repeats)
    predict = eqx.filter_jit(
        lambda model: jax.vmap(lambda key: jax.vmap(lambda x: model(x, key=key))(test.x))(keys)
    )
    truth = data.to_targets(test.y).reshape(-1)
    measured = {}
    for n_shots in tqdm((100, 400, 1600), desc="shots"):
        found = predict(qdeq.with_shots(model, n_shots))  # (repeats, patients, 1)
        measured[n_shots] = data.to_targets(found.reshape(-1, 1)).reshape(repeats, -1)
    spread = {n: float(np.std(found, axis=0).mean()) for n, found in measured.items()}

    figure = Figure(figsize=(10, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    mean, error = measured[400].mean(axis=0), 2 * measured[400].std(axis=0)
    left.errorbar(truth, mean, error, fmt="o", markersize=4, alpha=0.6)
    left.axline((150, 150), slope=1, color="0.6")
    left.set(title="Test patients, with 400 shots (± 2 deviations)", xlabel="truth, a year later")
    left.set_ylabel("prediction")
    right.loglog(list(spread), list(spread.values()), "o-", label="measured")
    right.loglog(
        list(spread), [spread[100] * (100 / n) ** 0.5 for n in spread], ":", label="1/√shots"
    )
    right.set(title="How shots blur a prediction", xlabel="shots", ylabel="standard deviation")
    right.legend()
    figure.savefig(out, dpi=100)
    print(f"figure {out}")
    print(
        f"checked: R² {r2:.3f}; 16 times the shots, a fourth of the spread: {spread[100]:.1f} and "
        f"{spread[1600]:.1f}"
    )


if __name__ == "__main__":
    tyro.cli(main, config=(tyro.conf.FlagCreatePairsOff,))
