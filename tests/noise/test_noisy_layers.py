"""Layers and cells under noise: every engine the same function, and what cannot be says so."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eqx_qdeq as qdeq
from eqx_qdeq import Circuit, noise

ENCODINGS = {
    "amplitude": (qdeq.AmplitudeEncoding(), 5),
    "complex": (qdeq.ComplexAmplitudeEncoding(), 11),
    "angle": (qdeq.AngleEncoding("XY"), 5),
    "reuploading": (qdeq.DataReuploading(qdeq.AngleEncoding("XY"), 2), 5),
}
CIRCUIT = qdeq.circuits.hardware_efficient(3, 2)
OTHER = qdeq.PauliStrings(["Z0 Z1", "X2"])
ENGINES = ("heisenberg", "density", "trajectories")


def model(scale: float, *, random: bool = True) -> noise.NoiseModel:
    """Noise everywhere. Without randomness only rotations: a single trajectory is then exact."""
    one = (noise.CoherentRotation("Y", scale),)
    two = (noise.CoherentRotation("ZX", scale),)
    if random:
        one, two = (*one, noise.AmplitudeDamping(scale)), (*two, noise.Depolarising(scale, 2))
    return noise.NoiseModel(
        one,
        two,
        overrides=(noise.GateNoise(one + one, "Ry", (1,)),),
        idle=one,
        over_rotation=noise.OverRotation(scale),
        preparation=noise.PreparationNoise(one, two),
        readout=noise.ReadoutError(scale, 2 * scale),
    )


def make_layer(encoding, noise_model, engine="auto", measurement=None, circuit=CIRCUIT):
    measurement = qdeq.PauliZ() if measurement is None else measurement
    return qdeq.QuantumLayer(
        circuit, encoding, measurement, key=jax.random.key(0), engine=engine, noise=noise_model,
        n_trajectories=2,
    )  # fmt: skip


@eqx.filter_jit
def all_of(layer, x):
    compiled = layer.compile(x.shape[0])
    return layer(x), compiled.measure(OTHER, x), compiled.probabilities(x)


def engines_for(name: str, random: bool) -> list[str]:
    chosen = ENGINES[:2] if random else ENGINES
    return [e for e in chosen if not (name == "reuploading" and e == "heisenberg")]


@pytest.mark.parametrize("random", [True, False])
@pytest.mark.parametrize("name", ENCODINGS)
def test_engines_agree(name: str, random: bool, tol: float):
    encoding, d = ENCODINGS[name]
    x = jax.random.normal(jax.random.key(1), (d,))
    found = [
        all_of(make_layer(encoding, model(0.05, random=random), engine), x)
        for engine in engines_for(name, random)
    ]
    if name == "reuploading" and random:
        found.append(all_of(make_layer(encoding, model(0.05), "auto"), x))
    for other in found[1:]:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=tol), found[0], other)
    values, _, probabilities = found[0]
    signs = 1 - 2 * (np.arange(8)[None] >> np.array([2, 1, 0])[:, None] & 1)
    np.testing.assert_allclose(signs @ probabilities, values, atol=tol)
    assert jnp.sum(probabilities) == pytest.approx(1, abs=tol)


@pytest.mark.parametrize("name", ENCODINGS)
def test_no_noise_is_the_noiseless_layer(name: str, tol: float):
    encoding, d = ENCODINGS[name]
    x = jax.random.normal(jax.random.key(1), (d,))
    expected = all_of(make_layer(encoding, None), x)
    for noisy in (make_layer(encoding, noise.NoiseModel()), make_layer(encoding, model(0.0))):
        got = all_of(noisy, x)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=tol), got, expected)


def test_rotations_of_an_angle_encoding_are_gates_of_the_circuit(tol: float):
    """The noise after features is that after gates of the same angles."""
    encoding, x = qdeq.AngleEncoding("XY"), jnp.array([0.3, -0.2, 1.1, 0.4, 0.7])
    names, wires = ["Rx"] * 3 + ["Ry"] * 2, [[0], [1], [2], [0], [1]]
    first = Circuit(names, wires, [[i] for i in range(5)], 3)
    damping = (noise.AmplitudeDamping(0.1),)
    layer = make_layer(
        encoding, noise.NoiseModel(damping, preparation=noise.PreparationNoise(damping))
    )
    angles = jnp.concatenate([x, layer.angles])
    start = jnp.zeros(8, complex).at[0].set(1)
    expected = noise.density_values(
        first + CIRCUIT, angles, qdeq.PauliZ(), noise.NoiseModel(damping), start
    )
    np.testing.assert_allclose(layer(x), expected, atol=tol)


@eqx.filter_jit
def of_cell(cell, x, w):
    bound = cell.bind(x)
    slopes = jax.jacobian(bound)(w)
    return bound(w), bound.measure(OTHER, w), bound.probabilities(w), slopes


@pytest.mark.parametrize("name", ENCODINGS)
def test_cells_are_the_layer_after_the_injection(name: str, tol: float):
    encoding, d = ENCODINGS[name]
    x, w = jax.random.normal(jax.random.key(1), (d,)), jnp.array([0.4, -0.1, 0.2])
    injection = qdeq.AddInjection(d, 0.7)
    for engine in (engines_for(name, True)[0], "trajectories"):
        layer = make_layer(encoding, model(0.05, random=engine != "trajectories"), engine)
        values, other, probabilities, slopes = of_cell(qdeq.QuantumCell(layer, injection), x, w)
        literal = lambda w, layer=layer: layer(injection(w, x))
        expected = all_of(layer, injection(w, x))
        for got, want in zip((values, other, probabilities), expected, strict=True):
            np.testing.assert_allclose(got, want, atol=10 * tol)
        np.testing.assert_allclose(slopes, jax.jit(jax.jacobian(literal))(w), atol=20 * tol)


@pytest.mark.parametrize("random", [True, False])
def test_angle_feedback_is_gates_in_the_middle(random: bool, tol: float):
    encoding, x, w = qdeq.AmplitudeEncoding(), jnp.arange(1.0, 6), jnp.array([0.4, -0.1, 0.2])
    noise_model = model(0.05, random=random)
    # Idle wires are scheduled half by half.
    noise_model = eqx.tree_at(lambda m: m.idle, noise_model, ())
    noise_model = eqx.tree_at(lambda m: m.over_rotation, noise_model, None)
    injection = qdeq.AngleFeedback("Y", 0.9)
    (head, _), (tail, _) = CIRCUIT.split(len(CIRCUIT) // 2)
    turns = Circuit(["Ry"] * 3, [[0], [1], [2]], [[0], [1], [2]], 3)
    whole = make_layer(encoding, noise_model, "density", circuit=head + turns + tail)
    for engine in ENGINES[:2] if random else ENGINES:
        layer = make_layer(encoding, noise_model, engine)
        first, second = jnp.split(layer.angles, [head.n_params])
        angles = jnp.concatenate([first, 0.9 * w, second])
        expected = all_of(eqx.tree_at(lambda l: l.angles, whole, angles), x)
        got = of_cell(qdeq.QuantumCell(layer, injection), x, w)[:3]
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=10 * tol), got, expected)


def test_an_equilibrium_under_noise_is_differentiated_in_the_rates(x64: bool):
    x = jax.random.normal(jax.random.key(2), (3, 5)).at[2, 0].set(jnp.nan)

    @jax.jit
    @jax.value_and_grad
    def loss(rate):
        noise_model = noise.NoiseModel(two_wire=(noise.Depolarising(rate, 2),))
        cell = qdeq.QuantumCell(
            make_layer(qdeq.AmplitudeEncoding(), noise_model), qdeq.AddInjection(5)
        )
        solver = qdeq.Newton(1e-9, 1e-9) if x64 else None
        return jnp.sum(jax.vmap(qdeq.DEQ(cell, solver))(x)[:2] ** 2)

    _, slope = loss(jnp.array(0.1))
    h = 1e-4 if x64 else 1e-2
    above, below = (loss(jnp.array(0.1 + sign * h))[0] for sign in (1, -1))
    assert slope < -0.1
    assert slope == pytest.approx((above - below) / (2 * h), rel=1e-5 if x64 else 1e-2)


def test_a_classifier_with_noise():
    classifier = qdeq.QDEQClassifier(3, 8, 2, depth=1, readout="zz", key=jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (4, 8))
    nothing = classifier.with_noise(noise.NoiseModel())
    run = eqx.filter_jit(lambda model: jax.vmap(model)(x))
    np.testing.assert_allclose(run(nothing), run(classifier), atol=1e-3)
    assert nothing.with_noise(None).deq.cell.layer.noise is None
    noisy = classifier.with_noise(
        noise.NoiseModel((noise.Depolarising(0.1),), (noise.Depolarising(jnp.array(0.1), 2),))
    )
    gradient = eqx.filter_jit(eqx.filter_grad(lambda model: jnp.sum(jax.vmap(model)(x) ** 2)))(
        noisy
    )
    rates = gradient.deq.cell.layer.noise
    assert rates.one_wire[0].probability is None  # a number: fixed
    assert jnp.abs(rates.two_wire[0].probability) > 0


def test_keys_of_trajectories():
    encoding, d = ENCODINGS["amplitude"]
    layer = make_layer(encoding, model(0.2), "trajectories")
    x = jnp.ones(d)
    np.testing.assert_array_equal(layer(x), layer(x))
    assert jnp.max(jnp.abs(layer(x) - layer(x, key=jax.random.key(7)))) > 1e-3


def test_what_cannot_be_says_so():
    encoding, d = ENCODINGS["amplitude"]
    noisy = make_layer(encoding, model(0.05))
    x = jnp.ones(d)
    cell = qdeq.QuantumCell(noisy, qdeq.AddInjection(d))
    for state in (lambda: noisy.compile(d).state(x), lambda: cell.bind(x).state(jnp.zeros(3))):
        with pytest.raises(ValueError, match="density matrix"):
            state()
    with pytest.raises(ValueError, match="with_noise"):
        noisy.plan(d)
    with pytest.raises(ValueError, match="give `noise`"):
        make_layer(encoding, None, "density")
    with pytest.raises(ValueError, match="pure states"):
        make_layer(encoding, model(0.1), "operator")
    with pytest.raises(ValueError, match="between the gates"):
        make_layer(ENCODINGS["reuploading"][0], model(0.1), "heisenberg")
    with pytest.raises(ValueError, match="trajectories"):
        make_layer(encoding, noise.NoiseModel(), circuit=Circuit([], [], [], 20))(x)
    with pytest.raises(ValueError, match="noiseless"):
        qdeq.lipschitz_bound(cell, x)
    with pytest.raises(ValueError, match="contractive"):
        qdeq.contractive(qdeq.QuantumCell(noisy, qdeq.AngleFeedback())).bind(x)
