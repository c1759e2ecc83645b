"""The peak memory of one large circuit, value and gradient. Run by the memory suite."""

import json
import resource
import sys
from pathlib import Path

import jax

from eqx_qdeq import circuits

from ._peers import ours
from ._problems import batched_loss, problem
from ._timing import build

N_GATES = 100


def peak_mib() -> float:
    """The most memory that this process had resident so far."""
    try:
        # Linux counts the process that started this one in `ru_maxrss`.
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**10
    except (OSError, StopIteration):
        unit = 2**20 if sys.platform == "darwin" else 2**10
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def main(n_qubits: int) -> None:
    depth = -(-N_GATES // (3 * n_qubits))  # a layer is two rotations and one CX a wire
    circuit = circuits.hardware_efficient(n_qubits, depth).split(N_GATES)[0][0]
    p = problem(circuit, 1, n_features=2**n_qubits)
    step = jax.value_and_grad(batched_loss(ours(circuit, engine="statevector", batch=1)))
    jax.block_until_ready((p.angles, p.x))
    before = peak_mib()
    program = build(step, p.angles, p.x)
    compiled = peak_mib()
    jax.block_until_ready(program())
    measured = {
        "gates": len(circuit),
        "state_mib": 2 * p.x.nbytes / 2**20,
        "temporary_mib": program.temporary_mib,
        "before_mib": before,
        "compiled_mib": compiled,
        "peak_mib": peak_mib(),
    }
    print(json.dumps(measured))


if __name__ == "__main__":
    main(int(sys.argv[1]))
