"""A training run that ends itself with SIGKILL at a chosen moment: see test_checkpoint.py.

    python _killed_run.py FOLDER MOMENT

MOMENT is "never", or what to die at: "write:3" in the third write of a checkpoint, when half of
the bytes are there; "rename:3" before the third checkpoint gets its name; "renamed:3" after that;
"step:7" between steps. At the end the weights are in FOLDER/model.eqx.
"""

import os
import signal
import sys
from pathlib import Path

import jax
import optax

from eqx_qdeq.training import fit, save
from tests.training._stand_in import make_data, make_model

OPTIONS = {
    "optimizer": optax.adam(optax.cosine_decay_schedule(0.05, 40)),
    "epochs": 10,
    "batch_size": 16,
    "seed": 5,
    "jacobian_penalty": 0.1,
    "warmup_steps": 6,
    "checkpoint_every": 3,
    "progress": False,
}


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(moment: str) -> None:
    what, _, number = moment.partition(":")
    left = int(number)

    def due() -> bool:
        nonlocal left
        left -= 1
        return left == 0

    if what == "write":
        fsync = os.fsync

        def half(descriptor: int) -> None:
            if os.path.isfile(f"/proc/self/fd/{descriptor}") and due():
                os.truncate(descriptor, os.fstat(descriptor).st_size // 2)
                die()
            fsync(descriptor)

        os.fsync = half
    elif what in ("rename", "renamed"):
        replace = os.replace

        def rename(*paths: str) -> None:
            now = due()
            if what == "rename" and now:
                die()
            replace(*paths)
            if now:
                die()

        os.replace = rename
    elif what == "step":
        loop = sys.modules[fit.__module__]
        run_steps = loop.run_steps

        def run(arguments, state):
            state = run_steps(arguments, state)
            if int(state.step) >= int(number):
                die()
            return state

        loop.run_steps = run


def main(folder: Path, moment: str) -> None:
    if moment != "never":
        arm(moment)
    result = fit(
        make_model(jax.random.key(0)),
        make_data(),
        checkpoint_dir=folder,
        metrics_path=folder / "metrics.jsonl",
        **OPTIONS,
    )
    save(folder / "last.eqx", result.last_model)
    save(folder / "model.eqx", result.model)


if __name__ == "__main__":
    print("started", flush=True)
    main(Path(sys.argv[1]), sys.argv[2])
