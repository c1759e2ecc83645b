import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pennylane as qml
import pytest
from hypothesis import given, settings, strategies as st
from jax.test_util import check_grads

import eqx_qdeq as qdeq
from tests._pennylane import apply, random_circuit

pytestmark = pytest.mark.float32


def _layer(circuit, encoding, measurement, engine="auto", seed=0):
    return qdeq.QuantumLayer(
        circuit, encoding, measurement, key=jax.random.key(seed), engine=engine
    )


_ENGINES = ("statevector", "operator", "heisenberg")


@given(
    seed=st.integers(0, 2**32 - 1),
    n_qubits=st.integers(1, 5),
    angle_encoding=st.booleans(),
)
@settings(max_examples=5)
def test_engines_agree(seed, n_qubits, angle_encoding, tol):
    rng = np.random.default_rng(seed)
    circuit = random_circuit(rng, n_qubits, 20)
    encoding = qdeq.AngleEncoding("XYZ") if angle_encoding else qdeq.AmplitudeEncoding()
    measurement = qdeq.PauliStrings(["Z0", "X0", f"Y{n_qubits - 1}"])
    x = jnp.asarray(rng.normal(size=min(7, 2**n_qubits)))
    layers = [_layer(circuit, encoding, measurement, engine) for engine in _ENGINES]

    @eqx.filter_jit
    def run(layer):
        loss = lambda layer: jnp.sum(layer(x) ** 2)
        return layer(x), eqx.filter_grad(loss)(layer).angles

    first, *others = [run(layer) for layer in layers]
    for value, gradient in others:
        np.testing.assert_allclose(value, first[0], atol=tol)
        np.testing.assert_allclose(gradient, first[1], atol=20 * tol)


@pytest.mark.parametrize("engine", _ENGINES)
def test_a_circuit_without_gates_measures_the_encoded_state(engine, tol):
    empty = qdeq.Circuit((), (), (), 2)
    z, cos = jnp.array([3.0, 2.0, 4.0, 1.0]), jnp.cos(jnp.array([0.3, 1.2]))
    amplitudes = _layer(empty, qdeq.AmplitudeEncoding(), qdeq.PauliZ(), engine)
    np.testing.assert_allclose(amplitudes(z), [-4 / 30, 20 / 30], atol=tol)
    angles = _layer(empty, qdeq.AngleEncoding(), qdeq.PauliZ(), engine)
    np.testing.assert_allclose(angles(jnp.array([0.3, 1.2])), cos, atol=tol)


def test_a_layer_agrees_with_pennylane_values_and_gradients(tol):
    rng = np.random.default_rng(0)
    circuit = random_circuit(rng, 4, 30)
    layer = _layer(circuit, qdeq.AmplitudeEncoding(), qdeq.PauliZ())
    x = rng.normal(size=13)

    def theirs(x, angles):
        @qml.qnode(qml.device("default.qubit", wires=4), interface="autograd")
        def run(x, angles):
            qml.AmplitudeEmbedding(x, wires=range(4), pad_with=0, normalize=True)
            apply(circuit, angles)
            return [qml.expval(qml.PauliZ(w)) for w in range(4)]

        return qml.numpy.stack(run(x, angles))

    angles = qml.numpy.array(np.asarray(layer.angles, float), requires_grad=True)
    np.testing.assert_allclose(layer(jnp.asarray(x)), theirs(x, angles), atol=tol)
    expected = qml.jacobian(lambda a: theirs(x, a))(angles)
    ours = jax.jacobian(lambda a: eqx.tree_at(lambda l: l.angles, layer, a)(jnp.asarray(x)))
    np.testing.assert_allclose(ours(layer.angles), expected, atol=10 * tol)


@pytest.mark.parametrize("positions", [None, (1, 5, 18)])
def test_data_reuploading_agrees_with_pennylane(positions, tol):
    rng = np.random.default_rng(1)
    circuit = random_circuit(rng, 3, 21)
    encoding = qdeq.DataReuploading(qdeq.AngleEncoding("YZ", scale=0.7), 3, positions)
    layer = _layer(circuit, encoding, qdeq.PauliZ())
    x = rng.normal(size=5)
    cuts = (0, 7, 14) if positions is None else positions

    @qml.qnode(qml.device("default.qubit", wires=3))
    def expected(angles):
        rest, done, index = circuit, 0, np.arange(circuit.n_params)
        for cut in (*cuts, len(circuit)):
            (head, head_index), (rest, rest_index) = rest.split(cut - done)
            apply(head, angles[index[np.array(head_index, int)]])
            index, done = index[np.array(rest_index, int)], cut
            if cut != len(circuit):
                for i, value in enumerate(x):
                    (qml.RY if i < 3 else qml.RZ)(0.7 * value, wires=i % 3)
        return [qml.expval(qml.PauliZ(w)) for w in range(3)]

    np.testing.assert_allclose(
        layer(jnp.asarray(x)), expected(np.asarray(layer.angles, float)), atol=tol
    )


def test_jit_vmap_and_grad_commute(tol):
    layer = _layer(qdeq.circuits.hardware_efficient(3, 2), qdeq.AmplitudeEncoding(), qdeq.PauliZ())
    xs = jax.random.normal(jax.random.key(1), (5, 8))
    one_by_one = jnp.stack([layer(x) for x in xs])
    np.testing.assert_allclose(jax.jit(lambda xs: jax.vmap(layer)(xs))(xs), one_by_one, atol=tol)
    np.testing.assert_allclose(jax.vmap(jax.jit(lambda x: layer(x)))(xs), one_by_one, atol=tol)
    one = lambda x: jnp.sum(layer(x) ** 2)
    total = jax.grad(lambda xs: jnp.sum(jax.vmap(one)(xs)))(xs)
    np.testing.assert_allclose(jax.jit(jax.vmap(jax.grad(one)))(xs), total, atol=10 * tol)


def test_second_derivatives(x64):
    if not x64:
        pytest.skip("finite differences of a gradient need double precision")
    layer = _layer(qdeq.circuits.paper(4), qdeq.AmplitudeEncoding(), qdeq.PauliZ())
    x = jax.random.normal(jax.random.key(1), (16,))
    check_grads(
        lambda a, x: jnp.sum(
            eqx.tree_at(lambda l: l.angles, layer, jnp.asarray(a))(jnp.asarray(x))
        ),
        (layer.angles, x),
        order=2,
        atol=1e-5,
        rtol=1e-5,
    )


def test_compiled_layers_take_any_number_of_features(tol):
    layer = _layer(qdeq.circuits.hardware_efficient(3, 2), qdeq.AmplitudeEncoding(), qdeq.PauliZ())
    x = jnp.arange(1.0, 6.0)
    for engine in _ENGINES:
        compiled = _layer(layer.circuit, layer.encoding, layer.measurement, engine).compile()
        np.testing.assert_allclose(compiled(x), layer(x), atol=tol)


def test_only_the_angles_are_trainable():
    layer = _layer(qdeq.circuits.paper(4), qdeq.AmplitudeEncoding(), qdeq.PauliZ())
    leaves = jax.tree.leaves(eqx.filter(layer, eqx.is_inexact_array))
    assert [leaf.shape for leaf in leaves] == [(39,)]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda c: _layer(c, qdeq.AmplitudeEncoding(), qdeq.PauliZ(), "gpu"), "`engine` must be"),
        (lambda c: _layer(c, qdeq.AmplitudeEncoding(), qdeq.PauliZ((3,))), "names wire 3"),
        (
            lambda c: _layer(
                c, qdeq.DataReuploading(qdeq.AngleEncoding(), 1), qdeq.PauliZ(), "operator"
            ),
            "engine 'operator' cannot apply",
        ),
        (
            lambda c: _layer(c, qdeq.AmplitudeEncoding(), qdeq.PauliZ())(jnp.ones(9)),
            "takes 1 to 8 features; got 9",
        ),
    ],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make(qdeq.circuits.hardware_efficient(3, 1))


def test_a_plan_tells_engine_blocks_and_costs():
    layer = _layer(qdeq.circuits.paper(10), qdeq.AmplitudeEncoding(), qdeq.PauliZ())
    plan = layer.plan(100)
    assert plan.engine == "operator"
    assert plan.block_size <= 6
    assert plan.once.flops > 0 and plan.batch.bytes > 0
    assert min(plan.others, key=lambda name: plan.others[name]) == plan.engine
    assert "operator" in str(plan) and "MFLOP" in str(plan)
    # Few samples do not pay for the matrix; very many pay for the observables' forms.
    assert layer.plan(100, batch=1).engine == "statevector"
    assert layer.plan(100, batch=100_000).engine == "heisenberg"


def test_large_matrices_are_not_considered():
    layer = _layer(qdeq.circuits.hardware_efficient(16, 1), qdeq.AmplitudeEncoding(), qdeq.PauliZ())
    assert layer.plan(2**16, batch=10**6).engine == "statevector"


@pytest.mark.parametrize("engine", ["statevector", "operator"])
def test_map_is_vmap_in_chunks(engine, tol):
    circuit = qdeq.circuits.hardware_efficient(4, 2)
    layer = _layer(circuit, qdeq.AmplitudeEncoding(), qdeq.PauliZ(), engine)
    x = jax.random.normal(jax.random.key(0), (7, 16))
    loss = lambda values: jnp.sum(jnp.sin(3 * values))
    mapped = eqx.filter_jit(
        eqx.filter_value_and_grad(lambda layer: loss(layer.map(x, memory=40_000)))
    )
    vmapped = eqx.filter_jit(eqx.filter_value_and_grad(lambda layer: loss(jax.vmap(layer)(x))))
    for result, expected in zip(
        jax.tree.leaves(mapped(layer)), jax.tree.leaves(vmapped(layer)), strict=True
    ):
        np.testing.assert_allclose(result, expected, atol=10 * tol)


def test_map_keeps_within_its_memory():
    circuit = qdeq.circuits.hardware_efficient(10, 2)
    layer = _layer(circuit, qdeq.AmplitudeEncoding(), qdeq.PauliZ(), "statevector")
    x = jnp.ones((256, 1024))

    def temporary(run):
        loss = lambda angles: jnp.sum(run(eqx.tree_at(lambda l: l.angles, layer, angles)))
        compiled = jax.jit(jax.grad(loss)).lower(layer.angles).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    limit = 8 * 2**20
    assert temporary(lambda layer: layer.map(x, memory=limit)) < 2 * limit
    assert temporary(lambda layer: jax.vmap(layer)(x)) > 2 * limit


@pytest.mark.parametrize("gradient", ["checkpointed", "uncomputed"])
def test_gradients_do_not_depend_on_what_is_kept(gradient, tol):
    circuit = qdeq.circuits.hardware_efficient(4, 6)
    x = jax.random.normal(jax.random.key(0), (3, 11))
    make = lambda gradient: qdeq.QuantumLayer(
        circuit,
        qdeq.AmplitudeEncoding(),
        qdeq.PauliZ(),
        key=jax.random.key(1),
        engine="statevector",
        gradient=gradient,
    )
    run = eqx.filter_jit(eqx.filter_grad(lambda layer: jnp.sum(jax.vmap(layer)(x) ** 2)))
    np.testing.assert_allclose(
        run(make(gradient)).angles, run(make("stored")).angles, atol=10 * tol
    )


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"block_size": 0}, "`block_size` must be at least 1"),
        ({"expected_batch": 0}, "`expected_batch` must be at least 1"),
        ({"gradient": "reverse"}, "`gradient` must be one of"),
    ],
)
def test_wrong_options_are_named(option, message):
    with pytest.raises(ValueError, match=message):
        qdeq.QuantumLayer(
            qdeq.circuits.paper(4),
            qdeq.AmplitudeEncoding(),
            qdeq.PauliZ(),
            key=jax.random.key(0),
            **option,
        )


def test_data_reuploading_has_no_single_plan():
    encoding = qdeq.DataReuploading(qdeq.AngleEncoding(), 2)
    layer = _layer(qdeq.circuits.hardware_efficient(2, 2), encoding, qdeq.PauliZ())
    with pytest.raises(ValueError, match="data re-uploading"):
        layer.plan(2)
    with pytest.raises(ValueError, match="`memory` must be"):
        layer.map(jnp.ones((3, 2)), memory=0)
