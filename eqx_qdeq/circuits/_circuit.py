"""Circuit: gates on wires, with parameter indices. No angles; those belong to a layer."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from . import _checks as checks, _convert as convert
from ._draw import draw
from ._gates import Gate, invert
from ._openqasm import write_openqasm
from ._resources import count_resources, Resources

Half = tuple["Circuit", tuple[int, ...]]


class Circuit:
    """A parametrised quantum circuit, as an immutable value.

    Gate g acts on `wires[g]`, wire 0 being the most significant bit of a basis state. Its s-th
    angle, in radians, is

    `scales[g][s] * angles[params[g][s]] + offsets[g][s]`

    where `angles` is the array of shape `(n_params,)` that a layer owns. Scales and offsets are
    1 and 0 in most circuits; they let [`eqx_qdeq.Circuit.inverse`][] use the same angles.

    !!! example

        ```python
        from eqx_qdeq import Circuit

        bell = Circuit(["H", "CX", "Rz"], [[0], [0, 1], [1]], [[], [], [0]])
        both = bell + bell.inverse()
        assert both.n_params == 2
        ```

    Circuits compare and hash by value (functions among the gates by identity), so they serve as
    static fields under `jax.jit`.
    """

    gates: tuple[Gate, ...]
    wires: tuple[tuple[int, ...], ...]
    params: tuple[tuple[int, ...], ...]
    scales: tuple[tuple[float, ...], ...]
    offsets: tuple[tuple[float, ...], ...]
    n_qubits: int
    n_params: int
    _hash: int
    _repetition: "tuple[Circuit, int] | None"

    __slots__ = (
        "_hash",
        "_repetition",
        "gates",
        "n_params",
        "n_qubits",
        "offsets",
        "params",
        "scales",
        "wires",
    )

    def __init__(
        self,
        gates: Iterable[Any],
        wires: Iterable[Any],
        params: Iterable[Any],
        n_qubits: int | None = None,
        *,
        scales: Iterable[Any] | None = None,
        offsets: Iterable[Any] | None = None,
    ):
        lists = checks.check_lists(
            {"gates": gates, "wires": wires, "params": params, "scales": scales, "offsets": offsets}
        )
        n_qubits = checks.check_n_qubits(n_qubits, lists["wires"])
        absent = (None,) * len(lists["gates"])
        rows = zip(
            lists["gates"],
            lists["wires"],
            lists["params"],
            lists.get("scales", absent),
            lists.get("offsets", absent),
            strict=True,
        )
        checked = [checks.check_gate(g, n_qubits, *row) for g, row in enumerate(rows)]
        columns = tuple(zip(*checked, strict=True)) if checked else ((),) * 5
        n_params = checks.check_indices(*columns[:3])
        fields = (*columns, n_qubits, n_params, hash((columns, n_qubits)), None)
        names = ("gates", "wires", "params", "scales", "offsets", "n_qubits", "n_params")
        for name, value in zip((*names, "_hash", "_repetition"), fields, strict=True):
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("circuits are immutable; make a new one.")

    def __delattr__(self, name: str) -> None:
        raise AttributeError("circuits are immutable; make a new one.")

    # Pickled by what defines it: hashes of strings differ between processes.
    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, self._key()

    def _key(self) -> tuple[Any, ...]:
        return self.gates, self.wires, self.params, self.scales, self.offsets, self.n_qubits

    def __len__(self) -> int:
        return len(self.gates)

    # A circuit without gates is still a circuit.
    def __bool__(self) -> bool:
        return True

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Circuit):
            return NotImplemented
        return self._hash == other._hash and self._key() == other._key()

    def __repr__(self) -> str:
        return f"<Circuit: {self.n_qubits} wires, {len(self)} gates, {self.n_params} parameters>"

    def __add__(self, other: "Circuit") -> "Circuit":
        """First this circuit, then `other`, whose parameters are numbered behind this one's.

        The sum has as many wires as the wider of the two.
        """
        if not isinstance(other, Circuit):
            return NotImplemented
        return Circuit(
            self.gates + other.gates,
            self.wires + other.wires,
            self.params + tuple(tuple(p + self.n_params for p in ps) for ps in other.params),
            max(self.n_qubits, other.n_qubits),
            scales=self.scales + other.scales,
            offsets=self.offsets + other.offsets,
        )

    def repeat(self, k: int, tied: bool = False) -> "Circuit":
        """This circuit `k` times in a row.

        **Arguments:**

        - `k`: how often, at least once.
        - `tied`: whether all repetitions share their parameters. If not, each has its own, in
            order, as in `circuit + circuit + …`.

        **Raises:** `ValueError` if `k` is less than 1.
        """
        if k < 1:
            raise ValueError(f"`k` must be at least 1; got {k}.")
        step = 0 if tied else self.n_params
        return Circuit(
            self.gates * k,
            self.wires * k,
            tuple(tuple(p + i * step for p in ps) for i in range(k) for ps in self.params),
            self.n_qubits,
            scales=self.scales * k,
            offsets=self.offsets * k,
        )

    def inverse(self) -> "Circuit":
        """The circuit that undoes this one when it gets the same angles."""
        gates, params, scales, offsets = [], [], [], []
        for g in reversed(range(len(self))):
            slots = tuple(zip(self.params[g], self.scales[g], self.offsets[g], strict=True))
            gate, slots = invert(self.gates[g], slots)
            gates.append(gate)
            params.append(tuple(slot[0] for slot in slots))
            scales.append(tuple(slot[1] for slot in slots))
            offsets.append(tuple(slot[2] for slot in slots))
        return Circuit(
            gates, self.wires[::-1], params, self.n_qubits, scales=scales, offsets=offsets
        )

    def split(self, position: int) -> tuple[Half, Half]:
        """The gates before `position`, and those from `position` on, as two circuits.

        **Arguments:**

        - `position`: how many gates the first half has, from 0 to `len(circuit)`.

        **Returns:**

        For each half a pair: the circuit, with its parameters numbered from 0, and the indices of
        those parameters in this circuit. The half's angles are `angles[np.array(indices, int)]`.

        **Raises:** `ValueError` if there is no such position.
        """
        if not 0 <= position <= len(self):
            raise ValueError(f"`position` must be from 0 to {len(self)}; got {position}.")
        return self._part(0, position), self._part(position, len(self))

    def _part(self, start: int, stop: int) -> Half:
        used = sorted({p for ps in self.params[start:stop] for p in ps})
        number = {p: i for i, p in enumerate(used)}
        part = Circuit(
            self.gates[start:stop],
            self.wires[start:stop],
            [tuple(number[p] for p in ps) for ps in self.params[start:stop]],
            self.n_qubits,
            scales=self.scales[start:stop],
            offsets=self.offsets[start:stop],
        )
        return part, tuple(used)

    def repetition(self) -> "tuple[Circuit, int]":
        """The shortest circuit of which this one is the untied repetition, and how often.

        **Returns:**

        `(block, k)` with `block.repeat(k) == circuit`; `(circuit, 1)` if nothing is repeated. Found
        once and kept.
        """
        if self._repetition is None:
            object.__setattr__(self, "_repetition", self._find_repetition())
        assert self._repetition is not None
        return self._repetition

    def _find_repetition(self) -> "tuple[Circuit, int]":
        n = len(self)
        lists = (self.gates, self.wires, self.scales, self.offsets)
        for period in (d for d in range(1, n // 2 + 1) if n % d == 0):
            if all(values[period:] == values[:-period] for values in lists):
                block = self._part(0, period)[0]
                if block.repeat(n // period) == self:
                    return block, n // period
        return self, 1

    def draw(self, width: int = 100) -> str:
        """The circuit as text, wires from top to bottom and time from left to right.

        ```text
        0: ─Ry(θ0)──●────
                    │
        1: ─Ry(θ1)──⊕──●─
                       │
        2: ─Ry(θ2)─────⊕─
        ```

        `●` is a control, `⊕` the X it controls, `×` one end of a swap, `┼` a wire that a gate
        passes by, `U` an array, and θ3 the angle of index 3. Subscripts number the wires of a
        gate where their order matters and cannot be seen.

        **Arguments:**

        - `width`: lines are broken before they get longer than this many characters.
        """
        return draw(self, width)

    def resources(self) -> Resources:
        """What the circuit costs: counts of gates, depth. Print it for a table."""
        return count_resources(self)

    def to_openqasm(self, angles: Any = None) -> str:
        """The circuit in OpenQASM 3; `q[i]` is wire i.

        Mind the order of bits when reading results elsewhere: wire 0 is the most significant bit
        of a basis state here (and in PennyLane), and `q[0]` the least significant one in Qiskit.

        **Arguments:**

        - `angles`: the angles in radians, shape `(n_params,)`, written as numbers. If left out,
            the parameters become inputs, `input float theta_0;` and so on.

        **Returns:**

        The text. Gates that OpenQASM's standard library lacks come with their definitions, which
        agree with ours up to a global phase.

        **Raises:** `ValueError` if a gate is an array or a function, or `angles` don't fit.
        """
        return write_openqasm(self, angles)

    @staticmethod
    def from_openqasm(text: str) -> "tuple[Circuit, np.ndarray]":
        """A circuit and its angles from OpenQASM 2 or 3; wire i is `q[i]`.

        Read are the gates of qelib1.inc and stdgates.inc that are ours, gates defined in the text
        from those, inputs of type float, several registers (wires in the order of declaration),
        gates on whole registers, and measurements at the end, which are left out, as are
        barriers and global phases. Anything else is an error.

        **Returns:**

        The circuit and the float64 array of its angles, shape `(n_params,)`: first the inputs in
        the order of declaration, NaN because the text has no values for them, then the numbers of
        the text, each a parameter of its own.

        **Raises:** `ValueError`, which says in which line.
        """
        from ._openqasm_read import read_openqasm  # makes a Circuit, so it imports this module

        return read_openqasm(text)

    def to_dict(self) -> dict[str, Any]:
        """The circuit as lists, numbers and strings, e.g. for JSON.

        **Raises:** `TypeError` if a gate is a function, which cannot be written down.
        """
        return {
            "gates": [convert.to_plain(g, gate) for g, gate in enumerate(self.gates)],
            "wires": [list(ws) for ws in self.wires],
            "params": [list(ps) for ps in self.params],
            "scales": [list(vs) for vs in self.scales],
            "offsets": [list(vs) for vs in self.offsets],
            "n_qubits": self.n_qubits,
        }

    @staticmethod
    def from_dict(data: dict[str, Any]) -> "Circuit":
        """The circuit that [`eqx_qdeq.Circuit.to_dict`][] wrote."""
        data = dict(data)
        gates = [convert.from_plain(gate) for gate in data.pop("gates")]
        return Circuit(gates, data.pop("wires"), data.pop("params"), **data)

    @staticmethod
    def from_qujax(
        gates: Iterable[Any],
        wires: Iterable[Any],
        params: Iterable[Any],
        n_qubits: int | None = None,
    ) -> "Circuit":
        """A circuit from qujax's triple. Its angles are in radians from now on: π times qujax's.

        The arguments are those of `qujax.get_params_to_statetensor_func`. Functions among the
        gates are still called with angles in units of π, as qujax does.
        """
        lists = checks.check_lists({"gates": gates, "wires": wires, "params": params})
        known = []
        for gate, ps in zip(lists["gates"], lists["params"], strict=True):
            known.append(convert.from_qujax(gate, 0 if ps is None else len(ps)))
        gates, scales, offsets = zip(*known, strict=True) if known else ((), (), ())
        return Circuit(
            gates, lists["wires"], lists["params"], n_qubits, scales=scales, offsets=offsets
        )

    def to_qujax(self) -> tuple[list[Any], list[list[int]], list[list[int]]]:
        """The triple `(gates, wires, params)` for `qujax.get_params_to_statetensor_func`.

        qujax measures angles in units of π: call its functions with `angles / π`. Gates whose
        angles are scaled or shifted become functions of qujax's angles.
        """
        gates = [
            convert.to_qujax(gate, scales, offsets)
            for gate, scales, offsets in zip(self.gates, self.scales, self.offsets, strict=True)
        ]
        return gates, [list(ws) for ws in self.wires], [list(ps) for ps in self.params]


Circuit.__init__.__doc__ = """**Arguments:**

- `gates`: for each gate the name of a gate of qujax (see `eqx_qdeq.circuits.GATES`), a unitary
    array of shape `(2**k, 2**k)` or `(2,) * 2k`, or a function from angles in **radians** to one.
- `wires`: for each gate the wires on which it acts, controls first.
- `params`: for each gate the indices of its parameters; `[]` or `None` for none. Every index from
    0 to the largest one must be used; gates may share one.
- `n_qubits`: the number of wires; one more than the largest wire used, if left out. A circuit
    without gates needs it.
- `scales`, `offsets`: for each gate and parameter a factor and a shift (radians) of the angle; 1
    and 0 if left out.

**Raises:** `ValueError` or `TypeError` for a circuit that is not one; the message names the gate.
"""


def _rebuild(
    gates: Any, wires: Any, params: Any, scales: Any, offsets: Any, n_qubits: int
) -> Circuit:
    return Circuit(gates, wires, params, n_qubits, scales=scales, offsets=offsets)
