"""Training a quantum equilibrium whose values and gradients come from shots.

python examples/train_with_shots.py --gradient shift --shots 100
"""

from typing import Annotated, Literal

import equinox as eqx
import jax
import optax
import tyro

import eqx_qdeq as qdeq
from eqx_qdeq.training import load_dataset

GRADIENTS = {
    "exact": qdeq.shots.ExactGradient(),
    "shift": qdeq.shots.ParameterShift(),
    "spsa": qdeq.shots.SPSA(directions=4),
}


def loss(model: eqx.Module, x: jax.Array, y: jax.Array, key: jax.Array) -> jax.Array:
    keys = jax.random.split(key, len(x))  # fresh shots for each sample
    logits = jax.vmap(lambda image, k: model(image, key=k))(x, keys)  # pyright: ignore
    return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()


def main(
    gradient: Literal["exact", "shift", "spsa"] = "shift",
    shots: int = 100,
    steps: int = 100,
    batch: int = 16,
    seed: int = 0,
    smoke: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
) -> None:
    """Trains on scikit-learn's digits, and counts shots.

    Args:
        gradient: how derivatives are estimated.
        shots: shots of each circuit.
        steps: the number of training steps.
        batch: images in each step.
        seed: of the angles, the batches and the shots.
        smoke: two steps only.
    """
    keys = jax.random.split(jax.random.key(seed), 3)
    circuit = qdeq.circuits.hardware_efficient(n_qubits=4, depth=2)
    layer = qdeq.QuantumLayer(circuit, qdeq.AmplitudeEncoding(), qdeq.PauliZ(), key=keys[0])
    cell = qdeq.QuantumCell(layer, qdeq.AngleFeedback(gain=0.5))
    deq = qdeq.SampledDEQ(
        cell, shots, gradient=GRADIENTS[gradient], backward=qdeq.JacobianBackward()
    )
    scale = eqx.nn.Lambda(lambda z: 4 * z)  # values in [-1, 1] to logits of a useful size
    model = eqx.nn.Sequential([deq, scale, eqx.nn.Linear(4, 4, key=keys[1])])

    data = load_dataset("digits", classes=(0, 3, 6, 9))
    optimizer = optax.adam(0.05)
    state = optimizer.init(eqx.filter(model, eqx.is_inexact_array))

    @eqx.filter_jit
    def step(model, state, key):
        picked, sampled = jax.random.split(key)
        index = jax.random.choice(picked, len(data.train.x), (batch,), replace=False)
        x, y = data.train.x[index], data.train.y[index]
        value, gradients = eqx.filter_value_and_grad(loss)(model, x, y, sampled)
        updates, state = optimizer.update(gradients, state)
        return eqx.apply_updates(model, updates), state, value

    for i in range(2 if smoke else steps):
        model, state, value = step(model, state, jax.random.fold_in(keys[2], i))
        if i % 20 == 0:
            print(f"step {i:4d}: loss {value:.3f}")

    # The test is read out with shots, too, and again with exact values.
    noisy = model.layers[0]
    exact = qdeq.SampledDEQ(noisy.cell, None, qdeq.Newton(1e-6, 1e-6))
    solve = eqx.filter_jit(lambda d, x, k: jax.vmap(lambda x, k: d.solve(x, key=k))(x, k))
    keys = jax.random.split(keys[2], len(data.test.x))
    for name, model_deq in (("sampled", noisy), ("exact", exact)):
        solution = solve(model_deq, data.test.x, keys)
        guesses = jax.vmap(lambda z: model.layers[2](4 * z))(solution.value).argmax(axis=-1)
        print(f"test accuracy, {name} values: {(guesses == data.test.y).mean():.1%}")
        if name == "sampled":
            taken, floor = solution.stats["num_steps"].mean(), solution.stats["floor"].mean()
            print(f"steps of a solve: {taken:.1f}, floor {floor:.3f}")
            count = noisy.shot_count(16, round(float(taken)), gradient=True)
            print(f"one image, one training step: {count.circuits} circuits, {count.shots} shots")


if __name__ == "__main__":
    tyro.cli(main)
