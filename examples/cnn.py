"""A quantum equilibrium in a convolutional network, beside a linear block and an MLP of its size.

The block stands beside a skip connection, so that it adds four numbers to what the head reads.
A linear block is then worth nothing, as the head is linear too: it is what the others must beat.

On FashionMNIST if torchvision and its data are there (EQX_QDEQ_DATA), else on digits.

    python examples/cnn.py
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


class CNN(eqx.Module):
    convolutions: list[eqx.nn.Conv2d]
    norm: eqx.nn.LayerNorm
    block: eqx.Module  # from 16 features to 4
    head: eqx.nn.Linear

    def __init__(self, block: eqx.Module, n_classes: int, *, key: jax.Array):
        keys = jax.random.split(key, 4)
        conv = lambda n, m, key: eqx.nn.Conv2d(n, m, 3, stride=2, padding=1, key=key)
        self.convolutions = [conv(1, 8, keys[0]), conv(8, 16, keys[1]), conv(16, 16, keys[2])]
        self.norm = eqx.nn.LayerNorm(16)
        self.block = block
        self.head = eqx.nn.Linear(16 + 4, n_classes, key=keys[3])

    def __call__(self, image: jax.Array) -> jax.Array:
        x = image[None]  # one gray channel
        for convolution in self.convolutions:
            x = jax.nn.relu(convolution(x))
        x = self.norm(x.mean(axis=(1, 2)))
        return self.head(jnp.concatenate([x, self.block(x)]))  # pyright: ignore


def make_blocks(key: jax.Array) -> dict[str, eqx.Module]:
    """Three ways from 16 features to 4 with 68, 68 and 67 parameters."""
    circuit = qdeq.circuits.hardware_efficient(n_qubits=4, depth=8)  # 64 angles, and 4 gains
    return {
        "equilibrium": qdeq.QDEQ(4, 16, circuit=circuit, gain=jnp.full(4, 0.3), key=key),
        "linear": eqx.nn.Linear(16, 4, key=key),
        "MLP": eqx.nn.MLP(16, 4, width_size=3, depth=1, activation=jnp.tanh, key=key),
    }


def main(
    epochs: int = 8, limit: int = 5000, out: Path = Path("cnn.png"), smoke: bool = False
) -> None:
    """Trains the same network three times, with another block in its middle.

    Args:
        epochs: passes over the training images.
        limit: the number of training images at most, a fifth of which are for validation.
        out: the figure to write.
        smoke: one epoch of few images.
    """
    epochs, limit = (1, 200) if smoke else (epochs, limit)
    options = {"preprocess": lambda images: images, "limit": limit}
    try:
        data = training.load_dataset("fashion_mnist", **options)
    except training.DataError:
        data = training.load_dataset("digits", **options)

    figure = Figure(figsize=(10, 3.4), layout="constrained")
    curves, bars = figure.subplots(1, 2)
    key, checked = jax.random.key(0), []
    schedule = optax.cosine_decay_schedule(0.01, epochs * -(-len(data.train) // 64))
    for name, block in make_blocks(key).items():
        model = CNN(block, data.n_classes, key=key)
        result = training.fit(
            model, data, optimizer=optax.adam(schedule), epochs=epochs, batch_size=64
        )
        accuracy = training.evaluate(result.model, data.test).accuracy
        label = f"{name}, {training.count_parameters(block)} parameters"
        checked.append(f"{label}: {accuracy:.1%}")
        curves.plot([100 * row["validation_accuracy"] for row in result.history], label=label)
        bar = bars.bar(name, 100 * accuracy)
        bars.bar_label(bar, fmt="%.1f")
    curves.set(title="Validation", xlabel="epoch", ylabel="accuracy in %")
    curves.legend()
    bars.set(title=f"Test, {data.name}", ylabel="accuracy in %", ylim=(0, 100))
    figure.savefig(out, dpi=100)
    print(f"figure {out}")
    print(f"checked: {data.name}, {len(data.test)} test images; {'; '.join(checked)}")


if __name__ == "__main__":
    tyro.cli(main, config=(tyro.conf.FlagCreatePairsOff,))
