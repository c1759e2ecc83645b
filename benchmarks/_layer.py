"""Value and gradient of a wide layer, one sample: its time, and the most memory of its process. Run
by the suite `wires`, in a process for each number of wires."""

import json
import sys

import jax

from eqx_qdeq import circuits

from ._peers import ours
from ._problems import batched_loss, problem
from ._wide import measured

DEPTH = 2


def main(wires: int) -> None:
    circuit = circuits.hardware_efficient(wires, DEPTH)
    # As many features as amplitudes: no zeros that could be left out.
    p = problem(circuit, 1, n_features=2**wires)
    step = jax.value_and_grad(batched_loss(ours(circuit, engine="statevector", batch=1)))
    print(json.dumps(measured(step, p.angles, p.x)))


if __name__ == "__main__":
    main(int(sys.argv[1]))
