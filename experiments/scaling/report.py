"""`python -m experiments.scaling.report`: the model of a training step, its errors, and what it
says of sizes that do not fit here, into docs/scaling.md.

A step of `batch` samples on `devices`, of n wires with G gates and d features, takes up to 6 wires

    t = c₀ + c₁ G d 2ⁿ + (batch / devices) (c₂ + c₃ n d)

(a constant; the circuit as a matrix, on the columns that features reach; each sample, and its
features by each observable), and from 8 wires on

    t = c₀ + c₁ G d 2ⁿ + (batch / devices) c₂ G (n + 1) 2ⁿ

(each sample's circuit on n + 1 columns), where c₂ is another one if the columns of all samples do
not fit into the cache. To this comes the exchange. The constants have the least squares of relative
errors.
"""

import math
from collections.abc import Callable
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
CACHE = 6 * 2**20
"""Bytes, as the measured times show them."""


def is_small(wires: int) -> bool:
    """Whether the circuit becomes a matrix."""
    return wires <= 6


def terms(wires: int, features: int, batch: float) -> np.ndarray:
    """What the constants multiply."""
    gates, size = len(circuits.hardware_efficient(wires, DEPTH)), 2.0**wires
    once = [1.0, gates * features * size]
    if is_small(wires):
        return np.asarray([*once, batch, batch * wires * features])
    columns = batch * (wires + 1) * size
    fits = 8 * columns <= CACHE
    return np.asarray([*once, gates * columns * fits, gates * columns * (not fits)])


def fitted(records: list[Record], key: str) -> dict[bool, np.ndarray]:
    """The constants of small circuits and of large ones, none of them negative."""
    found = {}
    for small in (True, False):
        some = [r for r in records if is_small(r["wires"]) == small]
        rows = [terms(r["wires"], r["features"], r["batch"]) / r[key] for r in some]
        scale = np.maximum(np.max(rows, axis=0), 1e-300)
        found[small] = nnls(np.asarray(rows) / scale, np.ones(len(rows)))[0] / scale
    return found


def modelled(constants: dict[bool, np.ndarray], wires: int, features: int, batch: float) -> float:
    return float(terms(wires, features, batch) @ constants[is_small(wires)])


ASIDE: dict[str, Callable[[Record], bool]] = {
    "batch 256, from batches up to 64": lambda r: r["batch"] > 64,
    "14 wires, from up to 12": lambda r: r["wires"] > 12,
}
"""Sizes that are predicted from the others."""


def errors_aside(records: list[Record], key: str, is_aside: Callable[[Record], bool]) -> np.ndarray:
    """Relative errors of sizes that the constants were not fitted to."""
    constants = fitted([r for r in records if not is_aside(r)], key)
    return np.asarray(
        [
            modelled(constants, r["wires"], r["features"], r["batch"]) / r[key] - 1
            for r in records
            if is_aside(r)
        ]
    )


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
        size = r["wires"], r["features"], r["batch"]
        pairs = [(r["cpu_ms"], modelled(times, *size))]
        pairs.append((r["temporary_mib"], modelled(memory, *size)))
        errors.append([model / found - 1 for found, model in pairs])
        cells = [f"{found:.3g}|{model:.3g}" for found, model in pairs]
        shown = [f"{100 * error:+.0f} %" for error in errors[-1]]
        (time, time_model), (mib, mib_model) = (cell.split("|") for cell in cells)
        name = [str(r["wires"]), str(r["batch"])]
        rows.append([*name, time, time_model, shown[0], mib, mib_model, shown[1]])
    head = ["wires", "batch", "ms", "model", "error", "MiB", "model", "error"]
    middle = 100 * np.median(np.abs(errors), axis=0)
    worst = 100 * np.max(np.abs(errors), axis=0)
    said = (
        f"Half of the errors are below {middle[0]:.0f} % in time and {middle[1]:.0f} % in memory; "
        f"the largest are {worst[0]:.0f} % and {worst[1]:.0f} %. The constants from 8 wires on, "
        f"in ms: {_listed(times[False])}; in MiB: {_listed(memory[False])}."
    )
    texts = {
        "scaling-fit": f"{markdown(head, rows, 0)}\n\n{said}",
        "scaling-aside": _aside(records),
        "scaling-plan": _plan(times, memory),
    }
    fill_page(docs / "scaling.md", texts)
    print(said, texts["scaling-aside"], texts["scaling-plan"], sep="\n")


def _listed(constants: np.ndarray) -> str:
    return ", ".join(f"{c:.2g}" for c in constants)


def _aside(records: list[Record]) -> str:
    """What is predicted of sizes that were set aside."""
    rows = []
    for name, is_aside in ASIDE.items():
        each = [errors_aside(records, key, is_aside) for key in ("cpu_ms", "temporary_mib")]
        shown = [f"{100 * error:+.0f} %" for e in each for error in (np.median(e), _worst(e))]
        rows.append([name, str(len(each[0])), *shown])
    head = ["predicted", "sizes", "time: median", "largest", "memory: median", "largest"]
    return markdown(head, rows, 0)


def _worst(errors: np.ndarray) -> float:
    return float(errors[np.abs(errors).argmax()])


def _plan(times: dict[bool, np.ndarray], memory: dict[bool, np.ndarray]) -> str:
    """Sizes that do not fit here."""
    rows = []
    cases = [(10, 4096, 1024), (16, 4096, 1024), (24, 1024, 1024), (30, 1024, 1024)]
    for wires, batch, devices in [*cases, (34, 1024, 1024)]:
        features, parameters = min(2**wires, 1024), 2 * DEPTH * wires
        own = wires, features, batch / devices
        step = modelled(times, *own) / 1000 + exchange(parameters, devices)
        alone = modelled(times, wires, features, batch) / 1000
        # A sample whose memory does not fit is spread over so many devices.
        # Where the samples of a device take as long as what it does for itself.
        alone_once = modelled(times, wires, features, 0) / 1000
        half = min((alone - alone_once) / alone_once, batch)
        gigabytes = modelled(memory, *own) * 2**20 / 1e9
        spread = max(1, math.ceil(gigabytes * 1e9 / MEMORY))
        rows.append(
            [
                *map(str, (wires, batch, devices)),
                f"{step:.2g}",
                f"{alone / step:.0f}",
                f"{half:.0f}",
                f"{gigabytes:.2g}",
                str(spread),
            ]
        )
    head = [
        "wires",
        "batch",
        "devices",
        "s a step",
        "speedup",
        "half at",
        "GB each",
        "for a sample",
    ]
    return markdown(head, rows, 0)


if __name__ == "__main__":
    tyro.cli(main)
