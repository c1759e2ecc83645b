"""What each of several devices computes, holds and exchanges in a training step."""

import os
from typing import Any

from .._apart import measured_apart
from .._settings import Settings
from .._tables import rounded, Table

_DEVICES = (1, 2, 4, 8)
_NODES = 32_000
_NOTES = [
    "work of each, moved by each and temporary memory: a device's, as XLA says of the compiled "
    "program (the body of a loop counts once)",
    "work of all: by that of one device alone",
    "exchanges, inside a solve: the collectives of a step, and of the loops in it",
    "median: that of the fastest epoch, on devices that are threads of one machine: it shows what "
    "it costs to part the work, not what devices gain",
    "of the graph: value and gradient; exchanged is what a device sends in a step of the solver",
]


def devices(settings: Settings, rates: dict[str, Any]) -> list[Table]:
    """For each number of qubits two tables by the number of devices, at the usual batch and where
    samples are many; and one for a graph whose nodes are parted."""
    numbers = _DEVICES[:2] if settings.smoke else _DEVICES
    tables = []
    for n in settings.qubits:
        for batch in (settings.batch, 256 * settings.batch):
            timed = batch == settings.batch
            found = [_measured(k, n, batch, int(timed)) for k in numbers]
            title = f"Training step over devices: {n} qubits, batch {batch}"
            table = _table(f"{n}-{batch}", title, found)
            # work = own + samples / devices, from the first number and the last.
            first, last, most = found[0]["flops"], found[-1]["flops"], numbers[-1]
            own = max((most * last - first) / (most - 1), 0)
            least = batch * own * ((most - 1) / 0.05 - 1) / (first - own)
            table["facts"] = [
                f"what each device does for itself is {own / 1e6:.3g} MFLOP, and a sample takes "
                f"{(first - own) / batch / 1e6:.3g}: {most} devices do at most 5 % more in all "
                f"from {least:,.0f} samples on"
            ]
            tables.append(table)
    nodes = 16 * settings.batch if settings.smoke else _NODES
    title = f"One graph over devices: {nodes} nodes, 4 qubits each"
    return [*tables, _table("graph", title, [_measured(k, nodes) for k in numbers])]


def _table(id: str, title: str, found: list[dict[str, Any]]) -> Table:
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
    return {"id": id, "title": title, "first": "devices", "notes": _NOTES, "rows": rows}


def _measured(devices: int, *arguments: int) -> dict[str, Any]:
    # Their number is known to XLA before it starts.
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    return measured_apart("_devices", *arguments, XLA_FLAGS=flags, JAX_PLATFORMS="cpu")
