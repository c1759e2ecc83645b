"""A transformer whose feed-forward part is an equilibrium, token by token.

    python examples/transformer.py

An image is read as a sequence: each row of its pixels is a token.
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
    feed_forward: eqx.Module  # from 16 numbers of a token to 16
    head: eqx.nn.Linear

    def __init__(self, feed_forward: eqx.Module, *, key: jax.Array):
        keys = jax.random.split(key, 4)
        self.embed = eqx.nn.Linear(8, 16, key=keys[0])
        self.position = 0.1 * jax.random.normal(keys[1], (8, 16))
        self.attention = eqx.nn.MultiheadAttention(4, 16, key=keys[2])
        self.norms = [eqx.nn.LayerNorm(16), eqx.nn.LayerNorm(16)]
        self.feed_forward = feed_forward
        self.head = eqx.nn.Linear(16, 10, key=keys[3])

    def tokens(self, image: jax.Array) -> jax.Array:
        """What the feed-forward part is given, for each token."""
        x = jax.vmap(self.embed)(image) + self.position
        normed = jax.vmap(self.norms[0])(x)
        return x + self.attention(normed, normed, normed)

    def __call__(self, image: jax.Array, *, key: jax.Array | None = None) -> jax.Array:
        x = self.tokens(image)
        x = x + jax.vmap(self.feed_forward)(jax.vmap(self.norms[1])(x))  # pyright: ignore
        return self.head(x.mean(axis=0))


def main(epochs: int = 30, out: Path = Path("transformer.png"), smoke: bool = False) -> None:
    key1, key2 = jax.random.split(jax.random.key(0))
    circuit = qdeq.circuits.hardware_efficient(n_qubits=4, depth=8)
    equilibrium = qdeq.QDEQ(4, 16, circuit=circuit, gain=jnp.full(4, 0.3), key=key1)
    parts = {
        "equilibrium": eqx.nn.Sequential([equilibrium, eqx.nn.Linear(4, 16, key=key2)]),
        "MLP": eqx.nn.MLP(16, 16, width_size=4, depth=1, key=key1),
    }
    data = training.load_dataset("digits", preprocess=lambda images: images)
    for name, part in parts.items():
        schedule = optax.cosine_decay_schedule(0.01, epochs * -(-len(data.train) // 32))
        result = training.fit(Transformer(part, key=key2), data, optimizer=optax.adam(schedule), epochs=epochs, batch_size=32)
        print(name, training.count_parameters(part), training.evaluate(result.model, data.test), result.seconds)


if __name__ == "__main__":
    tyro.cli(main)
