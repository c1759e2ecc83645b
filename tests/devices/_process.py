"""One of several processes that train together: `python -m tests.devices._process PORT N I OUT
[DIE_AT]`. Each has its own rows of the data alone."""

import os
import signal
import sys
import time

import jax
import numpy as np
import optax

import eqx_qdeq  # noqa: F401  (nothing has started yet when it is imported)
from eqx_qdeq import training
from tests.training._stand_in import make_data, make_model

DEVICES = PARTS = 4
OPTIONS = {"optimizer": optax.adam(0.05), "epochs": 4, "batch_size": 12, "progress": False}


def streamed(data: training.Dataset, n: int, i: int) -> training.Dataset:
    """The data of which this process has the i-th of n parts."""

    def part(split: training.Split) -> training.Stream:
        x, y = (np.array_split(np.asarray(a), n)[i] for a in (split.x, split.y))
        return training.Stream(x, y, parts=PARTS, buffer=100)

    train, validation = part(data.train), part(data.validation)
    return training.Dataset(train, validation, data.test, class_names=data.class_names)


def weights(result: training.FitResult) -> np.ndarray:
    leaves = jax.tree.leaves(result.last_model)
    return np.concatenate([np.asarray(a).ravel() for a in leaves if hasattr(a, "shape")])


def score(truth: np.ndarray, guess: np.ndarray) -> float:
    """Which depends on the order of the samples."""
    return float(np.mean((truth + guess) * np.arange(len(guess))))


def main(port: str, n: int, i: int, out: str, die_at: int | None) -> None:
    jax.config.update("jax_num_cpu_devices", DEVICES // n)
    if n > 1:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(f"127.0.0.1:{port}", n, i, heartbeat_timeout_seconds=30)
    assert jax.device_count() == DEVICES and jax.process_count() == n

    # Each has a clock and callbacks of its own.
    clock = time.perf_counter
    time.perf_counter = lambda: 100**i * clock()

    def callback(record: dict, model: object) -> bool:
        if record["epoch"] == die_at and i == n - 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return record["epoch"] == 3 and i == n - 1

    data, model = make_data(), make_model(jax.random.key(0))
    mesh = jax.make_mesh((DEVICES,), ("batch",))
    for name, some in {"stream": streamed(data, n, i), "arrays": data}.items():
        folder = os.path.join(out, name)
        result = training.fit(
            model,
            some,
            **OPTIONS,
            checkpoint_dir=folder,
            checkpoint_every=3,
            metrics_path=os.path.join(folder, "metrics.jsonl"),
            metrics={"score": score},
            mesh=mesh,
            callbacks=[callback],
        )
        print(name, weights(result).tobytes().hex(), flush=True)


if __name__ == "__main__":
    port, n, i, out, *die = sys.argv[1:]
    main(port, int(n), int(i), out, int(die[0]) if die else None)
