"""Trained weights from the package, on other images: frozen, with a new head, against a start from
nothing.

    python examples/fine_tune.py
"""

from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
import tyro
from matplotlib.figure import Figure
from tqdm.auto import tqdm

from eqx_qdeq import classifier_from_config, training


def main(epochs: int = 60, out: Path = Path("fine_tune.png"), smoke: bool = False) -> None:
    """Takes a classifier of FashionMNIST to scikit-learn's handwritten digits."""
    name = "ours-mnist10"
    recipe, pretrained = training.get_recipe(name), training.load_pretrained(name)
    preprocess = training.Compose((training.Resize(28), recipe.preprocess))
    for limit in (50, 100, 200, 400):
        data = training.load_dataset("digits", preprocess=preprocess, limit=limit)
        key = jax.random.key(0)
        print(limit, training.evaluate(pretrained, data.test))
        fresh = classifier_from_config(pretrained.config, key=key)
        head = jax.tree.map(lambda m: eqx.is_inexact_array(m), eqx.filter(pretrained, False))
        only = eqx.tree_at(lambda m: m.head, jax.tree.map(lambda _: False, pretrained), replace=jax.tree.map(eqx.is_inexact_array, pretrained.head))
        swapped = eqx.tree_at(lambda m: m.head, pretrained, fresh.head)
        for what, model, which in (("head", swapped, only), ("all", swapped, eqx.is_inexact_array), ("scratch", fresh, eqx.is_inexact_array)):
            r = training.fit(model, data, optimizer=optax.adam(0.02), epochs=epochs, batch_size=32, trainable=which, progress=False)
            print(limit, what, training.evaluate(r.model, data.test), r.seconds)


if __name__ == "__main__":
    tyro.cli(main)
