"""Weights that come with the package, on other images: frozen, with a new head.

python examples/fine_tune.py
"""

from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np
import optax
import tyro
from matplotlib.figure import Figure

from eqx_qdeq import classifier_from_config, training


def main(epochs: int = 60, out: Path = Path("fine_tune.png"), smoke: bool = False) -> None:
    """Takes a classifier of MNIST's digits to scikit-learn's, of which it is shown 100.

    Args:
        epochs: passes over the training samples.
        out: the figure to write.
        smoke: one epoch only.
    """
    epochs = 1 if smoke else epochs
    name = "ours-mnist10"
    pretrained = training.load_pretrained(name)
    # These images have 8×8 pixels and other strokes; they are brought to MNIST's form.
    features = training.Compose((training.Resize(28), training.get_recipe(name).preprocess))
    few = training.load_dataset("digits", preprocess=features, limit=100)
    test = training.load_dataset("digits", preprocess=features).test

    # A new head on the old circuit, of which all but the head is frozen ...
    fresh: Any = classifier_from_config(pretrained.config, key=jax.random.key(0))
    swapped = eqx.tree_at(lambda m: m.head, pretrained, fresh.head)
    nothing = jax.tree.map(lambda _: False, swapped)
    only_the_head = eqx.tree_at(lambda m: m.head.linear, nothing, True)
    # ... against the same classifier from nothing.
    runs = {"new head": (swapped, only_the_head)}
    runs["from nothing"] = (fresh, eqx.is_inexact_array)

    accuracies = {"as it is": training.evaluate(pretrained, test).accuracy}
    figure = Figure(figsize=(10, 3.4), layout="constrained")
    curves, bars = figure.subplots(1, 2)
    trained = {}
    for run, (model, trainable) in runs.items():
        result = training.fit(
            model,
            few,
            optimizer=optax.adam(optax.cosine_decay_schedule(0.03, 3 * epochs)),
            epochs=epochs,
            batch_size=32,
            clip=0.5,
            trainable=trainable,
        )
        trained[run] = result.model
        accuracies[run] = training.evaluate(result.model, test).accuracy
        curves.plot([row["train_loss"] for row in result.history], label=run)
    curves.set(title=f"Training on {len(few.train)} images", xlabel="epoch", ylabel="loss")
    curves.legend()
    bar = bars.bar(
        list(accuracies), [100 * a for a in accuracies.values()], color=["C7", "C0", "C1"]
    )
    bars.bar_label(bar, fmt="%.1f")
    bars.set(title=f"Test on {len(test)} images", ylabel="accuracy in %", ylim=(0, 100))
    figure.savefig(out, dpi=100)

    angles = lambda model: np.asarray(model.deq.cell.layer.angles)
    moved = np.sum(angles(trained["new head"]) != angles(pretrained))
    print(f"figure {out}")
    print(
        f"checked: {moved} of {pretrained.deq.cell.layer.angles.size} frozen angles moved; "
        + ", ".join(f"{run} {accuracy:.1%}" for run, accuracy in accuracies.items())
    )


if __name__ == "__main__":
    tyro.cli(main, config=(tyro.conf.FlagCreatePairsOff,))
