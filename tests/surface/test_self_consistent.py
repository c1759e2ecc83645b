"""What a self-consistent cell takes, and what it says about the rest."""

import re

import jax.numpy as jnp
import numpy as np
import pytest

import eqx_qdeq as qdeq
from eqx_qdeq import Circuit, PauliSum

LAYER = qdeq.QuantumLayer(
    Circuit(["Ry"], [[0]], [[0]]), qdeq.AmplitudeEncoding(), qdeq.PauliZ(), angles=np.array([0.5])
)
ENERGY = lambda m, h: PauliSum({"X0": -h, "Z0": -4 * m[0]})


def test_the_pair_is_ten_lines_and_finds_its_magnetization():
    circuit = Circuit(
        ["Ry", "Ry", "CX", "Ry", "Ry"], [[0], [1], [0, 1], [0], [1]], [[0], [1], [], [2], [3]]
    )
    m = PauliSum({"Z0": 0.5, "Z1": 0.5})
    layer = qdeq.QuantumLayer(
        circuit, qdeq.AmplitudeEncoding(), m, angles=np.array([0.5, 0.3, 0.2, 0.1])
    )

    def energy(m, h):
        field = -3 * m[0]
        return PauliSum({"Z0 Z1": -1.0, "X0": -h, "X1": -h, "Z0": field, "Z1": field})

    deq = qdeq.DEQ(qdeq.SelfConsistentCell(layer, energy))
    solution = deq.solve(2)
    assert solution.success
    np.testing.assert_allclose(abs(solution.value.fields[0]), 0.862356, atol=1e-3)


@pytest.mark.parametrize(
    ("energy", "error", "words"),
    [
        (lambda m, h: PauliSum(["X0", "Z0"], np.eye(2)), ValueError, "one observable"),
        (lambda m, h: h * m[0], TypeError, "one observable"),
        (lambda m, h: PauliSum({"X3": h}), ValueError, "wire 3"),
    ],
)
def test_an_energy_is_one_observable_of_the_circuits_wires(energy, error, words):
    with pytest.raises(error, match=words):
        qdeq.DEQ(qdeq.SelfConsistentCell(LAYER, energy))(2.0)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"layer": 3}, TypeError, "a QuantumLayer"),
        ({"energy": 3}, TypeError, "(energy=...)` must be a function"),
        ({"features": 3}, TypeError, "(features=...)` must be a function"),
        ({"layer": LAYER.replace(encoding=qdeq.AngleEncoding())}, TypeError, "is missing"),
        (
            {"layer": LAYER.replace(circuit=Circuit(["H"], [[0]], [[]]), angles=jnp.zeros(0))},
            ValueError,
            "without angles",
        ),
        ({"step_size": 0.0}, ValueError, "step_size"),
        ({"metric_shift": -1.0}, ValueError, "metric_shift"),
    ],
)
def test_what_makes_no_cell(changes, error, words):
    with pytest.raises(error, match=re.escape(words)):
        qdeq.SelfConsistentCell(**({"layer": LAYER, "energy": ENERGY} | changes))


def test_a_guess_is_a_pair_of_fields_and_angles():
    deq = qdeq.DEQ(qdeq.SelfConsistentCell(LAYER, ENERGY))
    with pytest.raises(ValueError, match="`z0` must be like"):
        deq(2.0, z0=np.zeros(2))
    down = qdeq.SelfConsistentState(fields=np.array([-0.5]), angles=np.array([2.0]))
    np.testing.assert_allclose(deq(2.0, z0=down).fields, -np.sqrt(0.75), atol=1e-3)
