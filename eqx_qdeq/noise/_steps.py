"""A noisy circuit as a list of steps: a gate and the channels after it, or channels alone."""

import dataclasses

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from ..circuits import Circuit, one_angle_each
from ..simulate import constant_matrix, entry_layout, gate_entries, is_constant
from ._coherent import own_angle, turned
from ._model import Channels, NoiseModel


@dataclasses.dataclass(frozen=True, eq=False)
class Step:
    """A gate of the circuit, by its position (`None`: no gate), and then `channels`.

    A channel on one wire acts on each of the step's wires.
    """

    wires: tuple[int, ...]
    gate: int | None
    channels: Channels


def make_steps(circuit: Circuit, noise: NoiseModel) -> list[Step]:
    """The steps of a circuit in an order in which they can be carried out."""
    steps = [
        Step(wires, g, noise.after(gate, wires))
        for g, (gate, wires) in enumerate(zip(circuit.gates, circuit.wires, strict=True))
    ]
    if not noise.idle:
        return steps
    moments: list[list[Step]] = []
    filled = [0] * circuit.n_qubits
    for step in steps:
        moment = max(filled[w] for w in step.wires)
        if moment == len(moments):
            moments.append([])
        moments[moment].append(step)
        for w in step.wires:
            filled[w] = moment + 1
    for moment in moments:
        busy = {w for step in moment for w in step.wires}
        waiting = [w for w in range(circuit.n_qubits) if w not in busy]
        moment += [Step((w,), None, noise.idle) for w in waiting]
    return [step for moment in moments for step in moment]


def by_size(steps: list[Step]) -> dict[int, list[Step]]:
    """The steps by their number of wires, in order."""
    sizes = sorted({len(step.wires) for step in steps})
    return {k: [step for step in steps if len(step.wires) == k] for k in sizes}


def gate_stacks(
    circuit: Circuit, angles: Float[Array, " n_params"], noise: NoiseModel, steps: list[Step]
) -> dict[int, Complex[Array, "steps dim dim"]]:
    """The unitaries of the steps' gates (1 where there is none), those on k wires together."""
    if noise.over_rotation is not None:
        circuit, angles = _own_angles(circuit, angles, noise)
    entries, (starts, end) = gate_entries(circuit, angles), entry_layout(circuit)
    constants: list[np.ndarray] = []
    positions: dict[int | None, int] = dict(starts)  # pyright: ignore[reportAssignmentType]
    out = {}
    for k, members in by_size(steps).items():
        for step in members:
            if step.gate in positions:
                continue
            if step.gate is None:
                matrix = np.eye(2**k)
            else:
                gate = circuit.gates[step.gate]
                assert is_constant(gate)
                matrix = constant_matrix(gate)  # pyright: ignore[reportArgumentType]
            positions[step.gate] = end + sum(map(np.size, constants))
            constants.append(matrix.reshape(-1))
        index = np.array([positions[step.gate] for step in members])
        positions.pop(None, None)  # that of another size is another matrix
        out[k] = (index[:, None] + np.arange(4**k)).reshape(-1, 2**k, 2**k)
    pool = jnp.concatenate([entries, jnp.asarray(np.concatenate([*constants, [0]]), entries.dtype)])
    return {k: pool[index] for k, index in out.items()}


def _own_angles(circuit: Circuit, angles: Array, noise: NoiseModel) -> tuple[Circuit, Array]:
    """The same gates with a parameter for each angle of each gate, and what is carried out."""
    own, index, scales, offsets = one_angle_each(circuit)
    rotates = np.array(
        [
            own_angle(gate) == s
            for gate, ps in zip(circuit.gates, circuit.params, strict=True)
            for s in range(len(ps))
        ],
        bool,
    )
    if not len(index):
        return circuit, angles
    meant = angles[index] * scales.astype(angles.dtype) + offsets.astype(angles.dtype)
    assert noise.over_rotation is not None
    return own, turned(noise.over_rotation, meant, rotates)
