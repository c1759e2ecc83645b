"""The templates are those of PennyLane, TorchQuantum and the paper."""

import numpy as np
import pennylane as qml
import pytest

from eqx_qdeq import Circuit, circuits
from tests.circuits._tools import angles_of, matrix

# The paper's random layers, as TorchQuantum 0.1.8 draws them.
RANDOM_LAYER = {
    4: "RX2 RY1 RX1 RZ3 RX1 RX2 RX3 RZ0 RX1 CNOT0-2 RY1 CNOT0-2 CNOT2-1 CNOT0-3 CNOT2-1 CNOT0-2 "
    "RZ1 RY0 RZ0 RX1 RZ2 RX1 CNOT3-0 RY0 CNOT0-3 RZ2 RY3 RZ1 RY0 RZ3 RY1 RY2 RY3 RZ1 CNOT1-0 RZ1 "
    "RY0 CNOT2-3 CNOT3-0 RX2 CNOT0-3 RZ3 CNOT1-2 CNOT1-0 RZ0 RY0 RX1 RZ0 CNOT0-1 RX2",
    10: "RX3 RZ5 RX5 RX7 RY4 RX8 RX4 CNOT2-7 RX1 RX2 RY8 RY1 RX1 RZ1 CNOT0-2 RX2 RX1 RY2 CNOT3-4 "
    "RX6 RY1 RY0 RX2 RY6 RY0 CNOT1-0 RX4 RZ5 RZ7 RZ2 RY9 CNOT0-5 RX7 RX4 RY8 CNOT8-2 RZ2 RY2 "
    "CNOT9-0 RY0 CNOT0-1 RX7 RY5 RZ4 RX7 RX3 RY1 CNOT3-9 RX3 CNOT3-2",
}
SETS = {
    4: "RX0 RY1 RZ3 CRX0-2 H3 SX2 CNOT3-0",
    10: "RX0 RY1 RZ3 CRX0-2 RX2 RY3 RZ5 CRX2-4 RX4 RY5 RZ7 CRX4-6 RX6 RY7 RZ9 CRX6-8 "
    "H3 SX2 CNOT3-0 H5 SX4 CNOT5-2 H7 SX6 CNOT7-4 H9 SX8 CNOT9-6",
}


def _written(circuit: Circuit) -> str:
    names = {"CX": "CNOT"}
    return " ".join(
        names.get(gate, gate.upper()) + "-".join(map(str, wires))
        for gate, wires in zip(circuit.gates, circuit.wires, strict=True)
    )


def _in_order(circuit: Circuit) -> bool:
    return [p for ps in circuit.params for p in ps] == list(range(circuit.n_params))


@pytest.mark.parametrize(("n_qubits", "n_random", "n_params"), [(4, 35, 39), (10, 40, 56)])
def test_the_circuit_of_the_paper(n_qubits, n_random, n_params):
    circuit = circuits.paper(n_qubits)
    assert _written(circuit) == f"{RANDOM_LAYER[n_qubits]} {SETS[n_qubits]}"
    assert (circuit.n_qubits, circuit.n_params) == (n_qubits, n_params)
    assert _in_order(circuit)
    random_layer = circuits.random_layer(n_qubits)
    assert _written(random_layer) == RANDOM_LAYER[n_qubits]
    assert random_layer.n_params == n_random


def test_random_layers_follow_the_seed_and_nothing_else():
    state = np.random.get_state()[1].copy()
    a, b = circuits.random_layer(3, 20, seed=1), circuits.random_layer(3, 20, seed=2)
    assert a == circuits.random_layer(3, 20, seed=1)
    assert a != b
    assert np.array_equal(np.random.get_state()[1], state)
    alone = circuits.random_layer(1, 30)
    assert len(alone) == 30
    assert "CX" not in alone.gates


@pytest.mark.parametrize(
    ("n_qubits", "depth", "ranges"), [(1, 2, None), (2, 3, None), (3, 4, None), (3, 2, (2, 1))]
)
def test_strongly_entangling_layers(n_qubits, depth, ranges):
    circuit = circuits.strongly_entangling(n_qubits, depth, ranges)
    angles = angles_of(circuit)
    theirs = qml.StronglyEntanglingLayers(
        angles.reshape(depth, n_qubits, 3), wires=range(n_qubits), ranges=ranges
    )
    expected = qml.matrix(theirs, wire_order=range(n_qubits))
    np.testing.assert_allclose(matrix(circuit, angles), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("n_qubits", "width", "expected"),
    [
        (6, 3, [(0, 1, 2), (3, 4, 5), (1, 2, 3), (4, 5, 0)]),
        (5, 4, [(0, 1, 2, 3), (2, 3, 4, 0)]),
        (3, 2, [(0, 1), (1, 2)]),
        (2, 5, [(0, 1), (1, 0)]),
        (1, 5, [(0,), (0,)]),
    ],
)
def test_bricks_are_strongly_entangling_layers_on_some_wires(n_qubits, width, expected):
    circuit = circuits.brickwork(n_qubits, 2, width=width, layers=2)
    angles = angles_of(circuit)
    brick = circuits.strongly_entangling(len(expected[0]), 2)
    total, used = np.eye(2**n_qubits), 0
    for wires in expected:
        theirs = qml.StronglyEntanglingLayers(
            angles[used : used + brick.n_params].reshape(2, len(wires), 3), wires=wires
        )
        total = qml.matrix(theirs, wire_order=range(n_qubits)) @ total
        used += brick.n_params
    assert used == circuit.n_params
    np.testing.assert_allclose(matrix(circuit, angles), total, atol=1e-12)


@pytest.mark.parametrize(
    ("n_qubits", "depth", "rotation"), [(1, 2, "Rx"), (2, 2, "Ry"), (3, 2, "Rz")]
)
def test_basic_entangler_layers(n_qubits, depth, rotation):
    circuit = circuits.basic_entangler(n_qubits, depth, rotation)
    angles = angles_of(circuit)
    theirs = qml.BasicEntanglerLayers(
        angles.reshape(depth, n_qubits),
        wires=range(n_qubits),
        rotation=getattr(qml, rotation.upper()),
    )
    expected = qml.matrix(theirs, wire_order=range(n_qubits))
    np.testing.assert_allclose(matrix(circuit, angles), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("n_qubits", "pattern", "expected"),
    [
        (4, "line", [(0, 1), (1, 2), (2, 3)]),
        (4, "ring", [(0, 1), (1, 2), (2, 3), (3, 0)]),
        (2, "ring", [(0, 1)]),
        (1, "ring", []),
        (5, "brick", [(0, 1), (2, 3), (1, 2), (3, 4)]),
        (3, "all", [(0, 1), (0, 2), (1, 2)]),
    ],
)
def test_patterns_of_hardware_efficient_circuits(n_qubits, pattern, expected):
    circuit = circuits.hardware_efficient(n_qubits, 1, pattern=pattern)
    rotations = 2 * n_qubits
    assert _written(circuit).split()[:rotations] == [
        f"{name}{wire}" for name in ("RY", "RZ") for wire in range(n_qubits)
    ]
    assert list(circuit.wires[rotations:]) == expected
    assert set(circuit.gates[rotations:]) <= {"CX"}
    assert (circuit.n_qubits, circuit.n_params) == (n_qubits, rotations)


def test_hardware_efficient_circuits_repeat_their_layer():
    layer = circuits.hardware_efficient(3, 1, rotations="Rx", entangler="CRz", pattern="line")
    assert _written(layer) == "RX0 RX1 RX2 CRZ0-1 CRZ1-2"
    assert layer.n_params == 5
    deep = circuits.hardware_efficient(3, 4, rotations="Rx", entangler="CRz", pattern="line")
    assert deep == layer.repeat(4)
    assert deep.repetition() == (layer, 4)
    closed = circuits.hardware_efficient(2, 2, final_rotations=True)
    assert _written(closed).endswith("CNOT0-1 RY0 RY1 RZ0 RZ1")
    assert closed.n_params == 12
    assert _in_order(closed)
