"""What makes a list of gates a circuit, and what a user is told when it is not one."""

import difflib
import inspect
import itertools
import math
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ._gates import Gate, gate_name, GateInfo, GATES, Operation, Slot, Unitary

# What the same gates are called elsewhere, for the hint in an error.
_NAMES = """
    cnot:CX cp:CU1 controlledphaseshift:CU1 ecr:ECR fredkin:CSWAP hadamard:H identity:I
    isingxx:XXPhase isingxy:ISWAP isingyy:YYPhase isingzz:ZZPhase p:U1 paulix:X pauliy:Y
    pauliz:Z phase:U1 phaseshift:U1 rxx:XXPhase ryy:YYPhase rzz:ZZPhase sqrtx:SX toffoli:CCX
    u:U3
"""
_ELSEWHERE = {other: ours for other, _, ours in (pair.partition(":") for pair in _NAMES.split())}


def check_circuit(n_qubits: Any, **lists: Any) -> tuple[tuple[Operation, ...], int]:
    """The operations of a circuit and its number of wires.

    **Raises:** `TypeError` or `ValueError`, which says where in the circuit the mistake is.
    """
    columns = check_lists(lists)
    n_qubits = check_n_qubits(n_qubits, columns["wires"])
    absent = (None,) * len(columns["gates"])
    rows = zip(*(columns.get(name, absent) for name in lists), strict=True)
    operations = tuple(_operation(g, n_qubits, *row) for g, row in enumerate(rows))
    _check_indices(operations)
    return operations, n_qubits


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
            return 1  # some wire is no integer: its gate's check says so, and names the gate
    is_integer = hasattr(n_qubits, "__index__") and not isinstance(n_qubits, bool)
    if not is_integer or n_qubits < 1:
        error = ValueError if is_integer else TypeError
        raise error(f"`n_qubits` must be a positive integer; got {n_qubits!r}.")
    return operator.index(n_qubits)


def _operation(
    position: int, n_qubits: int, gate: Any, wires: Any, params: Any, scales: Any, offsets: Any
) -> Operation:
    """One gate in its final form; errors say where in the circuit it is."""
    try:
        gate = _gate(gate)
        wires = _wires(gate, wires, n_qubits)
        slots = _slots(gate, params, scales, offsets)
    except (TypeError, ValueError) as error:
        # Of the plain kinds, since subclasses (of Unicode errors, say) take other arguments.
        kind = TypeError if isinstance(error, TypeError) else ValueError
        shown = tuple(wires) if isinstance(wires, list | tuple | np.ndarray) else wires
        where = f"gate {position} ({gate_name(gate)!r} on wires {shown})"
        raise kind(f"{where}: {error}") from None
    return Operation(gate, wires, slots)


def _check_indices(operations: Sequence[Operation]) -> None:
    """Parameter indices are 0, 1, … without gaps."""
    # A gap is refused and not filled: an angle that turns nothing is most often a slip, and its
    # gradient would be zero without a word.
    used = {index for operation in operations for index, _, _ in operation.slots}
    largest = max(used, default=-1)
    if largest >= len(used):
        # The first few alone: the largest index may be any number.
        missing = tuple(itertools.islice((i for i in itertools.count() if i not in used), 6))
        g, (gate, wires, _) = next(
            (g, operation)
            for g, operation in enumerate(operations)
            if any(index == largest for index, _, _ in operation.slots)
        )
        missing = [i for i in missing if i < largest]
        shown = ", ".join(map(str, missing[:5])) + (", …" if len(missing) > 5 else "")
        raise ValueError(
            f"gate {g} ({gate_name(gate)!r} on wires {wires}): uses parameter {largest}, "
            f"but no gate uses {shown}. Parameter indices are 0, 1, … without gaps."
        )


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
    # Compared by identity if it is a plain function. A lambda made anew at each call would make a
    # new circuit each time, and JAX would compile anew; that cannot be seen here.
    try:
        hash(gate)
    except TypeError:
        raise TypeError(
            "a function among the gates must be hashable, as circuits are compared by value; wrap "
            "it in a plain function."
        ) from None
    return gate


def _hint(name: str) -> str:
    # Names of other libraries first: "cnot" is closer to nothing of ours.
    lower = {known.lower(): known for known in GATES}
    close = difflib.get_close_matches(name.lower(), lower, n=1)
    meant = _ELSEWHERE.get(name.lower()) or "".join(lower[match] for match in close)
    return f" Did you mean {meant!r}?" if meant else ""


def _size(gate: Gate) -> GateInfo | None:
    """The wires and angles of a gate, unless it is a function."""
    if isinstance(gate, str):
        return GATES[gate]
    return GateInfo(gate.n_wires, 0) if isinstance(gate, Unitary) else None


def _wires(gate: Gate, values: Any, n_qubits: int) -> tuple[int, ...]:
    wires = _integers("wires", values)
    if not wires:
        raise ValueError("a gate acts on at least one wire.")
    for wire in wires:
        if not 0 <= wire < n_qubits:
            has = "1 wire, 0" if n_qubits == 1 else f"{n_qubits} wires, 0 to {n_qubits - 1}"
            raise ValueError(f"wire {wire} is out of range; the circuit has {has}.")
    if len(set(wires)) < len(wires):
        raise ValueError("the wires of a gate must differ.")
    size = _size(gate)
    if size is not None and len(wires) != size.n_wires:
        raise ValueError(f"the gate acts on {_count(size.n_wires, 'wire')}; got {len(wires)}.")
    return wires


def _slots(gate: Gate, params: Any, scales: Any, offsets: Any) -> tuple[Slot, ...]:
    indices = () if params is None else _integers("params", params)
    if any(index < 0 for index in indices):
        raise ValueError(f"parameter indices start at 0; got {indices}.")
    size = _size(gate)
    if size is not None and len(indices) != size.n_params:
        needed = _count(size.n_params, "parameter")
        raise ValueError(f"the gate takes {needed}; got {len(indices)}.")
    if size is None:
        _check_call(gate, indices)  # pyright: ignore[reportArgumentType]
    n = len(indices)
    numbers = _floats("scales", scales, n, 1.0), _floats("offsets", offsets, n, 0.0)
    return tuple(zip(indices, *numbers, strict=True))


def _check_call(function: Callable, angles: tuple[int, ...]) -> None:
    # The function is not called: it may want tracers, or take long.
    try:
        inspect.signature(function).bind(*angles)
    except TypeError as error:
        took = _count(len(angles), "angle")
        raise ValueError(f"the function cannot be called with {took}: {error}.") from None
    except ValueError:
        pass  # no signature to be found, e.g. of a built-in


def _integers(what: str, values: Any) -> tuple[int, ...]:
    out = []
    for value in _list(what, "integers", values):
        try:
            if isinstance(value, bool):  # has an index, but is no wire
                raise TypeError
            out.append(operator.index(value))
        except TypeError:
            raise TypeError(f"`{what}` must be integers; got {value!r}.") from None
    return tuple(out)


def _floats(what: str, values: Any, n: int, default: float) -> tuple[float, ...]:
    if values is None:
        return (default,) * n
    try:
        out = tuple(map(float, _list(what, "numbers", values)))
    except OverflowError:
        raise ValueError(f"`{what}` must be finite; one is an integer beyond all floats.") from None
    if len(out) != n:
        raise ValueError(
            f"`{what}` needs one number for each of its {_count(n, 'parameter')}; got {len(out)}."
        )
    if not all(map(math.isfinite, out)):
        raise ValueError(f"`{what}` must be finite; got {out}.")
    return out


def _list(what: str, of: str, values: Any) -> Iterable[Any]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(f"`{what}` must be a list of {of}; got {values!r}.")
    return values


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"
