"""Derivatives of sampled values, against automatic differentiation, PennyLane and exact means."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pennylane as qml
import pytest

import eqx_qdeq as qdeq
from eqx_qdeq.circuits import GATES
from eqx_qdeq.shots import ExactGradient, gate_rules, ParameterShift, SampledLayer, ShiftRule, SPSA
from tests._jaxprs import equations

STRINGS = ["Z0", "Z0 Z1", "X2 Y1", "X0"]

# Two- and four-term gates, one angle on three gates, scales and offsets.
MIXED = qdeq.Circuit(
    ["Rx", "CRy", "Rz", "CX", "CRz", "U3", "PhasedX", "ISWAP", "XXPhase"],
    [[0], [0, 1], [1], [1, 2], [2, 0], [1], [2], [0, 2], [1, 2]],
    [[0], [1], [0], [], [2], [3, 4, 5], [6, 7], [8], [0]],
    scales=[[1], [1], [-1], [], [1], [1, 2, 1], [1, 1], [1], [0.5]],
    offsets=[[0], [0], [0.3], [], [0], [0, 0, 0], [0, 0], [0], [0]],
)


def make_layer(key, circuit=MIXED, encoding=None, measurement=None):
    encoding = qdeq.AngleEncoding("YX", scale=0.7) if encoding is None else encoding
    measurement = qdeq.PauliStrings(STRINGS) if measurement is None else measurement
    return qdeq.QuantumLayer(circuit, encoding, measurement, key=key)


@eqx.filter_jit
def gradient(both, key, way, n_shots):
    """Of a nonlinear function of the exact values, so that the cotangent is the same always."""

    def loss(both):
        layer, x = both
        weights = jnp.arange(1.0, 1 + layer.out_size)
        return jnp.dot(weights, SampledLayer(layer, n_shots, way)(x, key=key))

    return eqx.filter_grad(loss)(both)


@eqx.filter_jit
def gradients(both, keys, way, n_shots):
    """The gradients for many keys, as a matrix."""

    def one(key):
        layer, x = gradient(both, key, way, n_shots)
        return jnp.concatenate([layer.angles, x])

    return jax.lax.map(one, keys, batch_size=200)


def spectrum(name, slot):
    """The frequencies of U ρ U† in one angle, in units of 1/2."""
    samples, info = 64, GATES[name]
    fixed = np.random.default_rng(0).uniform(0.3, 2.5, info.n_params)
    grid = np.tile(fixed, (samples, 1))
    grid[:, slot] = 4 * np.pi * np.arange(samples) / samples
    dim = 2**info.n_wires
    with jax.numpy_dtype_promotion("standard"):  # which qujax asks for
        import qujax
    gate = jax.vmap(lambda a: jnp.asarray(getattr(qujax.gates, name)(*a)).reshape(dim, dim))
    with jax.numpy_dtype_promotion("standard"):  # which qujax asks for
        u = np.asarray(gate(jnp.asarray(grid) / np.pi))
    products = np.einsum("sab,scd->sabcd", u, u.conj()).reshape(samples, -1)
    amplitudes = np.abs(np.fft.fft(products, axis=0)).max(axis=1) / samples
    return {k for k in range(1, samples // 2) if amplitudes[k] > 1e-4}


def test_rules_cover_each_gates_spectrum():
    for name, info in GATES.items():
        for slot in range(info.n_params):
            circuit = qdeq.Circuit([name], [range(info.n_wires)], [range(info.n_params)])
            rule = gate_rules(circuit)[slot]
            covered = {round(2 * rule.base * r) for r in range(1, rule.n_frequencies + 1)}
            # Not more frequencies than there are, either: each costs two circuits.
            assert spectrum(name, slot) == covered, (name, slot)


@pytest.mark.parametrize(
    "rule", [ShiftRule(1, 1.0), ShiftRule(2, 0.5), ShiftRule(2, 2.0), ShiftRule(5, 1.0)]
)
def test_rules_differentiate_trigonometric_polynomials(rule):
    frequencies = rule.base * np.arange(1, rule.n_frequencies + 1)
    a, b = np.random.default_rng(1).normal(size=(2, rule.n_frequencies))
    at = lambda t: np.sum(a * np.cos(frequencies * t) + b * np.sin(frequencies * t))
    terms = frequencies * (b * np.cos(frequencies * 0.4) - a * np.sin(frequencies * 0.4))
    found = sum(c * at(0.4 + s) for c, s in zip(rule.coefficients, rule.shifts, strict=True))
    assert np.isclose(found, terms.sum(), rtol=1e-10)
    assert np.isclose(rule.weights.mean(), 1)


@pytest.mark.parametrize("kind", ["angle", "reuploading", "amplitude"])
def test_shift_rules_without_shots_are_exact(kind, getkey, tol):
    encoding = {
        "angle": qdeq.AngleEncoding("YX", scale=0.7),
        "reuploading": qdeq.DataReuploading(qdeq.AngleEncoding("Y", scale=0.7), 3),
        "amplitude": qdeq.AmplitudeEncoding(),
    }[kind]
    layer = make_layer(getkey(), encoding=encoding)
    x = jax.random.normal(getkey(), (5,))
    shift = ParameterShift()
    if kind != "amplitude":
        exact = gradient((layer, x), getkey(), ExactGradient(), None)
        found = gradient((layer, x), getkey(), shift, None)
        assert jnp.allclose(found[1], exact[1], atol=50 * tol)
    else:
        # The angles have a rule, the amplitudes none.
        only = lambda way: eqx.filter_jit(
            eqx.filter_grad(
                lambda layer: jnp.sum(SampledLayer(layer, None, way)(x, key=jax.random.key(0)))
            )
        )(layer)
        found, exact = (only(shift),), (only(ExactGradient()),)
        with pytest.raises(ValueError, match=r"amplitude-encoded inputs.*AngleEncoding.*SPSA"):
            gradient((layer, x), getkey(), shift, None)
    assert jnp.allclose(found[0].angles, exact[0].angles, atol=50 * tol)


def test_more_shifted_states_than_there_is_memory_for(tol):
    """Of 17 wires they are computed eight at a time, and here are ten: ⟨Z⟩ = cos a for each."""
    wires = [[i] for i in range(5)]
    circuit = qdeq.Circuit(["Ry"] * 5, wires, wires, 17)
    angles = jnp.linspace(0.1, 2.0, 5)
    read = qdeq.PauliStrings([f"Z{i}" for i in range(5)])
    layer = qdeq.QuantumLayer(circuit, qdeq.AmplitudeEncoding(), read, angles=angles)

    @jax.jit
    def slopes(angles):
        made = eqx.tree_at(lambda made: made.angles, layer, angles)
        sampled = SampledLayer(made, None, ParameterShift())
        return jnp.sum(sampled(jnp.array([1.0, 0.0]), key=jax.random.key(0)))

    np.testing.assert_allclose(jax.grad(slopes)(angles), -np.sin(angles), atol=20 * tol)


def test_agrees_with_pennylanes_shifts(getkey, tol):
    circuit = qdeq.Circuit(
        ["H", "Rx", "CRy", "CRz", "Rz"],
        [[0], [1], [0, 1], [1, 0], [1]],
        [[], [0], [1], [2], [3]],
    )
    layer = make_layer(getkey(), circuit, qdeq.AmplitudeEncoding(), qdeq.PauliZ())

    @qml.qnode(qml.device("default.qubit", wires=2))
    def theirs(angles):
        qml.Hadamard(0)
        qml.RX(angles[0], 1)
        qml.CRY(angles[1], [0, 1])
        qml.CRZ(angles[2], [1, 0])
        qml.RZ(angles[3], 1)
        return qml.expval(qml.Z(0)), qml.expval(qml.Z(1))

    angles = qml.numpy.array(np.asarray(layer.angles, float), requires_grad=True)
    expected = np.stack(qml.gradients.param_shift(theirs)(angles))
    first = jnp.zeros(4).at[0].set(1)
    sampled = lambda angles: SampledLayer(
        eqx.tree_at(lambda made: made.angles, layer, angles), None, ParameterShift()
    )(first, key=jax.random.key(0))
    assert jnp.allclose(jax.jit(jax.jacrev(sampled))(layer.angles), expected, atol=20 * tol)


@pytest.mark.parametrize("n_shots", [1, 20])
def test_mean_of_a_thousand_shot_gradients(n_shots, getkey):
    both = make_layer(getkey()), jax.random.normal(getkey(), (5,))
    exact = gradient(both, getkey(), ExactGradient(), None)
    exact = np.concatenate([exact[0].angles, exact[1]])
    keys = jax.random.split(getkey(), 1000)
    found = np.asarray(gradients(both, keys, ParameterShift(), jnp.array(n_shots)), float)
    error = found.std(axis=0) / np.sqrt(1000)
    assert np.all(error < 2 / np.sqrt(n_shots))  # they do say something
    assert np.all(np.abs(found.mean(axis=0) - exact) <= 3 * error)


def test_spsa_is_unbiased_to_first_order(getkey):
    encoding, measurement = qdeq.AmplitudeEncoding(), qdeq.PauliStrings(STRINGS)
    circuit = qdeq.circuits.hardware_efficient(n_qubits=3, depth=1)
    both = make_layer(getkey(), circuit, encoding, measurement), jax.random.normal(getkey(), (4,))
    exact = gradient(both, getkey(), ExactGradient(), None)
    exact = np.concatenate([exact[0].angles, exact[1]])
    keys = jax.random.split(getkey(), 1000)
    way = SPSA(0.1, directions=4)
    found = np.asarray(gradients(both, keys, way, jnp.array(1000)), float)
    error = found.std(axis=0) / np.sqrt(1000)
    # What is left of second order is a third derivative times c²/6.
    assert np.all(np.abs(found.mean(axis=0) - exact) <= 3 * error + 0.01 * np.abs(exact).max())
    assert np.abs(exact).max() > 10 * error.max()


@pytest.mark.parametrize("batched", ["samples", "keys"])
def test_a_batch_is_the_sum_of_its_samples(batched, getkey, tol):
    """Also where nothing but the key, or the amplitudes, differs between the samples."""
    circuit = qdeq.Circuit(["Ry", "CX", "Rx"], [[0], [0, 1], [1]], [[0], [], [1]])
    layer = make_layer(getkey(), circuit, qdeq.AmplitudeEncoding(), qdeq.PauliZ())
    x = jax.random.normal(getkey(), (3, 4)) if batched == "samples" else jnp.ones(4)
    keys = jax.random.split(getkey(), 3)
    axes = (0 if batched == "samples" else None, 0)

    @eqx.filter_jit
    def gradient_of(layer, x, keys, n_shots):
        one = lambda layer, x, key: jnp.dot(
            SampledLayer(layer, n_shots, ParameterShift())(x, key=key), jnp.array([1.0, 2.0])
        )
        values = lambda layer: jnp.sum(jax.vmap(lambda x, k: one(layer, x, k), axes)(x, keys))
        each = jax.vmap(lambda x, k: eqx.filter_grad(one)(layer, x, k), axes)(x, keys)
        return eqx.filter_grad(values)(layer).angles, jnp.sum(each.angles, axis=0)

    for n_shots in (None, 10):
        together, apart = gradient_of(layer, x, keys, n_shots)
        assert jnp.allclose(together, apart, atol=20 * tol)
    assert jnp.any(jnp.abs(together) > 0.1)


def test_exact_gradient_has_sampled_values_and_forward_mode(getkey, tol):
    layer = make_layer(getkey())
    x = jax.random.normal(getkey(), (5,))
    key = getkey()
    sampled = lambda x: SampledLayer(layer, 10)(x, key=key)
    value, tangent = jax.jit(lambda x: jax.jvp(sampled, (x,), (jnp.ones(5),)))(x)
    _, expected = jax.jit(lambda x: jax.jvp(layer, (x,), (jnp.ones(5),)))(x)
    assert jnp.allclose(tangent, expected, atol=10 * tol)
    assert jnp.allclose(value * 10, jnp.round(value * 10), atol=1e-4)


def test_only_what_is_differentiated_is_shifted(getkey):
    """The shifts of features cost nothing if only the angles are trained, and the other way."""
    layer, x = make_layer(getkey()), jnp.ones(12)
    sampled = SampledLayer(layer, 100, ParameterShift(n_shots=10))
    # Seven angles with two terms, four with four (CRy, CRz, PhasedX's second, ISWAP).
    two, four, features, groups = 7, 4, 12, len(sampled.groups)
    value = sampled.shot_count(12)
    assert (value.circuits, value.shots) == (groups, groups * 100)
    angles = sampled.shot_count(12, gradient=True)
    assert angles.circuits == groups * (1 + 2 * two + 4 * four)
    shots = 2 * 10 * two + four * 2 * (17 + 2)  # ⌊40 · 0.427⌋ and ⌊40 · 0.0732⌋
    assert angles.shots == groups * (100 + shots)
    both = sampled.shot_count(12, gradient=True, inputs=True)
    assert both.circuits - angles.circuits == groups * 2 * features
    assert both.shots - angles.shots == groups * 2 * features * 10
    spsa = SampledLayer(layer, 100, SPSA(directions=3)).shot_count(12, gradient=True)
    assert (spsa.circuits, spsa.shots) == (7 * groups, 700 * groups)
    assert SampledLayer(layer, 100).shot_count(12, gradient=True).shots == groups * 100

    key = jax.random.key(0)
    call = lambda angles, x: jnp.sum(
        SampledLayer(eqx.tree_at(lambda made: made.angles, layer, angles), 10, ParameterShift())(
            x, key=key
        )
    )

    def n_shifts(argnum):
        """How many keys there are, one for each circuit that is run."""
        program = jax.make_jaxpr(jax.grad(call, argnum))(layer.angles, x)
        made = [v.aval for e in equations(program.jaxpr) for v in e.outvars]
        keys = [a for a in made if jnp.issubdtype(a.dtype, jax.dtypes.prng_key)]
        return max(a.shape[0] for a in keys if a.ndim == 1)

    assert n_shifts(0) == 2 * two + 4 * four
    assert n_shifts(1) == 2 * features


def test_errors():
    turned = lambda a: a * jnp.arange(2, dtype=a.dtype)
    gate = lambda a: jnp.diag(jax.lax.complex(jnp.cos(turned(a)), jnp.sin(turned(a))))
    circuit = qdeq.Circuit(["Rx", gate], [[0], [0]], [[0], [1]])
    layer = make_layer(jax.random.key(0), circuit, measurement=qdeq.PauliZ())
    with pytest.raises(ValueError, match=r"gate 1 is the function.*spectrum is not known"):
        gradient((layer, jnp.ones(2)), jax.random.key(0), ParameterShift(), 10)
    with pytest.raises(ValueError, match="`step` must be positive"):
        SPSA(0.0)
    with pytest.raises(ValueError, match="`directions` must be at least 1"):
        SPSA(directions=0)
    with pytest.raises(ValueError, match="`n_shots` must be at least 1"):
        ParameterShift(n_shots=0)
