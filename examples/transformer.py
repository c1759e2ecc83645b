"""A transformer whose feed-forward part is a quantum equilibrium, token by token.

An image is read as a sequence: each row of pixels is a token. Beside it, an MLP of its size.

    python examples/transformer.py
"""

from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
import tyro
from matplotlib.figure import Figure

import eqx_qdeq as qdeq
from eqx_qdeq import training


class Transformer(eqx.Module):
    embed: eqx.nn.Linear
    position: jax.Array
    attention: eqx.nn.MultiheadAttention
    norms: list[eqx.nn.LayerNorm]
    feed_forward: eqx.Module  # from the 16 numbers of a token to 16
    head: eqx.nn.Linear

    def __init__(self, feed_forward: eqx.Module, *, key: jax.Array):
        keys = jax.random.split(key, 4)
        self.embed = eqx.nn.Linear(8, 16, key=keys[0])
        self.position = 0.1 * jax.random.normal(keys[1], (8, 16))
        self.attention = eqx.nn.MultiheadAttention(4, 16, key=keys[2])
        self.norms = [eqx.nn.LayerNorm(16), eqx.nn.LayerNorm(16)]
        self.feed_forward = feed_forward
        self.head = eqx.nn.Linear(16, 10, key=keys[3])

    def __call__(self, rows: jax.Array) -> jax.Array:
        x = jax.vmap(self.embed)(rows) + self.position
        normed = jax.vmap(self.norms[0])(x)
        x = x + self.attention(normed, normed, normed)
        normed = jax.vmap(self.norms[1])(x)
        x = x + jax.vmap(self.feed_forward)(normed)  # pyright: ignore
        return self.head(x.mean(axis=0))


def feed_forwards(key: jax.Array) -> dict[str, eqx.Module]:
    """Two maps from 16 numbers to 16 with 148 parameters each."""
    circuit = qdeq.circuits.hardware_efficient(n_qubits=4, depth=8)
    equilibrium = qdeq.QDEQ(4, 16, circuit=circuit, gain=jnp.full(4, 0.3), key=key)
    return {
        "equilibrium": eqx.nn.Sequential([equilibrium, eqx.nn.Linear(4, 16, key=key)]),
        "MLP": eqx.nn.MLP(16, 16, width_size=4, depth=1, key=key),
    }


def main(epochs: int = 30, out: Path = Path("transformer.png"), smoke: bool = False) -> None:
    """Trains it on all of scikit-learn's digits, row by row.

    Args:
        epochs: passes over the training samples.
        out: the figure to write.
        smoke: one epoch of few images.
    """
    epochs, limit = (1, 100) if smoke else (epochs, None)
    data = training.load_dataset("digits", preprocess=lambda images: images, limit=limit)
    schedule = optax.cosine_decay_schedule(0.01, epochs * -(-len(data.train) // 32))
    key = jax.random.key(0)
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    image, curves = figure.subplots(1, 2, width_ratios=(2, 3))
    checked = []
    for name, part in feed_forwards(key).items():
        model = Transformer(part, key=key)
        optimizer = optax.adam(schedule)
        result = training.fit(model, data, optimizer=optimizer, epochs=epochs, batch_size=32)
        test = training.evaluate(result.model, data.test)
        checked.append(f"{name}, {training.count_parameters(part)} parameters: {test.accuracy:.1%}")
        curves.plot([row["validation_loss"] for row in result.history], label=name)
    image.imshow(data.test.x[0], cmap="gray_r")
    image.hlines([i + 0.5 for i in range(7)], -0.5, 7.5, color="C3")
    image.set(title="Eight rows, eight tokens", xticks=[], yticks=range(8))
    curves.set(title="Validation", xlabel="epoch", ylabel="loss", yscale="log")
    curves.legend()
    figure.savefig(out, dpi=100)
    print(f"figure {out}")
    print(f"checked: {len(data.test)} test images; {'; '.join(checked)}")


if __name__ == "__main__":
    tyro.cli(main, config=(tyro.conf.FlagCreatePairsOff,))
