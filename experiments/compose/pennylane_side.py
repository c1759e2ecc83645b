"""PennyLane with JAX and Optax: the same circuits, applied once, between linear maps."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pennylane as qml
from sklearn.metrics import r2_score
from sklearn.preprocessing import StandardScaler

from .tasks import Task


def entangle(angles: jax.Array, n: int) -> None:
    """Layers of RY and RZ on every wire and a ring of CNOT; angles of shape (depth, 2, n)."""
    for layer in angles:
        for wire in range(n):
            qml.RY(layer[0, wire], wires=wire)
        for wire in range(n):
            qml.RZ(layer[1, wire], wires=wire)
        for wire in range(n):
            qml.CNOT(wires=[wire, (wire + 1) % n])


def train(predict, params, loss, x, y, rate: float, epochs: int, seed: int):
    """Minimizes the mean loss by Adam, in batches of 32."""
    optimizer = optax.adam(rate)
    state = optimizer.init(params)
    random = np.random.default_rng(seed)

    @jax.jit
    def step(params, state, x, y):
        mean = lambda params: loss(jax.vmap(lambda x: predict(params, x))(x), y).mean()
        updates, state = optimizer.update(jax.grad(mean)(params), state)
        return optax.apply_updates(params, updates), state

    for _ in range(epochs):
        order = random.permutation(len(x))
        for batch in np.split(order[: len(x) // 32 * 32], len(x) // 32):
            params, state = step(params, state, x[batch], y[batch])
    return params


def linear(key: jax.Array, n_in: int, n_out: int) -> tuple[jax.Array, jax.Array]:
    limit = n_in**-0.5
    return jax.random.uniform(key, (n_out, n_in), minval=-limit, maxval=limit), jnp.zeros(n_out)


def on_a_table(task: Task, seed: int, n_out: int, loss, y, rate: float):
    """Standardized features through a linear map, as rotations in four rounds."""
    device = qml.device("default.qubit", wires=4)

    @qml.qnode(device, interface="jax")
    def circuit(angles, x):
        for i in range(x.shape[0]):
            (qml.RY, qml.RZ, qml.RX, qml.RY)[i // 4 % 4](x[i], wires=i % 4)
        entangle(angles, 4)
        return [qml.expval(qml.PauliZ(wire)) for wire in range(4)]

    def predict(params, x):
        (w, b), angles, (v, c) = params
        return v @ jnp.stack(circuit(angles, w @ x + b)) + c

    keys = jax.random.split(jax.random.key(seed), 3)
    n = task.x.shape[1]
    angles = jax.random.uniform(keys[0], (2, 2, 4), minval=-jnp.pi, maxval=jnp.pi)
    params = linear(keys[1], n, n), angles, linear(keys[2], 4, n_out)
    scaler = StandardScaler().fit(task.x)
    x, test_x = (np.asarray(scaler.transform(a), np.float32) for a in (task.x, task.test_x))
    params = train(predict, params, loss, x, y, rate, task.epochs, seed)
    return np.asarray(jax.vmap(lambda x: predict(params, x))(test_x))


def table(task: Task, seed: int) -> float:
    cross_entropy = optax.softmax_cross_entropy_with_integer_labels
    logits = on_a_table(task, seed, 3, cross_entropy, task.y, 0.03)
    return float(np.mean(logits.argmax(axis=1) == task.test_y))


def regression(task: Task, seed: int) -> float:
    scaler = StandardScaler().fit(task.y[:, None])
    y = np.asarray(scaler.transform(task.y[:, None]), np.float32)
    outputs = on_a_table(task, seed, 1, optax.squared_error, y, 0.01)
    return r2_score(task.test_y, scaler.inverse_transform(outputs))


def images(task: Task, seed: int) -> float:
    device = qml.device("default.qubit", wires=6)
    pairs = [(i, j) for i in range(6) for j in range(i + 1, 6)]

    @qml.qnode(device, interface="jax")
    def circuit(angles, x):
        qml.AmplitudeEmbedding(x, wires=range(6))
        entangle(angles, 6)
        ones = [qml.expval(qml.PauliZ(i)) for i in range(6)]
        return ones + [qml.expval(qml.PauliZ(i) @ qml.PauliZ(j)) for i, j in pairs]

    def predict(params, x):
        angles, (v, c) = params
        return v @ jnp.stack(circuit(angles, x)) + c

    keys = jax.random.split(jax.random.key(seed))
    angles = jax.random.uniform(keys[0], (6, 2, 6), minval=-jnp.pi, maxval=jnp.pi)
    params = angles, linear(keys[1], 21, 10)
    cross_entropy = optax.softmax_cross_entropy_with_integer_labels
    params = train(predict, params, cross_entropy, task.x, task.y, 0.03, task.epochs, seed)
    logits = np.asarray(jax.vmap(lambda x: predict(params, x))(task.test_x))
    return float(np.mean(logits.argmax(axis=1) == task.test_y))
