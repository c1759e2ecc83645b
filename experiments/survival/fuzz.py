"""A fuzzer that is led by coverage (Atheris, which is libFuzzer on Python's bytecode) on all that
reads files and texts from elsewhere.

    pip install atheris
    python -m experiments.survival fuzz --minutes 60    all readers, and tests/survival gets what
                                                        they found
    python -m experiments.survival fuzz --reader npz    one of them

Each reader may read an input or refuse it with its own error. Anything else is written down with
the input that did it, and so are the slowest input and the memory. The corpus that is kept is run
through the readers in the tests.
"""

import importlib
import json
import resource
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
from pathlib import Path
from typing import Any

from . import RESULTS
from ._readers import Reader, readers

CORPUS = Path(__file__).parents[2] / "tests" / "experiments" / "corpus"
NAMES = ("openqasm", "circuit", "model", "leaves", "npz", "idx")
_KEPT = 30_000  # bytes of the corpus for each reader


def main(
    minutes: float = 60.0,
    reader: str | None = None,
    results: Path = RESULTS / "fuzz.json",
    corpus: Path = CORPUS,
) -> None:
    """Fuzzes the readers one after the other.

    Args:
        minutes: in all.
        reader: one of openqasm, circuit, model, leaves, npz, idx; all of them if left out.
        results: the file of what was counted.
        corpus: the folder for the inputs that reach new code.
    """
    names = NAMES if reader is None else (reader,)
    for name in names:
        found = fuzz_reader(name, 60 * minutes / len(names), corpus)
        # Written reader by reader: what is cut off loses the one at work.
        known = json.loads(results.read_text("utf-8")) if results.exists() else {}
        text = json.dumps(known | {name: found}, indent=1, sort_keys=True)
        results.parent.mkdir(parents=True, exist_ok=True)
        results.write_text(text + "\n", "utf-8")
        print(name, json.dumps({k: v for k, v in found.items() if k != "faults"}), flush=True)
        for fault in found["faults"]:
            print(f"  FAULT {fault['error']} at {fault['where']}\n  {fault['input'][:200]}")


def fuzz_reader(name: str, seconds: float, corpus: Path) -> dict[str, Any]:
    """What a fuzzer finds in a process of its own, which libFuzzer ends."""
    with tempfile.TemporaryDirectory() as folder:
        found, inputs = Path(folder) / "found.json", Path(folder) / "inputs"
        inputs.mkdir()
        for i, content in enumerate([*readers()[name].seeds(), *load_corpus(corpus, name)]):
            (inputs / f"seed{i}").write_bytes(content)
        options = [f"-max_total_time={int(seconds)}", "-timeout=30", "-rss_limit_mb=8192"]
        options += [
            "-max_len=20000",
            "-verbosity=0",
            "-print_final_stats=0",
            "-use_value_profile=1",
        ]
        command = [sys.executable, "-m", "experiments.survival.fuzz", name, str(found)]
        ended = subprocess.run(
            [*command, *options, str(inputs)], capture_output=True, text=True, check=False
        )
        if not found.exists():
            raise SystemExit(f"the fuzzer did not start:\n{ended.stderr[-2000:]}")
        result = json.loads(found.read_text("utf-8"))
        if ended.returncode:  # a timeout, too much memory, or a crash of Python itself
            end = ended.stderr[-300:]
            result["faults"].append({"error": "process", "where": end, "input": "its last"})
        _save_corpus(corpus, name, inputs)
    return result


def load_corpus(corpus: Path, name: str) -> list[bytes]:
    """The inputs that are kept for a reader."""
    path = corpus / f"{name}.zip"
    if not path.exists():
        return []
    with zipfile.ZipFile(path) as archive:
        return [archive.read(member) for member in archive.namelist()]


def _save_corpus(corpus: Path, name: str, inputs: Path) -> None:
    # libFuzzer keeps what reaches new code; of these the smallest ones, as many as there is room.
    contents, size = sorted({p.read_bytes() for p in inputs.iterdir()}, key=len), 0
    corpus.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(corpus / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for i, content in enumerate(contents):
            info = zipfile.ZipInfo(f"{i:04}")  # without a date: the same corpus is the same file
            archive.writestr(info, content, zipfile.ZIP_DEFLATED)
            size += archive.getinfo(info.filename).compress_size + 100
            if size > _KEPT:
                return


class Watched:
    """A reader whose outcomes are counted, and written to a file now and then."""

    def __init__(self, reader: Reader, path: Path):
        self.reader, self.path = reader, path
        self.outcomes: dict[str, int] = {}
        self.faults: dict[tuple[str, str], dict[str, str]] = {}
        self.slowest, self.slowest_input = 0.0, b""
        self.started = self.written = time.perf_counter()
        self.memory = peak_memory()

    def __call__(self, data: bytes) -> None:
        start = time.process_time()  # the processor's, of which others may have their part
        try:
            self.reader.read(data)
            outcome = "read"
        except self.reader.refusals as error:
            outcome = type(error).__name__
        except Exception as error:
            outcome = type(error).__name__
            place = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(place.filename).name}:{place.lineno}"
            fault = {"error": repr(error)[:300], "where": where, "input": repr(data[:2000])}
            self.faults.setdefault((outcome, where), fault)
        end = time.process_time()
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
        # The first inputs import and compile.
        if end - start > self.slowest and sum(self.outcomes.values()) > 20:
            self.slowest, self.slowest_input = end - start, data
        if time.perf_counter() - self.written > 5 or sum(self.outcomes.values()) in (1, 21):
            self.written = time.perf_counter()
            self.path.write_text(json.dumps(self.result()), "utf-8")

    def result(self) -> dict[str, Any]:
        """What was counted so far; seconds and megabytes."""
        return {
            "inputs": sum(self.outcomes.values()),
            "outcomes": self.outcomes,
            "faults": list(self.faults.values()),
            "seconds": round(time.perf_counter() - self.started),
            "slowest": round(self.slowest, 3),
            "slowest_input": repr(self.slowest_input[:300]),
            "memory": round((peak_memory() - self.memory) / 1024),
        }


def peak_memory() -> int:
    """The most memory that the process has had so far, in kilobytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _work(name: str, path: Path, options: list[str]) -> None:
    atheris: Any = importlib.import_module("atheris")  # no part of any environment of ours
    # What is imported from here on tells where it has been.
    with atheris.instrument_imports(include=["eqx_qdeq"], enable_loader_override=False):
        found = readers()[name]
    warnings.simplefilter("ignore", UserWarning)  # of what is rounded or not finite
    warnings.simplefilter("error", RuntimeWarning)
    for seed in found.seeds():  # imports, and what is compiled once
        found.read(seed)
    atheris.Setup([sys.argv[0], *options], Watched(found, path))
    atheris.Fuzz()


if __name__ == "__main__":
    _work(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
