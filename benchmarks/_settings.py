"""What a run measures, and the command that measures it again."""

import dataclasses
import shlex

SIMULATORS = ("qujax", "qujax-matrix", "pennylane", "tensorcircuit-ng")
SOLVER_LIBRARIES = ("jaxopt", "torchdeq")
ALL_PEERS = (*SIMULATORS, *SOLVER_LIBRARIES)


@dataclasses.dataclass(frozen=True)
class Settings:
    """As on the command line; see `python -m benchmarks --help`."""

    qubits: tuple[int, ...] = (4, 10)
    batch: int = 256
    seconds: float = 10.0
    peers: tuple[str, ...] = ALL_PEERS
    wires: tuple[int, ...] = (16, 18, 20)
    smoke: bool = False

    def command(self, suite: str) -> str:
        """The command for one suite, with everything written out: defaults may change."""
        words = ["python", "-m", "benchmarks", "--suite", suite]
        words += ["--qubits", *map(str, self.qubits), "--batch", str(self.batch)]
        known = SOLVER_LIBRARIES if suite == "solvers" else SIMULATORS
        peers = [peer for peer in self.peers if peer in known]
        words += ["--seconds", f"{self.seconds:g}", "--peers", *peers]
        if suite in ("wires", "wide"):
            words += ["--wires", *map(str, self.wires)]
        return shlex.join(words + ["--smoke"] * self.smoke)


# Short, small and without meaning: to see that a change did not break the benchmarks.
SMOKE = Settings(
    qubits=(4,), batch=32, seconds=0.3, peers=("qujax", "jaxopt"), wires=(8,), smoke=True
)
