"""The three stages of a quantum cell, against iterating the paper's z literally."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eqx_qdeq as qdeq
from eqx_qdeq.cells import upsampling_matrix
from tests._jaxprs import equations

pytestmark = pytest.mark.float32

_INJECTIONS = {
    "add": lambda key: qdeq.AddInjection(16),
    "trained gain": lambda key: qdeq.AddInjection(16, jnp.array(0.3)),
    "gain each": lambda key: qdeq.AddInjection(16, jnp.array([0.3, -0.2, 0.5, 0.1])),
    "linear": lambda key: qdeq.LinearInjection(16, 4, 11, key=key),
    "linear without bias": lambda key: qdeq.LinearInjection(16, 4, 16, use_bias=False, key=key),
    "concat": lambda key: qdeq.ConcatInjection(0.5),
}


class _Unknown(qdeq.AbstractInjection):
    pass


def _cell(injection, *, engine="auto", encoding=None, circuit=None, seed=0):
    encoding = qdeq.AmplitudeEncoding() if encoding is None else encoding
    circuit = qdeq.circuits.hardware_efficient(5, 2) if circuit is None else circuit
    layer = qdeq.QuantumLayer(
        circuit, encoding, qdeq.PauliZ((0, 1, 2, 3)), key=jax.random.key(seed), engine=engine
    )
    return qdeq.QuantumCell(layer, injection)


@pytest.mark.parametrize("engine", ["statevector", "operator", "heisenberg"])
@pytest.mark.parametrize("name", sorted(_INJECTIONS))
def test_the_rational_form_is_the_layer_after_the_injection(name, engine, tol):
    cell = _cell(_INJECTIONS[name](jax.random.key(1)), engine=engine)
    x = jax.random.normal(jax.random.key(2), (16,))
    w = jax.random.uniform(jax.random.key(3), (4,), minval=-1, maxval=1)
    literal = lambda w: cell.layer(cell.injection(w, x))
    bound = cell.bind(x)
    np.testing.assert_allclose(bound(w), literal(w), atol=10 * tol)
    np.testing.assert_allclose(jax.jacobian(bound)(w), jax.jacobian(literal)(w), atol=20 * tol)
    state = bound.state(w)
    assert jnp.linalg.norm(state) == pytest.approx(1, abs=10 * tol)
    np.testing.assert_allclose(cell.layer.measurement.values(state), literal(w), atol=10 * tol)


@pytest.mark.parametrize("engine", ["statevector", "operator", "heisenberg"])
@pytest.mark.parametrize("size", [64, 50, 16])
def test_complex_amplitudes_have_the_rational_form_too(size, engine, tol):
    """On 5 wires: all real and imaginary parts, some imaginary ones, none."""
    injection = qdeq.AddInjection(size, jnp.array(0.7))
    cell = _cell(injection, engine=engine, encoding=qdeq.ComplexAmplitudeEncoding())
    x = jax.random.normal(jax.random.key(2), (size,))
    w = jax.random.uniform(jax.random.key(3), (4,), minval=-1, maxval=1)
    literal = lambda w: cell.layer(cell.injection(w, x))
    bound = cell.bind(x)
    np.testing.assert_allclose(bound(w), literal(w), atol=10 * tol)
    np.testing.assert_allclose(jax.jacobian(bound)(w), jax.jacobian(literal)(w), atol=20 * tol)
    np.testing.assert_allclose(
        cell.layer.measurement.values(bound.state(w)), literal(w), atol=10 * tol
    )
    np.testing.assert_allclose(cell.bind(0 * x)(0 * w), cell.layer(0 * x), atol=10 * tol)


@pytest.mark.parametrize("name", ["add", "linear", "concat"])
def test_angle_encoded_cells_are_the_layer_after_the_injection(name, tol):
    cell = _cell(_INJECTIONS[name](jax.random.key(1)), encoding=qdeq.AngleEncoding("YZXY"))
    x = jax.random.normal(jax.random.key(2), (16,))
    w = jax.random.uniform(jax.random.key(3), (4,), minval=-1, maxval=1)
    np.testing.assert_allclose(cell.bind(x)(w), cell.layer(cell.injection(w, x)), atol=10 * tol)


@pytest.mark.parametrize("encoding", [qdeq.AmplitudeEncoding(), qdeq.AngleEncoding("YZ")])
@pytest.mark.parametrize("engine", ["statevector", "operator"])
def test_angle_feedback_is_rotations_within_the_circuit(encoding, engine, tol):
    """Against one circuit in which the feedback's rotations stand as gates of their own."""
    circuit = qdeq.circuits.strongly_entangling(3, 2)
    layer = qdeq.QuantumLayer(
        circuit, encoding, qdeq.PauliZ(), key=jax.random.key(0), engine=engine
    )
    gain = jnp.array([0.5, 1.0, 2.0])
    feedback = qdeq.AngleFeedback("X", gain, position=7, wires=(2, 0, 2))
    bound = qdeq.QuantumCell(layer, feedback).bind(jnp.arange(1.0, 6.0))
    w = jnp.array([0.3, -0.7, 0.9])
    n = circuit.n_params
    (head, head_index), (tail, tail_index) = circuit.split(7)
    whole = qdeq.Circuit(
        (*head.gates, "Rx", "Rx", "Rx", *tail.gates),
        (*head.wires, (2,), (0,), (2,), *tail.wires),
        (
            *((head_index[i[0]],) if i else () for i in head.params),
            (n,),
            (n + 1,),
            (n + 2,),
            *((tail_index[i[0]],) if i else () for i in tail.params),
        ),
        3,
    )
    expected = eqx.tree_at(
        lambda l: l.angles,
        qdeq.QuantumLayer(whole, encoding, qdeq.PauliZ(), key=jax.random.key(0)),
        jnp.concatenate([layer.angles, gain * w]),
    )
    np.testing.assert_allclose(bound(w), expected(jnp.arange(1.0, 6.0)), atol=10 * tol)


def test_the_equilibrium_is_that_of_the_papers_z(tol):
    """z ← upsample(⟨Z⟩(z + x)) on R^d, from 0, written out."""
    qlayer = qdeq.QDEQ(4, 16, key=jax.random.key(0))
    layer = qlayer.deq.cell.layer
    up = jnp.asarray(upsampling_matrix(16, 4))
    xs = 3 * jax.random.normal(jax.random.key(1), (10, 16))

    def literal(x):
        return jax.lax.fori_loop(0, 300, lambda _, z: up @ layer(z + x), jnp.zeros(16, x.dtype))

    solver = qdeq.Newton(rtol=0.1 * tol, atol=0.1 * tol)
    deq = qdeq.DEQ(qlayer.deq.cell, solver)
    solutions = jax.vmap(deq.solve)(xs)
    assert jnp.all(solutions.success)
    np.testing.assert_allclose(solutions.value @ up.T, jax.vmap(literal)(xs), atol=50 * tol)


@pytest.mark.parametrize("engine", ["statevector", "operator"])
def test_input_that_the_feedback_cancels(engine):
    """x + R w = 0 has no direction: a defined value, finite derivatives."""
    cell = _cell(qdeq.AddInjection(16), engine=engine)
    w = jnp.array([0.5, -0.25, 1.0, 0.125])
    x = -cell.injection.matrix(16, 4, w.dtype) @ w
    bound = cell.bind(x)
    np.testing.assert_allclose(bound(w), cell.layer(jnp.zeros(16)), atol=1e-5)
    assert np.all(np.isfinite(jax.jacobian(bound)(w)))
    zero = cell.bind(jnp.zeros(16))(jnp.zeros(4))
    np.testing.assert_allclose(zero, cell.layer(jnp.zeros(16)), atol=1e-5)


@pytest.mark.parametrize("size", [1e-15, 1e15, 1e25])
def test_input_of_any_norm_gives_an_equilibrium(size):
    cell = _cell(qdeq.AddInjection(16))
    x = size * jax.random.normal(jax.random.key(0), (16,))
    solution = qdeq.DEQ(cell).solve(x)
    assert jnp.all(jnp.isfinite(solution.value)) and jnp.all(jnp.abs(solution.value) <= 1 + 1e-5)


def test_upsampling_is_the_papers_for_sizes_that_divide():
    expected = np.repeat(np.arange(10), 10)
    np.testing.assert_array_equal(upsampling_matrix(100, 10) @ np.arange(10), expected)
    np.testing.assert_array_equal(upsampling_matrix(5, 2).sum(0), [3, 2])


def test_compiled_cells_have_the_same_equilibria(tol):
    cell = _cell(qdeq.AddInjection(16, 0.5))
    x = jax.random.normal(jax.random.key(0), (16,))
    np.testing.assert_allclose(qdeq.DEQ(cell.compile(16))(x), qdeq.DEQ(cell)(x), atol=10 * tol)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: _cell(_Unknown()), TypeError, "`injection` must be a linear injection"),
        (lambda: qdeq.AddInjection(0), ValueError, "`in_size` must be at least 1"),
        (
            lambda: _cell(qdeq.AddInjection(16)).bind(jnp.ones(8)),
            ValueError,
            r"made for in_size=16 features; got an input of shape \(8,\)",
        ),
        (
            lambda: _cell(qdeq.AddInjection(2)).bind(jnp.ones(2)),
            ValueError,
            "cannot upsample 4 measured values to in_size=2",
        ),
        (
            lambda: _cell(qdeq.LinearInjection(16, 3, 8, key=jax.random.key(0))).bind(jnp.ones(16)),
            ValueError,
            "made for state_size=3 values, but the layer measures 4",
        ),
        (
            lambda: _cell(qdeq.LinearInjection(4, 4, 8, key=jax.random.key(0))).bind(jnp.ones(16)),
            ValueError,
            "made for in_size=4 features",
        ),
        (
            lambda: qdeq.LinearInjection(4, 4, 0, key=jax.random.key(0)),
            ValueError,
            "`out_size` must be at least 1; got 0",
        ),
        (lambda: qdeq.AngleFeedback("W"), ValueError, "`axis` must be 'X', 'Y' or 'Z'"),
        (
            lambda: _cell(qdeq.AngleFeedback(position=1000)).bind(jnp.ones(16)),
            ValueError,
            "`position` must lie in the circuit",
        ),
        (
            lambda: _cell(qdeq.AngleFeedback(wires=(0,))).bind(jnp.ones(16)),
            ValueError,
            "names 1 wires for 4 measured values",
        ),
        (
            lambda: _cell(qdeq.AngleFeedback(wires=(0, 1, 2, 9))).bind(jnp.ones(16)),
            ValueError,
            "leave the circuit, which has 5 wires",
        ),
    ],
)
def test_mistakes_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize("encoding", [qdeq.AmplitudeEncoding(), qdeq.AngleEncoding("YZXY")])
def test_no_product_may_be_rounded_to_fewer_bits(encoding):
    """Where matrix products default to TF32 or bfloat16, tolerances would be out of reach."""
    deq = qdeq.DEQ(_cell(qdeq.AddInjection(16), encoding=encoding))
    x = jnp.ones((3, 16))
    arrays, static = eqx.partition(deq, eqx.is_inexact_array)
    loss = lambda arrays: jnp.sum(jax.vmap(eqx.combine(arrays, static))(x) ** 2)
    program = equations(jax.make_jaxpr(jax.grad(loss))(arrays).jaxpr)
    products = [e for e in program if e.primitive is jax.lax.dot_general_p]
    assert products
    for product in products:
        assert set(product.params["precision"] or ()) == {jax.lax.Precision.HIGHEST}, product


def test_a_layout_of_angles_works_in_a_cell():
    layout = tuple(("Y", i % 4) for i in range(5))
    encoding = qdeq.AngleEncoding(layout=layout)
    layer = qdeq.QuantumLayer(
        qdeq.circuits.paper(4), encoding, qdeq.PauliZ(), key=jax.random.key(0)
    )
    cell = qdeq.QuantumCell(layer, qdeq.AddInjection(5))
    x, w = jnp.linspace(0, 1, 5), jnp.full(4, 0.1)
    np.testing.assert_allclose(cell.bind(x)(w), layer(cell.injection(w, x)), atol=1e-5)
