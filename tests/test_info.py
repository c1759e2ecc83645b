"""python -m eqx_qdeq info."""

import importlib
import json

import pytest

from eqx_qdeq import __version__


def test_info(monkeypatch, x64):
    main = importlib.import_module("eqx_qdeq.__main__").main
    said: list[str] = []
    assert main(["info", "--json"], said.append) == 0
    report = json.loads(said.pop())
    assert report["self_test"] == "passed"
    assert report["precision"] == ("float64" if x64 else "float32")
    assert report["eqx_qdeq"] == __version__ and report["versions"]["jax"]
    assert report["extras"]["train"]["optax"] is not None
    # A computer that computes something else.
    monkeypatch.setattr("eqx_qdeq.QuantumLayer.__call__", lambda self, x, key=None: x + 9)
    assert main(["info"], said.append) == 1
    assert "self-test  FAILED: statevector" in said[0] and "precision" in said[0]
    with pytest.raises(SystemExit):
        main([])
