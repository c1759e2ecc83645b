"""A cell and an equilibrium are drawn with all that they are made of."""

import textwrap
from xml.etree import ElementTree

import jax
import jax.numpy as jnp
import pytest

import eqx_qdeq as qdeq

pytestmark = pytest.mark.usefixtures("once")

_CIRCUIT = qdeq.circuits.hardware_efficient(2, depth=1)


def _layer(**kwargs):
    key = jax.random.key(0)
    return qdeq.QuantumLayer(_CIRCUIT, qdeq.AmplitudeEncoding(), qdeq.PauliZ(), key=key, **kwargs)


def test_an_equilibrium_as_text():
    deq = qdeq.DEQ(qdeq.QuantumCell(_layer(), qdeq.AddInjection(4)), qdeq.Newton(1e-5, 1e-5))
    head, circuit = deq.draw().split("The circuit:\n")
    assert circuit == _CIRCUIT.draw()
    drawing = """
        DEQ: z = f(z, x), solved by Newton, differentiated by ImplicitAdjoint

             ┌──────────────┐   ┌───────────────────┐   ┌──────────────────┐   ┌─────────┐
             │  injection   │   │     encoding      │   │     circuit      │   │ readout │
        x ──▶│ AddInjection │──▶│ AmplitudeEncoding │──▶│ 2 wires, 5 gates │──▶│ PauliZ  │──┬──▶ z
             └───────▲──────┘   └───────────────────┘   └──────────────────┘   └─────────┘  │
                     └───────────────────────────── z fed back ─────────────────────────────┘
        """
    assert head.strip() == textwrap.dedent(drawing).strip()


def test_a_function_as_text():
    cell = qdeq.FunctionCell(lambda z, x: jnp.tanh(z + x), jnp.zeros_like)
    drawing = """
        FunctionCell, applied once

             ┌────────────┐
             │  f(z, x)   │
        x ──▶│ a function │────────┬──▶ z
             └──────▲─────┘        │
                    └─ z fed back ─┘
        """
    assert cell.draw() == textwrap.dedent(drawing).strip()


def test_pictures_hold_all_their_shapes_and_words():
    layer, key = _layer(), jax.random.key(1)
    noisy = _layer(noise=qdeq.noise.NoiseModel.depolarizing(0.01))
    for cell, *words in (
        (qdeq.QuantumCell(layer, qdeq.AddInjection(4)), "AddInjection", "z fed back"),
        (qdeq.QuantumCell(layer, qdeq.AngleFeedback()), "z fed back as angles"),
        (qdeq.GraphCell(layer, 3, 4, 1, key=key), "GraphCell", "z fed back"),
        (qdeq.QuantumCell(noisy, qdeq.AddInjection(4)), "2 wires, 5 gates, noise"),
        (qdeq.FunctionCell(jnp.add, jnp.zeros_like), "f(z, x)", "add", "z fed back"),
    ):
        for thing in (cell, qdeq.DEQ(cell)):
            picture = thing.picture()
            root = ElementTree.fromstring(thing._repr_svg_() or "")
            found = [e.text for e in root.iter("{http://www.w3.org/2000/svg}text")]
            assert set(words) <= set(found)
            assert all(word in thing.draw() for word in words)
            for shape in picture.shapes:
                half = shape.width / 2 if shape.kind == "box" else 0
                assert half < shape.x < picture.width - half
                assert 0 < shape.y < picture.height


def test_what_nobody_could_look_at_is_shown_as_text():
    circuit = qdeq.circuits.hardware_efficient(20, depth=50)
    angles = jnp.zeros(circuit.n_params)
    layer = qdeq.QuantumLayer(circuit, qdeq.AngleEncoding("Y"), qdeq.PauliZ(), angles=angles)
    deq = qdeq.DEQ(qdeq.QuantumCell(layer, qdeq.AddInjection(20)))
    assert deq.cell._repr_svg_() is None
    assert deq._repr_svg_() is None
