"""Trajectories, whose means are the density matrix's values and gradients."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eqx_qdeq import Circuit, Hermitian, noise, PauliStrings, PauliZ, Probabilities
from eqx_qdeq.noise import values_with_readout

pytestmark = pytest.mark.usefixtures("once")

CIRCUIT = Circuit(
    ["Rx", "Ry", "CX", "CRx", "Rz", "CX"],
    [[0], [1], [0, 2], [2, 1], [0], [1, 0]],
    [[0], [1], [], [2], [3], []],
)
ANGLES = jnp.array([0.3, -1.1, 0.7, 2.0])
STATE = np.array([1, 2j, -1, 0.5, 1, 0, 3, 1j])
STATE = STATE / np.linalg.norm(STATE)
STRINGS = PauliStrings(["Z0", "X0 Y1"])


def model(rates: jax.Array) -> noise.NoiseModel:
    return noise.NoiseModel(
        one_wire=(noise.AmplitudeDamping(rates[0]), noise.PauliChannel(rates[1], 0.0, rates[1])),
        two_wire=(noise.Depolarizing(rates[2], 2), noise.ThermalRelaxation(50.0, 70.0, rates[3])),
        idle=(noise.Reset(rates[1]), noise.PhaseDamping(rates[0])),
        preparation=noise.PreparationNoise(two_wire=(noise.Depolarizing(rates[2], 2),)),
        readout=noise.ReadoutError(rates[1], 0.1),
    )


RATES = jnp.array([0.06, 0.03, 0.08, 4.0])


def density(angles: jax.Array, rates: jax.Array) -> jax.Array:
    return noise.density_values(CIRCUIT, angles, STRINGS, model(rates), jnp.asarray(STATE))


def test_values_and_gradients_are_within_three_standard_errors():
    def first(parameters, key):
        values, errors = noise.trajectory_values(
            CIRCUIT, parameters[0], STRINGS, model(parameters[1]), jnp.asarray(STATE), key=key,
            n_trajectories=100,
        )  # fmt: skip
        return values[1], (values, errors)

    keys = jax.random.split(jax.random.key(3), 60)
    gradient = jax.vmap(jax.grad(first, has_aux=True), (None, 0))
    (of_angles, of_rates), (values, errors) = jax.jit(gradient)((ANGLES, RATES), keys)
    means = [values, of_angles, of_rates]
    slopes = jax.jit(jax.grad(lambda *p: density(*p)[1], (0, 1)))(ANGLES, RATES)
    exact = [jax.jit(density)(ANGLES, RATES), *slopes]
    for drawn, true in zip(means, exact, strict=True):
        error = np.std(drawn, axis=0, ddof=1) / np.sqrt(len(keys))
        assert np.all(np.abs(np.mean(drawn, axis=0) - true) < 3 * error)
        assert np.all(error < 0.1)
    # What a call says about its own error is the spread over calls.
    np.testing.assert_allclose(np.mean(errors, 0), np.std(values, axis=0, ddof=1), rtol=0.3)


def test_without_noise_a_trajectory_is_the_state(tol: float):
    mean, error = noise.trajectory_values(
        CIRCUIT, ANGLES, STRINGS, noise.NoiseModel(), jnp.asarray(STATE), key=jax.random.key(0),
        n_trajectories=2,
    )  # fmt: skip
    expected = noise.density_values(
        CIRCUIT, ANGLES, STRINGS, noise.NoiseModel(), jnp.asarray(STATE)
    )
    np.testing.assert_allclose(mean, expected, atol=tol)
    np.testing.assert_allclose(error, 0, atol=tol)


def test_twenty_wires_in_chunks():
    """The state is cos(t/2)|0⟩ + …, one wire noisy: ⟨Z⟩ = (1 - 2p) cos t, and 1 elsewhere."""
    circuit = Circuit(["Rx", "CX", "CX"], [[3], [3, 7], [3, 7]], [[0], [], []], n_qubits=20)
    flips = noise.NoiseModel(one_wire=(noise.BitFlip(0.3),))
    state = jnp.zeros(2**20, complex).at[0].set(1)

    @eqx.filter_jit
    def run(key):
        return noise.trajectory_values(
            circuit, jnp.array([0.5]), PauliZ((3, 7)), flips, state, key=key, n_trajectories=20
        )

    mean, error = run(jax.random.key(1))
    assert abs(mean[0] - 0.4 * np.cos(0.5)) < 3 * error[0] < 1
    assert mean[1] == pytest.approx(1, abs=1e-5)


def test_readout_of_a_state_is_that_of_its_density_matrix(tol: float):
    """Every kind of measurement, in the two forms that readout error takes."""
    readout = noise.ReadoutError((0.1, 0.0, 0.2), (0.05, 0.3, 0.0))
    empty = Circuit([], [], [], n_qubits=3)
    hermitian = Hermitian(np.kron([[1, 1j], [-1j, 0.5]], [[1, 2], [2, 0]]), [2, 0])
    for measurement in (PauliZ((2, 0)), STRINGS, Probabilities((1, 2)), Probabilities(), hermitian):
        got = values_with_readout(measurement, readout, jnp.asarray(STATE))
        model = noise.NoiseModel(readout=readout)
        state, angles = jnp.asarray(STATE), jnp.zeros(0)
        expected = noise.density_values(empty, angles, measurement, model, state)
        np.testing.assert_allclose(got, expected, atol=tol)


def test_one_trajectory_has_no_standard_error():
    with pytest.raises(ValueError, match="at least 2"):
        noise.trajectory_values(
            CIRCUIT, ANGLES, STRINGS, noise.NoiseModel(), jnp.asarray(STATE),
            key=jax.random.key(0), n_trajectories=1,
        )  # fmt: skip
