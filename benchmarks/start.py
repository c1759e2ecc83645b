"""What a user waits for in a fresh process: the import, the first calls, and calls that should
compile nothing. `env -u JAX_COMPILATION_CACHE_DIR python -m benchmarks.start`"""

import gc
import time
from pathlib import Path
from typing import Any

CALLS = 8  # of a classifier without `jit`, and of `fit` for its memory


class Clock:
    """Seconds, compilations and memory since it was asked last."""

    def __init__(self) -> None:
        self.compilations = 0
        self.start()

    def listen(self) -> None:
        import jax

        def heard(event: str, duration_secs: float, **more: Any) -> None:
            self.compilations += event == "/jax/core/compile/backend_compile_duration"

        jax.monitoring.register_event_duration_secs_listener(heard)

    def start(self) -> None:
        gc.collect()
        self.at, self.compiled, self.resident = time.perf_counter(), self.compilations, _mib()

    def lap(self) -> dict[str, float]:
        seconds = time.perf_counter() - self.at
        gc.collect()
        found = {
            "seconds": seconds,
            "compilations": self.compilations - self.compiled,
            "grown_mib": _mib() - self.resident,
        }
        self.start()
        return found


def _mib() -> float:
    """Resident memory now; 0 where /proc does not tell."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 2**10


def digits_like() -> Any:
    """Noise of the size of the README's digits, which need scikit-learn."""
    import numpy as np

    from eqx_qdeq import training

    random = np.random.default_rng(0)
    sizes = {"train": 448, "validation": 128, "test": 144}
    parts = [
        training.Split(random.normal(size=(n, 16)), random.integers(0, 4, n))
        for n in sizes.values()
    ]
    return training.Dataset(*parts, class_names=list("0369"), name="noise")


def main() -> None:
    clock, laps = Clock(), dict[str, dict[str, Any]]()
    import diffrax  # noqa: F401
    import equinox  # noqa: F401
    import jax
    import jaxtyping  # noqa: F401
    import lineax  # noqa: F401
    import optimistix  # noqa: F401

    laps["import of the dependencies"] = clock.lap()
    import eqx_qdeq as qdeq

    laps["then of eqx-qdeq"] = clock.lap()
    import optax

    from eqx_qdeq import training

    clock.listen()
    data = digits_like()
    circuit = qdeq.circuits.hardware_efficient(n_qubits=4, depth=12)
    layer = qdeq.QuantumLayer(
        circuit, qdeq.AmplitudeEncoding(), qdeq.PauliZ(), key=jax.random.key(0)
    )
    deq = qdeq.DEQ(qdeq.QuantumCell(layer, qdeq.AddInjection(in_size=16, gain=0.1)))
    x = jax.block_until_ready(data.train.x[0])
    clock.start()
    jax.block_until_ready(deq(x))
    laps["first deq(x)"] = clock.lap()

    def classifier(seed: int = 0, gain: float = 0.1, train_gain: bool = True) -> Any:
        key = jax.random.key(seed)
        options = {"depth": 12, "readout": "zz", "gain": gain, "train_gain": train_gain}
        return qdeq.QDEQClassifier(4, 16, 4, **options, key=key)

    def fit(model: Any, rate: float = 0.03) -> None:
        schedule = optax.cosine_decay_schedule(rate, decay_steps=560)
        options = {"epochs": 1, "batch_size": 32, "progress": False}
        training.fit(model, data, optimizer=optax.adam(schedule), **options)

    model = classifier()
    clock.start()
    fit(model)
    laps["first epoch of fit"] = clock.lap()
    fit(model)
    laps["same again, new optimizer object"] = clock.lap()
    fit(model, 0.01)
    laps["another learning rate"] = clock.lap()
    fit(classifier(1))
    laps["another model of its kind"] = clock.lap()
    fit(classifier(train_gain=False))
    laps["a fixed gain: another program"] = clock.lap()
    fit(classifier(train_gain=False, gain=0.2))
    laps["another fixed gain"] = clock.lap()
    for _ in range(CALLS):
        fit(model)
    laps[f"{CALLS} calls of fit"] = clock.lap()
    for _ in range(CALLS):
        jax.block_until_ready(model(x))
    laps[f"{CALLS} calls of a classifier without jit"] = clock.lap()
    print(f"{'':<42}{'seconds':>9}{'compilations':>14}{'grown, MiB':>12}")
    for name, lap in laps.items():
        print(f"{name:<42}{lap['seconds']:>9.2f}{lap['compilations']:>14}{lap['grown_mib']:>12.1f}")


if __name__ == "__main__":
    main()
