"""Releases of qujax and JAX that do not fit together, or not with us."""

import importlib.metadata
import sys
import types

import jax
import jax.numpy as jnp
import pytest

import eqx_qdeq as qdeq
from eqx_qdeq.simulate import qujax_state_function
from tests.circuits._tools import qujax

_CIRCUIT = qdeq.Circuit(["Ry"], [[0]], [[0]])


def test_private_names_of_jax_that_are_gone(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "qujax"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "jax._src.typing", types.ModuleType("jax._src.typing"))
    theirs = importlib.metadata.version("qujax")
    with pytest.raises(ImportError) as caught:
        qujax_state_function(_CIRCUIT)
    text = str(caught.value)
    assert f"qujax {theirs} cannot be imported with jax {jax.__version__}" in text
    assert "cannot import name" in text
    assert "Install a newer qujax, or an older jax." in text
    # Nothing else needs it: it is not imported.
    layer = qdeq.QuantumLayer(
        _CIRCUIT, qdeq.AmplitudeEncoding(), qdeq.PauliZ(), angles=jnp.zeros(1)
    )
    assert layer(jnp.array([1.0, 0.0])) == pytest.approx(1.0)


def test_gates_that_are_defined_in_another_way(monkeypatch):
    from importlib.machinery import PathFinder

    import eqx_qdeq.simulate as simulate

    definitions = sys.modules[simulate.gate_entries.__module__]._definitions
    spec = PathFinder.find_spec("qujax.gates", qujax.__path__)
    assert spec is not None
    for source in (None, "import numpy\n"):
        loader = types.SimpleNamespace(get_source=lambda name, source=source: source)
        found = types.SimpleNamespace(loader=loader)
        monkeypatch.setattr(PathFinder, "find_spec", lambda *_, found=found: found)
        with pytest.raises(ImportError, match="in another way than eqx-qdeq can read"):
            definitions.__wrapped__()
