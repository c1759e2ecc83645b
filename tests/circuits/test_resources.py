"""Resources are counted as PennyLane counts them."""

import dataclasses

import pennylane as qml
import pytest

from eqx_qdeq import Circuit, circuits
from tests._pennylane import apply
from tests.circuits._tools import angles_of, any_circuit, given


@given(any_circuit(functions=False))
def test_as_pennylane_counts(c):
    named = [g for g, gate in enumerate(c.gates) if isinstance(gate, str)]
    named = [g for g in named if not c.gates[g].startswith("Phased")]  # several gates there
    c = Circuit(
        [c.gates[g] for g in named],
        [c.wires[g] for g in named],
        [tuple(range(len(c.params[g]))) for g in named],
        c.n_qubits,
    )
    angles = angles_of(c)
    with qml.queuing.AnnotatedQueue() as queue:
        apply(c, angles)
    theirs = qml.tape.QuantumScript.from_queue(queue).specs["resources"]
    ours = c.resources()
    assert ours.depth == theirs.depth
    assert ours.n_gates == theirs.num_gates == sum(ours.gate_counts.values())
    assert ours.n_two_qubit == theirs.gate_sizes.get(2, 0)
    assert ours.n_params == c.n_params


@given(any_circuit())
def test_two_qubit_depth_is_the_depth_of_the_two_qubit_gates(c):
    two = [g for g in range(len(c)) if len(c.wires[g]) == 2]
    only = Circuit(["CX"] * len(two), [c.wires[g] for g in two], [[]] * len(two), c.n_qubits)
    assert c.resources().two_qubit_depth == only.resources().depth
    assert c.resources().n_parametrized == sum(map(bool, c.params))


def test_shared_parameters_count_once():
    found = Circuit(["Rx", "Ry"], [[0], [1]], [[0], [0]]).resources()
    assert (found.n_params, found.n_parametrized, found.depth) == (1, 2, 1)


def test_of_nothing():
    found = Circuit([], [], [], 3).resources()
    assert (found.n_qubits, found.n_gates, found.depth, found.gate_counts) == (3, 0, 0, {})


def test_the_papers_circuit_as_a_table():
    found = circuits.paper(10).resources()
    assert found == circuits.paper(10).resources()
    assert hash(found) == hash(circuits.paper(10).resources())
    table = """
qubits              10
parameters          56
gates               78
  Rx                23
  Ry                18
  CX                14
  Rz                11
  CRx                4
  H                  4
  SX                 4
parametrized gates  56
two-qubit gates     18
depth               21
two-qubit depth     12
"""
    assert str(found) == table.strip()


def test_resources_are_frozen():
    found = circuits.paper(4).resources()
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.depth = 0
