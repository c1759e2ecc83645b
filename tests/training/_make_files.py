"""Writes files/checkpoint_v2.eqx, of a run of two epochs, and what its third epoch is like.

    python -m tests.training._make_files

To be run when the format changes before a release, never after: then it gets a new version.
"""

import json
import tempfile
from pathlib import Path

import jax
import optax

from eqx_qdeq.training import fit
from tests.training._stand_in import make_data, make_model

FILES = Path(__file__).parent / "files"


def main() -> None:
    options = {"optimizer": optax.adam(0.05), "batch_size": 16, "progress": False}
    train = lambda **more: fit(make_model(jax.random.key(0)), make_data(), **options, **more)
    with tempfile.TemporaryDirectory() as folder:
        train(epochs=2, checkpoint_dir=folder)
        (FILES / "checkpoint_v2.eqx").write_bytes(Path(folder, "checkpoint.eqx").read_bytes())
    record = train(epochs=3).history[2]
    (FILES / "checkpoint_v2.json").write_text(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
