"""The one place that calls qujax: from angles to the matrices of gates."""

import contextlib
import functools as ft
import importlib.metadata
import importlib.util
from collections.abc import Callable, Iterator
from importlib.machinery import PathFinder
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from .._checks import describe
from ..circuits import Circuit, GATES, Unitary

# What qujax 1.1.0 does otherwise than we do stops in this module:
#
# - It measures angles in units of π. They arrive here in radians.
# - `import qujax` computes: the constant gates, by JAX, one by one. That takes over a second,
#   starts JAX's back end, fixes the precision to the one that is set at that moment, fails where
#   dtypes are promoted strictly, and leaves tracers behind if it happens inside `jit`. So its
#   definitions are read and not imported, and NumPy evaluates the constants: in double precision,
#   rounded to that of the angles, whenever JAX's x64 mode is switched on. (A NumPy array that JAX
#   has once taken for float32 must not come back in x64 mode: JAX 0.10.2 knows it by its address.)
# - Its functions multiply dtypes and ranks as JAX promotes them by default.
# - A circuit without parameters becomes a function of the state alone, `None` for no parameters
#   raises, and too short or too large indices go unnoticed. (`Circuit` checks them.)

_IMPORT = "from jax import numpy as jnp"


@ft.cache
def _definitions(dtype: Any = np.float64) -> dict[str, Any]:
    """qujax's gates by name: arrays, and functions of angles in units of π, in this precision."""
    # Asked for by its full name, a submodule's package would be imported.
    package = importlib.util.find_spec("qujax")
    locations = package and package.submodule_search_locations
    spec = PathFinder.find_spec("qujax.gates", locations)
    source = getattr(spec and spec.loader, "get_source", lambda name: None)("qujax.gates")
    if source is None or _IMPORT not in source:
        raise ImportError(
            "this version of qujax defines its gates in another way than eqx-qdeq can read; "
            "install qujax 1.1.0."
        )
    module: dict[str, Any] = {"__name__": "qujax.gates", "jnp": np}
    exec(source.replace(_IMPORT, ""), module)
    for name, value in module.items():
        if isinstance(value, np.ndarray):
            module[name] = value.astype(complex_dtype(dtype) if np.iscomplexobj(value) else dtype)
    module["jnp"] = jnp  # the constants are there; functions look it up when they are called
    return {name: module[name] for name in GATES}


@contextlib.contextmanager
def _promotion_of_qujax() -> Iterator[None]:
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def _import_qujax() -> ModuleType:
    try:
        import qujax
    except (ImportError, AttributeError) as error:
        theirs = importlib.metadata.version("qujax")
        raise ImportError(
            f"qujax {theirs} cannot be imported with jax {jax.__version__}, as it uses private "
            f"names of JAX: {error}. Only qujax's own simulation needs them, eqx-qdeq's engines do "
            "not. Install a newer qujax, or an older jax."
        ) from error
    return qujax


def complex_dtype(dtype: Any) -> Any:
    """The complex numbers whose parts have this precision, or single precision for halves."""
    # (`jnp.result_type` refuses two dtypes under strict promotion.)
    return jnp.complex128 if dtype == jnp.float64 else jnp.complex64


def constant_matrix(gate: str | Unitary) -> np.ndarray:
    """The matrix of a gate without parameters, in double precision."""
    if isinstance(gate, Unitary):
        return np.asarray(gate)
    dim = 2 ** GATES[gate].n_wires
    return np.asarray(_definitions()[gate], complex).reshape(dim, dim)


def is_constant(gate: object) -> bool:
    """Whether a gate has no parameters."""
    if isinstance(gate, str):
        return GATES[gate].n_params == 0
    return isinstance(gate, Unitary)


@ft.lru_cache(maxsize=256)
def _groups(circuit: Circuit) -> tuple[tuple[Any, tuple[int, ...]], ...]:
    """The parametrized gates, those of one name together; functions stand alone."""
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
    """Where `gate_entries` puts each parametrized gate, and how long its result is."""
    starts, position = {}, 0
    for _, members in _groups(circuit):
        for g in members:
            starts[g] = position
            position += 4 ** len(circuit.wires[g])
    return starts, position


def check_angles(angles: Any) -> None:
    """Raises a `TypeError` for what would be rounded to integers, or evolve no state."""
    if not jnp.issubdtype(getattr(angles, "dtype", bool), jnp.floating):
        raise TypeError(
            "`angles` must be a JAX array of real floating-point numbers, in radians; got "
            f"{describe(angles)}. Write `jnp.asarray(angles, float)`."
        )


def gate_entries(circuit: Circuit, angles: Float[Array, " n_params"]) -> Complex[Array, " entries"]:
    """The matrices of all parametrized gates, row by row, in one vector.

    Gates of one name are evaluated together (one `vmap` of qujax's function over their angles),
    so that the number of traced operations grows with the kinds of gates, not with their number.

    **Arguments:**

    - `circuit`: the circuit.
    - `angles`: its angles in radians, shape `(n_params,)`.

    **Returns:**

    A complex vector; `entry_layout` tells where each gate begins.
    """
    check_angles(angles)
    dtype = complex_dtype(angles.dtype)
    parts = [jnp.zeros(0, dtype)]
    for gate, members in _groups(circuit):
        index = np.array([circuit.params[g] for g in members], int)
        scales = np.array([circuit.scales[g] for g in members])
        offsets = np.array([circuit.offsets[g] for g in members])
        named = isinstance(gate, str)
        function, unit = (_definitions(angles.dtype)[gate], np.pi) if named else (gate, 1.0)
        values = angles[index] * (scales / unit).astype(angles.dtype)
        if np.any(offsets):
            values = values + (offsets / unit).astype(angles.dtype)
        with _promotion_of_qujax() if named else contextlib.nullcontext():
            tensors = jax.vmap(lambda v, function=function: jnp.asarray(function(*v)))(values)
        parts.append(tensors.astype(dtype).reshape(-1))
    return jnp.concatenate(parts)


def qujax_state_function(circuit: Circuit) -> Callable[[Array, Array], Array]:
    """qujax's own gate-by-gate simulation of the circuit, as a reference.

    !!! example

        ```python
        import jax.numpy as jnp
        import eqx_qdeq as qdeq
        from eqx_qdeq import simulate

        circuit = qdeq.circuits.hardware_efficient(n_qubits=2, depth=1)
        function = simulate.qujax_state_function(circuit)
        zero = jnp.zeros((2, 2), complex).at[0, 0].set(1)
        function(jnp.zeros(4), zero).shape  # (2, 2)
        ```

    **Arguments:**

    - `circuit`: the circuit.

    **Returns:**

    `(angles, state) -> state`: `angles` of shape `(n_params,)` in radians, `state` a tensor of
    shape `(2,) * n_qubits`.

    **Raises:** the function a `TypeError` for angles that are no array of floating-point numbers.
    """
    gates, wires, params = circuit.to_qujax()
    # Exact constants; the others are qujax's own functions, whose constants are 0, 1 and i.
    ours: list[Any] = [
        constant_matrix(gate) if isinstance(gate, str) and is_constant(gate) else gate
        for gate in gates
    ]
    with jax.ensure_compile_time_eval(), _promotion_of_qujax():
        qujax = _import_qujax()
        function: Any = qujax.get_params_to_statetensor_func(ours, wires, params, circuit.n_qubits)

    def run(angles: Array, state: Array) -> Array:
        check_angles(angles)
        with _promotion_of_qujax():
            return function(angles / np.pi, state) if circuit.n_params else function(state)

    return run
