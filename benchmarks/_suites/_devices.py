"""What each of several devices computes, holds and exchanges in a training step."""

import os
from typing import Any

from .._apart import measured_apart
from .._settings import Settings
from .._tables import rounded, Table

_DEVICES = (1, 2, 4, 8)
_NOTES = [
    "work of each, moved by each and temporary memory: a device's, as XLA says of the compiled "
    "program (the body of a loop counts once)",
    "work of all: by that of one device alone",
    "exchanges, inside a solve: the collectives of a step, and of the loops in it",
    "median: that of the fastest epoch; the devices are threads of one machine, whose times show "
    "what it costs to part the work, not what devices gain",
]


def devices(settings: Settings, rates: dict[str, Any]) -> list[Table]:
    """For each number of qubits a table, by the number of devices."""
    # So many samples that what each device does for itself, compiling the circuit, is little.
    batch = settings.batch if settings.smoke else 64 * settings.batch
    numbers = _DEVICES[:2] if settings.smoke else _DEVICES
    tables = []
    for n in settings.qubits:
        found = [_measured(k, n, max(batch >> max(n - 4, 0), settings.batch)) for k in numbers]
        rows = [
            {
                "name": str(one["devices"]),
                "gflop": rounded(one["flops"] / 1e9),
                "share": rounded(one["flops"] * one["devices"] / found[0]["flops"]),
                "moved_mib": rounded(one["bytes"] / 2**20),
                "temporary_mib": rounded(one["temporary_mib"]),
                "exchanges": one["exchanges"],
                "exchanges_in_solves": one["exchanges_in_solves"],
                "exchanged_kib": rounded(one["exchanged_kib"]),
                "median_ms": rounded(one["step_ms"]),
            }
            for one in found
        ]
        title = f"Training step over devices: {n} qubits, batch {found[0]['batch']}"
        table = {"id": str(n), "title": title, "first": "devices", "notes": _NOTES, "rows": rows}
        tables.append(table)
    return tables


def _measured(devices: int, wires: int, batch: int) -> dict[str, Any]:
    # Their number is known to XLA before it starts.
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    found = measured_apart("_devices", wires, batch, XLA_FLAGS=flags, JAX_PLATFORMS="cpu")
    return found | {"batch": batch}
