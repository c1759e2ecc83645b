"""What makes a list of gates a circuit, and what a user is told when it is not one."""

import difflib
import inspect
import math
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ._gates import Adjoint, Gate, GATES, Unitary, ZZMAX_INVERSE

# What the same gates are called elsewhere, for the hint in an error.
_ELSEWHERE = {
    "cnot": "CX",
    "cp": "CU1",
    "controlledphaseshift": "CU1",
    "ecr": "ECR",
    "fredkin": "CSWAP",
    "hadamard": "H",
    "identity": "I",
    "isingxx": "XXPhase",
    "isingxy": "ISWAP",
    "isingyy": "YYPhase",
    "isingzz": "ZZPhase",
    "p": "U1",
    "paulix": "X",
    "pauliy": "Y",
    "pauliz": "Z",
    "phase": "U1",
    "phaseshift": "U1",
    "rxx": "XXPhase",
    "ryy": "YYPhase",
    "rzz": "ZZPhase",
    "sqrtx": "SX",
    "toffoli": "CCX",
    "u": "U3",
}

Ints = tuple[int, ...]
Floats = tuple[float, ...]


def gate_name(gate: Any) -> str:
    """A short name for any gate."""
    if isinstance(gate, str):
        return gate
    if isinstance(gate, Adjoint):
        return f"{gate_name(gate.gate)}†"
    if isinstance(gate, Unitary) and gate == ZZMAX_INVERSE:
        return "ZZMax†"
    if isinstance(gate, Unitary) or hasattr(gate, "__array__"):
        return "unitary"
    if callable(getattr(gate, "gate", None)):  # a wrapper of ours around a function
        return gate_name(gate.gate)
    return getattr(gate, "__name__", type(gate).__name__)


def check_lists(lists: dict[str, Any]) -> dict[str, tuple[Any, ...]]:
    """The lists of gates, wires, … as tuples of one length; absent ones are left out."""
    out = {}
    for name, values in lists.items():
        if values is None:
            continue
        if isinstance(values, str) or not isinstance(values, Iterable):
            raise TypeError(f"`{name}` must be a list with an entry for each gate; got {values!r}.")
        out[name] = tuple(values)
    if len({len(values) for values in out.values()}) > 1:
        counts = ", ".join(f"`{name}` has {len(values)}" for name, values in out.items())
        raise ValueError(f"all lists need one entry for each gate: {counts}.")
    return out


def check_n_qubits(n_qubits: Any, wires: Sequence[Any]) -> int:
    """The number of wires: as given, or one more than the largest wire used."""
    if n_qubits is None:
        if not wires:
            raise ValueError("a circuit without gates needs `n_qubits`.")
        used = [w for ws in wires if isinstance(ws, Iterable) for w in ws if not isinstance(w, str)]
        try:
            return 1 + max(0, *map(operator.index, used), 0)
        except TypeError:
            return 1  # some wire is no integer: its gate's check says so
    if isinstance(n_qubits, bool) or not hasattr(n_qubits, "__index__"):
        raise TypeError(f"`n_qubits` must be a positive integer; got {n_qubits!r}.")
    if n_qubits < 1:
        raise ValueError(f"`n_qubits` must be a positive integer; got {n_qubits!r}.")
    return operator.index(n_qubits)


def check_gate(
    position: int, n_qubits: int, gate: Any, wires: Any, params: Any, scales: Any, offsets: Any
) -> tuple[Gate, Ints, Ints, Floats, Floats]:
    """One gate with its wires, parameters, scales and offsets, in their final form.

    **Raises:** `TypeError` or `ValueError`, which says where in the circuit the gate is.
    """
    try:
        gate = _gate(gate)
        wires = _wires(gate, wires, n_qubits)
        params = _params(gate, params)
        scales = _floats("scales", scales, len(params), 1.0)
        offsets = _floats("offsets", offsets, len(params), 0.0)
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        shown = tuple(wires) if isinstance(wires, list | tuple | np.ndarray) else wires
        where = f"gate {position} ({gate_name(gate)!r} on wires {shown})"
        raise kind(f"{where}: {error}") from None
    return gate, wires, params, scales, offsets


def check_indices(gates: Sequence[Gate], wires: Sequence[Ints], params: Sequence[Ints]) -> int:
    """The number of parameters: indices 0, 1, … without gaps."""
    used = {p for ps in params for p in ps}
    missing = sorted(set(range(max(used, default=-1) + 1)) - used)
    if missing:
        g = next(g for g, ps in enumerate(params) if max(used) in ps)
        shown = ", ".join(map(str, missing[:5])) + (", …" if len(missing) > 5 else "")
        raise ValueError(
            f"gate {g} ({gate_name(gates[g])!r} on wires {wires[g]}): uses parameter {max(used)}, "
            f"but no gate uses {shown}. Parameter indices are 0, 1, … without gaps."
        )
    return len(used)


def _gate(gate: Any) -> Gate:
    if isinstance(gate, str):
        if gate not in GATES:
            raise ValueError(
                f"unknown gate.{_hint(gate)} Known are {', '.join(GATES)}; or give a unitary "
                "array or a function from angles to one."
            )
        return gate
    if isinstance(gate, Unitary):
        return gate
    if hasattr(gate, "__array__"):
        return Unitary(np.asarray(gate))
    if not callable(gate):
        raise TypeError(f"a gate is a name, a unitary array or a function; got {gate!r}.")
    try:
        hash(gate)
    except TypeError:
        raise TypeError(
            "a function among the gates must be hashable, as circuits are compared by value; wrap "
            "it in a plain function."
        ) from None
    return gate


def _hint(name: str) -> str:
    lower = {known.lower(): known for known in GATES}
    if name.lower() in _ELSEWHERE:
        return f" Did you mean {_ELSEWHERE[name.lower()]!r}?"
    close = difflib.get_close_matches(name.lower(), lower, n=1)
    return f" Did you mean {lower[close[0]]!r}?" if close else ""


def _wires(gate: Gate, wires: Any, n_qubits: int) -> Ints:
    wires = _integers("wires", wires)
    if not wires:
        raise ValueError("a gate acts on at least one wire.")
    for wire in wires:
        if not 0 <= wire < n_qubits:
            has = "1 wire, 0" if n_qubits == 1 else f"{n_qubits} wires, 0 to {n_qubits - 1}"
            raise ValueError(f"wire {wire} is out of range; the circuit has {has}.")
    if len(set(wires)) < len(wires):
        raise ValueError("the wires of a gate must differ.")
    expected = GATES[gate].n_wires if isinstance(gate, str) else getattr(gate, "n_wires", None)
    if isinstance(gate, str | Unitary) and len(wires) != expected:
        raise ValueError(f"the gate acts on {_count(expected, 'wire')}; got {len(wires)}.")
    return wires


def _params(gate: Gate, params: Any) -> Ints:
    params = () if params is None else _integers("params", params)
    if any(p < 0 for p in params):
        raise ValueError(f"parameter indices start at 0; got {params}.")
    if isinstance(gate, str):
        expected = GATES[gate].n_params
    elif isinstance(gate, Unitary):
        expected = 0
    else:
        return _params_of_function(gate, params)
    if len(params) != expected:
        raise ValueError(f"the gate takes {_count(expected, 'parameter')}; got {len(params)}.")
    return params


def _params_of_function(gate: Callable, params: Ints) -> Ints:
    try:
        inspect.signature(gate).bind(*params)
    except TypeError as error:
        took = _count(len(params), "angle")
        raise ValueError(f"the function cannot be called with {took}: {error}.") from None
    except ValueError:
        pass  # no signature to be found, e.g. of a built-in
    return params


def _integers(what: str, values: Any) -> Ints:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(f"`{what}` must be a list of integers; got {values!r}.")
    out = []
    for value in values:
        try:
            if isinstance(value, bool):
                raise TypeError
            out.append(operator.index(value))
        except TypeError:
            raise TypeError(f"`{what}` must be integers; got {value!r}.") from None
    return tuple(out)


def _floats(what: str, values: Any, n: int, default: float) -> Floats:
    if values is None:
        return (default,) * n
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(f"`{what}` must be a list of numbers; got {values!r}.")
    out = tuple(float(value) for value in values)
    if len(out) != n:
        raise ValueError(
            f"`{what}` needs one number for each of its {_count(n, 'parameter')}; got {len(out)}."
        )
    if not all(map(math.isfinite, out)):
        raise ValueError(f"`{what}` must be finite; got {out}.")
    return out


def _count(n: Any, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"
