"""Circuits are values, and putting them together obeys the laws one expects."""

import copy
import json
import pickle

import jax
import numpy as np
import pytest
from hypothesis import settings, strategies as st

from eqx_qdeq import Circuit, circuits
from tests.circuits._tools import angles_of, any_circuit, ARRAYS, given, matrix, tilted

same_width = any_circuit(n_qubits=2, max_gates=4)


@given(any_circuit(), any_circuit(), any_circuit())
def test_composition_is_associative(a, b, c):
    assert (a + b) + c == a + (b + c)
    assert len(a + b) == len(a) + len(b)
    assert (a + b).n_params == a.n_params + b.n_params
    assert (a + b).n_qubits == max(a.n_qubits, b.n_qubits)


@given(any_circuit())
def test_a_circuit_without_gates_is_neutral(c):
    nothing = Circuit([], [], [], n_qubits=c.n_qubits)
    assert nothing + c == c
    assert c + nothing == c
    assert nothing
    assert len(nothing) == 0


@given(same_width, same_width)
@settings(max_examples=10)
def test_the_first_summand_acts_first(a, b):
    x, y = angles_of(a, 1), angles_of(b, 2)
    both = matrix(a + b, np.concatenate([x, y]))
    np.testing.assert_allclose(both, matrix(b, y) @ matrix(a, x), atol=1e-12)


@given(any_circuit(), st.integers(1, 4))
def test_repeating_is_adding(c, k):
    total = c
    for _ in range(k - 1):
        total = total + c
    assert c.repeat(k) == total
    assert c.repeat(k, tied=True).n_params == c.n_params


@given(same_width)
@settings(max_examples=10)
def test_tied_repetitions_share_their_angles(c):
    angles = angles_of(c)
    power = np.linalg.matrix_power(matrix(c, angles), 3)
    np.testing.assert_allclose(matrix(c.repeat(3, tied=True), angles), power, atol=1e-12)


@given(any_circuit())
@settings(max_examples=40)
def test_inverse_undoes(c):
    angles = angles_of(c)
    back = matrix(c.inverse(), angles) @ matrix(c, angles)
    np.testing.assert_allclose(back, np.eye(2**c.n_qubits), atol=1e-12)


@given(any_circuit(), any_circuit())
def test_inverse_of_a_sum(a, b):
    x, y = angles_of(a, 1), angles_of(b, 2)
    n = max(a.n_qubits, b.n_qubits)
    wide = [c + Circuit([], [], [], n) for c in (a, b)]
    expected = matrix(wide[0].inverse(), x) @ matrix(wide[1].inverse(), y)
    found = matrix((a + b).inverse(), np.concatenate([x, y]))
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("gate", [*circuits.GATES, ARRAYS[2], tilted], ids=lambda g: str(g)[:9])
def test_each_gate_is_undone_and_done_again(gate):
    n_wires, n_params = 2, 0
    if isinstance(gate, str):
        n_wires, n_params = circuits.GATES[gate].n_wires, circuits.GATES[gate].n_params
    elif gate is tilted:
        n_wires, n_params = 1, 2
    arguments = [gate], [range(n_wires)], [range(n_params)]
    plain = Circuit(*arguments)
    turned = Circuit(*arguments, scales=[[-0.5] * n_params], offsets=[[0.25] * n_params])
    for c in (plain, turned):
        angles = angles_of(c)
        undone = matrix(c.inverse(), angles) @ matrix(c, angles)
        np.testing.assert_allclose(undone, np.eye(2**n_wires), atol=1e-12)
    assert plain.inverse().inverse() == plain
    assert hash(plain.inverse().inverse()) == hash(plain)


@given(any_circuit(), st.data())
def test_halves_compose_to_the_whole(c, data):
    position = data.draw(st.integers(0, len(c)))
    (first, of_first), (second, of_second) = c.split(position)
    assert len(first) == position
    assert (first.n_qubits, second.n_qubits) == (c.n_qubits, c.n_qubits)
    assert set(of_first) | set(of_second) == set(range(c.n_params))
    assert first.gates + second.gates == c.gates
    angles = angles_of(c)
    halves = [
        matrix(half, angles[np.array(indices, int)])
        for half, indices in ((first, of_first), (second, of_second))
    ]
    np.testing.assert_allclose(halves[1] @ halves[0], matrix(c, angles), atol=1e-12)


@given(any_circuit(max_gates=4), st.integers(1, 6))
def test_repetition_reproduces(c, k):
    whole = c.repeat(k)
    block, times = whole.repetition()
    assert block.repeat(times) == whole
    if len(c) > 0:
        assert len(block) <= len(c)
    assert block.repetition() == (block, 1)  # the shortest block repeats nothing


def test_repetition_of_written_circuits():
    layer = Circuit(["Ry", "Ry", "CX"], [[0], [1], [0, 1]], [[0], [1], []])
    assert layer.repeat(6).repetition() == (layer, 6)
    assert layer.repetition() == (layer, 1)
    # Shared parameters, another order of them, or one gate too many: not a repetition.
    tied = layer.repeat(3, tied=True)
    assert tied.repetition() == (tied, 1)
    crossed = Circuit(["Ry", "Ry"], [[0], [0]], [[1], [0]])
    assert crossed.repetition() == (crossed, 1)
    longer = layer.repeat(2) + Circuit(["H"], [[0]], [[]])
    assert longer.repetition() == (longer, 1)
    turned = Circuit(["Ry", "Ry"], [[0], [0]], [[0], [1]], scales=[[1], [-1]])
    assert turned.repetition() == (turned, 1)
    # Without parameters, and with parameters that are not in order within a block.
    assert Circuit(["H"] * 4, [[0]] * 4, [[]] * 4).repetition() == (Circuit(["H"], [[0]], [[]]), 4)
    swapped = Circuit(["Ry", "Rz"], [[0], [0]], [[1], [0]])
    assert swapped.repeat(5).repetition() == (swapped, 5)


@given(any_circuit(functions=False))
def test_written_to_json_and_back(c):
    assert Circuit.from_dict(json.loads(json.dumps(c.to_dict()))) == c


def test_arrays_are_written_to_json_too():
    matrix = np.array([[1, 1j], [1j, 1]]) / np.sqrt(2)
    c = Circuit([matrix, "H"], [[1], [0]], [[], []])
    assert Circuit.from_dict(json.loads(json.dumps(c.to_dict()))) == c


def test_what_is_no_circuit_is_not_equal_and_not_added():
    c = Circuit(["H"], [[0]], [[]])
    assert c != "H"
    with pytest.raises(TypeError, match="unsupported operand"):
        c + "H"


def test_functions_of_unknown_signature_are_taken():
    assert Circuit([max], [[0]], [[0, 1]]).n_params == 2  # `max` has none that Python knows


@given(any_circuit())
def test_equal_circuits_hash_alike_and_survive_copies(c):
    again = Circuit(c.gates, c.wires, c.params, c.n_qubits, scales=c.scales, offsets=c.offsets)
    for other in (again, copy.copy(c), copy.deepcopy(c), pickle.loads(pickle.dumps(c))):
        assert other == c
        assert hash(other) == hash(c)
    assert c != Circuit(c.gates, c.wires, c.params, 4, scales=c.scales, offsets=c.offsets)


def test_circuits_that_differ_in_anything_differ():
    base = Circuit(["Ry"], [[0]], [[0]], 2)
    others = [
        Circuit(["Rx"], [[0]], [[0]], 2),
        Circuit(["Ry"], [[1]], [[0]], 2),
        Circuit(["Ry"], [[0]], [[0]], 3),
        Circuit(["Ry"], [[0]], [[0]], 2, scales=[[2]]),
        Circuit(["Ry"], [[0]], [[0]], 2, offsets=[[1]]),
        Circuit([np.eye(2)], [[0]], [[]], 2),
    ]
    assert len({base, *others}) == 1 + len(others)
    assert base != "Ry"


def test_input_may_be_lists_tuples_arrays_and_none():
    a = Circuit(["Rx", "CX"], [[0], [0, 1]], [[0], None])
    b = Circuit(("Rx", "CX"), ((np.int64(0),), range(2)), [np.array([0]), np.array([], int)])
    c = Circuit(iter(["Rx", "CX"]), [np.array([0]), np.array([0, 1])], [(0,), []], 2)
    assert a == b == c
    assert (a.gates, a.wires, a.params) == (("Rx", "CX"), ((0,), (0, 1)), ((0,), ()))
    assert (a.scales, a.offsets, a.n_qubits, a.n_params) == (((1.0,), ()), ((0.0,), ()), 2, 1)


def test_circuits_are_immutable():
    c = circuits.paper(4)
    with pytest.raises(AttributeError, match="circuits are immutable; make a new one"):
        c.n_qubits = 5
    with pytest.raises(AttributeError, match="circuits are immutable; make a new one"):
        del c.gates


def test_a_static_argument_under_jit_is_traced_once():
    traces = []

    def count(c, x):
        traces.append(c)
        return x * c.n_params

    f = jax.jit(count, static_argnums=0)
    f(circuits.paper(4), 1.0)
    f(circuits.paper(4), 2.0)
    assert len(traces) == 1
    f(circuits.paper(10), 2.0)
    assert len(traces) == 2


def test_repr_is_short():
    assert repr(circuits.paper(10)) == "<Circuit: 10 wires, 78 gates, 56 parameters, depth 21>"
