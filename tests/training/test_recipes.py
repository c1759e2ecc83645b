"""Recipes: what they are made of, and what a run of one leaves behind."""

import dataclasses
import json

import equinox as eqx
import jax
import numpy as np
import pytest

import eqx_qdeq as qdeq
from eqx_qdeq.training import (
    CheckpointError,
    count_parameters,
    DataError,
    evaluate,
    get_recipe,
    load,
    load_metadata,
    load_recipe_data,
    paper_preprocess,
    recipes,
    run_recipe,
)

# As small as can be, and without a circuit: what is tested here is not the model.
TINY = dataclasses.replace(
    recipes["digits-demo"].with_model("classical"), name="tiny", epochs=2, learning_rate=0.01
)


def _model(recipe):
    build = lambda key: qdeq.classifier_from_config(dict(recipe.model), key=key)
    return eqx.filter_eval_shape(build, jax.random.key(0))


@pytest.mark.parametrize("name", recipes)
def test_every_recipe_fits_together(name):
    recipe = recipes[name]
    assert recipe.name == name == get_recipe(name).name
    model = _model(recipe)
    side = 8 if recipe.dataset == "digits" else 32 if recipe.dataset == "cifar10" else 28
    features = recipe.preprocess(np.zeros((1, side, side), np.float32))
    logits = eqx.filter_eval_shape(model, jax.numpy.asarray(features[0], float))
    assert logits.shape == (10 if recipe.classes is None else len(recipe.classes),)
    json.dumps(recipe.to_dict())


@pytest.mark.usefixtures("once")
@pytest.mark.parametrize("name", recipes)
def test_every_recipe_trains_for_a_few_steps(name, tmp_path):
    """On images of noise, of the size of its own: three steps, a validation after each, a test."""
    recipe = dataclasses.replace(recipes[name], epochs=3)
    if recipe.dataset != "digits":
        side = 32 if recipe.dataset == "cifar10" else 28
        rng = np.random.default_rng(0)
        images = lambda n: rng.integers(0, 256, (n, side, side), np.uint8)
        labels = lambda n: np.arange(n) % 10
        path = tmp_path / "noise.npz"
        np.savez(
            path, x_train=images(100), y_train=labels(100), x_test=images(20), y_test=labels(20)
        )
        recipe = dataclasses.replace(recipe, dataset=str(path))
    before = qdeq.classifier_from_config(dict(recipe.model), key=jax.random.key(0))
    result = run_recipe(recipe, limit=100, progress=False)
    assert [epoch["epoch"] for epoch in result.fit.history] == [1, 2, 3]
    assert np.isfinite(result.test.loss)
    assert result.test.fraction_converged > 0.9
    angles = lambda model: np.asarray(model.deq.cell.layer.angles)
    moved = np.abs(angles(result.fit.last_model) - angles(before)) > 1e-6
    assert np.mean(moved) > 0.95


def test_the_papers_protocol():
    recipe = recipes["paper-mnist4"]
    assert (recipe.epochs, recipe.batch_size, recipe.clip) == (100, 256, 0.25)
    assert (recipe.learning_rate, recipe.schedule, recipe.jacobian_penalty) == (
        5e-3,
        "constant",
        0.8,
    )
    assert recipe.classes == (0, 3, 6, 9) and recipe.preprocess == paper_preprocess(4)
    model = recipe.model
    assert (model["circuit"], model["head"], model["dropout"]) == ("paper", "paper", 0.05)
    assert recipe.rate(1000) == 5e-3
    # 39 angles and a linear map from 16 features to 4 classes; 56 and 100 to 10.
    assert count_parameters(_model(recipe)) == 39 + 68
    assert count_parameters(_model(recipes["paper-mnist10"])) == 56 + 1010


def test_ours_at_four_qubits_has_at_most_200_parameters():
    assert count_parameters(_model(recipes["ours-mnist4"])) <= 200


def test_the_cosine_ends_at_zero():
    recipe = recipes["ours-mnist4"]
    rate = recipe.rate(1000)
    steps = recipe.epochs * -(-1000 // recipe.batch_size)
    assert rate(0) == pytest.approx(recipe.learning_rate)
    assert rate(steps // 2) == pytest.approx(recipe.learning_rate / 2)
    assert rate(steps) == pytest.approx(0, abs=1e-8)


def test_other_models():
    recipe = recipes["ours-mnist4"]
    assert recipe.with_model("qdeq") is recipe
    for kind in ("unrolled", "classical"):
        made = recipe.with_model(kind, n_layers=3)
        assert get_recipe(made.name) == made
    unrolled = dataclasses.replace(recipes["paper-mnist4"]).with_model("unrolled", n_layers=5)
    assert unrolled.name == "paper-mnist4-unrolled5" and unrolled.jacobian_penalty == 0
    assert isinstance(_model(unrolled), qdeq.UnrolledClassifier)
    assert count_parameters(_model(unrolled)) == count_parameters(_model(recipes["paper-mnist4"]))
    classical = recipe.with_model("classical")
    size = count_parameters(_model(classical))
    budget = count_parameters(_model(recipe))
    wider = dict(classical.model) | {"hidden_size": classical.model["hidden_size"] + 1}
    assert size <= budget < count_parameters(_model(dataclasses.replace(classical, model=wider)))
    with pytest.raises(
        ValueError, match="`model` must be one of qdeq, unrolled, classical; got 'x'"
    ):
        recipe.with_model("x")


def test_bad_recipes():
    with pytest.raises(ValueError, match="`epochs` must be at least 1; got 0"):
        dataclasses.replace(TINY, epochs=0)
    with pytest.raises(ValueError, match="`schedule` must be one of constant, cosine; got 'line'"):
        dataclasses.replace(TINY, schedule="line")


def test_unknown_recipe():
    with pytest.raises(DataError, match="unknown recipe 'mnist'; choose one of digits-demo, ours-"):
        run_recipe("mnist")
    # A variant of another size than the one it has.
    with pytest.raises(DataError, match="unknown recipe 'ours-mnist4-classical99'"):
        get_recipe("ours-mnist4-classical99")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    return folder, run_recipe(TINY, limit=60, out=folder, progress=False)


def test_a_run_leaves_everything_behind(finished):
    folder, result = finished
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["checkpoint.eqx", "metrics.jsonl", "model.eqx", "run.json", "test.json"]
    model = load(folder / "model.eqx")
    data = load_recipe_data(TINY, limit=60)
    assert evaluate(model, data.test).to_dict() == result.test.to_dict()
    assert load_metadata(folder / "model.eqx")["metadata"]["recipe"]["name"] == "tiny"
    test = json.loads((folder / "test.json").read_text())
    assert test["accuracy"] == result.test.accuracy
    assert np.array_equal(test["confusion"], result.test.confusion)
    assert test["parameters"] == result.n_parameters == count_parameters(model)
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 2
    text = str(result)
    for part in ("tiny", "test accuracy", "parameters", "solver steps", "residual", "training"):
        assert part in text


def test_the_same_run_again_gives_the_same(finished):
    folder, result = finished
    again = run_recipe(TINY, limit=60, out=folder, progress=False)
    assert eqx.tree_equal(again.fit.model, result.fit.model)


def test_a_folder_with_something_else_is_left_alone(finished, tmp_path):
    folder, _ = finished
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    other = dataclasses.replace(TINY, learning_rate=0.5)
    with pytest.raises(CheckpointError, match="has a run of another configuration"):
        run_recipe(other, limit=60, out=folder, progress=False)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(CheckpointError, match="has other files in it; choose a new folder"):
        run_recipe(TINY, out=tmp_path)
    with pytest.raises(CheckpointError, match=r"thesis\.txt' is not a folder"):
        run_recipe(TINY, out=tmp_path / "thesis.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_missing_data_leaves_no_folder(tmp_path):
    pytest.importorskip("torchvision", reason='reads MNIST: pip install ".[vision]"')
    with pytest.raises(DataError, match="download=True"):
        run_recipe("ours-mnist4", root=tmp_path, out=tmp_path / "run")
    assert list(tmp_path.iterdir()) == []
