"""One of several processes that train together: `python -m tests.devices._process PORT N I OUT
[DIE_AT]`. Without a number of processes it is one, with as many devices as all of them."""

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

DEVICES = 4


def main(port: str, n: int, i: int, out: str, die_at: int | None) -> None:
    jax.config.update("jax_num_cpu_devices", DEVICES // n)
    if n > 1:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(f"127.0.0.1:{port}", n, i, heartbeat_timeout_seconds=10)
    assert jax.device_count() == DEVICES and jax.process_count() == n

    # Each has a clock and callbacks of its own.
    clock = time.perf_counter
    time.perf_counter = lambda: 100**i * clock()

    def callback(record: dict, model: object) -> bool:
        if record["epoch"] == die_at and i == n - 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return record["epoch"] == 3 and i == n - 1

    result = training.fit(
        make_model(jax.random.key(0)),
        make_data(),
        optimizer=optax.adam(0.05),
        epochs=4,
        batch_size=13,
        checkpoint_dir=out,
        metrics_path=os.path.join(out, "metrics.jsonl"),
        mesh=jax.make_mesh((DEVICES,), ("batch",)),
        callbacks=[callback],
        progress=False,
    )
    leaves = [
        np.asarray(leaf) for leaf in jax.tree.leaves(result.last_model) if hasattr(leaf, "shape")
    ]
    print("weights", np.concatenate([leaf.ravel() for leaf in leaves]).tobytes().hex(), flush=True)


if __name__ == "__main__":
    port, n, i, out, *die = sys.argv[1:]
    main(port, int(n), int(i), out, int(die[0]) if die else None)
