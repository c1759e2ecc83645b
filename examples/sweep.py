"""Gains, seeds, learning rates and noise rates without compiling anew.

python examples/sweep.py
"""

import dataclasses
import importlib.util
from pathlib import Path

import equinox as eqx
import jax
import jax.monitoring
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from matplotlib.figure import Figure

import eqx_qdeq as qdeq
from eqx_qdeq import training

COMPILED = []


def heard(event: str, duration_secs: float, **_: str | int) -> None:
    """Called by JAX whenever it compiles something."""
    if "backend_compile" in event:
        COMPILED.append(duration_secs)


def make(gain: float, seed: int) -> qdeq.QDEQClassifier:
    key = jax.random.key(seed)
    return qdeq.QDEQClassifier(4, 16, 4, depth=6, gain=gain, train_gain=True, readout="zz", key=key)


def main(epochs: int = 20, out: Path = Path("sweep.png"), smoke: bool = False) -> None:
    """Sweeps over a classifier of scikit-learn's digits 0, 3, 6 and 9.

    Args:
        epochs: passes over the training samples.
        out: the figure to write.
        smoke: two epochs, and fewer runs.
    """
    data = training.load_dataset("digits", classes=(0, 3, 6, 9))
    gains, seeds = ([0.1, 1.0], [0]) if smoke else ([0.03, 0.1, 0.3, 1.0, 3.0], [0, 1, 2])
    rates = np.geomspace(0.003, 0.3, 2 if smoke else 6)
    options = training.Options(
        optimizer=optax.adam(0.03), epochs=2 if smoke else epochs, batch_size=32
    )
    best = lambda result: 100 * max(row["validation_accuracy"] for row in result.history)

    # Gains and seeds: all at once, as one computation.
    grid = [(gain, seed) for gain in gains for seed in seeds]
    results = training.fit_together(
        [make(*point) for point in grid], data, seeds=[seed for _, seed in grid], options=options
    )
    by_gain = np.array([best(result) for result in results]).reshape(len(gains), -1)

    # Learning rates: one after the other, from the program that the first compiles.
    def accuracy(rate: float) -> float:
        run = dataclasses.replace(options, optimizer=optax.adam(rate))
        return best(training.fit(make(0.1, 0), data, options=run))

    by_rate = [accuracy(float(rates[0]))]
    jax.monitoring.register_event_duration_secs_listener(heard)
    by_rate += [accuracy(float(rate)) for rate in rates[1:]]
    n_compiled = len(COMPILED)
    if importlib.util.find_spec("optuna"):  # such a function is all that Optuna wants
        import optuna

        study = optuna.create_study(direction="maximize")
        rate = lambda trial: trial.suggest_float("rate", 0.003, 0.3, log=True)
        study.optimize(lambda trial: accuracy(rate(trial)), n_trials=1 if smoke else 10)
        print(f"Optuna's best: {study.best_value:.1f}% at {study.best_params['rate']:.3f}")

    # Noise rates: a trained model under all of them, by one `vmap`.
    model = results[int(np.argmax(by_gain))].model

    def under(noise_rate: jax.Array) -> jax.Array:
        noisy = model.with_noise(qdeq.noise.NoiseModel.depolarizing(noise_rate))
        return jnp.mean(jax.vmap(noisy)(data.test.x).argmax(axis=1) == data.test.y)

    noise = jnp.linspace(0, 0.1, 3 if smoke else 11)
    by_noise = 100 * eqx.filter_jit(jax.vmap(under))(noise)

    figure = Figure(figsize=(11, 3.4), layout="constrained")
    first, second, third = figure.subplots(1, 3)
    first.semilogx(gains, by_gain, "o", color="C0", alpha=0.5)
    first.semilogx(gains, by_gain.mean(axis=1), color="C0", label=f"mean of {len(seeds)} seeds")
    first.set(title=f"{len(grid)} trainings at once", xlabel="gain of the feedback, at first")
    first.set_ylabel("validation accuracy in %")
    first.legend()
    second.semilogx(rates, by_rate, "o-")
    second.set(title="One after the other", xlabel="learning rate")
    second.set_ylabel("validation accuracy in %")
    third.plot(noise, by_noise, "o-")
    third.set(title="The best of them with noise", xlabel="depolarizing rate of each gate")
    third.set_ylabel("test accuracy in %")
    figure.savefig(out, dpi=100)
    print(f"figure {out}")
    print(
        f"checked: {len(grid)} trainings as one computation; {len(rates) - 1} more learning rates "
        f"compiled {n_compiled} programs; {len(noise)} noise rates in one call, accuracy "
        f"{by_noise[0]:.1f}% without noise, {by_noise[-1]:.1f}% at {noise[-1]:.2f}"
    )


if __name__ == "__main__":
    tyro.cli(main, config=(tyro.conf.FlagCreatePairsOff,))
