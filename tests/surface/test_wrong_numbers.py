"""Rates, scales, shots and the like that are no such numbers: refused by name, in the package's own
words."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eqx_qdeq as qdeq
from eqx_qdeq import mitigation, noise, shots

CIRCUIT = qdeq.circuits.hardware_efficient(2, 1)


def make_layer(**options) -> qdeq.QuantumLayer:
    key = jax.random.key(0)
    return qdeq.QuantumLayer(CIRCUIT, qdeq.AngleEncoding(), qdeq.PauliZ(), key=key, **options)


RATES = {
    "probability": noise.Depolarizing,
    "probability ": noise.NoiseModel.depolarizing,
    "probability  ": noise.NoiseModel.damping,
    "time": lambda rate: noise.ThermalRelaxation(1.0, 1.0, rate),
    "angle": lambda angle: noise.CoherentRotation("X", angle),
    "relative": lambda part: noise.OverRotation(part),
    "p01": lambda rate: noise.ReadoutError(rate, 0.1),
    "p10": lambda rate: noise.ReadoutError((0.1, 0.1), (0.1, rate)),
}


@pytest.mark.parametrize("name", RATES)
@pytest.mark.parametrize("value", ["0.1", None, 1j, {"p": 0.1}], ids=str)
def test_rates_are_numbers(name, value):
    with pytest.raises(TypeError, match=f"`{name.strip()}` must be real"):
        RATES[name](value)


@pytest.mark.parametrize("name", [name for name in RATES if not name.startswith("p10")])
def test_rates_are_one_number(name):
    several = [[0.1, 0.2]] if name == "p01" else [0.1, 0.2]
    with pytest.raises(ValueError, match=f"`{name.strip()}` must be one"):
        RATES[name](jnp.asarray(several))


def test_masked_arrays_are_not_unmasked():
    hidden = np.ma.masked_array([0.3, 7.0], [False, True])
    for call in (make_layer(), qdeq.with_noise(make_layer(), noise.NoiseModel.depolarizing(0.1))):
        with pytest.raises(ValueError, match="`x` has masked entries, 1 of them"):
            call(hidden)
    cell = qdeq.FunctionCell(lambda z, x: 0.5 * z + x, jnp.zeros_like)
    for whole in (hidden, hidden.astype(int)):
        with pytest.raises(ValueError, match="`x` has masked entries"):
            qdeq.DEQ(cell)(whole)
    with pytest.raises(ValueError, match="`angles` has masked entries"):
        angles = np.ma.masked_array(np.zeros(4), np.arange(4) == 1)
        qdeq.QuantumLayer(CIRCUIT, qdeq.AngleEncoding(), qdeq.PauliZ(), angles=angles)
    # Nothing is masked: an array like any other.
    seen = np.ma.masked_array([0.3, 0.7])
    np.testing.assert_array_equal(make_layer()(seen), make_layer()(seen.data))


def test_a_guess_out_of_range_is_not_blamed_on_the_sample():
    deq = qdeq.QDEQ(2, 4, key=jax.random.key(0)).deq
    named = pytest.raises(ValueError, match=r"`z0` has a number of size 1e\+300")
    # In double precision it is in range, if of little use.
    with contextlib.nullcontext() if jax.config.jax_enable_x64 else named:
        assert deq(jnp.ones(4), z0=np.full(2, 1e300)).shape == (2,)


@pytest.mark.parametrize("scales", ["123", 3, ("1", "2"), (1, None), (1, True)], ids=str)
def test_scales_are_numbers(scales):
    noisy = make_layer(noise=noise.NoiseModel.depolarizing(0.1))
    with pytest.raises(TypeError, match=r"`scales` must be"):
        mitigation.ZeroNoise(noisy, scales)
    for one in scales if isinstance(scales, tuple) and scales[0] != 1 else ():
        with pytest.raises(TypeError, match="`scale` must be a number"):
            mitigation.scale_noise(noisy, one)
        with pytest.raises(TypeError, match="`scale` must be a number"):
            mitigation.fold(CIRCUIT, one)


def test_scales_in_lists_and_arrays():
    noisy = make_layer(noise=noise.NoiseModel.depolarizing(0.1))
    x = jnp.array([0.3, 0.7])
    truth = mitigation.ZeroNoise(noisy, (1.0, 2.0))(x)
    for scales in ([1.0, 2.0], np.array([1.0, 2.0]), jnp.array([1.0, 2.0])):
        np.testing.assert_array_equal(mitigation.ZeroNoise(noisy, scales)(x), truth)
    with pytest.raises(ValueError, match="noise is scaled by at least 0; got -2.0"):
        mitigation.ZeroNoise(noisy, (1.0, -2.0))


@pytest.mark.parametrize("n_shots", ["100", 10.0, [10], True], ids=str)
def test_shots_are_an_integer(n_shots):
    for make in (
        lambda: qdeq.with_shots(make_layer(), n_shots),
        lambda: shots.SampledLayer(make_layer(), n_shots),
    ):
        with pytest.raises(TypeError, match="`n_shots` must be an integer; got"):
            make()


def test_counts_are_of_probabilities():
    key = jax.random.key(0)
    for wrong in ([0.5, -0.5], [0.5, jnp.nan], [0.0, 0.0], [0.5, jnp.inf]):
        with pytest.raises(ValueError, match="`probabilities` must be at least 0"):
            shots.sample_counts(jnp.array(wrong), 10, key=key)
    for wrong in (jnp.ones(3) / 3, jnp.ones((2, 2)), jnp.ones(1)):
        with pytest.raises(ValueError, match=r"`probabilities` must be of the 2ⁿ bitstrings"):
            shots.sample_counts(wrong, 10, key=key)
    assert shots.sample_counts([0.5, 0.5], 10, key=key).sum() == 10


def test_other_arguments():
    with pytest.raises(TypeError, match=r"`noise` must be a NoiseModel.*got 0\.1"):
        qdeq.with_noise(make_layer(), 0.1)
    with pytest.raises(TypeError, match=r"must return a QuantumLayer; got None"):
        qdeq.map_layers(lambda layer: None, make_layer())
    with pytest.raises(TypeError, match="`width` must be an integer; got 'wide'"):
        CIRCUIT.draw("wide")
