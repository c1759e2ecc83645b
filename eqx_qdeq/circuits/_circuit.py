"""Circuit: gates on wires, with parameter indices. No angles; those belong to a layer."""

import functools as ft
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .._checks import check_at_least, check_instance, check_names
from ._checks import check_circuit, check_lists
from ._describe import count_resources, draw, Resources
from ._gates import from_plain, from_qujax, Gate, invert, Operation, to_plain, to_qujax
from ._openqasm_gates import Limits
from ._openqasm_read import read_openqasm
from ._openqasm_write import write_openqasm
from ._picture import Picture, picture_of

# The gates times wires of the largest circuit that a notebook shows as a picture.
_MOST_DRAWN = 20_000

# What a circuit is as a dictionary.
_COLUMNS, _OPTIONAL = ("gates", "wires", "params"), ("scales", "offsets", "n_qubits")

Half = tuple["Circuit", tuple[int, ...]]
"""A part of a circuit, and the indices of its parameters in the whole."""


class Circuit:
    """A parametrized quantum circuit, as an immutable value.

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
    _operations: tuple[Operation, ...]
    _key: tuple[int, int, tuple[Operation, ...]]

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
        # (No frozen dataclass: arguments in many forms, lists by column, a kept hash and a message
        # of our own for changes leave it nothing to write.)
        checked = check_circuit(
            n_qubits, gates=gates, wires=wires, params=params, scales=scales, offsets=offsets
        )
        self._set(*checked)

    def _set(self, operations: tuple[Operation, ...], n_qubits: int) -> None:
        none = ((), (), ())
        columns = lambda rows: zip(*rows, strict=True) if rows else none
        gates, wires, slots = columns(operations)
        params, scales, offsets = columns([columns(row) for row in slots])
        vars(self).update(
            gates=gates,
            wires=wires,
            params=params,
            scales=scales,
            offsets=offsets,
            n_qubits=n_qubits,
            n_params=1 + max((p for ps in params for p in ps), default=-1),
            _operations=operations,
            # A circuit is a static field of every layer, so JAX hashes and compares it at every
            # call. The hash of all operations is therefore computed once, and stands in front:
            # circuits that differ are told apart by it alone.
            _key=(hash((operations, n_qubits)), n_qubits, operations),
        )

    @staticmethod
    def _of(operations: Iterable[Operation], n_qubits: int) -> "Circuit":
        # What comes from a circuit, or from a reader that has checked it, is not checked again:
        # checks are most of the time that a circuit takes to build.
        circuit = object.__new__(Circuit)
        circuit._set(tuple(operations), n_qubits)
        return circuit

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("circuits are immutable; make a new one.")

    def __delattr__(self, name: str) -> None:
        raise AttributeError("circuits are immutable; make a new one.")

    # Pickled by what defines it: hashes of strings differ between processes, so that a hash must
    # not travel.
    def __reduce__(self) -> tuple[Any, ...]:
        return Circuit._of, (self._operations, self.n_qubits)

    def __len__(self) -> int:
        return len(self.gates)

    # A circuit without gates is still a circuit.
    def __bool__(self) -> bool:
        return True

    def __hash__(self) -> int:
        return self._key[0]

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Circuit):
            return NotImplemented
        return self._key == other._key

    def __repr__(self) -> str:
        sizes = f"{self.n_qubits} wires, {len(self)} gates, {self.n_params} parameters"
        return f"<Circuit: {sizes}, depth {self.resources().depth}>"

    def __add__(self, other: "Circuit") -> "Circuit":
        """First this circuit, then `other`, whose parameters are numbered behind this one's.

        The sum has as many wires as the wider of the two.
        """
        if not isinstance(other, Circuit):
            return NotImplemented
        behind = _renumbered(other._operations, lambda p: p + self.n_params)
        return Circuit._of(self._operations + behind, max(self.n_qubits, other.n_qubits))

    def repeat(self, k: int, tied: bool = False) -> "Circuit":
        """This circuit `k` times in a row.

        **Arguments:**

        - `k`: how often, at least once.
        - `tied`: whether all repetitions share their parameters. If not, each has its own, in
            order, as in `circuit + circuit + …`.

        **Raises:** `ValueError` if `k` is less than 1.
        """
        check_at_least("k", k, 1)
        step = 0 if tied else self.n_params
        parts = [_renumbered(self._operations, lambda p, i=i: p + i * step) for i in range(k)]
        return Circuit._of(itertools.chain(*parts), self.n_qubits)

    def inverse(self) -> "Circuit":
        """The circuit that undoes this one when it gets the same angles."""
        return Circuit._of(map(invert, reversed(self._operations)), self.n_qubits)

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
        part = _renumbered(self._operations[start:stop], number.__getitem__)
        return Circuit._of(part, self.n_qubits), tuple(used)

    def repetition(self) -> "tuple[Circuit, int]":
        """The shortest circuit of which this one is the untied repetition, and how often.

        **Returns:**

        `(block, k)` with `block.repeat(k) == circuit`; `(circuit, 1)` if nothing is repeated. Found
        once and kept.
        """
        return self._repetition

    @ft.cached_property
    def _repetition(self) -> "tuple[Circuit, int]":
        n = len(self)
        # Most lengths are ruled out by what does not change from one repetition to the next: all
        # but the numbers of the parameters.
        fixed = _renumbered(self._operations, lambda p: 0)
        # Comparing each gate with the one a period later is one pass in C for each divisor of n,
        # where building and comparing the repeated circuit would be slow for all of them.
        for period in (d for d in range(1, n // 2 + 1) if n % d == 0):
            if fixed[period:] == fixed[:-period]:
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

        Notebooks show a circuit as a picture, [`eqx_qdeq.plotting.draw_circuit`][] makes a figure
        of it, and `circuit.picture().svg()` is a file's content.
        """
        return draw(self._operations, self.n_qubits, width)

    def picture(self, width: int = 900) -> Picture:
        """The circuit as a picture, whose `svg()` needs no other library.

        **Arguments:**

        - `width`: of the picture in pixels; the circuit is broken before it gets wider.
        """
        return picture_of(self._operations, self.n_qubits, width)

    @property
    def is_drawn(self) -> bool:
        """Whether notebooks show it as a picture. One that nobody can look at would only make them
        slow: they show text then."""
        return len(self) * self.n_qubits <= _MOST_DRAWN

    def _repr_svg_(self) -> str | None:
        return self.picture().svg() if self.is_drawn else None

    def _repr_html_(self) -> str | None:
        svg = self._repr_svg_()
        return None if svg is None else f'<div style="overflow-x:auto">{svg}</div>'

    def resources(self) -> Resources:
        """What the circuit costs: counts of gates, depth. Print it for a table."""
        return count_resources(self._operations, self.n_qubits, self.n_params)

    def to_openqasm(self, angles: Any = None, *, version: int = 3) -> str:
        """The circuit in OpenQASM 3 or 2; `q[i]` is wire i.

        Mind the order of bits when reading results elsewhere: wire 0 is the most significant bit
        of a basis state here (and in PennyLane), and `q[0]` the least significant one in Qiskit.

        **Arguments:**

        - `angles`: the angles in radians, shape `(n_params,)`, written as numbers. If left out,
            the parameters become inputs, `input float theta_0;` and so on, which OpenQASM 2
            does not have.
        - `version`: 3 or 2. A text of version 2 needs no more than the qelib1.inc of the paper.

        **Returns:**

        The text. Gates that the version's standard library lacks come with their definitions, which
        agree with ours up to a global phase.

        **Raises:** `ValueError` if a gate is an array or a function, or `angles` don't fit.
        """
        return write_openqasm(self._operations, self.n_qubits, self.n_params, angles, version)

    @staticmethod
    def from_openqasm(
        text: str,
        *,
        max_text: int = 1_000_000,
        max_qubits: int = 10_000,
        max_gates: int = 100_000,
        max_depth: int = 100,
    ) -> "tuple[Circuit, np.ndarray]":
        """A circuit and its angles from OpenQASM 2 or 3; wire i is `q[i]`.

        Read are the gates of qelib1.inc and stdgates.inc, gates defined in the text, the
        modifiers `inv @`, `pow(k) @`, `ctrl @` and `negctrl @`, inputs of type float, numbers
        declared `const`, several registers (wires in the order of declaration), their parts
        (`q[0:2]`) and aliases (`let`), gates on whole registers, `reset` before the first gate,
        and measurements at the end, which are left out, as are barriers and global phases.
        Anything else is an error. A text from a stranger is safe to read: nothing in it is
        executed, and what it may ask for is limited.

        !!! example

            ```python
            import numpy as np
            from eqx_qdeq import Circuit

            circuit, angles = Circuit.from_openqasm(
                "OPENQASM 3.0; qubit[3] q; h q[0:1]; ctrl @ rx(pi / 4) q[0], q[2];"
            )
            assert circuit.gates == ("H", "H", "CRx")
            np.testing.assert_allclose(angles, [np.pi / 4])
            ```

        Mind that integers are divided as such in OpenQASM 3: `rx(1/2*pi)` turns by 0 there, and
        `rx(pi/2)` by π/2. In OpenQASM 2 both are π/2.

        **Arguments:**

        - `text`: the text.
        - `max_text`, `max_qubits`, `max_gates`, `max_depth`: the most characters, qubits, gates
            (with all definitions carried out; calls, other statements, measured qubits and the rows
            of large arrays count too) and levels of parentheses, definitions, modifiers and
            indices. Raise them for a text that you trust.

        **Returns:**

        The circuit and the float64 array of its angles, shape `(n_params,)`: first the inputs in
        the order of declaration, NaN because the text has no values for them, then the numbers of
        the text, each a parameter of its own.

        **Raises:** [`eqx_qdeq.circuits.QasmError`][], a `ValueError`, which says in which line.
        """
        limits = Limits(max_text, max_qubits, max_gates, max_depth)
        operations, n_qubits, angles = read_openqasm(text, limits)
        return Circuit._of(operations, n_qubits), angles

    def to_dict(self) -> dict[str, Any]:
        """The circuit as lists, numbers and strings, e.g. for JSON.

        **Raises:** `TypeError` if a gate is a function, which cannot be written down.
        """
        return {
            "gates": [to_plain(g, gate) for g, gate in enumerate(self.gates)],
            "wires": [list(ws) for ws in self.wires],
            "params": [list(ps) for ps in self.params],
            "scales": [list(vs) for vs in self.scales],
            "offsets": [list(vs) for vs in self.offsets],
            "n_qubits": self.n_qubits,
        }

    @staticmethod
    def from_dict(data: dict[str, Any]) -> "Circuit":
        """The circuit that [`eqx_qdeq.Circuit.to_dict`][] wrote.

        **Raises:** `ValueError` or `TypeError` for anything else; the message names the gate.
        """
        check_instance("data", data, Mapping, "a dictionary, as `circuit.to_dict()` gives it")
        check_names("data", data, needed=_COLUMNS, known=(*_COLUMNS, *_OPTIONAL))
        gates, wires, params = (data[name] for name in _COLUMNS)
        if isinstance(gates, list | tuple):
            gates = [from_plain(position, gate) for position, gate in enumerate(gates)]
        return Circuit(gates, wires, params, **{name: data.get(name) for name in _OPTIONAL})

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

        **Raises:** `ValueError` or `TypeError` for a circuit that is not one; the message names the
        gate.
        """
        lists = check_lists({"gates": gates, "wires": wires, "params": params})
        # Scales stay 1: all our angles are π times qujax's, and gates known by name take either.
        pairs = zip(lists["gates"], lists["params"], strict=True)
        known = [from_qujax(gate, 0 if ps is None else len(ps)) for gate, ps in pairs]
        gates, scales, offsets = zip(*known, strict=True) if known else ((), (), ())
        return Circuit(
            gates, lists["wires"], lists["params"], n_qubits, scales=scales, offsets=offsets
        )

    def to_qujax(self) -> tuple[list[Any], list[list[int]], list[list[int]]]:
        """The triple `(gates, wires, params)` for `qujax.get_params_to_statetensor_func`.

        qujax measures angles in units of π: call its functions with `angles / π`. Gates whose
        angles are scaled or shifted become functions of qujax's angles.
        """
        gates = [to_qujax(operation) for operation in self._operations]
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


def _renumbered(
    operations: Sequence[Operation], number: Callable[[int], int]
) -> tuple[Operation, ...]:
    """The operations with other numbers for their parameters."""
    return tuple(
        Operation(gate, wires, tuple((number(p), scale, offset) for p, scale, offset in slots))
        for gate, wires, slots in operations
    )


class Separate(NamedTuple):
    """A circuit in which every place of every gate has a parameter of its own, and where these
    come from: the angle in place i is `scales[i] * angles[index[i]] + offsets[i]`."""

    circuit: Circuit
    index: np.ndarray
    scales: np.ndarray
    offsets: np.ndarray


@ft.lru_cache(maxsize=256)
def one_angle_each(circuit: Circuit) -> Separate:
    """The circuit with a parameter for each angle of each gate: what shifts or disturbs single
    angles works on this one."""
    # With a_i = s_i θ_p(i) + o_i for the place i, ∂L/∂θ_p = Σ over p(i) = p of s_i ∂L/∂a_i. So a
    # rule that shifts one angle at a time, or an error that hits one gate at a time, is written for
    # the a_i, and `index`, `scales` and `offsets` lead to and fro.
    fresh = itertools.count()
    own = [
        Operation(gate, wires, tuple((next(fresh), 1.0, 0.0) for _ in slots))
        for gate, wires, slots in circuit._operations
    ]
    slots = [slot for operation in circuit._operations for slot in operation.slots]
    index, scales, offsets = (np.array([slot[i] for slot in slots]) for i in range(3))
    return Separate(Circuit._of(own, circuit.n_qubits), index.astype(int), scales, offsets)
