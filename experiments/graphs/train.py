"""Training: all folds at once, each with a model of its own, by `vmap`."""

import dataclasses
import functools as ft
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
import optax
from jaxtyping import Array, PyTree

import eqx_qdeq as qdeq

from .. import Record
from .data import folds, Graphs, Source
from .model import GraphClassifier

RATE = 1e-2

Buckets = list[tuple[np.ndarray, qdeq.Graph]]


@dataclasses.dataclass(frozen=True)
class Part:
    """For each bucket, positions in it of shape (steps, folds, b), and 1, or 0 for what only fills
    a batch up."""

    positions: list[Array]
    counts: list[Array]


def execute(
    data: Graphs,
    source: Source,
    model: str,
    seed: int,
    *,
    nine: bool = False,
    short: bool = False,
) -> Record:
    """Ten folds of one model with one seed. With `nine` the validation fold is trained on too, as
    in most of the literature: nothing can then be chosen by it."""
    start = time.perf_counter()
    splits = folds(data.labels)
    if nine:
        splits = [(np.append(train, held), held, test) for train, held, test in splits]
    epochs = 2 if short else source.epochs
    buckets = qdeq.bucket_graphs(data.graphs, source.buckets)
    labels = [jnp.asarray(data.labels[positions]) for positions, _ in buckets]
    graphs = [batch for _, batch in buckets]
    in_size, n_classes = data.graphs[0].features.shape[1], int(data.labels.max()) + 1
    mean_size = float(np.mean([len(graph.mask) for graph in data.graphs]))
    make = lambda key: GraphClassifier(model, in_size, n_classes, mean_size, key=key)
    models = eqx.filter_vmap(make)(jax.random.split(jax.random.key(seed), len(splits)))
    n_parameters = sum(a[0].size for a in jtu.tree_leaves(eqx.filter(models, eqx.is_array)))

    n_train = max(len(train) for train, _, _ in splits)
    n_steps = -(-n_train // source.batch)
    rate = optax.cosine_decay_schedule(RATE, epochs * n_steps)
    optimizer = optax.adam(rate)
    arrays, static = eqx.partition(models, eqx.is_inexact_array)
    state = jax.vmap(optimizer.init)(arrays)

    def loss(arrays: PyTree, positions: list[Array], counts: list[Array]) -> tuple[Array, Array]:
        """The mean cross-entropy, and how many are right, of one fold."""
        one = eqx.combine(arrays, static)
        lost, right = jnp.zeros(()), jnp.zeros(())
        for k, (at, count) in enumerate(zip(positions, counts, strict=True)):
            logits = jax.vmap(one)(jtu.tree_map(lambda leaf, at=at: leaf[at], graphs[k]))
            wanted = labels[k][at]
            each = optax.softmax_cross_entropy_with_integer_labels(logits, wanted)
            lost += jnp.sum(count * each)
            right += jnp.sum(count * (jnp.argmax(logits, axis=1) == wanted))
        total = sum(jnp.sum(count) for count in counts)
        return lost / total, right / total

    @jax.jit
    def epoch(carry: PyTree, part: tuple[list[Array], list[Array]]) -> tuple[PyTree, Array]:
        def step(carry: PyTree, batch: tuple[list[Array], list[Array]]) -> tuple[PyTree, Array]:
            arrays, state = carry

            def fold(arrays, state, positions, counts):
                (value, _), grads = jax.value_and_grad(loss, has_aux=True)(
                    arrays, positions, counts
                )
                updates, state = optimizer.update(grads, state)
                return optax.apply_updates(arrays, updates), state, value

            arrays, state, value = jax.vmap(fold)(arrays, state, *batch)
            return (arrays, state), value

        return jax.lax.scan(step, carry, part)

    judge = jax.jit(jax.vmap(loss))
    rng = np.random.default_rng(seed)
    whole = [arrange(buckets, [s[k] for s in splits], 1, None) for k in (1, 2)]
    judged = [([p[0] for p in w.positions], [c[0] for c in w.counts]) for w in whole]
    carry, found = (arrays, state), []
    for _ in range(epochs):
        part = arrange(buckets, [s[0] for s in splits], n_steps, rng)
        carry, values = epoch(carry, (part.positions, part.counts))
        validation, test = (judge(carry[0], *part) for part in judged)
        found.append([values.mean(axis=0), *validation, *test])
    # By epoch, number and fold.
    curve = np.array(found)
    return {
        "model": model,
        "seed": seed,
        "epochs": epochs,
        "n_parameters": n_parameters,
        "nine": nine,
        **summary(curve, chosen=not nine),
        **solves(eqx.combine(carry[0], static), graphs[0], data.graphs[0]),
        "seconds": round(time.perf_counter() - start, 1),
    }


def arrange(
    buckets: Buckets, parts: list[np.ndarray], n_steps: int, rng: np.random.Generator | None
) -> Part:
    """Every fold's part of the data, shuffled and cut into batches that have of each bucket what it
    has of the part."""
    all_positions, all_counts = [], []
    for members, _ in buckets:
        own = [np.flatnonzero(np.isin(members, part)) for part in parts]
        size = -(-max(len(o) for o in own) // n_steps)
        positions = np.zeros((len(parts), n_steps * size), np.int32)
        counts = np.zeros((len(parts), n_steps * size), np.float32)
        for i, at in enumerate(own):
            positions[i, : len(at)] = at if rng is None else rng.permutation(at)
            counts[i, : len(at)] = 1
        # Dealt out like cards, so that no batch is left with fillers alone.
        deal = lambda a, size=size: jnp.asarray(
            a.reshape(len(parts), size, n_steps).transpose(2, 0, 1)
        )
        all_positions.append(deal(positions))
        all_counts.append(deal(counts))
    return Part(all_positions, all_counts)


def summary(curve: np.ndarray, *, chosen: bool = True) -> Record:
    """Three ways to name an accuracy, for every fold: at the epoch that is best on its validation
    part, at the one epoch whose mean test accuracy over all folds is best, and at the epoch that is
    best for its own test part."""
    _, validation_loss, validation, _, test = curve.transpose(1, 0, 2)
    # Few graphs tie often: of equally good epochs the one of the least loss.
    best = np.argmax(np.round(validation, 6) - 1e-6 * validation_loss, axis=0)
    usual = int(np.argmax(test.mean(axis=1)))
    numbers = lambda values: [round(float(v), 5) for v in values]
    own = {
        "chosen_epochs": best.tolist(),
        "test": numbers(test[best, np.arange(len(best))]),
    }
    return (own if chosen else {}) | {
        "usual_epoch": usual + 1,
        "usual": numbers(test[usual]),
        "best": numbers(test.max(axis=0)),
        "last": numbers(test[-1]),
        "curve": numbers(test.mean(axis=1)),
        "train_loss": numbers(curve[:, 0].mean(axis=1)),
    }


def solves(models: GraphClassifier, batch: qdeq.Graph, graph: qdeq.Graph) -> Record:
    """How the trained models solve up to 64 graphs, and the bounds on their contraction."""
    some = jtu.tree_map(lambda leaf: leaf[:64], batch)

    @eqx.filter_jit
    def look(models: GraphClassifier) -> tuple[Array, Array, Array]:
        def one(model: GraphClassifier) -> tuple[Array, Array, Array]:
            found = jax.vmap(ft.partial(qdeq.DEQ.solve, model.deq))(some)
            # The network's slopes are not known; independently injected, they do not count.
            bound = qdeq.lipschitz_bound(model.deq.cell, graph)
            return jnp.mean(found.stats["num_steps"] * 1.0), jnp.mean(found.success * 1.0), bound

        return eqx.filter_vmap(one)(models)

    steps, success, bound = look(models)
    return {
        "steps": round(float(steps.mean()), 2),
        "solved": round(float(success.mean()), 4),
        "bound": round(float(bound.max()), 4),
    }


def gradient_variance(data: Graphs, model: str, alpha: float, n_seeds: int = 64) -> float:
    """The variance over initial parameters of the loss's slope in the circuit's first angle."""
    batch = qdeq.stack_graphs(data.graphs[:32])
    wanted = jnp.asarray(data.labels[:32])
    in_size, n_classes = batch.features.shape[2], int(data.labels.max()) + 1

    @eqx.filter_jit
    def slope(key: Array) -> Array:
        one = GraphClassifier(model, in_size, n_classes, 20.0, alpha=alpha, key=key)

        def loss(one: GraphClassifier) -> Array:
            return jnp.mean(
                optax.softmax_cross_entropy_with_integer_labels(jax.vmap(one)(batch), wanted)
            )

        return jnp.ravel(eqx.filter_grad(loss)(one).deq.cell.layer.angles)[0]

    keys = jax.random.split(jax.random.key(0), n_seeds)
    return float(np.var([slope(key) for key in keys], ddof=1))
