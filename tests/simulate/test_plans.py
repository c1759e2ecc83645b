"""Every plan gives what the gates give one by one, with all derivatives, at the cost it says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from eqx_qdeq import Circuit, circuits
from eqx_qdeq.simulate import (
    apply_plan,
    apply_plan_to_real,
    best_block_size,
    Block,
    Cost,
    gate_propagator,
    make_plan,
    matrix_propagator,
    plan_columns,
    plan_cost,
    product_cost,
    qujax_state_function,
    this_machine,
)
from tests._pennylane import random_circuit

_WAYS = ("columns", "real", "state", "states", "checkpointed", "sections")


def _by_qujax(circuit, angles, columns):
    """The states after the circuit, `columns` of shape (2, dim, cols)."""
    function = qujax_state_function(circuit)
    states = jax.lax.complex(columns[0], columns[1]).T.reshape((-1,) + (2,) * circuit.n_qubits)
    out = jax.vmap(lambda s: function(angles, s))(states).reshape(states.shape[0], -1).T
    return jnp.stack([out.real, out.imag])


def _case(way, circuit, block_size, rng):
    """Our function of the angles, and the columns that qujax is given."""
    dim = 2**circuit.n_qubits
    size = int(rng.integers(1, dim + 1))
    section = 5 if way == "sections" else None
    plan = make_plan(circuit, block_size, section)
    if way == "columns":
        columns = np.stack([np.eye(dim, size), np.zeros((dim, size))])
        return (lambda a: plan_columns(plan, a, size)), columns
    if way == "real":
        vectors = rng.normal(size=(size, 3))
        columns = np.zeros((2, dim, 3))
        columns[0, :size] = vectors
        return (lambda a: apply_plan_to_real(plan, a, jnp.asarray(vectors, a.dtype))), columns
    n_states = 1 if way == "state" else 3
    columns = rng.normal(size=(2, dim, n_states))
    gradient = way if way == "checkpointed" else "stored"
    ours = lambda a: apply_plan(plan, a, jnp.asarray(columns, a.dtype), gradient=gradient)
    return ours, columns


def _derivatives(function, angles, direction, weight):
    """Value, JVP, VJP and a second derivative."""
    loss = lambda a: jnp.sum(jnp.sin(function(a)) * weight)
    value, tangent = jax.jvp(function, (angles,), (direction,))
    gradient, second = jax.jvp(jax.grad(loss), (angles,), (direction,))
    return value, tangent, gradient, second


@pytest.mark.parametrize("way", _WAYS)
@given(seed=st.integers(0, 2**32 - 1), n_qubits=st.integers(1, 5), block_size=st.integers(1, 5))
@settings(max_examples=2)
def test_plans_agree_with_unfused_gates_in_all_derivatives(way, seed, n_qubits, block_size, tol):
    rng = np.random.default_rng(seed)
    circuit = random_circuit(rng, n_qubits, 12)
    if way == "sections":
        circuit = random_circuit(rng, n_qubits, 4).repeat(3)
    ours, columns = _case(way, circuit, block_size, rng)
    angles = jnp.asarray(rng.uniform(-np.pi, np.pi, circuit.n_params), float)
    columns = jnp.asarray(columns, float)
    weight = jnp.asarray(rng.normal(size=columns.shape), float)
    direction = jnp.asarray(rng.normal(size=angles.shape), float)
    theirs = lambda a: _by_qujax(circuit, a, columns)
    results = jax.jit(lambda a, t: _derivatives(ours, a, t, weight))(angles, direction)
    expected = jax.jit(lambda a, t: _derivatives(theirs, a, t, weight))(angles, direction)
    for result, reference in zip(results, expected, strict=True):
        scale = 1 + np.max(np.abs(reference), initial=0)
        np.testing.assert_allclose(result / scale, reference / scale, atol=10 * tol)


@given(seed=st.integers(0, 2**32 - 1), n_states=st.integers(1, 2), repeats=st.integers(1, 3))
@settings(max_examples=4)
def test_uncomputing_gives_the_same_gradients(seed, n_states, repeats, tol):
    rng = np.random.default_rng(seed)
    circuit = random_circuit(rng, 4, 10).repeat(repeats)
    plan = make_plan(circuit, 2, 10)
    angles = jnp.asarray(rng.uniform(-np.pi, np.pi, circuit.n_params), float)
    states = jnp.asarray(rng.normal(size=(2, 16, n_states)), float)

    def value_and_gradients(gradient):
        loss = lambda a, s: jnp.sum(jnp.sin(apply_plan(plan, a, s, gradient=gradient)))
        return jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(angles, states)

    stored, uncomputed = map(value_and_gradients, ("stored", "uncomputed"))
    for result, expected in zip(jax.tree.leaves(uncomputed), jax.tree.leaves(stored), strict=True):
        np.testing.assert_allclose(result, expected, atol=50 * tol)


def test_uncomputing_keeps_no_states():
    circuit = circuits.hardware_efficient(10, 16)
    plan = make_plan(circuit, 2, 30)
    state = jnp.ones((2, 2**10, 1)) / 2**5

    def temporary(gradient):
        loss = lambda a: jnp.sum(apply_plan(plan, a, state, gradient=gradient)[0] ** 3)
        compiled = jax.jit(jax.grad(loss)).lower(jnp.ones(circuit.n_params)).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert temporary("uncomputed") < temporary("checkpointed") < temporary("stored")


@pytest.mark.parametrize(
    ("circuit", "columns", "options"),
    [
        (circuits.paper(10), 100, {"wires": 7, "basis": True}),
        (circuits.paper(10), 256, {"wires": 7}),
        (circuits.hardware_efficient(9, 2), 1, {}),
    ],
    ids=["matrix", "real", "state"],
)
def test_the_operations_are_those_that_xla_counts(circuit, columns, options):
    plan = make_plan(circuit, 4)
    angles = jnp.ones(circuit.n_params)
    if options.get("basis"):
        run = lambda a: plan_columns(plan, a, columns)
    elif "wires" in options:
        run = lambda a: apply_plan_to_real(plan, a, jnp.ones((100, columns)))
    else:
        run = lambda a: apply_plan(plan, a, jnp.ones((2, 2**9, columns)))
    counted = jax.jit(run).lower(angles).compile().cost_analysis()["flops"]
    build, apply = plan_cost(plan, columns, **options)
    # XLA also counts the gates' own entries and copies.
    assert apply.flops < counted < 1.5 * (build.flops + apply.flops)


def test_zeros_and_identities_are_not_multiplied():
    plan = make_plan(circuits.paper(10), 5)
    _, full = plan_cost(plan, 100)
    _, real = plan_cost(plan, 100, wires=7)
    _, basis = plan_cost(plan, 100, wires=7, basis=True)
    assert basis.flops < 0.7 * full.flops
    assert real.flops < 0.9 * full.flops


def test_depth_does_not_lengthen_the_program():
    def equations(depth):
        circuit = circuits.hardware_efficient(4, depth)
        plan = make_plan(circuit)
        run = lambda a: apply_plan(plan, a, jnp.ones((2, 16, 1)))
        return len(jax.make_jaxpr(run)(jnp.ones(circuit.n_params)).eqns)

    assert equations(64) == equations(16)


def test_block_sizes_follow_the_number_of_columns():
    circuit = circuits.hardware_efficient(8, 4)
    assert best_block_size(circuit, 1) < best_block_size(circuit, 4096)


def test_wires_without_gates_are_kept():
    circuit = Circuit(["H"], [[1]], [[]], 3)
    matrix = plan_columns(make_plan(circuit), jnp.zeros(0), 8)
    expected = np.kron(np.kron(np.eye(2), np.array([[1, 1], [1, -1]]) / np.sqrt(2)), np.eye(2))
    np.testing.assert_allclose(matrix[0], expected, atol=1e-6)
    assert not np.any(matrix[1])


@pytest.mark.parametrize("complex_input", [False, True])
def test_propagators_agree_on_vectors_and_columns(complex_input, tol):
    """The gates and their matrix, with a wire that no gate is on, where nothing is uncomputed."""
    circuit = Circuit(["Ry", "CX"], [[0], [0, 2]], [[0], []])
    plan, angles = make_plan(circuit, 2), jnp.array([0.7])
    size = 16 if complex_input else 5
    by_matrix = matrix_propagator(plan, angles, size, complex_input=complex_input)
    vectors = jnp.asarray(np.random.default_rng(0).normal(size=(size, 3)), float)

    def gates(angles):
        propagator = gate_propagator(
            plan, angles, complex_input=complex_input, gradient="uncomputed"
        )
        columns = propagator(vectors)
        return jnp.sum(columns**3), (columns, propagator.vector(vectors[:, 0]))

    (_, (columns, vector)), slope = jax.jit(jax.value_and_grad(gates, has_aux=True))(angles)
    np.testing.assert_allclose(by_matrix(vectors), columns, atol=tol)
    np.testing.assert_allclose(by_matrix.vector(vectors[:, 0]), vector, atol=tol)
    step = 1e-3
    difference = (gates(angles + step)[0] - gates(angles - step)[0]) / (2 * step)
    np.testing.assert_allclose(slope[0], difference, rtol=1e-3)


def test_a_block_without_gates_is_one_idle_wire():
    assert Block((1,), ()).gates == ()
    with pytest.raises(ValueError, match=r"`gates` is empty for a block on wires \(0, 1\)"):
        Block((0, 1), ())


def test_the_cost_of_a_product():
    """Two operations for each pair; both factors are read and the product is written, once."""
    cost = product_cost(2, 3, 5, this_machine())
    assert cost.flops == 2 * 2 * 3 * 5
    assert cost.bytes == 4 * (2 * 3 + 3 * 5 + 2 * 5)


def test_the_cost_of_a_blocks_matrix():
    """By hand: three pairs of wires in one block of three are spread over matrices of 8 × 8 by
    constants of 16 such matrices, 2 · 2 operations for each of their numbers; and two complex
    products are four real ones each, of 2 · 8³ operations."""
    circuit = Circuit(["CRx"] * 3, [[0, 1], [1, 2], [0, 1]], [[0], [1], [2]])
    plan = make_plan(circuit, 3)
    assert len(plan.blocks) == plan.n_sections == 1
    build, _ = plan_cost(plan, 1)
    assert build.flops == 3 * 16 * 8**2 * 4 + 2 * 4 * 2 * 8**3
    assert sum([Cost(flops=2.0, bytes=3.0), Cost(seconds=5.0)], Cost()) == Cost(2.0, 3.0, 5.0)


def test_many_columns_of_wide_states_are_each_column(tol):
    """They go through the circuit one by one; a few of them, together."""
    circuit = circuits.hardware_efficient(14, 1)
    plan = make_plan(circuit, 4)
    angles = jnp.linspace(-1, 2, circuit.n_params)
    vectors = jnp.cos(jnp.arange(300.0 * 36).reshape(300, 36))
    weights = jnp.sin(jnp.arange(36.0))

    def some(angles, vectors, weights):
        out = apply_plan_to_real(plan, angles, vectors)
        return jnp.sum(out[:, 7] @ weights) + jnp.sum(out[0, 1::2] ** 3 @ weights), out

    derive = jax.jit(jax.value_and_grad(some, (0, 1), has_aux=True))
    (_, out), (of_angles, of_vectors) = derive(angles, vectors, weights)
    parts = [slice(0, 18), slice(18, 36)]
    few = [derive(angles, vectors[:, part], weights[part]) for part in parts]
    of_few = (
        jnp.concatenate([f[0][1] for f in few], 2),
        few[0][1][0] + few[1][1][0],
        jnp.concatenate([f[1][1] for f in few], 1),
    )
    for mine, theirs in zip((out, of_angles, of_vectors), of_few, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=100 * tol * jnp.max(jnp.abs(theirs)))
