"""The ten lines that matter: circuit, layer, cell, equilibrium, and a training loop.

python examples/quickstart.py
"""

import equinox as eqx
import jax
import optax
import tyro

import eqx_qdeq as qdeq
from eqx_qdeq.training import load_dataset


def loss(model: eqx.Module, x: jax.Array, y: jax.typing.ArrayLike) -> jax.Array:
    logits = jax.vmap(model)(x)  # pyright: ignore[reportArgumentType]
    return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()


def main(steps: int = 500, smoke: bool = False) -> None:
    """Trains a quantum equilibrium and a linear layer on scikit-learn's digits.

    Args:
        steps: the number of training steps, each on all training samples.
        smoke: ten steps only.
    """
    key1, key2 = jax.random.split(jax.random.key(0))
    circuit = qdeq.circuits.hardware_efficient(n_qubits=4, depth=12)
    layer = qdeq.QuantumLayer(circuit, qdeq.AmplitudeEncoding(), qdeq.PauliZ(), key=key1)
    cell = qdeq.QuantumCell(layer, qdeq.AddInjection(in_size=16, gain=0.1))
    deq = qdeq.DEQ(cell)  # (16,) -> (4,): the equilibrium
    model = eqx.nn.Sequential([deq, eqx.nn.Linear(4, 4, key=key2)])

    data = load_dataset("digits", classes=(0, 3, 6, 9))
    optimizer = optax.adam(0.02)
    state = optimizer.init(eqx.filter(model, eqx.is_inexact_array))

    @eqx.filter_jit
    def step(model, state):
        value, gradient = eqx.filter_value_and_grad(loss)(model, data.train.x, data.train.y)
        updates, state = optimizer.update(gradient, state)
        return eqx.apply_updates(model, updates), state, value

    for i in range(10 if smoke else steps):
        model, state, value = step(model, state)
        if i % 100 == 0:
            print(f"step {i:4d}: loss {value:.3f}")

    guesses = jax.vmap(model)(data.test.x).argmax(axis=-1)
    print(f"test accuracy {(guesses == data.test.y).mean():.1%}")
    solution = deq.solve(data.test.x[0])
    print(
        f"one solve: {solution.stats['num_steps']} steps, residual {solution.stats['residual']:.1e}"
    )


if __name__ == "__main__":
    tyro.cli(main, config=(tyro.conf.FlagCreatePairsOff,))
