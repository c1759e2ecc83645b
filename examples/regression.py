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
from sklearn.metrics import r2_score
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
        metrics={"r2": r2_score},
    )
    model, test = result.model, data.test
    r2 = training.evaluate(model, test).r2

    @eqx.filter_jit
    def predict(model, keys):
        return jax.vmap(lambda key: jax.vmap(lambda x: model(x, key=key))(test.x))(keys)

    keys = jax.random.split(jax.random.key(1), repeats)
    exact = data.to_targets(jax.vmap(model)(test.x))[:, 0]
    truth = data.to_targets(test.y).reshape(-1)
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    spreads = {}
    for n_shots in tqdm((100, 400, 1600), desc="shots"):
        found = data.to_targets(predict(qdeq.with_shots(model, n_shots), keys))[..., 0]
        spreads[n_shots] = float(np.std(found, axis=0).mean())
        if n_shots == 400:
            left.errorbar(truth, found.mean(axis=0), 2 * np.std(found, axis=0), fmt="o", alpha=0.6)
    left.axline((150, 150), slope=1, color="0.6")
    left.set(title="Test patients, two standard deviations of 400 shots", xlabel="progression")
    left.set_ylabel("prediction")
    right.loglog(list(spreads), list(spreads.values()), "o-")
    right.set(title="Spread of a prediction", xlabel="shots", ylabel="standard deviation")
    figure.savefig(out, dpi=100)
    print(f"figure {out}")


if __name__ == "__main__":
    tyro.cli(main)
