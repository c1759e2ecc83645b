"""A training step of a wide QDEQ, one sample, whose states lie on several devices: its value and
gradient against those of one device, times, and the most memory of its process.

`python -m benchmarks._sharded 20 8`: 20 wires on eight virtual devices. With one device no states
are divided; its numbers are kept in `--folder` for the others to be compared with.
"""

import argparse
import json
import time
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import eqx_qdeq as qdeq
from eqx_qdeq.simulate import make_sharded_plan

from ._collectives import collectives
from ._peak import peak_mib


def measure(wires: int, devices: int, depth: int, folder: Path) -> dict[str, float | str]:
    circuit = qdeq.circuits.hardware_efficient(wires, depth)
    # As many features as amplitudes: no zeros that could be left out.
    model = qdeq.QDEQ(wires, 2**wires, circuit=circuit, key=jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (1, 2**wires))
    mesh = jax.make_mesh((devices,), ("amplitudes",))

    def loss(model: qdeq.QDEQ, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        z = qdeq.map_batch(model, x, mesh=mesh) if devices > 1 else jax.vmap(model)(x)
        return jnp.mean(z**2), z

    step = eqx.filter_jit(eqx.filter_value_and_grad(loss, has_aux=True))
    compiled = step.lower(model, x).compile()
    memory = compiled.compiled.memory_analysis()
    before, times = peak_mib(), []
    for _ in range(2):
        started = time.perf_counter()
        (_, z), gradient = jax.block_until_ready(compiled(model, x))
        times.append(time.perf_counter() - started)
    numbers = np.concatenate([np.ravel(z), np.asarray(gradient.deq.cell.layer.angles)])
    found: dict[str, float | str] = {
        "wires": wires,
        "devices": devices,
        "seconds": min(times),
        "temporary_mib_a_device": memory.temp_size_in_bytes / 2**20,
        "peak_mib_of_all": peak_mib(),
        "compiled_mib": before,
    }
    kept = folder / f"sharded-{wires}-{depth}.npy"
    if devices == 1:
        np.save(kept, numbers)
    else:
        plan = make_sharded_plan(circuit, devices, restore=False)
        # The columns that are fed back, that of the zero sample, and the sample's own.
        found["bytes_moved_once"] = plan.bytes_moved(wires + 2)
        seen = collectives(compiled.compiled.as_text())
        found["collectives"] = str([(c.kind, c.loops, c.size) for c in seen])
    if devices > 1 and kept.exists():
        wanted = np.load(kept)
        error = np.abs(numbers - wanted)
        found["value_error"] = float(error[:wires].max())
        found["gradient_error"] = float(error[wires:].max() / np.abs(wanted[wires:]).max())
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wires", type=int)
    parser.add_argument("devices", type=int)
    parser.add_argument("--depth", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path("."))
    asked = parser.parse_args()
    jax.config.update("jax_num_cpu_devices", asked.devices)
    print(json.dumps(measure(asked.wires, asked.devices, asked.depth, asked.folder)))
