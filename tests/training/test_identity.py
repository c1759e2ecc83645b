"""A checkpoint knows which run it is of: by its model, what that computes, and its optimizer."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import eqx_qdeq as qdeq
from eqx_qdeq.training import CheckpointError, fit
from tests.training._stand_in import make_data, make_model

ROOT = Path(__file__).parents[2]
DATA = make_data(20, size=4, n_classes=2)
KEY = jax.random.key(0)


def _fit(folder, model, optimizer=None, **options):
    named = {"epochs": 1, "batch_size": 20, "progress": False} | options
    optimizer = optax.sgd(0.1) if optimizer is None else optimizer
    return fit(model, DATA, optimizer=optimizer, checkpoint_dir=folder, **named)


def _net(activation=jnp.tanh, key=KEY):
    return eqx.nn.MLP(4, 2, 3, 1, activation, key=key)


def _alike(folder, one, other):
    """The second run is the first: it is over."""
    first = _fit(folder, **one)
    content = (folder / "checkpoint.eqx").read_bytes()
    again = _fit(folder, **other)
    assert again.seconds == first.seconds
    assert (folder / "checkpoint.eqx").read_bytes() == content


def _another(folder, message, one, *others):
    _fit(folder, **one)
    for other in others:
        with pytest.raises(CheckpointError, match=message) as error:
            _fit(folder, **other)
        text = str(error.value)
        assert "\n" not in text and "is of another run" in text
        assert text.endswith("Use another folder, or the same settings.")


# --- Optimizers -------------------------------------------------------------------------------

STANDIN = make_model(KEY, size=4, n_classes=2, dropout=0.0)


def _opt(optimizer):
    return {"model": STANDIN, "optimizer": optimizer}


def _warmed(rate=0.1, warm=5, total=50, decay=0.1, norm=1.0):
    schedule = optax.warmup_cosine_decay_schedule(0.0, rate, warm, total)
    return optax.chain(optax.clip_by_global_norm(norm), optax.adamw(schedule, weight_decay=decay))


STEPS = r"the optimizer makes other updates here \(another learning rate, schedule or setting\)"


@pytest.mark.parametrize(
    "one,other,message",
    [
        (optax.sgd(0.1), optax.sgd(0.2), STEPS + ".* entry 0.244 there and 0.488 here"),
        (optax.adam(0.1), optax.adam(0.1, b1=0.8), STEPS),
        (optax.adam(0.1), optax.adam(0.1, eps=1e-3), STEPS),
        (optax.adam(0.1), optax.rmsprop(0.1), "was another: ScaleByAdamState, .* there and Scale"),
        (optax.adam(0.1), optax.adam(0.1, eps=1e-7), "optimizer's settings"),
        (optax.adam(0.1), optax.adam(0.1000001), "optimizer's settings"),
        # Of one structure, and of one class.
        (optax.adam(0.1), optax.adamax(0.1), STEPS),
        (_warmed(), _warmed(decay=0.2), STEPS),
        (_warmed(), _warmed(norm=2.0), STEPS),
        (_warmed(), _warmed(total=60), "other updates here from about step [67] on"),
        (
            optax.sgd(optax.piecewise_constant_schedule(0.1, {4000: 0.1})),
            optax.sgd(optax.piecewise_constant_schedule(0.1, {7000: 0.1})),
            "other updates here from about step [456]... on .another schedule",
        ),
        (
            optax.MultiSteps(optax.sgd(0.1), 2).gradient_transformation(),
            optax.MultiSteps(optax.sgd(0.1), 3).gradient_transformation(),
            STEPS,
        ),
        (
            optax.inject_hyperparams(optax.sgd)(learning_rate=jnp.asarray(0.1)),
            optax.inject_hyperparams(optax.sgd)(learning_rate=jnp.asarray(0.2)),
            STEPS,
        ),
        (
            optax.masked(optax.lion(0.1), lambda p: jax.tree.map(lambda x: x.ndim > 1, p)),
            optax.masked(optax.lion(0.1), lambda p: jax.tree.map(lambda x: x.ndim < 2, p)),
            STEPS + "|was another",
        ),
    ],
)
def test_another_optimizer(one, other, message, tmp_path):
    _another(tmp_path, message, _opt(one), _opt(other))


@pytest.mark.parametrize(
    "make",
    [
        _warmed,
        lambda: optax.sgd(jnp.asarray(0.1)),
        lambda: optax.chain(optax.sgd(0.1), optax.contrib.reduce_on_plateau()),
        lambda: optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(3)),
    ],
)
def test_the_same_optimizer_made_again(make, tmp_path):
    _alike(tmp_path, _opt(make()), _opt(make()))


def test_a_rate_as_a_number_or_an_array(tmp_path):
    _alike(tmp_path, _opt(optax.sgd(0.1)), _opt(optax.sgd(jnp.asarray(0.1))))


# --- Models -----------------------------------------------------------------------------------


def test_another_initial_model(tmp_path):
    one = _net()
    other = eqx.tree_at(lambda m: m.layers[0].bias, one, one.layers[0].bias.at[1].add(1e-3))
    entry = r"initial parameters\['.layers\[0\].bias'\] has other values here"
    _another(tmp_path / "a", entry, {"model": one}, {"model": other})
    _another(
        tmp_path / "b", "has other values", {"model": one}, {"model": _net(key=jax.random.key(1))}
    )
    # As another machine might round.
    wiggle = lambda x: x * (1 + 2 * jnp.finfo(x.dtype).eps) if eqx.is_inexact_array(x) else x
    _alike(tmp_path / "c", {"model": one}, {"model": jax.tree.map(wiggle, one)})


def _scaled(by):
    return lambda x: by * jnp.tanh(x)


def test_another_function(tmp_path):
    same = {"model": _net(lambda x: 2 * x)}
    _alike(tmp_path / "a", same, {"model": _net(lambda y: 2 * y)})
    _another(tmp_path / "a", "is other code here", same, {"model": _net(lambda x: 2 + x)})
    _another(tmp_path / "b", "relu", {"model": _net()}, {"model": _net(jax.nn.relu)})
    _another(
        tmp_path / "c",
        r"activation(\.wrapped)?.*<by>.* was '2' there and is '3' here",
        {"model": _net(_scaled(2))},
        {"model": _net(_scaled(3))},
    )
    _alike(tmp_path / "d", {"model": _net(_scaled(2))}, {"model": _net(_scaled(2))})
    # Up to rounding, and whatever its precision of printing.
    _alike(tmp_path / "e", {"model": _net(_scaled(0.1 + 0.2))}, {"model": _net(_scaled(0.3))})
    _another(
        tmp_path / "f",
        "<by> values|<by>",
        {"model": _net(_scaled(jnp.asarray(2.0)))},
        {"model": _net(_scaled(jnp.asarray(3.0)))},
    )


def _class(text, names):
    """A class as in another version of a script."""
    scope = {"eqx": eqx, "jnp": jnp, "__name__": "__main__", **names}
    exec(compile(textwrap.dedent(text), "script.py", "exec"), scope)
    return scope["Mine"](eqx.nn.Linear(4, 2, key=KEY))


MINE = """
    class Mine(eqx.Module):
        linear: eqx.nn.Linear

        def __call__(self, x, *, key=None):
            "Does it."
            return helper(self.linear(x))

    def helper(x):
        return FACTOR * x
"""


def test_another_text_of_a_class(tmp_path):
    one = {"model": _class(MINE, {"FACTOR": 2})}
    moved = "\n\n    # of another place" + MINE.replace("Does it.", "Says it.")
    _alike(tmp_path / "a", one, {"model": _class(moved, {"FACTOR": 2})})
    others = [
        _class(MINE.replace("self.linear(x))", "self.linear(-x))"), {"FACTOR": 2}),
        _class(MINE.replace("FACTOR * x", "FACTOR * x + 1"), {"FACTOR": 2}),
        _class(MINE, {"FACTOR": 3}),
    ]
    _another(tmp_path / "b", r"structure\['.__call__", one, *[{"model": m} for m in others])


def test_another_circuit(tmp_path):
    """Of as many gates and parameters, in a model that does not say what it is."""

    def make(wires):
        circuit = qdeq.Circuit(["Ry", "Ry", "CX"], [[0], [1], wires], [[0], [1], []], n_qubits=2)
        return qdeq.QuantumLayer(circuit, qdeq.AmplitudeEncoding(), qdeq.PauliZ(), key=KEY)

    wrapped = lambda layer: eqx.nn.Sequential([layer, eqx.nn.Lambda(lambda z: z)])
    one, other = ({"model": wrapped(make(wires))} for wires in ([0, 1], [1, 0]))
    _another(tmp_path, r"structure\['.layers\[0\].circuit", one, other)


# --- In every process ---------------------------------------------------------------------------

SCRIPT = """
    import sys
    import equinox as eqx, jax, jax.numpy as jnp, numpy as np, optax
    import eqx_qdeq as qdeq
    from eqx_qdeq import training

    SCALE = 0.5
    KINDS = {"a", "b", "c", "d"}

    @jax.jit
    def helper(x):
        return SCALE * x if len(KINDS) in {1, 3, 4, "x", "y"} else x

    class Mine(eqx.Module):
        deq: qdeq.QDEQClassifier
        mask: np.ndarray
        names: frozenset = eqx.field(static=True)

        def __call__(self, x, *, key=None):
            return helper(self.deq(x * self.mask, key=key))

    deq = qdeq.QDEQClassifier(2, 4, 2, depth=1, key=jax.random.key(0))
    model = Mine(deq, np.ones(4, np.float32), frozenset("abcdef"))
    x = np.random.default_rng(0).normal(size=(12, 4))
    split = training.Split(x, np.arange(12) % 2)
    data = training.Dataset(split, split, split, class_names=["a", "b"], name="d")
    result = training.fit(
        model, data, optimizer=optax.adam(optax.cosine_decay_schedule(0.1, 9)), epochs=2,
        progress=False, checkpoint_dir=sys.argv[1],
    )
    print(result.seconds)
"""


@pytest.mark.usefixtures("once")
def test_a_script_started_again_is_the_same_run(tmp_path):
    """With another seed of hashes, from another folder, and compiled otherwise."""
    said = []
    for i, flags in enumerate(["", "--xla_backend_optimization_level=0"]):
        script = tmp_path / str(i) / "script.py"
        script.parent.mkdir()
        script.write_text(textwrap.dedent(SCRIPT))
        environment = dict(os.environ) | {"PYTHONHASHSEED": str(i), "PYTHONPATH": str(ROOT)}
        environment["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags}"
        command = [sys.executable, str(script), str(tmp_path / "run")]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)
    assert said[0] == said[1] and float(said[0]) > 0


# --- Files of releases --------------------------------------------------------------------------

FILES = Path(__file__).parent / "files"


def _release(tmp_path, version):
    content = (FILES / f"checkpoint_v{version}.eqx").read_bytes()
    (tmp_path / "checkpoint.eqx").write_bytes(content)
    options = {"optimizer": optax.adam(0.05), "epochs": 3, "batch_size": 16, "progress": False}
    return fit(make_model(KEY), make_data(), checkpoint_dir=tmp_path, **options)


@pytest.mark.usefixtures("once")
def test_a_checkpoint_of_this_release(tmp_path):
    """A run of two epochs goes on; a change of the format that breaks this needs a new version."""
    header = json.loads((FILES / "checkpoint_v2.eqx").read_bytes().split(b"\t")[0])
    assert header["version"] == 2 and header["step"] == 8
    result = _release(tmp_path, 2)
    assert result.steps == 12
    assert result.history[:2] == header["history"]
    # Its third epoch, as the release that wrote the file trained it.
    known = json.loads((FILES / "checkpoint_v2.json").read_text())
    for name in ("train_loss", "validation_loss", "gradient_norm"):
        np.testing.assert_allclose(result.history[2][name], known[name], rtol=1e-4)


@pytest.mark.usefixtures("once")
def test_a_checkpoint_of_the_release_before(tmp_path):
    with pytest.raises(CheckpointError, match="has version 1 .* reads version 2; use the release"):
        _release(tmp_path, 1)
