"""Every way to apply a circuit gives PennyLane's states and derivatives."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pennylane as qml
import pytest
from hypothesis import given, settings, strategies as st

from eqx_qdeq import Circuit, circuits
from eqx_qdeq.simulate import (
    apply_plan,
    from_complex,
    make_plan,
    qujax_state_function,
    to_complex,
)
from tests._pennylane import GATES, random_circuit, state as pennylane_state

pytestmark = pytest.mark.portable


def _random_state(rng: np.random.Generator, n_qubits: int) -> np.ndarray:
    state = rng.normal(size=2**n_qubits) + 1j * rng.normal(size=2**n_qubits)
    return state / np.linalg.norm(state)


def _angles(rng: np.random.Generator, circuit: Circuit) -> np.ndarray:
    return rng.uniform(-np.pi, np.pi, circuit.n_params)


def _run(circuit: Circuit, angles: np.ndarray, initial: np.ndarray, block_size: int) -> np.ndarray:
    state = from_complex(jnp.asarray(initial))[..., None]
    plan = make_plan(circuit, block_size)
    return np.asarray(to_complex(apply_plan(plan, jnp.asarray(angles, float), state))[:, 0])


def test_pennylane_covers_every_gate():
    assert set(GATES) == set(circuits.GATES)


@given(seed=st.integers(0, 2**32 - 1), n_qubits=st.integers(1, 8), block_size=st.integers(1, 6))
@settings(max_examples=8)
def test_states_agree_with_pennylane(seed, n_qubits, block_size, tol):
    rng = np.random.default_rng(seed)
    circuit = random_circuit(rng, n_qubits, 25)
    angles, initial = _angles(rng, circuit), _random_state(rng, n_qubits)
    ours = _run(circuit, angles, initial, block_size)
    np.testing.assert_allclose(ours, pennylane_state(circuit, angles, initial), atol=tol)


@pytest.mark.parametrize("name", sorted(circuits.GATES))
def test_each_gate_agrees_with_pennylane(name, tol):
    info = circuits.GATES[name]
    rng = np.random.default_rng(1)
    # The wires in descending order: a gate must not be silently turned around.
    wires = tuple(reversed(range(info.n_wires)))
    circuit = Circuit([name], [wires], [tuple(range(info.n_params))], info.n_wires)
    angles, initial = _angles(rng, circuit), _random_state(rng, info.n_wires)
    ours = _run(circuit, angles, initial, 3)
    np.testing.assert_allclose(ours, pennylane_state(circuit, angles, initial), atol=tol)


def test_agrees_with_qujax_itself(tol):
    rng = np.random.default_rng(2)
    circuit = random_circuit(rng, 5, 40)
    angles, initial = _angles(rng, circuit), _random_state(rng, 5)
    reference = qujax_state_function(circuit)(
        jnp.asarray(angles, float), jnp.asarray(initial).reshape((2,) * 5)
    )
    np.testing.assert_allclose(
        _run(circuit, angles, initial, 3), np.asarray(reference).reshape(-1), atol=tol
    )


def test_gradients_agree_with_pennylane(tol):
    rng = np.random.default_rng(3)
    circuit = random_circuit(rng, 4, 30)
    # Real amplitudes: autograd warns when it drops the imaginary parts of complex ones.
    angles, initial = _angles(rng, circuit), np.full(16, 0.25)

    def ours(angles):
        state = from_complex(jnp.asarray(initial))[..., None]
        out = to_complex(apply_plan(make_plan(circuit, 3), angles, state))[:, 0]
        return jnp.sum(jnp.abs(out[:8]) ** 2 - jnp.abs(out[8:]) ** 2)

    @qml.qnode(qml.device("default.qubit", wires=4), interface="autograd", diff_method="backprop")
    def theirs(angles):
        from tests._pennylane import apply

        qml.StatePrep(initial, wires=range(4))
        apply(circuit, angles)
        return qml.expval(qml.PauliZ(0))

    expected = qml.grad(theirs)(qml.numpy.array(angles, requires_grad=True))
    np.testing.assert_allclose(jax.grad(ours)(jnp.asarray(angles, float)), expected, atol=10 * tol)


@given(depth=st.integers(1, 6), section_gates=st.sampled_from([1, 20, 1000]))
@settings(max_examples=6)
def test_scanning_sections_changes_nothing(depth, section_gates, tol):
    circuit = circuits.hardware_efficient(4, depth)
    rng = np.random.default_rng(depth)
    angles, initial = _angles(rng, circuit), _random_state(rng, 4)
    plan = make_plan(circuit, 3, section_gates)
    assert plan.section.repeat(plan.n_sections) == circuit
    state = from_complex(jnp.asarray(initial))[..., None]
    scanned = to_complex(apply_plan(plan, jnp.asarray(angles, float), state))[:, 0]
    np.testing.assert_allclose(scanned, pennylane_state(circuit, angles, initial), atol=tol)


@given(seed=st.integers(0, 2**32 - 1), n_qubits=st.integers(1, 6))
@settings(max_examples=4)
def test_norm_is_preserved(seed, n_qubits, tol):
    rng = np.random.default_rng(seed)
    circuit = random_circuit(rng, n_qubits, 20)
    out = _run(circuit, _angles(rng, circuit), _random_state(rng, n_qubits), 4)
    assert np.linalg.norm(out) == pytest.approx(1, abs=10 * tol)


@given(seed=st.integers(0, 2**32 - 1), n_qubits=st.integers(1, 5))
@settings(max_examples=4)
def test_inverse_undoes(seed, n_qubits, tol):
    rng = np.random.default_rng(seed)
    circuit = random_circuit(rng, n_qubits, 12)
    angles, initial = _angles(rng, circuit), _random_state(rng, n_qubits)
    there = _run(circuit, angles, initial, 4)
    back = _run(circuit.inverse(), angles, there, 4)
    np.testing.assert_allclose(back, initial, atol=10 * tol)


def test_float32_angles_stay_float32_under_x64():
    circuit = circuits.hardware_efficient(3, 2)
    state = jnp.zeros((2, 8, 1), jnp.float32).at[0, 0].set(1)
    out = apply_plan(make_plan(circuit), jnp.ones(circuit.n_params, jnp.float32), state)
    assert out.dtype == jnp.float32


_LATER = """
import sys
import eqx_qdeq, jax, numpy as np
from jax._src import xla_bridge
assert not xla_bridge.backends_are_initialized(), "importing starts JAX's back end"
assert "qujax" not in sys.modules, "importing imports qujax"

from eqx_qdeq import Circuit, circuits
from eqx_qdeq.simulate import apply_plan, make_plan, qujax_state_function

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
gates, wires, params, used = [], [], [], 0
for name, info in circuits.GATES.items():
    gates.append(name)
    wires.append(range(info.n_wires))
    params.append(range(used, used + info.n_params))
    used += info.n_params
circuit = Circuit(gates, wires, params)
plan = make_plan(circuit + circuit.inverse())
if FLOAT32_FIRST:
    apply_plan(plan, jax.numpy.ones(2 * used), jax.numpy.zeros((2, 8, 1)))
jax.config.update("jax_enable_x64", True)
angles = np.linspace(-1.0, 2.0, used)
state = np.zeros((2, 8, 1))
state[0, 0] = 1
u = apply_plan(plan, jax.numpy.tile(angles, 2), state)
assert u.dtype == np.float64
assert np.abs(u - state).max() < 1e-14, u
# qujax is imported within a `jit`, and must not keep its tracers for the next one.
start = jax.numpy.asarray(state[0].reshape(2, 2, 2), complex)
theirs = jax.jit(lambda a: qujax_state_function(circuit)(a, start))(angles).reshape(-1)
ours = np.asarray(apply_plan(make_plan(circuit), jax.numpy.asarray(angles), state))
assert np.abs(ours[0, :, 0] + 1j * ours[1, :, 0] - np.asarray(theirs)).max() < 1e-14
jax.jit(lambda a: qujax_state_function(circuit)(a, start))(2 * angles)
"""


@pytest.mark.parametrize("float32_first", [False, True])
def test_double_precision_does_not_depend_on_the_order_of_imports(float32_first):
    """qujax fixes its constants when it is imported; ours are exact all the same, whether x64 is
    switched on before the first use or after it. And importing us neither imports qujax nor starts
    a back end."""
    env = {k: v for k, v in os.environ.items() if k != "JAX_ENABLE_X64"}
    code = f"FLOAT32_FIRST = {float32_first}\n{_LATER}"
    subprocess.run([sys.executable, "-c", code], check=True, env=env)


def test_block_size_must_be_positive():
    with pytest.raises(ValueError, match="`block_size` must be at least 1"):
        make_plan(circuits.hardware_efficient(2, 1), 0)
