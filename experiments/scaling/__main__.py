"""`python -m experiments.scaling`: the training step at all sizes that fit, one after the other."""

from pathlib import Path

import tyro

from experiments._results import load_records, save_record

from .measure import measure, on_one_core

RESULTS = Path(__file__).with_name("results.jsonl")
LARGEST = 2**20
"""Amplitudes of a batch: what fits into a minute."""


def main(
    wires: tuple[int, ...] = (4, 6, 8, 10, 12, 14, 16),
    batches: tuple[int, ...] = (4, 16, 64, 256),
    seconds: float = 2.0,
    out: Path = RESULTS,
) -> None:
    """Measures what is not in the file of results yet.

    Args:
        wires: the numbers of wires.
        batches: the numbers of samples; those that do not fit are left out.
        seconds: how long each size is measured.
        out: the file of results.
    """
    on_one_core()
    done = load_records(out)
    for n in wires:
        for batch in batches:
            name = f"{n:02d}-wires-{batch:04d}"
            if name not in done and batch * 2**n <= LARGEST:
                record = measure(n, batch, seconds)
                save_record(out, name, record)
                print(name, record, flush=True)


if __name__ == "__main__":
    tyro.cli(main)
