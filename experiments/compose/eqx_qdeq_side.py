"""eqx-qdeq: a quantum equilibrium for each task."""

import jax
import optax

import eqx_qdeq as qdeq
from eqx_qdeq import training

from .tasks import Task


def table(task: Task, seed: int) -> float:
    data = training.Dataset.from_arrays(task.x, task.y, test=(task.test_x, task.test_y))
    key = jax.random.key(seed)
    model = qdeq.QDEQClassifier(4, data.in_size, 3, features="table", depth=2, key=key)
    fitted = training.fit(
        model, data, optimizer=optax.adam(0.03), epochs=task.epochs, batch_size=32, progress=False
    )
    return training.evaluate(fitted.model, data.test).accuracy


def regression(task: Task, seed: int) -> float:
    data = training.Dataset.from_arrays(task.x, task.y, test=(task.test_x, task.test_y))
    model = qdeq.QDEQRegressor(4, data.in_size, depth=2, key=jax.random.key(seed))
    fitted = training.fit(
        model, data, optimizer=optax.adam(0.01), epochs=task.epochs, batch_size=32, progress=False
    )
    return training.evaluate(fitted.model, data.test).r2


def images(task: Task, seed: int) -> float:
    data = training.Dataset.from_arrays(
        task.x, task.y, test=(task.test_x, task.test_y), standardize=False
    )
    key = jax.random.key(seed)
    model = qdeq.QDEQClassifier(6, 64, 10, depth=6, gain=0.3, readout="zz", key=key)
    fitted = training.fit(
        model, data, optimizer=optax.adam(0.03), epochs=task.epochs, batch_size=32, progress=False
    )
    return training.evaluate(fitted.model, data.test).accuracy
