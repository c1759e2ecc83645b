"""What reads files and texts from elsewhere, each as a function of bytes, with what it may raise.

Files of models have a checksum, which a forger makes right: `seal` does it.
"""

import hashlib
import io
import json
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

START = b'{"format": "eqx-qdeq '


class Reader(NamedTuple):
    """Reads bytes, or raises one of `refusals`; anything else is a fault."""

    read: Callable[[bytes], object]
    refusals: tuple[type[Exception], ...]
    seeds: Callable[[], list[bytes]]


def readers() -> dict[str, Reader]:
    """All of them, by name. (Imported here: a fuzzer wants to be there before.)"""
    from eqx_qdeq import Circuit
    from eqx_qdeq.circuits import QasmError
    from eqx_qdeq.training import CheckpointError, DataError, load, load_dataset

    folder = Path(tempfile.mkdtemp(prefix="readers-"))
    like = _tree()

    def openqasm(data: bytes) -> object:
        return Circuit.from_openqasm(data.decode(errors="replace"), max_gates=2000)

    def circuit(data: bytes) -> object:
        try:
            content = json.loads(data)
        except (ValueError, RecursionError):
            return None
        return Circuit.from_dict(content) if isinstance(content, dict) else None

    def model(data: bytes) -> object:
        return load(_written(folder / "model.eqx", seal(START + data)))

    def leaves(data: bytes) -> object:
        return load(_written(folder / "leaves.eqx", seal(START + data)), like=like)

    def npz(data: bytes) -> object:
        return load_dataset(_written(folder / "data.npz", data))

    def idx(data: bytes) -> object:
        root = folder / "idx"
        for number, (name, content) in enumerate(idx_files().items()):
            path = root / "MNIST" / "raw" / name
            # The first byte says which of them this is, and whether it is packed.
            is_this, packed = data[:1] and data[0] % 4 == number, data[:1] > b"\x7f"
            path.with_name(f"{name}.gz").unlink(missing_ok=True)
            _written(path, data[1:] if is_this else content)
            if is_this and packed:
                path.rename(path.with_name(f"{name}.gz"))
        return load_dataset("mnist", root=root)

    return {
        "openqasm": Reader(openqasm, (QasmError,), _openqasm_seeds),
        "circuit": Reader(circuit, (ValueError, TypeError), _circuit_seeds),
        "model": Reader(model, (CheckpointError,), lambda: [saved_model().removeprefix(START)]),
        "leaves": Reader(leaves, (CheckpointError,), lambda: [_saved(like).removeprefix(START)]),
        "npz": Reader(npz, (DataError,), _npz_seeds),
        "idx": Reader(idx, (DataError,), _idx_seeds),
    }


def _written(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def seal(content: bytes) -> bytes:
    """A model file with the right checksums, whatever else is in it."""
    line, _, payload = content.partition(b"\n")
    text = line.rpartition(b"\t")[0] or line
    own = b'"sha256": "%s"' % hashlib.sha256(payload).hexdigest().encode()
    text = re.sub(rb'"sha256": "[^"]*"', own, text)
    return b"%s\t%s\n%s" % (text, hashlib.sha256(text).hexdigest().encode(), payload)


# --- Good inputs, from which one begins -------------------------------------------------------


def _saved(model: Any) -> bytes:
    from eqx_qdeq.training import save

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.eqx"
        save(path, model, metadata={"note": "é"})
        return path.read_bytes()


def saved_model() -> bytes:
    """The file of a small classifier."""
    import jax

    from eqx_qdeq import QDEQClassifier

    key = jax.random.key(0)
    return _saved(QDEQClassifier(2, 3, 2, depth=1, gain=0.3, readout="zz", key=key))


def _tree() -> Any:
    import jax
    import jax.numpy as jnp
    import numpy as np

    return {
        "key": jax.random.key(0),
        "half": jnp.ones(3, jnp.bfloat16),
        "numbers": [0.1, 1, True, 1j],
        "host": np.ones((2, 2), np.int16),
        "array": jnp.ones((2, 1)),
    }


def _openqasm_seeds() -> list[bytes]:
    return [
        b'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[2];\ngate f(a) x,y{rx(a/2) x;cx x,y;}\n'
        b"f(pi) q[0],q[1];\nmeasure q[0] -> c[0];",
        b"OPENQASM 3.0;\ninput float t;\nconst int n=2;\nqubit[3] q;\nlet a=q[0:1]++q[2];\n"
        b"ctrl(2) @ pow(-2) @ rz(2*t+sin(0.5)**2) a[0],a[1],a[2];\n"
        b"negctrl @ inv @ s q[{0,1}],q[2];\nmeasure q;",
    ]


def _circuit_seeds() -> list[bytes]:
    from eqx_qdeq import circuits

    plain = circuits.hardware_efficient(2, 1).to_dict()
    array = {"real": [[1.0, 0.0], [0.0, 0.0]], "imag": [[0.0, 0.0], [0.0, 1.0]]}
    other = {"gates": [array, "CU3"], "wires": [[0], [0, 1]], "params": [[], [0, 1, 2]]}
    return [json.dumps(plain).encode(), json.dumps(other).encode()]


def npz_arrays() -> dict[str, Any]:
    """The arrays of a small set of images."""
    import numpy as np

    images = np.arange(8 * 4, dtype=np.uint8).reshape(8, 2, 2)
    return {
        "x_train": images,
        "y_train": np.arange(8) % 2,
        "x_test": images,
        "y_test": np.arange(8) % 2,
    }


def _npz_seeds() -> list[bytes]:
    import numpy as np

    seeds = []
    for write in (np.savez, np.savez_compressed):
        buffer = io.BytesIO()
        write(buffer, **npz_arrays())
        seeds.append(buffer.getvalue())
    return seeds


def idx_files() -> dict[str, bytes]:
    """The four files of a small MNIST: 20 images of 4x4 pixels in each part, two of each digit."""
    files = {}
    for part in ("train", "t10k"):
        axes = b"".join(n.to_bytes(4, "big") for n in (20, 4, 4))
        files[f"{part}-images-idx3-ubyte"] = b"\0\0\x08\x03" + axes + bytes(range(1, 161)) * 2
        labels = bytes(i % 10 for i in range(20))
        files[f"{part}-labels-idx1-ubyte"] = b"\0\0\x08\x01" + (20).to_bytes(4, "big") + labels
    return files


def _idx_seeds() -> list[bytes]:
    import gzip

    files = enumerate(idx_files().values())
    both = [(bytes([i]) + f, bytes([128 + i]) + gzip.compress(f, mtime=0)) for i, f in files]
    return [seed for pair in both for seed in pair]
