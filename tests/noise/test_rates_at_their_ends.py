"""Gradients in rates of 0 and 1 and at infinite times, against closed forms and one-sided
differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eqx_qdeq import Circuit, noise, PauliStrings

pytestmark = pytest.mark.float32

_ONE = {
    "depolarizing": noise.Depolarizing,
    "pauli x": lambda p: noise.PauliChannel(p, 0.0, 0.0),
    "pauli y": lambda p: noise.PauliChannel(0.0, p, 0.0),
    "pauli z": lambda p: noise.PauliChannel(0.0, 0.0, p),
    "bit flip": noise.BitFlip,
    "phase flip": noise.PhaseFlip,
    "amplitude damping": noise.AmplitudeDamping,
    "phase damping": noise.PhaseDamping,
    "reset": noise.Reset,
}
# ⟨Z⟩ of cos(θ/2)|0⟩ + sin(θ/2)|1⟩ afterwards, by textbook formulas, with z = cos θ.
_Z = {
    "depolarizing": lambda p, z: (1 - 4 * p / 3) * z,
    "pauli x": lambda p, z: (1 - 2 * p) * z,
    "pauli y": lambda p, z: (1 - 2 * p) * z,
    "pauli z": lambda p, z: z,
    "bit flip": lambda p, z: (1 - 2 * p) * z,
    "phase flip": lambda p, z: z,
    "amplitude damping": lambda p, z: (1 - p) * z + p,
    "phase damping": lambda p, z: z,
    "reset": lambda p, z: (1 - p) * z + p,
}


def _values(channel, theta):
    """⟨Z⟩ and ⟨X⟩ after Ry(θ)|0⟩ and a channel."""
    circuit = Circuit(["Ry"], [[0]], [[0]])
    model = noise.NoiseModel(one_wire=(channel,))
    start = jnp.array([1.0, 0.0], jnp.result_type(complex))
    return noise.density_values(circuit, theta, PauliStrings(["Z0", "X0"]), model, start)


@pytest.mark.parametrize("name", _ONE)
def test_z_of_a_wire_at_both_ends(name, tol):
    slope = jax.jit(jax.grad(lambda p, theta: _values(_ONE[name](p), theta)[0]))
    for theta in (jnp.pi, 0.4):
        for p in (0.0, 1.0):
            z = np.cos(theta)
            expected = _Z[name](1.0, z) - _Z[name](0.0, z)  # all are linear in p
            found = slope(jnp.array(p), jnp.array([theta]))
            np.testing.assert_allclose(found, expected, atol=10 * tol * 1e3 if p else 10 * tol)


@pytest.mark.parametrize("name", _ONE)
def test_x_of_a_wire_at_both_ends(name, x64):
    """Against one-sided differences; that of a square root is taken over one unit in the last
    place."""
    value = jax.jit(lambda p: _values(_ONE[name](p), jnp.array([0.4]))[1])
    slope = jax.jit(jax.grad(value))
    root = "damping" in name
    h = 1e-7 if x64 else 1e-3
    at_zero = (value(jnp.array(h)) - value(jnp.array(0.0))) / h
    np.testing.assert_allclose(slope(jnp.array(0.0)), at_zero, atol=1e-6 if x64 else 2e-3)
    step = float(jnp.finfo(jnp.result_type(float)).epsneg) if root else h
    at_one = (value(jnp.array(1.0)) - value(jnp.array(1 - step))) / step
    np.testing.assert_allclose(slope(jnp.array(1.0)), at_one, rtol=1e-5, atol=1e-6 if x64 else 2e-3)
    assert (abs(at_one) > 1e3) == root


@pytest.mark.parametrize("time", [0.0, 30.0, 1e4, 1e30, np.inf])
def test_relaxation_for_any_time(time, tol):
    """Of the channel and of its branches, in both times and the elapsed one."""

    def both(t1, t2, time):
        channel = noise.ThermalRelaxation(t1, t2, time)
        weights, operators = channel.branches()
        paulis = jnp.asarray(noise_paulis(), operators.dtype)
        return channel.transfer(), jnp.einsum(
            "k,iab,kbc,jcd,kad->ij",
            weights.astype(operators.dtype),
            paulis,
            operators,
            paulis,
            operators.conj(),
        ).real / 2

    for t1, t2 in ((50.0, 70.0), (50.0, 100.0)):
        rates = [jnp.array(v) for v in (t1, t2, time)]
        for found in both(*rates):
            phase, decay = np.exp(-time / t2), np.exp(-time / t1)
            expected = np.diag([1, phase, phase, decay])
            expected[3, 0] = 1 - decay
            np.testing.assert_allclose(found, expected, atol=10 * tol)
        slopes = jax.jit(jax.jacfwd(both, argnums=(0, 1, 2)))(*rates)
        if np.isinf(time):
            by = [0.0, 0.0, 0.0]
        else:
            by = [time / t1**2 * decay, time / t2**2 * phase, None]
        for slope in slopes:
            np.testing.assert_allclose(slope[0][3, 3], by[0], atol=10 * tol)
            np.testing.assert_allclose(slope[0][3, 0], -by[0], atol=10 * tol)
            np.testing.assert_allclose(slope[1][1, 1], by[1], atol=10 * tol)
            in_time = [-phase / t2, -decay / t1]
            np.testing.assert_allclose([slope[2][1, 1], slope[2][3, 3]], in_time, atol=10 * tol)
            assert np.all(np.isfinite(slope))


def noise_paulis():
    return np.array([[[1, 0], [0, 1]], [[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]])


def test_infinite_times_and_rates():
    channel = noise.ThermalRelaxation(np.inf, 70.0, 30.0)  # pure dephasing
    np.testing.assert_allclose(channel.transfer()[3, 3], 1.0)
    with pytest.raises(ValueError, match=r"`time` and `t1` are both infinite.*PhaseDamping"):
        noise.ThermalRelaxation(np.inf, 70.0, np.inf)


@pytest.mark.parametrize("p", [0.0, 1.0])
@pytest.mark.parametrize("name", _ONE)
def test_trajectories_are_finite_at_both_ends(name, p):
    def mean(p):
        model = noise.NoiseModel(one_wire=(_ONE[name](p),))
        circuit = Circuit(["Ry"], [[0]], [[0]])
        start = jnp.array([1.0, 0.0], jnp.result_type(complex))
        key = jax.random.key(0)
        angles, strings = jnp.array([0.4]), PauliStrings(["Z0", "X0"])
        found = noise.trajectory_values(
            circuit, angles, strings, model, start, key=key, n_trajectories=8
        )
        return jnp.sum(found[0])

    value, slope = jax.jit(jax.value_and_grad(mean))(jnp.array(p))
    assert np.isfinite(value) and np.isfinite(slope)
