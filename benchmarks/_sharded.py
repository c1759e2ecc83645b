"""A training step of a wide equilibrium, one sample, whose states lie on several devices: its
value and gradient against those of one device, times, and the most memory of its process.

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


def measure(
    wires: int, devices: int, values: int, depth: int, folder: Path
) -> dict[str, float | str]:
    circuit = qdeq.circuits.hardware_efficient(wires, depth)
    # Of the first wires, those of the devices, and the last. As many features as amplitudes: no
    # zeros that could be left out.
    measured = qdeq.PauliZ([*range(values - 1), wires - 1])
    layer = qdeq.QuantumLayer(circuit, qdeq.AmplitudeEncoding(), measured, key=jax.random.key(0))
    model = qdeq.DEQ(qdeq.QuantumCell(layer, qdeq.AddInjection(2**wires)))
    x = jax.random.normal(jax.random.key(1), (1, 2**wires))
    mesh = jax.make_mesh((devices,), ("amplitudes",))

    def loss(model: qdeq.DEQ, x: jax.Array) -> tuple[jax.Array, jax.Array]:
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
    numbers = np.concatenate([np.ravel(z), np.asarray(gradient.cell.layer.angles)])
    found: dict[str, float | str] = {
        "wires": wires,
        "values": values,
        "bits": 8 * numbers.itemsize,
        "devices": devices,
        "seconds": min(times),
        "temporary_mib_a_device": memory.temp_size_in_bytes / 2**20,
        "peak_mib_of_all": peak_mib(),
        "compiled_mib": before,
    }
    kept = folder / f"sharded-{wires}-{values}-{depth}-{numbers.dtype}.npy"
    if devices == 1:
        np.save(kept, numbers)
    else:
        plan = make_sharded_plan(circuit, devices, restore=False)
        # The columns that are fed back, that of the zero sample, and the sample's own.
        found["bytes_moved_once"] = plan.bytes_moved(values + 2, numbers.dtype)
        seen = collectives(compiled.compiled.as_text())
        found["collectives"] = str([(c.kind, c.loops, c.size) for c in seen])
    if devices > 1 and kept.exists():
        wanted = np.load(kept)
        error = np.abs(numbers - wanted)
        found["value_error"] = float(error[:values].max())
        found["gradient_error"] = float(error[values:].max() / np.abs(wanted[values:]).max())
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wires", type=int)
    parser.add_argument("devices", type=int)
    parser.add_argument("--values", type=int, help="fed back; as many as wires if left out")
    parser.add_argument("--depth", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path("."))
    asked = parser.parse_args()
    jax.config.update("jax_num_cpu_devices", asked.devices)
    values = asked.values or asked.wires
    print(json.dumps(measure(asked.wires, asked.devices, values, asked.depth, asked.folder)))
