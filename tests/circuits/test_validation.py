"""Each mistake in a circuit is found at once, and the message says where it is."""

import re

import numpy as np
import pytest

from eqx_qdeq import Circuit, circuits
from eqx_qdeq.circuits import check_lists, check_n_qubits


def _one_angle(a):
    return np.diag([1, np.exp(1j * a)])


class _Unhashable:
    __hash__ = None  # pyright: ignore

    def __call__(self):
        return np.eye(2)


# (gates, wires, params, n_qubits), scales and offsets, the error, its text
WRONG = {
    "one string": (("H", [[0]], [[]]), {}, TypeError, "`gates` must be a list with an entry for"),
    "string of wires": ((["H"], "0", [[]]), {}, TypeError, "`wires` must be a list with an entry"),
    "lengths": (
        (["H", "X"], [[0]], [[], []]),
        {},
        ValueError,
        "all lists need one entry for each gate: `gates` has 2, `wires` has 1, `params` has 2.",
    ),
    "length of scales": (
        (["H"], [[0]], [[]]),
        {"scales": []},
        ValueError,
        "all lists need one entry for each gate: `gates` has 1, `wires` has 1, `params` has 1, "
        "`scales` has 0.",
    ),
    "nothing": (([], [], []), {}, ValueError, "a circuit without gates needs `n_qubits`."),
    "no qubits": (
        (["H"], [[0]], [[]], 0),
        {},
        ValueError,
        "`n_qubits` must be a positive integer; got 0.",
    ),
    "true": (
        (["H"], [[0]], [[]], True),
        {},
        TypeError,
        "`n_qubits` must be a positive integer; got True.",
    ),
    "unknown gate": (
        (["H", "Ry1"], [[0], [1]], [[], [0]]),
        {},
        ValueError,
        "gate 1 ('Ry1' on wires (1,)): unknown gate. Did you mean 'Ry'? Known are I, X, Y, ",
    ),
    "capitals": ((["RX"], [[0]], [[0]]), {}, ValueError, "unknown gate. Did you mean 'Rx'?"),
    "other name": ((["CNOT"], [[0, 1]], [[]]), {}, ValueError, "Did you mean 'CX'?"),
    "no such name": (
        (["????"], [[0]], [[]]),
        {},
        ValueError,
        "gate 0 ('????' on wires (0,)): unknown gate. Known are I, X, ",
    ),
    "number as gate": (
        ([3], [[0]], [[]]),
        {},
        TypeError,
        "gate 0 ('int' on wires (0,)): a gate is a name, a unitary array or a function; got 3.",
    ),
    "not unitary": (
        ([np.ones((2, 2))], [[0]], [[]]),
        {},
        ValueError,
        "gate 0 ('unitary' on wires (0,)): the array is not unitary: U U† differs from 1 by 2.",
    ),
    "nan": (
        ([np.full((2, 2), np.nan)], [[0]], [[]]),
        {},
        ValueError,
        "the array is not unitary: U U† differs from 1 by nan.",
    ),
    "three rows": (
        ([np.eye(3)], [[0]], [[]]),
        {},
        ValueError,
        "gate 0 ('unitary' on wires (0,)): a gate's array has shape (2**k, 2**k) or (2,) * 2k; "
        "got (3, 3).",
    ),
    "flat": (([np.eye(2).ravel()], [[0]], [[]]), {}, ValueError, "(2,) * 2k; got (4,)."),
    "odd axes": (
        ([np.ones((2, 2, 2))], [[0]], [[]]),
        {},
        ValueError,
        "a gate's array has an even number of axes; got (2, 2, 2).",
    ),
    "wires of an array": (
        ([np.eye(4)], [[0]], [[]]),
        {},
        ValueError,
        "gate 0 ('unitary' on wires (0,)): the gate acts on 2 wires; got 1.",
    ),
    "parameters of an array": (
        ([np.eye(2)], [[0]], [[0]]),
        {},
        ValueError,
        "gate 0 ('unitary' on wires (0,)): the gate takes 0 parameters; got 1.",
    ),
    "unhashable": (
        ([_Unhashable()], [[0]], [[]]),
        {},
        TypeError,
        "gate 0 ('_Unhashable' on wires (0,)): a function among the gates must be hashable",
    ),
    "arguments of a function": (
        ([_one_angle], [[0]], [[0, 1]]),
        {},
        ValueError,
        "gate 0 ('_one_angle' on wires (0,)): the function cannot be called with 2 angles: too "
        "many positional arguments.",
    ),
    "wire too large": (
        (["H", "CX"], [[0], [0, 2]], [[], []], 2),
        {},
        ValueError,
        "gate 1 ('CX' on wires (0, 2)): wire 2 is out of range; the circuit has 2 wires, 0 to 1.",
    ),
    "wire too large for one": (
        (["H"], [[1]], [[]], 1),
        {},
        ValueError,
        "gate 0 ('H' on wires (1,)): wire 1 is out of range; the circuit has 1 wire, 0.",
    ),
    "negative wire": (
        (["H"], [[-1]], [[]]),
        {},
        ValueError,
        "gate 0 ('H' on wires (-1,)): wire -1 is out of range",
    ),
    "wire not an integer": (
        (["H"], [[0.0]], [[]]),
        {},
        TypeError,
        "gate 0 ('H' on wires (0.0,)): `wires` must be integers; got 0.0.",
    ),
    "wire is a boolean": (
        (["H"], [[True]], [[]]),
        {},
        TypeError,
        "gate 0 ('H' on wires (True,)): `wires` must be integers; got True.",
    ),
    "wire is a string": (
        (["H"], [["0"]], [[]]),
        {},
        TypeError,
        "gate 0 ('H' on wires ('0',)): `wires` must be integers; got '0'.",
    ),
    "wire not in a list": (
        (["H"], [0], [[]]),
        {},
        TypeError,
        "gate 0 ('H' on wires 0): `wires` must be a list of integers; got 0.",
    ),
    "no wires": (
        (["H"], [[]], [[]]),
        {},
        ValueError,
        "gate 0 ('H' on wires ()): a gate acts on at least one wire.",
    ),
    "the same wire twice": (
        (["H", "X", "X", "CX"], [[0], [0], [0], [1, 1]], [[], [], [], []]),
        {},
        ValueError,
        "gate 3 ('CX' on wires (1, 1)): the wires of a gate must differ.",
    ),
    "too few wires": (
        (["CX"], [[0]], [[]]),
        {},
        ValueError,
        "gate 0 ('CX' on wires (0,)): the gate acts on 2 wires; got 1.",
    ),
    "too many wires": (
        (["H"], [[0, 1]], [[]]),
        {},
        ValueError,
        "gate 0 ('H' on wires (0, 1)): the gate acts on 1 wire; got 2.",
    ),
    "no parameter": (
        (["Rx"], [[0]], [None]),
        {},
        ValueError,
        "gate 0 ('Rx' on wires (0,)): the gate takes 1 parameter; got 0.",
    ),
    "too many parameters": (
        (["H"], [[0]], [[0]]),
        {},
        ValueError,
        "gate 0 ('H' on wires (0,)): the gate takes 0 parameters; got 1.",
    ),
    "parameter not an integer": (
        (["Rx"], [[0]], [[0.5]]),
        {},
        TypeError,
        "gate 0 ('Rx' on wires (0,)): `params` must be integers; got 0.5.",
    ),
    "parameter not in a list": (
        (["Rx"], [[0]], [0]),
        {},
        TypeError,
        "gate 0 ('Rx' on wires (0,)): `params` must be a list of integers; got 0.",
    ),
    "negative parameter": (
        (["Rx"], [[0]], [[-1]]),
        {},
        ValueError,
        "gate 0 ('Rx' on wires (0,)): parameter indices start at 0; got (-1,).",
    ),
    "gap": (
        (["Rx", "Ry", "CX"], [[0], [1], [0, 1]], [[0], [3], []]),
        {},
        ValueError,
        "gate 1 ('Ry' on wires (1,)): uses parameter 3, but no gate uses 1, 2. Parameter indices "
        "are 0, 1, … without gaps.",
    ),
    "large gap": (
        (["Rx"], [[0]], [[10**3]]),
        {},
        ValueError,
        "uses parameter 1000, but no gate uses 0, 1, 2, 3, 4, ….",
    ),
    "scales": (
        (["Rx"], [[0]], [[0]]),
        {"scales": [[]]},
        ValueError,
        "gate 0 ('Rx' on wires (0,)): `scales` needs one number for each of its 1 parameter; got 0",
    ),
    "offset is infinite": (
        (["Rx"], [[0]], [[0]]),
        {"offsets": [[np.inf]]},
        ValueError,
        "gate 0 ('Rx' on wires (0,)): `offsets` must be finite; got (inf,).",
    ),
    "scale not in a list": (
        (["Rx"], [[0]], [[0]]),
        {"scales": [1.0]},
        TypeError,
        "gate 0 ('Rx' on wires (0,)): `scales` must be a list of numbers; got 1.0.",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_circuits(case):
    arguments, more, error, text = WRONG[case]
    with pytest.raises(error, match=re.escape(text)):
        Circuit(*arguments, **more)


def test_arguments_of_other_types():
    # Called without the tests' own type checks, which would be first.
    with pytest.raises(TypeError, match=re.escape("`n_qubits` must be a positive integer; got 1.")):
        check_n_qubits(1.5, ())
    with pytest.raises(TypeError, match="`wires` must be a list with an entry for each gate"):
        check_lists({"gates": ["H"], "wires": 0})


def test_wrong_uses():
    c = circuits.paper(4)
    with pytest.raises(ValueError, match="`k` must be at least 1; got 0"):
        c.repeat(0)
    with pytest.raises(ValueError, match="`position` must be from 0 to 57; got 58"):
        c.split(58)
    with pytest.raises(ValueError, match="`position` must be from 0 to 57; got -1"):
        c.split(-1)
    function = Circuit(["H", _one_angle], [[0], [0]], [[], [0]])
    with pytest.raises(TypeError, match="gate 1 is a function, which cannot be written to a file"):
        function.to_dict()
    with pytest.raises(ValueError, match="all lists need one entry for each gate"):
        Circuit.from_qujax(["H"], [], [[]])


def test_wrong_templates():
    template = circuits.hardware_efficient
    with pytest.raises(ValueError, match="`n_qubits` must be at least 1; got 0"):
        template(0, 1)
    with pytest.raises(ValueError, match="`depth` must be at least 1; got 0"):
        template(2, 0)
    with pytest.raises(ValueError, match=r"`rotations` takes gates on 1 wire: I, X, .*; got 'CX'"):
        template(2, 1, rotations=["CX"])
    with pytest.raises(ValueError, match=r"`entangler` takes gates on 2 wires: CX, .*; got 'H'"):
        template(2, 1, entangler="H")
    with pytest.raises(ValueError, match="`pattern` must be 'ring', 'line', 'brick' or 'all'; got"):
        template(2, 1, pattern="star")
    with pytest.raises(ValueError, match="`depth` must be at least 1; got -1"):
        circuits.strongly_entangling(2, -1)
    with pytest.raises(ValueError, match="`ranges` needs 2 entries, one a layer; got 1"):
        circuits.strongly_entangling(3, 2, [1])
    with pytest.raises(ValueError, match=r"must not be a multiple of the 3 wires; got \[3\]"):
        circuits.strongly_entangling(3, 1, [3])
    with pytest.raises(ValueError, match="`depth` must be at least 1; got 0"):
        circuits.basic_entangler(2, 0)
    with pytest.raises(ValueError, match="`width` must be at least 1; got 0"):
        circuits.brickwork(4, 1, width=0)
    with pytest.raises(ValueError, match="`layers` must be at least 1; got 0"):
        circuits.brickwork(4, 1, layers=0)
    with pytest.raises(ValueError, match="`n_ops` must be at least 1; got 0"):
        circuits.random_layer(2, 0)
    with pytest.raises(ValueError, match="defined on 4 or 10 wires; got n_qubits=6"):
        circuits.paper(6)
