"""Noise models of Qiskit Aer, read and evaluated, against Aer's own density matrices."""

import jax.numpy as jnp
import numpy as np
import pytest

from eqx_qdeq import Circuit, circuits, noise, Probabilities
from eqx_qdeq.circuits import QISKIT_NAMES, to_qiskit

aer = pytest.importorskip("qiskit_aer.noise", reason='pip install ".[qiskit]"')
from qiskit import QuantumCircuit  # noqa: E402
from qiskit.quantum_info import DensityMatrix, SuperOp  # noqa: E402
from qiskit_aer import AerSimulator  # noqa: E402

CIRCUIT = Circuit(
    ["H", "CX", "Rx", "CX", "SX"], [[0], [0, 1], [2], [2, 0], [1]], [[], [], [0], [], []]
)


def of_aer(circuit: QuantumCircuit, model: object, qubits: list[int]) -> np.ndarray:
    """The probabilities of the outcomes by Aer, our wire 0 the most significant bit."""
    circuit = circuit.copy()
    circuit.save_probabilities(qubits[::-1])  # its last qubit is the most significant bit
    simulator = AerSimulator(method="density_matrix", noise_model=model)
    return np.array(simulator.run(circuit).result().data()["probabilities"])


def of_ours(circuit: Circuit, angles: np.ndarray, model: noise.NoiseModel) -> np.ndarray:
    state = jnp.zeros(2**circuit.n_qubits, complex).at[0].set(1)
    return noise.density_values(circuit, jnp.asarray(angles), Probabilities(), model, state)


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
    qubits = [4, 7, 1]  # our wires 0, 1, 2
    circuit = QuantumCircuit(8)
    circuit.h(4)
    circuit.cx(4, 7)
    circuit.rx(0.7, 1)
    circuit.cx(1, 4)
    circuit.sx(7)
    model = aer_model(local)
    clean = of_aer(circuit, model, qubits)
    imported = noise.from_aer(model, qubits)
    assert imported.readout is not None
    expected = imported.readout.on_probabilities(jnp.asarray(clean))
    np.testing.assert_allclose(of_ours(CIRCUIT, [0.7], imported), expected, atol=1e-6)
    rates = {False: ((0.02,) * 3, (0.1,) * 3), True: ((0.02, 0.1, 0.02), (0.1, 0.0, 0.1))}[local]
    np.testing.assert_allclose(imported.readout.rates(3), rates, atol=1e-7)


def test_every_gate_has_the_error_of_what_is_written_for_it():
    """Each name with an error of its own, not the same on all qubits of the gate."""
    model, rng, errors = aer.NoiseModel(), np.random.default_rng(0), {}
    for gate, (name, *_) in QISKIT_NAMES.items():
        if name in errors:
            continue
        # Its qubits are told apart: amplitude damping of the first, flips of the others.
        error = aer.amplitude_damping_error(rng.uniform(0.05, 0.2))
        for other in rng.uniform(0.01, 0.1, circuits.GATES[gate].n_wires - 1):
            error = error.expand(aer.pauli_error([("Y", other), ("I", 1 - other)]))
        spread = aer.depolarizing_error(rng.uniform(0.01, 0.1), error.num_qubits)
        errors[name] = error.compose(spread)
        model.add_all_qubit_quantum_error(errors[name], [name])
    gates = list(QISKIT_NAMES)
    wires = [rng.permutation(3)[: circuits.GATES[gate].n_wires] for gate in gates]
    sizes = [circuits.GATES[gate].n_params for gate in gates]
    params = [range(end - size, end) for end, size in zip(np.cumsum(sizes), sizes, strict=True)]
    circuit = Circuit(gates, wires, params, 3)
    angles = rng.uniform(-3, 3, circuit.n_params)
    # (Aer itself runs not all of the gates. The errors follow the gates of their names.)
    written = to_qiskit(circuit, angles)
    state = DensityMatrix.from_label("000")
    for step in written.data:
        qubits = [written.find_bit(qubit).index for qubit in step.qubits]
        state = state.evolve(step.operation, qubits)
        state = state.evolve(SuperOp(errors[step.operation.name]), qubits)
    expected = state.reverse_qargs().probabilities()
    found = of_ours(circuit, angles, noise.from_aer(model))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    clean = of_ours(circuit, angles, noise.NoiseModel())
    assert np.abs(clean - expected).max() > 0.05


def test_readout_errors_of_several_qubits():
    one, two = [[0.98, 0.02], [0.1, 0.9]], [[0.95, 0.05], [0.03, 0.97]]
    model = aer.NoiseModel()
    # Aer writes the last qubit's factor first.
    model.add_readout_error(aer.ReadoutError(np.kron(two, one)), [3, 5])
    found = noise.from_aer(model, [5, 0, 3]).readout
    np.testing.assert_allclose(found.rates(3), [(0.05, 0, 0.02), (0.03, 0, 0.1)], atol=1e-7)
    both = np.array([[0.9, 0, 0, 0.1], [0, 1, 0, 0], [0, 0, 1, 0], [0.2, 0, 0, 0.8]])
    for qubits in ([0, 1], [0, 1, 2]):
        model = aer.NoiseModel()
        matrix = both if len(qubits) == 2 else np.kron(one, both)
        model.add_readout_error(aer.ReadoutError(matrix), qubits)
        with pytest.raises(ValueError, match="the readout error of qubits .0, 1.* depends on"):
            noise.from_aer(model, [0, 1, 2])
        with pytest.warns(UserWarning, match="the readout error of qubits"):
            assert noise.from_aer(model, [0, 1, 2], strict=False).readout is None
        assert noise.from_aer(model, [4, 5]).readout is None  # not of our qubits


def test_what_has_no_counterpart_is_listed():
    model = aer.NoiseModel()
    flip = aer.pauli_error([("X", 0.1), ("I", 0.9)])
    model.add_all_qubit_quantum_error(aer.depolarizing_error(0.1, 2), ["rzx", "cx", "custom"])
    model.add_all_qubit_quantum_error(flip, ["measure", "crx", "u", "id"])
    model.add_all_qubit_quantum_error(aer.depolarizing_error(0.2, 1), ["u3"])
    model.add_quantum_error(flip, ["pulse"], [1])
    model.add_quantum_error(flip, ["pulse_of_other_qubits"], [2])
    model._custom_noise_passes.append(aer.RelaxationNoisePass([50.0], [50.0]))
    with pytest.raises(ValueError) as caught:
        noise.from_aer(model, [0, 1])
    message = str(caught.value)
    for part in ("'rzx'", "'custom'", "'measure'", "'pulse'", "RelaxationNoisePass"):
        assert part in message
    assert "errors on 'u3' that 'u' does not have: both are U3" in message
    assert "the error on 'crx', which acts on 1 qubits, and the gate on 2" in message
    assert "other_qubits" not in message
    with pytest.warns(UserWarning) as warned:
        imported = noise.from_aer(model, [0, 1], strict=False)
    assert "'custom'" in str(warned[0].message)
    assert {each.gate for each in imported.overrides} >= {"CX", "I", "U3"}
    assert not {"CRx", "CV"} & {each.gate for each in imported.overrides}


def test_what_cannot_happen_is_left_out():
    """Circuits here have neither resets nor delays, of which every device's model has errors."""
    model = aer.NoiseModel()
    flip = aer.pauli_error([("X", 0.1), ("I", 0.9)])
    model.add_all_qubit_quantum_error(flip, ["reset", "delay"])
    assert noise.from_aer(model).overrides == ()
    fake = pytest.importorskip("qiskit_ibm_runtime.fake_provider", reason='pip install ".[qiskit]"')
    device = aer.NoiseModel.from_backend(fake.FakeManilaV2())
    imported = noise.from_aer(device, [0, 1])
    assert {each.gate for each in imported.overrides} == {"I", "SX", "X", "CX"}
    assert np.all(np.asarray(imported.readout.rates(2)) > 0)


def test_what_is_refused():
    with pytest.raises(ValueError, match="qubits="):
        noise.from_aer(aer_model(True))
    with pytest.raises(TypeError, match="NoiseModel"):
        noise.from_aer(noise.NoiseModel())
    for qubits in ([0, 0], [-1, 0]):
        with pytest.raises(ValueError, match="must be different qubits"):
            noise.from_aer(aer_model(True), qubits)
