"""The one place that calls qujax: from gates to unitary matrices.

qujax measures angles in units of π and creates its constants at import, in the precision
that was set then. Both stop here: angles arrive in radians, and constants are taken from a
private copy of `qujax.gates` that is always evaluated in double precision, so that nothing
depends on whether JAX's x64 mode was switched on before or after an import.
"""

import functools as ft
import importlib.util
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import qujax
from jaxtyping import Array, Complex, Float

from ..circuits import Circuit, GATES


@ft.cache
def _constants() -> dict[str, np.ndarray]:
    """Gates without parameters, as double-precision matrices."""
    spec = importlib.util.find_spec("qujax.gates")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with jax.enable_x64(True), jax.ensure_compile_time_eval():
        spec.loader.exec_module(module)
        constants = {}
        for name, info in GATES.items():
            if info.n_params == 0:
                dim = 2**info.n_wires
                constants[name] = np.asarray(getattr(module, name), complex).reshape(dim, dim)
    return constants


def _complex_dtype(angles: Array) -> jnp.dtype:
    return jnp.result_type(angles.dtype, jnp.complex64)


def _as_matrix(tensor: Array, n_wires: int, dtype: jnp.dtype) -> Array:
    return jnp.asarray(tensor, dtype).reshape(2**n_wires, 2**n_wires)


def gate_matrices(circuit: Circuit, angles: Float[Array, " n_params"]) -> list[Array]:
    """The unitary matrix of every gate, in order.

    Gates of one name are evaluated together (one `vmap` over their angles), so that the
    number of traced operations grows with the kinds of gates and not with their number.

    **Arguments:**

    - `circuit`: the circuit.
    - `angles`: its angles in radians, shape `(n_params,)`.

    **Returns:**

    A list of complex arrays, the g-th of shape `(2**k, 2**k)` for a gate on k wires.
    """
    dtype = _complex_dtype(angles)
    matrices: list[Array | None] = [None] * len(circuit)
    by_name: dict[str, list[int]] = {}
    for g, gate in enumerate(circuit.gates):
        if isinstance(gate, str) and GATES[gate].n_params > 0:
            by_name.setdefault(gate, []).append(g)
        elif isinstance(gate, str):
            matrices[g] = jnp.asarray(_constants()[gate], dtype)
        elif callable(gate):
            values = [_slot(circuit, angles, g, s) for s in range(len(circuit.params[g]))]
            matrices[g] = _as_matrix(gate(*values), len(circuit.wires[g]), dtype)
        else:
            matrices[g] = _as_matrix(jnp.asarray(np.asarray(gate), dtype), len(circuit.wires[g]), dtype)
    for name, positions in by_name.items():
        info = GATES[name]
        function = getattr(qujax.gates, name)
        index = np.array([circuit.params[g] for g in positions])
        scale = np.array([circuit.scales[g] for g in positions]) / np.pi
        offset = np.array([circuit.offsets[g] for g in positions]) / np.pi
        # (gates, slots), in qujax's units of π
        values = angles[index] * scale.astype(angles.dtype)
        if np.any(offset):
            values = values + offset.astype(angles.dtype)
        stacked = jax.vmap(lambda v, function=function: function(*v))(values)
        for g, tensor in zip(positions, stacked, strict=True):
            matrices[g] = _as_matrix(tensor, info.n_wires, dtype)
    return matrices  # pyright: ignore[reportReturnType]


def _slot(circuit: Circuit, angles: Array, gate: int, slot: int) -> Array:
    """The value, in radians, of one parameter slot of one gate."""
    value = angles[circuit.params[gate][slot]] * circuit.scales[gate][slot]
    return value + circuit.offsets[gate][slot]


def unitary(circuit: Circuit, angles: Float[Array, " n_params"]) -> Complex[Array, "dim dim"]:
    """The circuit's unitary matrix, gate by gate. Meant for few wires: a fused block."""
    n = circuit.n_qubits
    tensor = jnp.eye(2**n, dtype=_complex_dtype(angles)).reshape((2,) * (2 * n))
    for matrix, wires in zip(gate_matrices(circuit, angles), circuit.wires, strict=True):
        gate = matrix.reshape((2,) * (2 * len(wires)))
        tensor = qujax.apply_gate(tensor, gate, wires)
    return tensor.reshape(2**n, 2**n)


def qujax_state_function(circuit: Circuit) -> Callable[[Array, Array], Array]:
    """qujax's own gate-by-gate simulation of the circuit, as a reference.

    **Returns:**

    `(angles, state) -> state`: `angles` of shape `(n_params,)` in radians, `state` a tensor of
    shape `(2,) * n_qubits`.
    """
    gates, wires, params = circuit.to_qujax()
    gates = [_constants_first(gate) for gate in gates]
    with jax.ensure_compile_time_eval():
        function = qujax.get_params_to_statetensor_func(gates, wires, params, circuit.n_qubits)
    if circuit.n_params == 0:
        return lambda angles, state: function(state)  # pyright: ignore
    return lambda angles, state: function(angles / np.pi, state)  # pyright: ignore


def _constants_first(gate: object) -> object:
    """Parameter-free names become double-precision arrays; the rest stays as it is."""
    if isinstance(gate, str) and gate in _constants():
        return _constants()[gate]
    return gate

