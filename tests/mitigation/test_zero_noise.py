"""Zero-noise extrapolation against closed forms and NumPy."""

import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eqx_qdeq as qdeq
from eqx_qdeq import noise
from eqx_qdeq.mitigation import (
    channel_power,
    Exponential,
    fold,
    Polynomial,
    reached_scales,
    scale_noise,
    ZeroNoise,
    ZeroNoiseCell,
)

CHANNELS = [
    noise.Depolarizing(0.1),
    noise.Depolarizing(0.1, n_wires=2),
    noise.PauliChannel(0.02, 0.03, 0.05),
    noise.BitFlip(0.1),
    noise.PhaseFlip(0.2),
    noise.AmplitudeDamping(0.3),
    noise.PhaseDamping(0.3),
    noise.Reset(0.1),
    noise.ThermalRelaxation(50.0, 30.0, 2.0),
    noise.CoherentRotation("ZX", 0.2),
    noise.KrausChannel(np.array([[[1, 0], [0, 0.8]], [[0, 0.6], [0, 0]]])),
]


@pytest.mark.parametrize("channel", CHANNELS, ids=lambda c: type(c).__name__)
def test_powers_of_transfer_matrices(channel, tol):
    once = np.asarray(channel.transfer(), float)
    cubed = np.asarray(channel_power(channel, 3).transfer())
    np.testing.assert_allclose(cubed, np.linalg.matrix_power(once, 3), atol=tol)
    half = np.asarray(channel_power(channel, 0.5).transfer(), float)
    np.testing.assert_allclose(half @ half, once, atol=tol)


def test_powers_that_are_none():
    with pytest.raises(ValueError, match="no continuous power"):
        channel_power(noise.BitFlip(0.7), 2)
    with pytest.raises(ValueError, match="at least 0"):
        channel_power(noise.BitFlip(0.1), -1)
    rates = channel_power(noise.BitFlip(jnp.asarray(0.1)), 2).probability
    assert isinstance(rates, jax.Array)  # still trained
    assert isinstance(channel_power(noise.BitFlip(0.1), 2).probability, float)


def make_layer(model, key, encoding=None):
    circuit = qdeq.circuits.hardware_efficient(n_qubits=2, depth=2)
    encoding = qdeq.AmplitudeEncoding() if encoding is None else encoding
    return qdeq.QuantumLayer(circuit, encoding, qdeq.PauliZ(), key=key, noise=model)


def test_folding(getkey, tol):
    circuit = qdeq.circuits.hardware_efficient(n_qubits=2, depth=2)
    for scale in (1, 1.5, 3, 4):
        folded = fold(circuit, scale)
        assert abs(len(folded) - scale * len(circuit)) <= 1
        assert folded.n_params == circuit.n_params
    plain = make_layer(None, getkey())
    folded = qdeq.QuantumLayer(
        fold(circuit, 1.5), qdeq.AmplitudeEncoding(), qdeq.PauliZ(), key=getkey()
    )
    folded = eqx.tree_at(lambda l: l.angles, folded, plain.angles)
    x = jax.random.normal(getkey(), (4,))
    np.testing.assert_allclose(folded(x), plain(x), atol=tol)
    with pytest.raises(ValueError, match="at least 1"):
        fold(circuit, 0.5)


@pytest.mark.parametrize("method", ["rates", "folding"])
def test_depolarizing_noise_is_extrapolated_exactly(method, getkey, tol):
    # One Z that a depolarizing channel follows shrinks by one factor for each gate.
    model = noise.NoiseModel(one_wire=(noise.Depolarizing(0.05),))
    circuit = qdeq.Circuit(["Rx", "Ry"], [[0], [0]], [[0], [1]])
    layer = qdeq.QuantumLayer(
        circuit, qdeq.AmplitudeEncoding(), qdeq.PauliZ(), key=getkey(), noise=model
    )
    x = jax.random.normal(getkey(), (2,))
    mitigated = ZeroNoise(layer, (1.0, 3.0), Exponential(), method)
    ideal = layer.with_noise(None)
    np.testing.assert_allclose(mitigated(x), ideal(x), atol=10 * tol)
    assert jnp.max(jnp.abs(layer(x) - ideal(x))) > 1e-3
    slope = jax.grad(lambda x: mitigated(x)[0])(x)
    np.testing.assert_allclose(slope, jax.grad(lambda x: ideal(x)[0])(x), atol=100 * tol)


def turns(n_gates: int, key, gate: str = "Ry"):
    """⟨Z⟩ after gates that turn by 0.4 in all, each followed by the factor 0.92."""
    circuit = qdeq.Circuit([gate] * n_gates, [[0]] * n_gates, [[0]] * n_gates)
    return qdeq.QuantumLayer(
        circuit,
        qdeq.AmplitudeEncoding(),
        qdeq.PauliZ(),
        key=key,
        angles=jnp.array([0.4 / n_gates]),
        noise=noise.NoiseModel(one_wire=(noise.Depolarizing(0.06),)),
    )


@pytest.mark.parametrize(
    ("n_gates", "scales", "reached"),
    [
        (1, (1, 2, 3), (1, 3)),
        (2, (1, 1.5, 2), (1, 2)),
        (3, (1, 2, 3), (1, 7 / 3, 3)),
        (3, (1, 3, 5), (1, 3, 5)),
        (4, (1, 2.4, 1.2, 3.1), (1, 2.5, 3)),
    ],
)
def test_the_fit_is_at_the_scales_that_folding_reaches(n_gates, scales, reached, getkey, tol):
    layer, x = turns(n_gates, getkey()), jnp.array([1.0, 0.0])
    assert reached_scales(layer, scales) == pytest.approx(reached)
    # One factor for each gate that is there, so that every fit is known.
    ideal, measured = np.cos(0.4), np.cos(0.4) * 0.92 ** (n_gates * np.array(reached))
    expected = {
        Polynomial(): np.polyfit(reached, measured, len(reached) - 1)[-1],
        Polynomial(1): np.polyfit(reached, measured, 1)[-1],
        Exponential(): ideal,
    }
    for extrapolation, right in expected.items():
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            mitigated = ZeroNoise(layer, scales, extrapolation, "folding")
        assert all("meet only" in str(each.message) for each in caught)
        assert len(caught) == (len(reached) < len(scales))
        assert mitigated.reached == pytest.approx(reached)
        np.testing.assert_allclose(mitigated(x), right, atol=10 * tol)


def test_what_was_wrong_by_a_fit_at_scales_not_reached(getkey):
    x = jnp.array([1.0, 0.0])
    with pytest.warns(UserWarning, match=r"of the scales \(1, 2, 3\) .* only \(1.0, 3.0\)"):
        mitigated = ZeroNoise(turns(1, getkey()), (1, 2, 3), method="folding")
    assert mitigated(x)[0] == pytest.approx(0.912, abs=1e-3)  # not 0.717
    # By rates all scales are reached.
    assert ZeroNoise(turns(1, getkey()), (1, 2, 3)).reached == (1, 2, 3)
    assert ZeroNoise(turns(1, getkey()), (1, 2, 3))(x)[0] == pytest.approx(0.921, abs=1e-3)


def test_inside_the_solve_the_fit_is_at_the_reached_scales_too(getkey, tol):
    cell = qdeq.QuantumCell(turns(3, getkey()), qdeq.AddInjection(2))
    mitigated = ZeroNoiseCell(cell, (1, 2, 3), method="folding")
    x, z = jnp.array([0.3, 0.7]), jnp.array([0.2])
    values = [scale_noise(cell, scale, "folding").bind(x)(z)[0] for scale in (1, 2, 3)]
    right = np.polyfit((1, 7 / 3, 3), np.array(values, float), 2)[-1]
    np.testing.assert_allclose(mitigated.bind(x)(z)[0], right, atol=100 * tol)
    with pytest.warns(UserWarning, match="meet only"):
        ZeroNoiseCell(qdeq.QuantumCell(turns(1, getkey()), qdeq.AddInjection(2)), method="folding")


def test_scales_that_cannot_be_fitted(getkey):
    one, two = turns(1, getkey()), turns(2, getkey())
    with pytest.raises(ValueError, match=r"meet only \(1.0, 3.0\), too few for Polynomial"):
        ZeroNoise(one, (1, 2, 3), Polynomial(2), "folding")
    with pytest.raises(ValueError, match="of 1 and 2 gates, would have the scales 1 and 2"):
        reached_scales((one, two), (1, 2, 3))
    assert reached_scales((one, two), (1, 3)) == (1, 3)
    for method, scale in (("folding", 0.5), ("rates", -1.0), ("folding", float("inf"))):
        with pytest.raises(ValueError, match="at least"):
            ZeroNoise(two, (1, 3, scale), method=method)
    # An inverse without the gate's noise is no folding of it.
    named = lambda *gates: noise.NoiseModel(
        overrides=tuple(noise.GateNoise((noise.BitFlip(0.1),), gate) for gate in gates)
    )
    circuit = qdeq.Circuit(["SX"], [[0]], [[]])
    make = lambda model: qdeq.QuantumLayer(
        circuit, qdeq.AmplitudeEncoding(), qdeq.PauliZ(), key=getkey(), noise=model
    )
    with pytest.raises(ValueError, match="after 'SX' on wires .* its inverse 'SXdg'"):
        scale_noise(make(named("SX")), 3, "folding")
    assert len(scale_noise(make(named("SX", "SXdg")), 3, "folding").circuit) == 3


def test_inside_and_after_the_solve(getkey):
    model = noise.NoiseModel.depolarizing(0.01, preparation=True)
    layer, x = make_layer(model, getkey()), jax.random.normal(getkey(), (4,))
    cell = qdeq.QuantumCell(layer, qdeq.AddInjection(4))
    make = qdeq.DEQ
    clean = qdeq.QuantumCell(layer.with_noise(None), qdeq.AddInjection(4))
    truth = make(clean)(x)
    noisy = make(cell)(x)
    inside = eqx.filter_jit(make(ZeroNoiseCell(cell)))(x)
    after = eqx.filter_jit(ZeroNoise(make(cell)))(x)
    error = lambda w: float(jnp.max(jnp.abs(w - truth)))
    assert error(inside) < 0.05 * error(noisy)
    assert error(after) < 0.2 * error(noisy)


def test_polynomials_by_numpy(tol):
    values = np.random.default_rng(0).normal(size=(4, 3))
    scales = (1.0, 1.5, 2.0, 3.0)
    for degree in (1, 2, 3):
        expected = np.polyfit(scales, values, degree)[-1]
        found = Polynomial(degree)(scales, jnp.asarray(values))
        np.testing.assert_allclose(found, expected, atol=100 * tol)
    np.testing.assert_allclose(Polynomial().weights((1.0, 2.0, 3.0)), [3, -3, 1], atol=1e-10)
    # No exponential through values of both signs: the line, and finite gradients.
    mixed = jnp.asarray([[1.0], [-1.0]])
    slopes = jax.jacobian(lambda v: Exponential()((1.0, 2.0), v))(mixed)
    np.testing.assert_allclose(slopes.reshape(-1), [2, -1], atol=10 * tol)


def test_refusals(getkey):
    with pytest.raises(ValueError, match="no QuantumLayer with noise"):
        scale_noise(make_layer(None, getkey()), 2.0)
    layer = make_layer(noise.NoiseModel.depolarizing(0.01), getkey())
    with pytest.raises(ValueError, match="`method` must be one of rates, folding"):
        ZeroNoise(layer, method="gates")
    with pytest.raises(ValueError, match="at least 2 different"):
        ZeroNoise(layer, (1.0, 1.0), Exponential())
    uploads = qdeq.DataReuploading(qdeq.AngleEncoding(), 2)
    moved = make_layer(noise.NoiseModel.depolarizing(0.01), getkey(), uploads)
    with pytest.raises(ValueError, match="method='rates'"):
        scale_noise(moved, 3.0, "folding")
