"""`python -m benchmarks`: runs the suites, prints tables, writes JSON."""

import json
from pathlib import Path

import tyro

from ._suites import ALL, SUITES
from ._timing import environment


def main(
    suite: str = "all",
    qubits: tuple[int, ...] = (4, 10),
    batch: int = 256,
    seconds: float = 10.0,
    peers: tuple[str, ...] = ALL,
    out: Path = Path("outputs/benchmarks.json"),
) -> None:
    """Times eqx-qdeq and its peers side by side, after checking that they agree.

    Args:
        suite: "layer" (value and gradient of one evaluation), "train" (a full training step), or
            "all".
        qubits: the sizes, 4 and/or 10: the paper's circuits.
        batch: samples in a batch.
        seconds: how long to measure each suite at each size.
        peers: the libraries to compare with; none with `--peers` alone.
        out: where the results go, as JSON.
    """
    if suite != "all" and suite not in SUITES:
        raise SystemExit(f"`suite` must be all or one of {', '.join(SUITES)}; got {suite!r}.")
    chosen = list(SUITES) if suite == "all" else [suite]
    report = {"environment": environment(), "batch": batch, "suites": {}}
    print(json.dumps(report["environment"]))
    for name in chosen:
        for n in qubits:
            print(f"\n{name}, {n} qubits, batch {batch}")
            result = SUITES[name](n, batch, seconds, peers)
            report["suites"].setdefault(name, {})[str(n)] = result
            print(f"  all agree within {result['agreement']:.1e}")
            print(f"  {'':26}{'median ms':>10}{'best ms':>10}{'ratio':>8}{'first call s':>14}")
            for contestant, r in result["results"].items():
                print(
                    f"  {contestant:26}{r['median_ms']:>10.2f}{r['best_ms']:>10.2f}"
                    f"{r['ratio']:>8.2f}{r['first_call_s']:>14.2f}"
                )
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(report, indent=1) + "\n")
    print(f"\nwritten to {out}")


if __name__ == "__main__":
    tyro.cli(main)
