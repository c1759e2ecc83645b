"""Drawings are what we say they are, and fit where they must."""

import math
import re
import textwrap

import numpy as np
import pytest
from hypothesis import strategies as st

from eqx_qdeq import Circuit, circuits
from tests.circuits._tools import any_circuit, given, tilted


def _drawing(text: str) -> str:
    return textwrap.dedent(text).strip()


def test_controls_targets_and_packing():
    c = circuits.hardware_efficient(3, 1, rotations=["Ry"], pattern="line")
    assert c.draw() == _drawing(
        """
        0: ─Ry(θ0)──●────
                    │
        1: ─Ry(θ1)──⊕──●─
                       │
        2: ─Ry(θ2)─────⊕─
        """
    )


def test_a_line_crosses_the_wires_between():
    c = Circuit(
        ["H", "CX", "T", "CCX", "CSWAP"], [[1], [2, 0], [1], [2, 0, 1], [1, 0, 2]], [[]] * 5
    )
    assert c.draw() == _drawing(
        """
        0: ────⊕─────●──×─
               │     │  │
        1: ─H──┼──T──⊕──●─
               │     │  │
        2: ────●─────●──×─
        """
    )


def test_wires_of_other_gates_are_numbered_where_order_matters():
    c = Circuit(
        ["ECR", "ISWAP", "SWAP", np.eye(4), "CU3", tilted],
        [[1, 0], [0, 1], [0, 1], [1, 0], [1, 0], [0]],
        [[], [0], [], [], [1, 2, 3], [0, 0]],
    )
    assert c.draw() == _drawing(
        """
        0: ─ECR₁──ISWAP(θ0)──×──U₁──U3(θ1,θ2,θ3)──tilted(θ0,θ0)─
             │        │      │  │        │
        1: ─ECR₀────ISWAP────×──U₀───────●──────────────────────
        """
    )
    lines = Circuit(["ZZMax"], [[0, 1]], [[]]).inverse().draw().split("\n")
    assert (lines[0], lines[2]) == ("0: ─ZZMax†─", "1: ─ZZMax†─")
    assert Circuit([tilted], [[0]], [[0, 1]]).inverse().draw() == "0: ─tilted†(θ0,θ1)─"


@pytest.mark.parametrize(
    "scale, offset, label",
    [
        (1, 0, "θ0"),
        (-1, 0, "-θ0"),
        (2, math.pi / 2, "2θ0+π/2"),
        (-0.5, -3 * math.pi / 4, "-0.5θ0-3π/4"),
        (math.pi, 1.23456, "πθ0+1.23"),
        (-2 * math.pi, math.pi, "-2πθ0+π"),
        (0, 0, "0θ0"),
        (1, math.pi / 16, "θ0+π/16"),
        (1, math.pi / 17, "θ0+0.185"),
    ],
)
def test_angles(scale, offset, label):
    c = Circuit(["Rx"], [[0]], [[0]], scales=[[scale]], offsets=[[offset]])
    assert c.draw() == f"0: ─Rx({label})─"


def test_wide_circuits_are_broken():
    c = Circuit(["Ry", "Ry", "Ry", "CX"], [[0], [0], [0], [0, 1]], [[0], [1], [2], []])
    assert c.draw(width=20) == _drawing(
        """
        0: ─Ry(θ0)──Ry(θ1)─…

        1: ────────────────…

        0: ─Ry(θ2)──●─
                    │
        1: ─────────⊕─
        """
    )


def test_a_circuit_without_gates():
    assert Circuit([], [], [], 2).draw() == "0: ──\n\n1: ──"


def test_labels_of_wires_are_aligned():
    lines = Circuit(["X"], [[10]], [[]]).draw().split("\n")
    assert (lines[0], lines[-1]) == (" 0: ───", "10: ─X─")


@given(any_circuit(max_gates=12), st.integers(40, 80))
def test_the_width_is_kept_and_breaking_loses_nothing(c, width):
    n_lines = 2 * c.n_qubits - 1
    whole = c.draw(width=10**6).split("\n")
    assert len(whole) == n_lines
    assert len({len(line) for line in whole[::2]}) == 1
    blocks = [block.split("\n") for block in _blocks(c.draw(width), n_lines)]
    assert all(len(line) <= width for block in blocks for line in block)
    for wire in range(c.n_qubits):
        joined = "".join(block[2 * wire][3:].rstrip("…") for block in blocks)
        assert joined == whole[2 * wire][3:]


def _blocks(text: str, n_lines: int) -> list[str]:
    lines = text.split("\n")
    return ["\n".join(lines[i : i + n_lines]) for i in range(0, len(lines), n_lines + 1)]


@pytest.mark.parametrize("n_qubits, n_params", [(4, 39), (10, 56)])
def test_the_papers_circuit(n_qubits, n_params):
    text = circuits.paper(n_qubits).draw()
    assert max(map(len, text.split("\n"))) <= 100
    assert sorted(map(int, re.findall(r"θ(\d+)", text))) == list(range(n_params))
    gates = circuits.paper(n_qubits).gates
    assert text.count("⊕") == gates.count("CX")
    assert text.count("●") == gates.count("CX") + gates.count("CRx")


def test_too_narrow():
    with pytest.raises(ValueError, match="`width` must be at least 20 characters; got 19"):
        circuits.paper(4).draw(width=19)
