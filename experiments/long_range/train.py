"""Training through a curriculum of growing lengths, the same for all models."""

import time
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

from .model import NodeClassifier
from .tasks import CURRICULUM, Task, TASKS, TESTED

LEARNING_RATE, LATE_RATE, BATCH, CLIP = 0.01, 0.002, 32, 0.5
LATE = 8  # lengths above use the lower rate

# The implicit model is trained on iterates long after all news has arrived, with a penalty on the
# residual: what it learns is then an equilibrium.
RESIDUAL_PENALTY = 1.0

# After each length from here on the model is judged on validation samples of the largest length;
# the best one, the later of equals, is tested.
VALIDATED_FROM = 12
VALIDATION_KEY, TEST_KEY = 888_888, 999_999  # no training key


def settled(n: int) -> int:
    return 2 * n + 10


def execute(
    task: str, layers: int, seed: int, *, exact: bool = False, short: bool = False
) -> dict[str, Any]:
    """Trains and tests one model.

    **Arguments:**

    - `task`: a key of `TASKS`.
    - `layers`: how often the cell is applied; 0 for the equilibrium.
    - `exact`: train the equilibrium by the exact implicit gradient from the first step on.
    - `short`: only a little, to see that it works.
    """
    model = NodeClassifier(layers, key=jax.random.key(seed))
    curriculum = ((2, 5), (4, 5)) if short else CURRICULUM
    lengths = (4, 8) if short else TESTED
    started = time.perf_counter()
    best, validation, chosen = model, -1.0, 0
    for i, (n, steps) in enumerate(curriculum):
        key = jax.random.fold_in(jax.random.key(1000 + seed), i)
        model = _stage(model, TASKS[task], n, steps, key, exact)
        if short or n >= VALIDATED_FROM:
            found = test(model, TASKS[task], max(lengths), key=VALIDATION_KEY, n_samples=256)
            if found["accuracy"] >= validation:
                best, validation, chosen = model, found["accuracy"], n
    arrays = jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array))
    return {
        "task": task,
        "model": _name(layers, exact),
        "seed": seed,
        "trained_to": chosen,
        "validation_accuracy": validation,
        "tests": {str(n): test(best, TASKS[task], n, key=TEST_KEY) for n in lengths},
        "n_parameters": sum(array.size for array in arrays),
        "seconds": round(time.perf_counter() - started, 1),
    }


def _name(layers: int, exact: bool) -> str:
    return f"unrolled{layers}" if layers else "exact" if exact else "implicit"


def _samples(task: Task, key: jax.Array, n: int, count: int) -> tuple[jax.Array, jax.Array]:
    return jax.vmap(lambda key: task.sample(key, n))(jax.random.split(key, count))


def _stage(
    model: NodeClassifier, task: Task, n: int, steps: int, key: jax.Array, exact: bool
) -> NodeClassifier:
    """Trains on one length."""
    rate = LEARNING_RATE if n <= LATE else LATE_RATE
    optimizer = optax.chain(
        optax.clip_by_global_norm(CLIP),
        optax.adam(optax.cosine_decay_schedule(rate, steps)),
    )
    params, static = eqx.partition(model, eqx.is_inexact_array)
    adjacency = task.adjacency(n)

    def loss(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        model = eqx.combine(params, static)

        def one(x: jax.Array, y: jax.Array) -> jax.Array:
            if exact:
                logits, found = model(x, adjacency)
                # What did not converge is not where its gradient would be right.
                return jnp.where(found["converged"], _cross_entropy(logits, y), 0)
            w, residual = model.iterate(x, adjacency, model.layers or settled(n))
            penalty = 0 if model.layers else RESIDUAL_PENALTY * residual
            return _cross_entropy(model.read(w), y) + penalty

        return jnp.mean(jax.vmap(one)(x, y))

    def step(carry: Any, key: jax.Array) -> tuple[Any, None]:
        params, state = carry
        gradient = jax.grad(loss)(params, *_samples(task, key, n, BATCH))
        updates, state = optimizer.update(gradient, state, params)
        return (optax.apply_updates(params, updates), state), None

    run = jax.jit(lambda carry, keys: jax.lax.scan(step, carry, keys))
    carry = (params, optimizer.init(params))
    (params, _), _ = run(carry, jax.random.split(key, steps))
    return eqx.combine(params, static)


def _cross_entropy(logits: jax.Array, y: jax.Array) -> jax.Array:
    return jnp.mean(optax.sigmoid_binary_cross_entropy(logits, y))


def test(
    model: NodeClassifier, task: Task, n: int, *, key: int, n_samples: int = 512
) -> dict[str, float]:
    """Accuracy over all nodes, and how the equilibria were found."""
    x, y = _samples(task, jax.random.key(key), n, n_samples)
    adjacency = task.adjacency(n)
    logits, found = jax.jit(jax.vmap(lambda x: model(x, adjacency)))(x)
    right = (logits > 0) == (y > 0.5)
    return {
        "accuracy": float(jnp.mean(right)),
        "converged": float(jnp.mean(found["converged"])),
        "steps": float(jnp.mean(found["steps"])),
    }
