"""The gates are qujax's, and arrays serve as gates."""

import inspect
import pickle

import jax
import numpy as np
import pytest

from eqx_qdeq import Circuit, circuits
from eqx_qdeq.circuits import Unitary
from tests.circuits._tools import ARRAYS, default_promotion, qujax


@default_promotion()
def test_the_table_agrees_with_qujax():
    theirs = {}
    for name, gate in vars(qujax.gates).items():
        if name.startswith("_") or inspect.ismodule(gate):
            continue
        n_params = len(inspect.signature(gate).parameters) if callable(gate) else 0
        array = gate(*(0.1,) * n_params) if callable(gate) else gate
        assert isinstance(array, jax.Array)
        theirs[name] = circuits.GateInfo(int(np.log2(array.size)) // 2, n_params)
    assert theirs == dict(circuits.GATES)


def test_arrays_are_gates_by_value():
    array = ARRAYS[2]
    flat = Circuit([array], [[0, 1]], [[]])
    tensor = Circuit([array.reshape(2, 2, 2, 2)], [[0, 1]], [[]])
    copied = Circuit([jax.numpy.asarray(array)], [[0, 1]], [[]])  # rounded, if in float32
    assert flat == tensor
    assert hash(flat) == hash(tensor)
    assert np.abs(np.asarray(copied.gates[0]) - array).max() < 1e-6
    assert flat != Circuit([array.T], [[0, 1]], [[]])
    # A circuit keeps its own copy.
    changed = array.copy()
    kept = Circuit([changed], [[0, 1]], [[]])
    changed[0, 0] = 7
    assert kept == flat


def test_unitaries():
    z, negative = Unitary([[1, 0], [0, -1]]), Unitary([[1, -0.0], [-0.0, -1]])
    assert z == negative
    assert hash(z) == hash(negative)
    assert z.adjoint() == z
    assert hash(z.adjoint()) == hash(z)
    assert z != "Z"
    for unitary in (z, pickle.loads(pickle.dumps(z))):
        assert unitary == z
        assert np.asarray(unitary, np.complex64).dtype == np.complex64
        with pytest.raises(ValueError, match="read-only"):
            np.asarray(unitary)[0, 0] = 0
        with pytest.raises(AttributeError, match="unitaries are immutable"):
            unitary._array = np.eye(2)
    assert repr(z) == "Unitary([[(1+0j), 0j], [0j, (-1+0j)]])"
    assert np.array_equal(eval(repr(z), {"Unitary": Unitary}), z)
    assert (Unitary(ARRAYS[2]).n_wires, z.n_wires) == (2, 1)
