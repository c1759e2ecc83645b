"""Models in files."""

import contextlib
import hashlib
import io
import json
import os
import re
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eqx_qdeq as qdeq
from eqx_qdeq.training import CheckpointError, load, load_metadata, save, write_atomic
from tests.training._stand_in import make_model

pytestmark = pytest.mark.float32


def _classical(key=0, hidden=5):
    return qdeq.ClassicalDEQClassifier(6, hidden, 3, dropout=0.1, key=jax.random.key(key))


def _quantum():
    return qdeq.QDEQClassifier(
        3, 6, 3, depth=2, gain=0.3, train_gain=True, readout="zz", key=jax.random.key(1)
    )


@pytest.mark.parametrize(
    "make", [_classical, _quantum, lambda: _quantum().unrolled(3)], ids=["classical", "q", "L=3"]
)
def test_a_classifier_comes_back_from_the_file_alone(make, tmp_path):
    model, path = make(), tmp_path / "new" / "model.eqx"
    save(path, model, metadata={"note": "é", "values": (1, np.float32(0.5), float("nan"))})
    loaded = load(path)
    assert eqx.tree_equal(loaded, model)
    x = jnp.ones(6)
    assert np.array_equal(loaded(x), model(x))
    found = load_metadata(path)
    assert found["metadata"] == {"note": "é", "values": [1, 0.5, None]}
    assert found["config"] == json.loads(json.dumps(model.config))
    assert [p.name for p in path.parent.iterdir()] == ["model.eqx"]


def test_any_module_comes_back_with_like(tmp_path):
    path = tmp_path / "mlp.eqx"
    make = lambda seed: eqx.nn.MLP(2, 2, 4, 1, key=jax.random.key(seed))
    save(path, make(0))
    assert eqx.tree_equal(load(path, like=make(1)), make(0))
    with pytest.raises(CheckpointError, match=r"without `config`.*pass load\(\.\.\., like=model\)"):
        load(path)


def test_leaves_of_every_kind(tmp_path):
    path = tmp_path / "tree.eqx"
    tree = {
        "half": jnp.arange(3, dtype=jnp.bfloat16),
        "key": jax.random.key(3),
        "int": jnp.arange(3),
        "numpy": np.arange(3, dtype=np.int16),
        "number": 0.25,
        "flag": True,
        "none": None,
        "function": jnp.tanh,
    }
    like = tree | {"key": jax.random.key(0), "number": 0.0, "half": jnp.zeros(3, jnp.bfloat16)}
    save(path, tree)
    loaded = load(path, like=like)
    for name, leaf in tree.items():
        if name == "key":
            assert np.array_equal(jax.random.key_data(loaded[name]), jax.random.key_data(leaf))
        elif eqx.is_array_like(leaf):
            assert type(loaded[name]) is type(leaf) and np.array_equal(loaded[name], leaf)
            assert getattr(loaded[name], "dtype", None) == getattr(leaf, "dtype", None)
        else:
            assert loaded[name] is leaf


def test_a_file_of_the_other_precision_is_converted(tmp_path, x64):
    path = tmp_path / "tree.eqx"
    there, here = (32, 64) if x64 else (64, 32)
    tree = {
        "a": np.arange(3).astype(f"float{there}") / 4,
        "c": np.arange(3).astype(f"complex{2 * there}") * 1j,
        "half": np.arange(3).astype(np.float16) / 3,
        "i": np.arange(3).astype(f"int{there}"),
        "u": np.uint8(7),
        "exact": 0.1,
    }
    save(path, tree)
    kinds = {"a": float, "c": complex, "i": int}
    like = {k: jnp.zeros(3, jnp.result_type(kind)) for k, kind in kinds.items()}
    loaded = load(path, like=tree | like | {"half": jnp.zeros(3, jnp.float16), "exact": 0.0})
    assert {str(loaded[k].dtype) for k in kinds} == {
        f"float{here}",
        f"complex{2 * here}",
        f"int{here}",
    }
    assert all(np.array_equal(loaded[name], leaf) for name, leaf in tree.items())
    assert loaded["exact"] == 0.1 and type(loaded["exact"]) is float


def test_a_warning_tells_what_is_rounded(tmp_path):
    path = tmp_path / "tree.eqx"
    save(path, {"a": np.array([0.5, 0.1], np.float32), "b": np.zeros(2, np.float32)})
    like = {"a": jnp.zeros(2, jnp.float16), "b": jnp.zeros(2, jnp.bfloat16)}
    with pytest.warns(UserWarning, match=r"eqx' .*: \['a'\] from float32 to float16 were"):
        loaded = load(path, like=like)
    assert loaded["a"].tolist() == [0.5, np.float16(0.1)]
    save(path, {"a": np.array([0.5, 1e30], np.float32), "b": np.zeros(2, np.float32)})
    _refused(path, r"\['a'\] \(float32\[2\]\), 1\S*e\+30 does not fit into float16", like)
    save(path, [np.array([1, 1000], np.int16)])
    _refused(path, "1000 does not fit into int8", [jnp.zeros(2, jnp.int8)])


def test_a_warning_tells_what_is_not_finite(tmp_path):
    path = tmp_path / "tree.eqx"
    save(path, {"a": jnp.array([1.0, jnp.nan]), "b": 1.0})
    with pytest.warns(UserWarning, match=r"numbers that are NaN or infinite, the first at \['a'\]"):
        load(path, like={"a": jnp.zeros(2), "b": 0.0})


def test_saving_replaces_the_file(tmp_path):
    path = tmp_path / "model.eqx"
    path.write_text("something old")
    path.chmod(0o640)
    save(path, _classical())
    assert eqx.tree_equal(load(path), _classical())
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_failing_save_leaves_the_file(tmp_path, monkeypatch):
    path = tmp_path / "model.eqx"
    save(path, _classical())
    content = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save(path, _classical(key=1))
    assert path.read_bytes() == content and len(list(tmp_path.iterdir())) == 1


def test_any_file_can_be_written_whole(tmp_path):
    path = tmp_path / "new" / "results.json"
    write_atomic(path, "é\n")
    write_atomic(str(path), path.read_bytes() * 2)
    assert path.read_text(encoding="utf-8") == "é\né\n"
    assert [p.name for p in path.parent.iterdir()] == ["results.json"]


def _refused(path, message, like=None):
    with pytest.raises(CheckpointError, match=message) as error:
        load(path, like=like)
    assert "\n" not in str(error.value) and str(path) in str(error.value)


def test_missing_and_foreign_files(tmp_path):
    path = tmp_path / "model.eqx"
    _refused(path, "there is no file")
    _refused(tmp_path, "cannot be read: Is a directory")
    eqx.tree_serialise_leaves(path, _classical())
    _refused(path, "is not a model file of eqx_qdeq.training")


def test_damage_anywhere_is_noticed(tmp_path):
    path = tmp_path / "model.eqx"
    save(path, _classical())
    good = path.read_bytes()
    for position in range(0, len(good), 37):
        bad = bytearray(good)
        bad[position] ^= 0b100
        path.write_bytes(bad)
        _refused(path, "corrupt or truncated|is not a model file|is a .* file, not a model")
    for length in range(0, len(good), 61):
        path.write_bytes(good[:length])
        _refused(path, "corrupt or truncated|is not a model file")


def _rewrite(path, **changes):
    """Changes the header of a file, with the right checksum."""
    line, _, payload = path.read_bytes().partition(b"\n")
    header = json.loads(line.rpartition(b"\t")[0]) | changes
    text = json.dumps(header)
    digest = hashlib.sha256(text.encode()).hexdigest()
    path.write_bytes(f"{text}\t{digest}\n".encode() + payload)


def test_other_formats(tmp_path):
    path = tmp_path / "model.eqx"
    save(path, _classical())
    _rewrite(path, version=2)
    _refused(path, "has version 2 of the format and this release reads version 1")
    _rewrite(path, version=1, format="eqx-qdeq checkpoint")
    _refused(path, "is a checkpoint file, not a model file")
    _rewrite(path, format="eqx-qdeq model", config={"model": "Nobody"})
    _refused(path, "config that this release cannot build: .*Nobody")
    _rewrite(path, config=_classical(hidden=7).config)
    _refused(path, "of another architecture: it has float.* where float.* is expected")


@pytest.mark.parametrize(
    "changes,message",
    [
        ({"leaves": None}, "header whose 'leaves' should be of type list and is NoneType"),
        ({"version": "1"}, "'version' should be of type int and is str"),
        ({"config": [1]}, "'config' should be of type dict | None and is list"),
        ({"leaves": [[1, 2]]}, "does not say of each leaf where it belongs"),
        ({"config": {"n_qubits": 10**9}}, "`n_qubits` is 1000000000, and the file has no"),
        ({"config": {"circuit": "brickwork", "depth": 10**6}}, "must stand in a file gate by gate"),
        ({"config": {"readout": "x" * 10**4}}, "`readout` must be one of z, zz, zzz; got 'xxxx"),
        ({"config": {"colour": 1}}, "`config` has entries that are not known: 'colour'"),
    ],
)
def test_forged_headers(changes, message, tmp_path):
    path, model = tmp_path / "model.eqx", _quantum()
    save(path, model)
    if isinstance(changes.get("config"), dict):
        changes = {"config": model.config | changes["config"]}
    _rewrite(path, **changes)
    _refused(path, re.escape(message))


@pytest.mark.parametrize("rest", ["[" * 10**5, "1e999}", "NaN}", '1, "x": 2}'])
def test_a_header_that_readers_would_not_agree_about(rest, tmp_path):
    path, text = tmp_path / "model.eqx", '{"format": "eqx-qdeq model", "x": ' + rest
    path.write_bytes(f"{text}\t{hashlib.sha256(text.encode()).hexdigest()}\n".encode())
    _refused(path, "has a header that is no JSON")


def test_forged_circuits(tmp_path):
    path, config = tmp_path / "model.eqx", _quantum().config
    save(path, _quantum())
    for name, value, message in (
        ("params", [10**9], "uses parameter 1000000000, but no gate uses 0, "),
        ("wires", [10**9], "wire 1000000000 is out of range"),
        ("gates", {"real": [[1, 2]]}, "gate 0 is neither a name nor a unitary array"),
    ):
        circuit = config["circuit"] | {name: [value, *config["circuit"][name][1:]]}
        _rewrite(path, config=config | {"circuit": circuit})
        _refused(path, message)


def test_forged_leaves(tmp_path):
    path, here = tmp_path / "tree.eqx", np.ones((2, 3), np.float32)
    like = [jnp.zeros((2, 3), np.float32), 0.0]

    def put(array, *more):
        buffer = io.BytesIO()
        np.save(buffer, array)
        np.save(buffer, 1.0)
        save(path, [here, 0.0])
        line = path.read_bytes().partition(b"\n")[0]
        content = buffer.getvalue() + b"".join(more)
        path.write_bytes(line + b"\n" + content)
        _rewrite(path, sha256=hashlib.sha256(content).hexdigest())

    put(here)
    assert load(path, like=like)[0].tolist() == here.tolist()
    for array, message in (
        (here.astype(int), "there is an array of int64 of shape \\(2, 3\\)"),
        (here.T, "there is an array of float32 of shape \\(3, 2\\)"),
        (here.astype(">f4"), "there is an array of >f4"),
        (np.array([[print] * 3] * 2), "it holds Python objects, which are not read"),
    ):
        put(array)
        _refused(path, f"is damaged or forged: of \\[0\\] \\(float32\\[2, 3\\]\\), {message}", like)
    put(here, b"abc")
    _refused(path, "it has 3 bytes behind its last leaf", like)
    text = b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 10000000000)}\n"
    header = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text
    path.write_bytes(path.read_bytes().partition(b"\n")[0] + b"\n" + header)
    _rewrite(path, sha256=hashlib.sha256(header).hexdigest())
    _refused(path, "says that its shape is \\(2, 10000000000\\), more than fits into", like)


def test_pipes_and_odd_names_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.eqx")
    _refused(tmp_path / "pipe.eqx", "is not a regular file")
    with pytest.raises(CheckpointError, match="cannot be read: embedded null byte"):
        load("a\0b.eqx")


def test_a_file_of_the_first_release_is_read(x64):
    path = Path(__file__).parent / "files" / "model_v1.eqx"  # saved in double precision
    rounds = contextlib.nullcontext() if x64 else pytest.warns(UserWarning, match="were rounded")
    with rounds:
        model = load(path)
    known = load_metadata(path)["metadata"]
    np.testing.assert_allclose(model(jnp.array(known["x"])), known["logits"], atol=1e-6)


def test_another_architecture(tmp_path):
    path = tmp_path / "model.eqx"
    save(path, _classical())
    _refused(path, r"of another architecture: it has float\d+\[5, 5\] at .*", _classical(hidden=6))
    _refused(path, "of another architecture", make_model(jax.random.key(0)))
    save(path, [1.0, 2.0])
    _refused(path, "it has 2 arrays and numbers, where 1 are expected", [1.0])


def test_a_model_that_its_config_does_not_make(tmp_path):
    """Another circuit, measurement or noise is no part of the config: silently the old one would
    come back."""
    model = qdeq.QDEQClassifier(2, 4, 2, depth=1, key=jax.random.key(0))
    x, path = jnp.array([0.3, -0.1, 0.8, 0.5]), tmp_path / "model.eqx"
    circuit = qdeq.circuits.basic_entangler(2, 2)
    assert circuit.n_params == model.deq.cell.layer.circuit.n_params
    changed = {
        "circuit": qdeq.map_layers(lambda layer: layer.replace(circuit=circuit), model),
        "measurement": qdeq.map_layers(
            lambda layer: layer.replace(measurement=qdeq.PauliStrings(["X0", "X1"])), model
        ),
        "noise": qdeq.with_noise(model, qdeq.noise.NoiseModel((qdeq.noise.Depolarizing(0.1),))),
    }
    for other in changed.values():
        save(path, other)
        with pytest.raises(CheckpointError, match="no longer what its config makes"):
            load(path)
        np.testing.assert_array_equal(load(path, like=other)(x), other(x))
    # Numbers alone are in the file, also that of a trained gain.
    trained = eqx.tree_at(lambda m: m.deq.cell.injection.gain, model, 0.5)
    save(path, trained)
    np.testing.assert_array_equal(load(path)(x), trained(x))
