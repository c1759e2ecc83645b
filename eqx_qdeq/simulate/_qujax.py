"""The one place that calls qujax: from angles to the matrices of gates.

qujax measures angles in units of π and creates its constants at import, in the precision
that was set then. Both stop here: angles arrive in radians, and constants are evaluated anew in
double precision, so that nothing depends on whether JAX's x64 mode was switched on before or
after an import.
"""

import functools as ft
import importlib.util
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import qujax
from jaxtyping import Array, Complex, Float

from ..circuits import Circuit, GATES, Unitary

_IMPORT = "from jax import numpy as jnp"


@ft.cache
def _constants() -> dict[str, np.ndarray]:
    """Gates without parameters, as double-precision matrices.

    qujax's own definitions, evaluated by NumPy: JAX would round them to the precision that is
    set, and take over a second to compile them one by one.
    """
    spec = importlib.util.find_spec("qujax.gates")
    source = getattr(spec and spec.loader, "get_source", lambda name: None)("qujax.gates")
    if source is None or _IMPORT not in source:
        raise ImportError(
            "this version of qujax defines its gates in another way than eqx-qdeq can read; "
            "install qujax 1.1.0."
        )
    module: dict[str, Any] = {}
    exec(source.replace(_IMPORT, "import numpy as jnp"), module)
    constants = {}
    for name, info in GATES.items():
        if info.n_params == 0:
            dim = 2**info.n_wires
            constants[name] = np.asarray(module[name], complex).reshape(dim, dim)
    return constants


def constant_matrix(gate: str | Unitary) -> np.ndarray:
    """The matrix of a gate without parameters, in double precision."""
    return _constants()[gate] if isinstance(gate, str) else np.asarray(gate)


def is_constant(gate: object) -> bool:
    """Whether a gate has no parameters."""
    if isinstance(gate, str):
        return GATES[gate].n_params == 0
    return isinstance(gate, Unitary)


@ft.lru_cache(maxsize=256)
def _groups(circuit: Circuit) -> tuple[tuple[Any, tuple[int, ...]], ...]:
    """The parametrised gates, those of one name together; functions stand alone."""
    by_name: dict[str, list[int]] = {}
    alone: list[tuple[Any, tuple[int, ...]]] = []
    for g, gate in enumerate(circuit.gates):
        if is_constant(gate):
            continue
        if isinstance(gate, str):
            by_name.setdefault(gate, []).append(g)
        else:
            alone.append((gate, (g,)))
    return (*((name, tuple(gs)) for name, gs in by_name.items()), *alone)


@ft.lru_cache(maxsize=256)
def entry_layout(circuit: Circuit) -> tuple[dict[int, int], int]:
    """Where `gate_entries` puts each parametrised gate, and how long its result is."""
    starts, position = {}, 0
    for _, members in _groups(circuit):
        for g in members:
            starts[g] = position
            position += 4 ** len(circuit.wires[g])
    return starts, position


def gate_entries(circuit: Circuit, angles: Float[Array, " n_params"]) -> Complex[Array, " entries"]:
    """The matrices of all parametrised gates, row by row, in one vector.

    Gates of one name are evaluated together (one `vmap` of qujax's function over their angles),
    so that the number of traced operations grows with the kinds of gates, not with their number.

    **Arguments:**

    - `circuit`: the circuit.
    - `angles`: its angles in radians, shape `(n_params,)`.

    **Returns:**

    A complex vector; `entry_layout` tells where each gate begins.
    """
    dtype = jnp.result_type(angles.dtype, jnp.complex64)
    parts = [jnp.zeros(0, dtype)]
    for gate, members in _groups(circuit):
        index = np.array([circuit.params[g] for g in members], int)
        scales = np.array([circuit.scales[g] for g in members])
        offsets = np.array([circuit.offsets[g] for g in members])
        unit = 1.0
        function = gate
        if isinstance(gate, str):
            function, unit = getattr(qujax.gates, gate), np.pi
        values = angles[index] * (scales / unit).astype(angles.dtype)
        if np.any(offsets):
            values = values + (offsets / unit).astype(angles.dtype)
        tensors = jax.vmap(lambda v, function=function: jnp.asarray(function(*v)))(values)
        parts.append(tensors.astype(dtype).reshape(-1))
    return jnp.concatenate(parts)


def qujax_state_function(circuit: Circuit) -> Callable[[Array, Array], Array]:
    """qujax's own gate-by-gate simulation of the circuit, as a reference.

    **Returns:**

    `(angles, state) -> state`: `angles` of shape `(n_params,)` in radians, `state` a tensor of
    shape `(2,) * n_qubits`.
    """
    gates, wires, params = circuit.to_qujax()
    gates: list[Any] = [_constants_first(gate) for gate in gates]
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
