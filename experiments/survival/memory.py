"""Memory and compilations of a long training, and of many short ones.

    python -m experiments.survival memory

10,000 steps of one training, and 200 calls of `fit`, each with a new model, a new optimizer and
another learning rate, half of them with checkpoints. After the first tenth, in which everything is
compiled, neither may grow.
"""

import gc
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

import eqx_qdeq as qdeq
from eqx_qdeq.training import Dataset, fit, Split

from . import RESULTS


def _resident() -> float:
    """Memory of this process now, in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise OSError("needs the /proc of Linux")


def _data() -> Dataset:
    random = np.random.default_rng(0)
    split = lambda n: Split(random.normal(size=(n, 4)), np.arange(n) % 2)
    return Dataset(split(16), split(8), split(8), class_names=["a", "b"], name="noise")


def _watched(run: Callable[[Callable[[], None]], None]) -> dict[str, Any]:
    """Memory and compilations at each call of what `run` is given, in tenths of them."""
    compiled: list[str] = []

    def heard(event: str, duration_secs: float, **kwargs: str | int) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(event)

    seen: list[tuple[float, int]] = []
    jax.monitoring.register_event_duration_secs_listener(heard)
    try:

        def look() -> None:
            if len(seen) % 20 == 19:  # what Python has not collected yet is no leak
                gc.collect()
            seen.append((_resident(), len(compiled)))

        run(look)
    finally:
        jax.monitoring.unregister_event_duration_listener(heard)
    tenths = seen[len(seen) // 10 - 1 :: len(seen) // 10]
    memory, count = zip(*tenths, strict=True)
    return {
        "looks": len(seen),
        "megabytes": [round(m, 1) for m in memory],
        "grown_megabytes": round(memory[-1] - memory[0], 2),
        "compilations": list(count),
        "compiled_after_the_first_tenth": count[-1] - count[0],
    }


def steps(n: int) -> dict[str, Any]:
    """One training of so many steps, looked at after each epoch of 16."""
    data = _data()
    model = qdeq.QDEQClassifier(2, 4, 2, depth=1, key=jax.random.key(0))

    def run(look: Callable[[], None]) -> None:
        options = {"epochs": max(n // 16, 10), "batch_size": 1, "progress": False}
        fit(model, data, optimizer=optax.adam(1e-3), callbacks=[lambda *_: look()], **options)

    return _watched(run)


def calls(n: int, folder: Path) -> dict[str, Any]:
    """So many calls of `fit`, looked at after each."""
    data = _data()

    def run(look: Callable[[], None]) -> None:
        for i in range(n):
            model = qdeq.QDEQClassifier(2, 4, 2, depth=1, gain=0.1 + i / n, key=jax.random.key(i))
            where = folder / str(i) if i % 2 else None
            options = {"epochs": 2, "batch_size": 8, "progress": False, "checkpoint_dir": where}
            fit(model, data, optimizer=optax.adam(0.01 + i / n), seed=i, **options)
            look()

    return _watched(run)


def main(n_steps: int = 10_000, n_calls: int = 200) -> None:
    """Measures both.

    Args:
        n_steps: of one training.
        n_calls: of `fit`.
    """
    found: dict[str, Any] = {}
    RESULTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, measure in {
            "steps": lambda: steps(n_steps),
            "calls": lambda: calls(n_calls, Path(folder)),
        }.items():
            found[name] = measure()
            print(name, json.dumps(found[name]), flush=True)
    (RESULTS / "memory.json").write_text(json.dumps(found, indent=2) + "\n")
