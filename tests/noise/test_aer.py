"""Noise models of Qiskit Aer, read and evaluated, against Aer's own density matrices."""

import jax.numpy as jnp
import numpy as np
import pytest

from eqx_qdeq import Circuit, noise, Probabilities

aer = pytest.importorskip("qiskit_aer.noise", reason='pip install "eqx-qdeq[qiskit]"')

CIRCUIT = Circuit(
    ["H", "CX", "Rx", "CX", "SX"], [[0], [0, 1], [2], [2, 0], [1]], [[], [], [0], [], []]
)


def aer_model(local: bool) -> object:
    model = aer.NoiseModel()
    model.add_all_qubit_quantum_error(aer.depolarizing_error(0.05, 2), ["cx"])
    damping = aer.thermal_relaxation_error(50.0, 70.0, 10.0)
    model.add_all_qubit_quantum_error(damping, ["h", "rx", "sx"])
    model.add_all_qubit_readout_error(aer.ReadoutError([[0.98, 0.02], [0.1, 0.9]]))
    if local:
        pair = aer.amplitude_damping_error(0.2).tensor(aer.phase_damping_error(0.3))
        model.add_quantum_error(pair, ["cx"], [4, 7])
        model.add_readout_error(aer.ReadoutError([[0.9, 0.1], [0.0, 1.0]]), [7])
    return model


@pytest.mark.parametrize("local", [False, True])
def test_aer_agrees(local: bool):
    from qiskit import QuantumCircuit
    from qiskit_aer import AerSimulator

    qubits = [4, 7, 1]  # our wires 0, 1, 2
    circuit = QuantumCircuit(8)
    circuit.h(4)
    circuit.cx(4, 7)
    circuit.rx(0.7, 1)
    circuit.cx(1, 4)
    circuit.sx(7)
    model = aer_model(local)
    circuit.save_probabilities(qubits[::-1])  # its last qubit is the most significant bit
    simulator = AerSimulator(method="density_matrix", noise_model=model)
    clean = np.array(simulator.run(circuit).result().data()["probabilities"])
    imported = noise.from_aer(model, qubits)
    assert imported.readout is not None
    expected = imported.readout.on_probabilities(jnp.asarray(clean))
    state = jnp.zeros(8, complex).at[0].set(1)
    got = noise.density_values(CIRCUIT, jnp.array([0.7]), Probabilities(), imported, state)
    np.testing.assert_allclose(got, expected, atol=1e-6)
    rates = {False: ((0.02,) * 3, (0.1,) * 3), True: ((0.02, 0.1, 0.02), (0.1, 0.0, 0.1))}[local]
    np.testing.assert_allclose(imported.readout.rates(3), rates, atol=1e-7)


def test_what_cannot_be_read():
    with pytest.raises(ValueError, match="qubits="):
        noise.from_aer(aer_model(True))
    with pytest.raises(TypeError, match="NoiseModel"):
        noise.from_aer(noise.NoiseModel())
    model = aer.NoiseModel()
    model.add_all_qubit_quantum_error(aer.depolarizing_error(0.1, 1), ["reset"])
    assert noise.from_aer(model).overrides == ()
