"""What is printed fits on a screen, and says what one wants to know."""

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
import pytest

import eqx_qdeq as qdeq
from eqx_qdeq import training
from tests.training._stand_in import make_data

pytestmark = pytest.mark.usefixtures("once")

LINES, WIDTH = 48, 100
KEY = jax.random.key(0)


def _fits(thing: object) -> str:
    for text in (repr(thing), str(thing)):
        # Long lines are wrapped by the terminal.
        assert sum(1 + len(line) // WIDTH for line in text.splitlines()) <= LINES, text
        # Numbers are summed up: no array is printed.
        assert len(text) < 2000 and "Array(" not in text
    return str(thing)


def _classifier(**options) -> qdeq.QDEQClassifier:
    defaults = {"depth": 12, "readout": "zz", "train_gain": True}
    return qdeq.QDEQClassifier(4, 16, 4, **(defaults | options), key=KEY)


NOISE = qdeq.noise.NoiseModel.depolarizing(0.01, preparation=True)
MODELS = {
    "ours": _classifier,
    "paper's": lambda: _classifier(circuit="paper", depth=None, head="paper", readout="z"),
    "many values": lambda: qdeq.QDEQClassifier(10, 784, 10, depth=20, readout="zzz", key=KEY),
    "noisy": lambda: _classifier().with_noise(NOISE),
    "unrolled": lambda: _classifier().unrolled(3),
    "classical": lambda: qdeq.ClassicalDEQClassifier(16, 8, 4, key=KEY),
    "one line": lambda: qdeq.QDEQ(10, 100, key=KEY),
    "re-uploading": lambda: qdeq.QuantumLayer(
        qdeq.circuits.hardware_efficient(4, 12),
        qdeq.DataReuploading(qdeq.AngleEncoding(), 2, positions=(0, 3)),
        qdeq.Hermitian(jnp.eye(16)[None], [0, 1, 2, 3]),
        key=KEY,
    ),
    "sampled": lambda: qdeq.SampledDEQ(_classifier().deq.cell, 1000),
    "contractive": lambda: qdeq.contractive(_classifier().deq.cell, 0.9),
    "any solver": lambda: qdeq.DEQ(
        _classifier().deq.cell,
        qdeq.Ladder(qdeq.Newton(1e-5, 1e-5), qdeq.SteadyState(1e-5, 1e-5)),
        qdeq.ImplicitVJPAdjoint(),
        100,
    ),
    "compiled": lambda: _classifier().deq.cell.bind(jnp.ones(16)),
}


@pytest.mark.parametrize("name", sorted(MODELS))
def test_models(name: str) -> None:
    text = _fits(MODELS[name]())
    assert name in ("classical", "compiled") or "<Circuit: " in text


def test_what_is_at_its_default_is_not_shown() -> None:
    layer = MODELS["re-uploading"]()
    assert "engine" not in repr(layer) and "trajectory_key" not in repr(layer)
    assert "engine='statevector'" in repr(layer.replace(engine="statevector"))


def test_circuits_say_their_sizes() -> None:
    circuit = qdeq.circuits.hardware_efficient(3, 2)
    sizes = circuit.resources()
    assert repr(circuit) == (
        f"<Circuit: 3 wires, {sizes.n_gates} gates, {sizes.n_params} parameters, "
        f"depth {sizes.depth}>"
    )


def test_many_strings_are_cut_short() -> None:
    assert repr(qdeq.PauliStrings(["Z0", "X1 Y2"])) == "PauliStrings(Z0, X1 Y2; 2 values)"
    assert repr(qdeq.z_products(10, 3)).endswith(", Z3, …, Z7 Z8 Z9; 175 values)")


def test_solutions_say_whether_they_are_some() -> None:
    deq = qdeq.QDEQ(4, 16, key=KEY).deq
    x = jax.random.normal(KEY, (6, 16))
    text = _fits(deq.solve(x[0]))
    for part in ("value=f32[4]", "success=True", "num_steps=", "residual="):
        assert part in text
    # In a batch, how many; and the least and the largest of the rest.
    batch = jax.vmap(deq.solve)(x.at[1].set(jnp.nan))
    text = _fits(batch).replace("\n", " ")
    steps = batch.stats["num_steps"]
    assert "value=f32[6,4]" in text and "success=5 of 6" in text
    assert f"num_steps={steps.min()} to {steps.max()}" in text
    # Inside of `jit` there are no numbers yet.
    inside = []
    eqx.filter_jit(lambda d, x: inside.append(repr(d.solve(x))))(deq, x[0])
    assert "success=bool[]" in inside[0]


def test_results() -> None:
    model, data = qdeq.ClassicalDEQClassifier(3, 4, 3, key=KEY), make_data()
    options = {"epochs": 20, "batch_size": 60, "progress": False}
    result = training.fit(model, data, optimizer=optax.adam(0.01), **options)
    text = _fits(result)
    best = result.history[result.best_epoch - 1]
    assert f"best epoch {result.best_epoch}" in text and "20 epochs, 20 steps" in text
    assert f"loss {best['validation_loss']:.4f}" in text
    assert "converged 100.0%" in text
    x = data.train.x[0]
    solution = model.deq.solve(x)
    for thing in (
        data,
        model.deq.diagnose(x),
        qdeq.certify(qdeq.QDEQ(2, 3, key=KEY).deq.cell, x, jnp.zeros(2)),
        qdeq.find_equilibria(model.deq.cell, x, KEY, n_starts=4),
        model.deq.trajectory(x, n_steps=5),
        qdeq.EquilibriumMemory.like(solution.value, n_samples=1000),
        training.evaluate(result.model, data.test),
        training.get_recipe("digits-demo"),
        NOISE,
        qdeq.noise.Depolarizing(0.1),
    ):
        _fits(thing)
