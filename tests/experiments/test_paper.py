"""experiments/paper: which runs there are, what is frozen, resuming, and the report."""

import dataclasses
import json
import statistics
from collections import Counter
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from eqx_qdeq import classifier_from_config
from eqx_qdeq.training import recipes, run_recipe
from experiments import load_records, save_record
from experiments.paper import __main__ as main, report, train
from experiments.paper.grid import all_runs

pytestmark = pytest.mark.usefixtures("once")


def _result(name, accuracy, **more):
    run = next(run for run in all_runs(9) if run.name == name)
    return {
        "run": {
            "task": run.task,
            "model": run.model,
            "encoding": run.encoding,
            "seed": run.seed,
        },
        "accuracy": accuracy,
        "n_parameters": 107,
        "peak_memory_mb": 1234.5,
        **more,
    }


# --- The runs ---------------------------------------------------------------------------------


def test_runs():
    runs = all_runs(3)
    assert len({run.name for run in runs}) == len(runs)
    # Seed 0 of everything first; what does not depend on a seed is there once.
    assert [run.seed for run in runs] == sorted(run.seed for run in runs)
    count = Counter(run.group for run in runs)
    assert {n for group, n in count.items() if "logistic" in group} == {1}
    assert {n for group, n in count.items() if "logistic" not in group} == {3}
    models = {"implicit", "warmup", "frozen", "unpenalised"} | {f"direct{n}" for n in (1, 2, 5, 10)}
    for task in ("mnist4", "mnist10", "fashion10", "cifar10"):
        assert {r.model for r in runs if (r.task, r.encoding) == (task, "amplitude")} == models
    assert {r.task for r in runs if r.encoding == "angle"} == {"mnist4"}


def test_recipes():
    runs = {run.group: run.recipe() for run in all_runs(1)}
    implicit = runs["mnist10-implicit-amplitude"]
    assert (implicit.epochs, implicit.batch_size, implicit.clip) == (100, 256, 0.25)
    assert (implicit.learning_rate, implicit.jacobian_penalty) == (5e-3, 0.8)
    assert runs["mnist10-unpenalised-amplitude"].jacobian_penalty == 0.0
    assert runs["mnist10-direct5-amplitude"].model["n_layers"] == 5
    assert runs["mnist4-implicit-angle"].model["encoding"] == "angle"
    assert runs["mnist4-classical-pixels"].model["model"] == "ClassicalDEQClassifier"


@pytest.mark.parametrize(("task", "n_frozen"), [("mnist4", 4), ("mnist10", 16)])
def test_frozen_angles_are_those_of_the_gate_sets(task, n_frozen):
    run = next(r for r in all_runs(1) if (r.task, r.model) == (task, "frozen"))
    assert run.n_frozen == n_frozen
    config = dict(run.recipe().model)
    model = eqx.filter_eval_shape(
        lambda key: classifier_from_config(config, key=key), jax.random.key(0)
    )
    # 35 angles of the random layer and 4 of one gate set; on 10 wires 40, and 16 of four.
    layer = model.deq.cell.layer
    assert layer.angles.shape == ({"mnist4": 39, "mnist10": 56}[task],)
    circuit = layer.circuit
    gates = zip(circuit.gates, circuit.params, circuit.wires, strict=True)
    last = [(gate, wires) for gate, params, wires in gates if params][-n_frozen:]
    sets = range(0, n_frozen // 2, 2)
    assert last == [
        gate
        for i in sets
        for gate in (
            ("Rx", (i,)),
            ("Ry", (1 + i,)),
            ("Rz", (3 + i,)),
            ("CRx", (i, 2 + i)),
        )
    ]


def test_freezing():
    """Optax alone, on the angles that are left, is the oracle: same steps, same clipping."""
    run = next(r for r in all_runs(1) if r.name == "mnist4-frozen-amplitude-seed0")
    model = classifier_from_config(dict(run.recipe().model), key=jax.random.key(0))
    where = lambda m: m.deq.cell.layer.angles
    params = eqx.filter(model, eqx.is_inexact_array)
    usual = optax.chain(optax.clip_by_global_norm(0.25), optax.adam(5e-3))
    freezing = optax.chain(train.freeze_last_angles(run.n_frozen), usual)
    fewer = eqx.tree_at(where, params, where(params)[:-4])

    frozen_state, state = freezing.init(params), usual.init(fewer)
    for scale in (1.0, -3.0, 0.01):
        gradient = jax.tree.map(lambda p, scale=scale: scale * jnp.cos(7 * p), params)
        smaller = eqx.tree_at(where, gradient, where(gradient)[:-4])
        with jax.numpy_dtype_promotion("standard"):  # Optax mixes counts and rates
            got, frozen_state = freezing.update(gradient, frozen_state, params)
            expected, state = usual.update(smaller, state, fewer)
        np.testing.assert_array_equal(where(got)[-4:], 0)
        cut = eqx.tree_at(where, got, where(got)[:-4])
        for a, b in zip(jax.tree.leaves(cut), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-9)
            assert np.any(np.asarray(a) != 0)


# --- Resuming ---------------------------------------------------------------------------------


def test_only_what_is_missing_runs(tmp_path, monkeypatch, capsys):
    started = []

    def start(command, check):
        name, results = command[4], Path(command[5])
        started.append(name)
        if name.endswith("seed1"):
            raise KeyboardInterrupt
        save_record(results, name, _result(name, 0.5))

    monkeypatch.setattr(main.subprocess, "run", start)
    results = tmp_path / "results.jsonl"
    arguments = {"only": "mnist4-implicit-angle-*", "results": results, "scratch": tmp_path / "s"}
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            main.main(**arguments)
    assert started == [f"mnist4-implicit-angle-seed{i}" for i in (0, 1, 1)]
    assert [path.name for path in tmp_path.iterdir()] == ["results.jsonl"]
    assert list(load_records(results)) == ["mnist4-implicit-angle-seed0"]
    capsys.readouterr()
    main.main(**arguments, list=True)
    states = [line.split("mnist4")[0].strip() for line in capsys.readouterr().out.splitlines()]
    assert states == ["done", "to do", "to do"]


def test_bad_arguments():
    with pytest.raises(SystemExit, match="no run matches --only 'nothing'"):
        main.main(only="nothing")
    with pytest.raises(SystemExit, match="name a file in --results"):
        main.main(only="mnist4-*", epochs=3)


def test_run_of_digits(tmp_path):
    """Trains and tests a model, small; what is written is JSON, and complete."""
    run = next(r for r in all_runs(1, ("digits",)) if r.model == "direct1")
    found = train.execute(run, data_root=None, epochs=2, limit=100, scratch=tmp_path)
    save_record(tmp_path / "results.jsonl", run.name, found)
    read = load_records(tmp_path / "results.jsonl")[run.name]
    assert read == json.loads(json.dumps(found))
    assert read["n_parameters"] == 107
    assert 0 <= read["accuracy"] <= 1
    assert {len(values) for values in read["history"].values()} == {2}
    assert read["forward_evaluations"] == 1
    assert read["step_memory_mb"] > 0
    assert 0 < read["spectral_radius"]["median"] <= read["spectral_radius"]["max"]


# --- The report -------------------------------------------------------------------------------


def test_report(tmp_path):
    accuracies = {"implicit": (0.91, 0.92, 0.945), "direct2": (0.93, 0.94, 0.96)}
    results = tmp_path / "results.jsonl"
    for model, values in accuracies.items():
        for seed, value in enumerate(values):
            name = f"mnist4-{model}-amplitude-seed{seed}"
            radius = {"median": 0.25, "max": 1.5 + seed, "without_equilibrium": 0.0}
            found = _result(name, value, residual=1e-6, spectral_radius=radius)
            save_record(results, name, found)
    name = "mnist10-logistic-pixels-seed0"
    save_record(results, name, _result(name, 0.915))

    page = tmp_path / "page.md"
    page.write_text("before\n\n<!-- begin: tables -->\nold\n<!-- end -->\n\nafter\n")
    for _ in range(2):  # again and again, to the same effect
        report.main(results, page, tmp_path / "figures")
        text = page.read_text()
        assert text.startswith("before\n\n<!--") and text.endswith("-->\n\nafter\n")
        assert "old" not in text
        assert text.count("### MNIST-4") == text.count("### MNIST-10") == 1
    implicit, direct = ([100 * a for a in accuracies[m]] for m in ("implicit", "direct2"))
    shown = f"| 3 | {statistics.mean(implicit):.2f} ± {statistics.stdev(implicit):.2f} | 1.0e-06 |"
    assert f"| implicit | amplitude {shown} 0.25 (≤ 3.50) |" in text
    # One seed has no deviation, and a model without an equilibrium no residual.
    assert "| logistic regression | pixels | 1 | 91.50 |  |" in text
    error = ((statistics.variance(implicit) + statistics.variance(direct)) / 3) ** 0.5
    difference = statistics.mean(implicit) - statistics.mean(direct)
    assert (
        f"| implicit | direct, L = 2 | amplitude | {difference:+.2f} ± {error:.2f} | 3, 3 |" in text
    )
    assert "<svg" in (tmp_path / "figures" / "paper-table.svg").read_text()


def test_report_of_nothing(tmp_path):
    with pytest.raises(SystemExit, match="there are no results"):
        report.main(tmp_path / "results.jsonl", tmp_path / "page.md", tmp_path)


def test_results_in_the_repository():
    """They are of runs that exist, all of the paper's training, under their names."""
    known = {run.name: run for run in all_runs(9)}
    records = load_records(report.RESULTS)
    assert records
    for name, found in records.items():
        assert found["run"]["name"] == name in known
        assert found["recipe"]["epochs"] == 100
        assert found["recipe"]["limit"] is None
        assert (found["recipe"]["warmup_steps"] > 0) == (found["run"]["model"] == "warmup")
        if "history" in found:
            assert len(found["history"]["validation_loss"]) == 100
            losses = found["history"]["validation_loss"]
            # The history is rounded to five digits: ties are possible.
            assert losses[found["best_epoch"] - 1] == min(losses)


def test_the_papers_model_on_real_images(data_root):
    """A few epochs on a few images go where a hundred on all would."""
    pytest.importorskip("torchvision", reason='reads MNIST: pip install ".[vision]"')
    recipe = dataclasses.replace(recipes["paper-mnist4"], epochs=4)
    result = run_recipe(recipe, root=data_root, limit=6000, progress=False)
    assert result.test.accuracy > 0.6
    assert result.test.fraction_converged is not None and result.test.fraction_converged > 0.99
