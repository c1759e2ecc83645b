"""`python -m experiments.scaling.report`: the model of a training step, its errors, and what it
says of sizes that do not fit here, into docs/scaling.md.

A step of `batch` samples on `devices` takes

    t = c₀ + c₁ G d 2ⁿ + (batch / devices) (c₂ + c₃ n d + c₄ G (n + 1) 2ⁿ) + exchange

on n wires with G gates and d features: a constant; the circuit on the columns that features reach,
once; and for each sample a constant, its features by each observable, and the circuit on n + 1
columns. The constants have the least squares of relative errors.
"""

import math
from pathlib import Path

import numpy as np
import tyro
from scipy.optimize import nnls

from docs.hooks.pages import DOCS, fill_page, markdown
from eqx_qdeq import circuits
from experiments._results import Record, require_records

from .measure import DEPTH

RESULTS = Path(__file__).with_name("results.jsonl")

# Assumed of what is not here: of a link between devices, and of a device beside a core of this one.
LATENCY, LINK, MEMORY = 5e-6, 25e9, 80e9


def terms(wires: int, features: int, batch: float) -> np.ndarray:
    """What the constants multiply."""
    gates, size = len(circuits.hardware_efficient(wires, DEPTH)), 2.0**wires
    return np.asarray(
        [
            1.0,
            gates * features * size,
            batch,
            batch * wires * features,
            batch * gates * (wires + 1) * size,
        ]
    )


def fitted(records: list[Record], key: str) -> np.ndarray:
    """The constants, none of them negative, of the least relative errors."""
    rows = [terms(r["wires"], r["features"], r["batch"]) / r[key] for r in records]
    scale = np.max(rows, axis=0)
    return nnls(np.asarray(rows) / scale, np.ones(len(rows)))[0] / scale


def exchange(parameters: int, devices: int) -> float:
    """Seconds of one sum over the devices, in a ring of trees."""
    return 2 * math.log2(devices) * LATENCY + 2 * 4 * (parameters + 20) / LINK if devices > 1 else 0


def main(results: Path = RESULTS, docs: Path = DOCS) -> None:
    """Fits the constants and fills in the page.

    Args:
        results: what `python -m experiments.scaling` wrote.
        docs: the folder of the docs.
    """
    records = list(require_records(results).values())
    times, memory = (fitted(records, key) for key in ("cpu_ms", "temporary_mib"))
    rows, errors = [], []
    for r in records:
        at = terms(r["wires"], r["features"], r["batch"])
        pairs = [(r["cpu_ms"], at @ times), (r["temporary_mib"], at @ memory)]
        errors.append([model / found - 1 for found, model in pairs])
        cells = [f"{found:.3g}|{model:.3g}" for found, model in pairs]
        shown = [f"{100 * error:+.0f} %" for error in errors[-1]]
        (time, modelled), (size, sized) = (cell.split("|") for cell in cells)
        name = [str(r["wires"]), str(r["batch"])]
        rows.append([*name, time, modelled, shown[0], size, sized, shown[1]])
    head = ["wires", "batch", "ms", "model", "error", "MiB", "model", "error"]
    middle = 100 * np.median(np.abs(errors), axis=0)
    worst = 100 * np.max(np.abs(errors), axis=0)
    said = (
        f"Half of the errors are below {middle[0]:.0f} % in time and {middle[1]:.0f} % in memory; "
        f"the largest are {worst[0]:.0f} % and {worst[1]:.0f} %. The constants, in ms: "
        f"{', '.join(f'{c:.2e}' for c in times)}; in MiB: "
        f"{', '.join(f'{c:.2e}' for c in memory)}."
    )
    texts = {
        "scaling-fit": f"{markdown(head, rows, 0)}\n\n{said}",
        "scaling-plan": _plan(times, memory),
    }
    fill_page(docs / "scaling.md", texts)
    print(said)
    print(texts["scaling-plan"])


def _plan(times: np.ndarray, memory: np.ndarray) -> str:
    """Sizes that do not fit here."""
    rows = []
    cases = [(10, 4096, 1024), (16, 4096, 1024), (24, 1024, 1024), (30, 1024, 1024)]
    for wires, batch, devices in [*cases, (34, 1024, 1024)]:
        features, parameters = min(2**wires, 1024), 2 * DEPTH * wires
        own = terms(wires, features, batch / devices)
        step = own @ times / 1000 + exchange(parameters, devices)
        alone = terms(wires, features, batch) @ times / 1000
        # A sample whose memory does not fit is spread over so many devices.
        gigabytes = own @ memory * 2**20 / 1e9
        spread = max(1, math.ceil(gigabytes * 1e9 / MEMORY))
        rows.append(
            [
                *map(str, (wires, batch, devices)),
                f"{step:.2g}",
                f"{alone / step:.0f}",
                f"{gigabytes:.2g}",
                str(spread),
            ]
        )
    head = ["wires", "batch", "devices", "s a step", "speedup", "GB a device", "devices a sample"]
    return markdown(head, rows, 0)


if __name__ == "__main__":
    tyro.cli(main)
