"""The trained models that come with the package."""

import json

import equinox as eqx
import jax.numpy as jnp
import pytest

from eqx_qdeq.training import (
    count_parameters,
    DataError,
    evaluate,
    get_recipe,
    load_metadata,
    load_pretrained,
    load_recipe_data,
    pretrained,
    pretrained_path,
)


@pytest.mark.parametrize("name", pretrained())
def test_a_trained_model_is_that_of_its_recipe(name):
    model, recipe = load_pretrained(name), get_recipe(name)
    metadata = load_metadata(pretrained_path(name))["metadata"]
    assert metadata["recipe"] == json.loads(json.dumps(recipe.to_dict()))  # no tuples in JSON
    assert count_parameters(model) == metadata["parameters"]
    x = jnp.ones(recipe.model["in_size"])
    logits = eqx.filter_eval_shape(model, x)
    assert logits.shape == (recipe.model["n_classes"],)


@pytest.mark.usefixtures("once")
@pytest.mark.parametrize("name", pretrained())
def test_a_trained_model_has_its_stated_accuracy(name):
    try:
        data = load_recipe_data(name)
    except DataError as error:
        pytest.skip(f"needs the images: {error}")
    stated = load_metadata(pretrained_path(name))["metadata"]["test_accuracy"]
    # A sample on the border may fall to the other side in another precision.
    assert evaluate(load_pretrained(name), data.test).accuracy == pytest.approx(stated, abs=1e-3)


def test_there_are_trained_models():
    assert "ours-mnist4" in pretrained()


def test_an_unknown_name_lists_those_there_are():
    with pytest.raises(DataError, match="no trained model 'x' comes .*ours-mnist4"):
        load_pretrained("x")
