"""`python -m benchmarks`: runs the suites, prints tables, writes JSON."""

import time
from pathlib import Path
from typing import Annotated

import tyro

from ._machine import environment
from ._settings import ALL_PEERS, Settings, SMOKE
from ._suites import SUITES
from ._tables import as_text, load, save


def main(
    suite: tuple[str, ...] = ("all",),
    qubits: tuple[int, ...] = (4, 10),
    batch: int = 256,
    seconds: float = 10.0,
    peers: tuple[str, ...] = ALL_PEERS,
    wires: tuple[int, ...] = (16, 18, 20),
    smoke: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    out: Path = Path("outputs/benchmarks.json"),
) -> None:
    """Measures eqx-qdeq and its peers side by side, after checking that they agree.

    Args:
        suite: one or more of "layer" (one evaluation, value and gradient), "solve" (equilibria
            alone), "solvers" (Anderson's and Broyden's methods in other libraries), "train" (a
            full training step), "compile" (the first call), "memory", "engines" (the three of a
            layer), "scaling" (wires, depth, batch, observables), "wires" (large state
            vectors), "wide" (equilibria of wide circuits), "noise", "graphs" (a step of message
            passing) and "devices" (a training step over virtual ones); or "all".
        qubits: the sizes; 4 and 10 are the paper's circuits.
        batch: samples in a batch.
        seconds: how long to measure each table that compares; the others take about as long.
        peers: the libraries to compare with; none with `--peers` alone.
        wires: the sizes of the suites "wires" and "wide". Peers compile those for minutes.
        smoke: tiny sizes, to see that all works; overrides the numbers and peers.
        out: where the results go, as JSON. Suites that are there already and not run are kept.
    """
    for name in suite:
        if name != "all" and name not in SUITES:
            raise SystemExit(f"--suite must be all or of {', '.join(SUITES)}; got {name!r}.")
    unknown = set(peers) - set(ALL_PEERS)
    if unknown:
        raise SystemExit(f"--peers must be of {', '.join(ALL_PEERS)}; got {unknown}.")
    settings = SMOKE if smoke else Settings(qubits, batch, seconds, peers, wires)
    load(out)  # a file that cannot be added to is best found out about now
    here = environment()
    print(f"{here['machine']}, {here['cpus']} CPUs, device {here['device']}")
    print(", ".join(f"{package} {v or 'missing'}" for package, v in here["versions"].items()))
    print(f"sgemm {here['sgemm_gflops']} GFLOP/s, copy {here['copy_gbytes']} GB/s")
    for name in SUITES if "all" in suite else suite:
        print(f"\n=== {name}", flush=True)
        start = time.perf_counter()
        tables = SUITES[name](settings, here)
        seconds_taken = round(time.perf_counter() - start, 1)
        for table in tables:
            print(f"\n{as_text(table)}", flush=True)
        record = {
            "command": settings.command(name),
            "seconds": seconds_taken,
            "environment": here,
            "tables": tables,
        }
        save(out, {name: record})
    print(f"\nwritten to {out}")


if __name__ == "__main__":
    tyro.cli(main)
