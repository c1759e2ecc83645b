"""Pictures show what the drawings as text show, and nothing in them overlaps."""

from collections import Counter
from xml.etree import ElementTree

import numpy as np
import pytest

from eqx_qdeq import Circuit, circuits
from eqx_qdeq.circuits import arrowhead, Shape
from tests.circuits._tools import any_circuit, given

pytestmark = pytest.mark.usefixtures("once")
_SVG = "{http://www.w3.org/2000/svg}"


def _sides(shape) -> tuple[float, float, float, float]:
    half = shape.width / 2, shape.height / 2
    return shape.x - half[0], shape.x + half[0], shape.y - half[1], shape.y + half[1]


@given(any_circuit(max_gates=12))
def test_a_picture_shows_all_gates_side_by_side(c):
    picture = c.picture(400)
    boxes = [shape for shape in picture.shapes if shape.kind == "box"]
    text = c.draw(10**6)
    kinds = Counter(shape.kind for shape in picture.shapes)
    assert (kinds["dot"], kinds["ring"]) == (text.count("●"), text.count("⊕"))
    named = [line for line in text.replace("─", " ").replace("┼", " ").split("\n")[::2]]
    words = [w for line in named for w in line.split()[1:] if w not in "●⊕×"]
    assert sorted(w.partition("(")[0] for w in words) == sorted(b.text[0] for b in boxes)
    for i, one in enumerate(boxes):
        left, right, top, bottom = _sides(one)
        assert 0 < left and right < picture.width and 0 < top and bottom < picture.height
        for other in boxes[:i]:
            l, r, t, b = _sides(other)
            assert right < l or r < left or bottom < t or b < top


def test_svg_is_well_formed_and_says_what_it_shows():
    c = Circuit([lambda a: np.eye(2), "CX", "SWAP"], [[0], [0, 1], [1, 2]], [[0], [], []])
    root = ElementTree.fromstring(c._repr_svg_() or "")
    texts = [element.text for element in root.iter(f"{_SVG}text")]
    assert texts == ["0", "1", "2", "<lambda>", "θ0"]
    assert root.findtext(f"{_SVG}title") == "circuit of 3 wires and 3 gates"
    assert len(list(root.iter(f"{_SVG}circle"))) == 2
    assert c._repr_html_() == f'<div style="overflow-x:auto">{c._repr_svg_()}</div>'


def test_a_box_is_as_high_as_its_lines():
    one, two = (
        next(s for s in Circuit([gate], [[0]], [params]).picture().shapes if s.kind == "box")
        for gate, params in (("H", []), ("Rx", [0]))
    )
    assert len(two.text) == 2 and two.height >= one.height + 12  # the size of the font


def test_a_circuit_is_broken_before_it_gets_too_wide():
    c = circuits.hardware_efficient(4, depth=6)
    for width in (*range(300, 360, 4), 600):
        picture = c.picture(width)
        assert picture.width <= width
    assert picture.height < c.picture(300).height
    goes_on = [shape for shape in picture.shapes if shape.text == ("…",)]
    assert len(goes_on) % 4 == 0 and goes_on
    assert not [shape for shape in c.picture(10**4).shapes if shape.text == ("…",)]


def test_a_circuit_that_nobody_could_look_at_is_shown_as_text():
    c = circuits.hardware_efficient(20, depth=50)
    assert c._repr_svg_() is None
    assert c._repr_html_() is None
    assert repr(c).startswith("<Circuit: 20 wires, 3000 gates")


@pytest.mark.parametrize("along", [(30, 0), (-30, 0), (0, 30), (0, -30)])
def test_an_arrow_points_to_its_end(along):
    """Its head is a triangle with its tip there, as wide as long, and the same on both sides."""
    start, along = np.array([5.0, 7.0]), np.array(along, float)
    tip, *rest = np.array(arrowhead(Shape("arrow", *start.tolist(), *along.tolist())))
    np.testing.assert_array_equal(tip, start + along)
    direction = along / np.linalg.norm(along)
    np.testing.assert_allclose((tip - np.array(rest)) @ direction, 8)
    across = [np.linalg.det([direction, corner - tip]) for corner in rest]
    np.testing.assert_allclose(sorted(across), [-4, 4])
