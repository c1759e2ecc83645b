"""qujax applies our circuits, and we take its."""

import jax.numpy as jnp
import numpy as np
from hypothesis import settings

from eqx_qdeq import Circuit, circuits
from eqx_qdeq.circuits import InUnitsOfPi
from tests.circuits._tools import (
    angles_of,
    any_circuit,
    default_promotion,
    given,
    matrix,
    qujax,
)


@default_promotion()
def _by_qujax(circuit: Circuit, angles: np.ndarray) -> np.ndarray:
    function = qujax.get_params_to_unitarytensor_func(*circuit.to_qujax(), circuit.n_qubits)
    tensor = function(jnp.asarray(angles / np.pi, float)) if circuit.n_params else function()
    return np.asarray(tensor).reshape(2**circuit.n_qubits, -1)


def phase(a):
    """A function for qujax: of an angle in units of π."""
    return jnp.array([[1, 0], [0, jnp.exp(1j * jnp.pi * a)]])


@given(any_circuit(functions=False, max_gates=5))
@settings(max_examples=12)
def test_qujax_applies_our_circuits(tol, c):
    if len(c) == 0:
        return  # qujax knows no circuits without gates
    angles = angles_of(c)
    np.testing.assert_allclose(_by_qujax(c, angles), matrix(c, angles), atol=tol)


def tilted(a, b):
    """A function for us: of angles in radians."""
    return qujax.gates.Rz(b / jnp.pi) @ qujax.gates.Ry(a / jnp.pi)


def test_functions_are_called_with_radians(tol):
    c = Circuit([tilted], [[0]], [[1, 0]], scales=[[2, 1]], offsets=[[0, 0.1]])
    named = Circuit(["Ry", "Rz"], [[0], [0]], [[1], [0]], scales=[[2], [1]], offsets=[[0], [0.1]])
    angles = np.array([0.3, 0.4])
    np.testing.assert_allclose(_by_qujax(c, angles), matrix(named, angles), atol=tol)
    np.testing.assert_allclose(
        _by_qujax(c.inverse(), angles), matrix(named, angles).conj().T, atol=tol
    )


@given(any_circuit())
def test_to_qujax_and_back(c):
    assert Circuit.from_qujax(*c.to_qujax(), c.n_qubits) == c


@default_promotion()
def test_circuits_of_qujax(tol):
    # Named by a string or by the function itself, as an array, and as a function of one's own.
    gates = ["H", qujax.gates.Rx, np.asarray(qujax.gates.CX), phase, "Ry"]
    wires = [[0], [0], [0, 1], [1], [1]]
    params = [None, [0], [], [1], np.array([2])]
    ours = Circuit.from_qujax(gates, wires, params)
    assert ours.gates[1] == "Rx"
    assert ours.gates[3] == InUnitsOfPi(phase)
    units = np.array([0.1, 0.2, 0.3])
    # (Recent releases of JAX refuse the `None` that qujax allows.)
    function = qujax.get_params_to_unitarytensor_func(gates, wires, [[], *params[1:]], 2)
    theirs = function(jnp.asarray(units))
    named = Circuit(["H", "Rx", "CX", "U1", "Ry"], wires, params)
    expected = matrix(named, np.pi * units)
    np.testing.assert_allclose(np.asarray(theirs).reshape(4, 4), expected, atol=tol)
    np.testing.assert_allclose(_by_qujax(ours, np.pi * units), expected, atol=tol)
    undone = _by_qujax(ours.inverse(), np.pi * units)
    np.testing.assert_allclose(undone, expected.conj().T, atol=tol)
    back, *_ = ours.to_qujax()
    assert back[3] is phase
    nothing = Circuit.from_qujax([], [], [], 2)
    assert nothing == Circuit([], [], [], 2)


def test_describing_circuits_does_not_need_a_simulator():
    import subprocess
    import sys

    code = (
        "import importlib.util, sys, types\n"
        "package = types.ModuleType('eqx_qdeq')\n"
        f"package.__path__ = [{str(circuits.__path__[0])!r} + '/..']\n"
        "sys.modules['eqx_qdeq'] = package\n"
        "from eqx_qdeq import circuits\n"
        "circuits.paper(4).inverse().to_dict()\n"
        "assert 'jax' not in sys.modules and 'qujax' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
