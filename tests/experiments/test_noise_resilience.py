"""experiments/noise_resilience: its circuits, law of errors, shots, results and report."""

import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eqx_qdeq import training
from experiments import load_records
from experiments.noise_resilience import (
    __main__ as main,
    grid,
    law,
    models,
    noises,
    report,
    sampled,
    sweep,
)

pytestmark = pytest.mark.usefixtures("once")


@pytest.fixture(scope="module")
def build():
    return lambda name: models.build(grid.Run("mnist4", name, "clean", 0))


@pytest.fixture(scope="module")
def images():
    x = jax.random.normal(jax.random.key(7), (12, 16))
    return training.Split(x, jnp.arange(12) % 4)


# --- The models -------------------------------------------------------------------------------


def test_a_coherent_circuit_of_one_repetition_is_the_circuit_applied_once(build, images):
    once, coherent = build("direct1"), build("coherent1")
    np.testing.assert_allclose(
        jax.vmap(once)(images.x), jax.vmap(coherent)(images.x), rtol=1e-4, atol=1e-5
    )


def test_a_coherent_circuit_has_all_the_gates(build):
    circuit = build("qdeq").deq.cell.layer.circuit
    for name, n in (("coherent5", 5), ("coherent10", 10), ("coherent10free", 10)):
        model = build(name)
        deep = model.base.deq.cell.layer.circuit
        two_qubit = sum(len(wires) == 2 for wires in circuit.wires)
        assert sum(len(wires) == 2 for wires in deep.wires) == n * two_qubit == n * 17
        assert deep.gates == circuit.gates * n
        assert deep.n_params == circuit.n_params * (n if name.endswith("free") else 1)
        assert model.n_layers == 1


def test_the_coherent_values_are_those_of_the_matrix_to_a_power(build, images):
    base = build("qdeq")
    layer, deep = base.deq.cell.layer, law.repeated(base, 3)
    # Matrix of the circuit, column by column.
    compiled = layer.compile(16)
    unitary = np.stack([compiled.state(column) for column in jnp.eye(16)], axis=1)
    states = np.linalg.matrix_power(unitary, 3) @ np.asarray(images.x).T
    signs = 1 - 2 * ((np.arange(16) >> np.arange(4)[::-1, None]) & 1)
    expected = (signs @ np.abs(states) ** 2 / np.sum(np.abs(states) ** 2, axis=0)).T
    np.testing.assert_allclose(jax.vmap(deep)(images.x), expected, atol=1e-4)


def test_models_of_a_seed_start_alike(build):
    angles = [m.deq.cell.layer.angles for m in (build("qdeq"), build("unpenalised"))]
    angles += [build(name).base.deq.cell.layer.angles for name in ("direct5", "coherent10")]
    for other in angles[1:]:
        np.testing.assert_array_equal(angles[0], other)


def test_weights_come_back(build, images):
    model = eqx.tree_at(lambda m: m.base.head.linear.bias, build("direct2"), jnp.arange(4.0))
    run = grid.Run("mnist4", "direct2", "clean", 0)
    weights = [leaf.ravel().tolist() for leaf in models.arrays_of(model)]
    found = json.loads(json.dumps({"run": vars(run), "weights": weights}))
    again = models.restore(found)
    np.testing.assert_array_equal(jax.vmap(again)(images.x), jax.vmap(model)(images.x))


# --- What is measured -------------------------------------------------------------------------


def test_margin_and_loss():
    found = sweep.of_logits(np.array([[2.0, 0.0], [1.0, 4.0]]), np.array([0, 0]))
    assert found["accuracy"] == 0.5 and found["margin"] == (2 - 3) / 2
    assert found["loss"] == pytest.approx((np.log1p(np.exp(-2)) + np.log1p(np.exp(3))) / 2)


def test_applications_are_counted():
    steps = sweep.picard_steps(lambda z: z / 2 + 1, jnp.zeros(1))
    # Differences 1, 1/2, 1/4, …: the eleventh application is the first with at most 1e-3.
    assert int(steps) == 11


def test_no_noise_is_no_noise(build, images):
    measure = sweep.measure
    for name in ("direct1", "coherent2"):
        coherent = name.startswith("coherent")
        clean = measure(build(name), None, images, coherent)
        zero = measure(build(name), noises.sweep_noise("damping", 0.0), images, coherent)
        assert clean == pytest.approx(zero, rel=1e-3, abs=1e-4)
        assert ("radius" in clean) == (not coherent)


def test_first_order_law_against_finite_differences():
    """The fixed point of z = tanh(Wz + b) + ε d, for a small ε."""
    w = jnp.array([[0.4, -0.3], [0.5, 0.2]])
    b, d = jnp.array([0.3, -0.2]), jnp.array([0.6, 0.8])

    def fixed_point(epsilon):
        z = jnp.zeros(2)
        for _ in range(100):
            z = jnp.tanh(w @ z + b) + epsilon * d
        return z

    z = fixed_point(0.0)
    moved = (fixed_point(1e-2) - fixed_point(-1e-2)) / 2e-2
    jacobian = jax.jacobian(lambda z: jnp.tanh(w @ z + b))(z)
    np.testing.assert_allclose(law.first_order(jacobian, d), moved, rtol=1e-3)


def test_the_law_holds_for_a_cell_under_little_noise(build, images):
    x = 3 * images.x  # large inputs, small Jacobians
    model = build("qdeq")
    clean = law.equilibria(model, None, x)
    found = law.compare(model, clean, noises.sweep_noise("two_qubit", 1e-3), x)
    assert found["off_clean"] < 0.03 and found["off_noisy"] < 0.02
    assert found["kept"] == 1 and found["bound_holds"] == 1
    assert 0.9 < found["jacobian_kept"] < 1


def test_measured_again_and_again_is_a_coherent_circuit_once(build, images):
    """After one application there is no difference, and noise makes one."""
    found = law.applications(build("qdeq"), images.x, rates=(0.01,), depths=(1,))
    assert found["measured"][0][0] == pytest.approx(found["coherent"][0][0], rel=1e-3)
    assert 0.05 < found["measured"][0][0] < 0.5


# --- Shots ------------------------------------------------------------------------------------


def test_many_shots_are_exact(build, images):
    model = build("direct2")
    way = sampled.Way("applied", 2)
    noise = noises.mixed_noise(depolarising=0.01)
    found = sampled.run(model, noise, way, 2**20, images, 0)
    exact = sweep.measure(model, noise, images, False)
    assert found["loss"] == pytest.approx(exact["loss"], abs=0.02)
    assert found["used"] == 2**20
    assert found["floor"] < 0.01


def test_an_equilibrium_uses_no_more_shots_than_it_has(build, images):
    noise = noises.mixed_noise(readout=0.05)
    way = sampled.Way("averaged", 10, "readout")
    few, many = (sampled.run(build("qdeq"), noise, way, n, images, 0) for n in (1000, 2**20))
    assert few["used"] == 1000 and many["used"] <= 2**20
    # Inverted, the readout error is gone: the values are a fixed point of the map without it.
    assert many["residual"] < 0.02 < few["residual"]


def test_what_makes_sense_together():
    once, ten = sampled.Way("applied", 1), sampled.Way("averaged", 10)
    sensible = lambda way, mitigation, noise: sampled.sensible(
        sampled.dataclasses.replace(way, mitigation=mitigation), noise
    )
    assert sensible(ten, "zero-noise after", "two-qubit 1 %")
    assert not sensible(once, "zero-noise after", "two-qubit 1 %")
    assert not sensible(ten, "zero-noise", "none") and not sensible(ten, "readout", "two-qubit 1 %")
    assert sensible(once, "readout", "readout 5 %") and sensible(once, "none", "none")


# --- Results and report -----------------------------------------------------------------------


def test_smoke_writes_and_reports_every_part(tmp_path, capsys):
    before = jax.config.values["jax_disable_most_optimizations"]
    try:
        main._smoke(tmp_path)
    finally:
        jax.config.update("jax_disable_most_optimizations", before)
    keys = {
        "train": {"run", "epochs", "test", "weights", "n_parameters"},
        "sweep": {"run", "images", "two_qubit", "devices"},
        "shots": {"run", "images", "rows"},
        "law": {"run", "images", "clean", "two_qubit", "binned"},
        "applications": {"run", "measured", "coherent", "steps", "depths", "rates"},
    }
    records = load_records(tmp_path / "results.jsonl")
    for part, wanted in keys.items():
        assert wanted <= set(records[f"{part}-digits-direct1-clean-seed0"])
    row = {"noise", "way", "mitigation", "shots", "accuracy", "margin", "loss", "residual", "floor"}
    shots = records["shots-digits-direct1-clean-seed0"]
    assert all(row <= set(each) for each in shots["rows"])
    assert "| direct, L = 1 | clean | 1 |" in capsys.readouterr().out
    assert (tmp_path / "figures" / "noise-accuracy.svg").stat().st_size > 10_000


def test_results_are_complete():
    """Each part has all the seeds, and began from a model that is there."""
    names = set(load_records(report.RESULTS))
    for name in names:
        part, rest = name.split("-", 1)
        assert f"train-{rest}" in names
        if "mnist4" in rest:
            stem = rest.rsplit("seed", 1)[0]
            for seed in range(grid.SEEDS):
                assert f"{part}-{stem}seed{seed}" in names


def test_no_results_are_an_error(tmp_path):
    with pytest.raises(SystemExit, match="there are no results"):
        report.main(tmp_path / "results.jsonl", tmp_path / "page.md", tmp_path)
