"""Where an equilibrium is needed: information that travels further than any fixed depth.

    python examples/chain/main.py --task chain --model implicit --seed 0   # one run
    python examples/chain/main.py --all                                    # those that are missing
    python examples/chain/main.py --report                                 # table and figures

Two tasks on chains of nodes, each node with four features and a quantum circuit on four wires that
all nodes share; every node must answer.

- `chain` (after Gu et al., 2020): feature 0 is ±1 in the first node and 0 elsewhere, and every
  node must tell that sign.
- `parity`: feature 0 is a random ±1 in every node, feature 1 marks the first node, and every node
  must tell the product of all signs up to its own.

To all features comes Gaussian noise of deviation 0.1, and the features that are left are
distractors of deviation 0.3. A model answers with the equilibrium of the cell ("implicit"), or with
the same cell applied L times from the same start ("L10" is ten times). Circuit, parameters, data,
seeds, curriculum and optimiser are the same for all. A graph has a fixed number of nodes, cut into
as many whole chains as fit, so that one compiled step serves the whole curriculum.
"""

import json
import math
import time
from pathlib import Path
from typing import Annotated, Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from jax import lax
from report import report

import eqx_qdeq as qdeq

MODELS = ("implicit", "L1", "L2", "L5", "L10")
TASKS = ("chain", "parity")
CURRICULUM = (4, 8, 12, 24)
LENGTHS = (4, 8, 12, 20, 24, 40, 50, 100)
RESULTS = Path(__file__).parent / "results"


class NodeClassifier(eqx.Module):
    """One logit a node, from the measured values of the node's circuit."""

    cell: qdeq.GraphCell
    head: eqx.nn.Linear
    depth: int | None = eqx.field(static=True)  # None: the equilibrium

    def values(self, graph: Any, terms: int, max_steps: int) -> tuple[Any, Any, Any]:
        """The nodes' measured values, the residual at them and the number of steps."""
        if self.depth is None:
            deq = qdeq.DEQ(
                self.cell,
                # The residual does not fall while the wave is on its way: no giving up for that.
                qdeq.Picard(1e-3, 1e-3, limits=qdeq.Limits(stagnation=max_steps)),
                qdeq.NeumannAdjoint(terms),
                max_steps=max_steps,
            )
            solution = deq.solve(graph)
            return solution.value, solution.stats["residual"], solution.stats["num_steps"]
        fn, z = self.cell.bind(graph), self.cell.init(graph)
        for _ in range(self.depth):
            z = fn(z)
        return z, jnp.linalg.norm(fn(z) - z), jnp.asarray(self.depth)


def make_model(task: str, depth: int | None, key: Any) -> NodeClassifier:
    k1, k2, k3, k4 = jax.random.split(key, 4)
    # The parity is a product of two signs, which controlled NOTs make; the chain needs none.
    entangler = "CZ" if task == "chain" else "CX"
    circuit = qdeq.circuits.hardware_efficient(4, 2, entangler=entangler, final_rotations=True)
    layer = qdeq.QuantumLayer(circuit, qdeq.AngleEncoding("Y"), qdeq.PauliZ(), key=k1)
    cell = qdeq.GraphCell(layer, in_size=4, layer_in_size=4, n_relations=3, key=k2)
    # A gain above 1 from the left neighbour carries a sign on, little else is heard at first.
    heard = 0.2 * cell.relation_weight
    heard = heard.at[0].add(-1.5 * jnp.eye(4))
    # Near RY(π/2 + v) the response -sin(v) is odd and saturates, and small angles keep it so.
    cell = eqx.tree_at(
        lambda c: (c.layer.angles, c.bias, c.relation_weight),
        cell,
        (
            0.3 * jax.random.normal(k3, layer.angles.shape),
            jnp.full_like(cell.bias, math.pi / 2),
            heard,
        ),
    )
    head = eqx.nn.Linear(4, 1, key=k4)
    return NodeClassifier(cell, eqx.tree_at(lambda h: h.weight, head, 4 * head.weight), depth)


def sample(task: str, length: Any, n: int, key: Any) -> tuple[Any, Any, Any]:
    """A graph of n nodes with as many chains as fit: (features, adjacency), signs, mask."""
    k1, k2, k3 = jax.random.split(key, 3)
    node = jnp.arange(n)
    first = node % length == 0
    sign = jax.random.rademacher(k1, (n,), float)
    if task == "chain":
        target = sign[node - node % length]
        features = jnp.stack([jnp.where(first, sign, 0.0), *3 * [jnp.zeros(n)]], 1)
    else:
        product = jnp.cumprod(sign)
        before = jnp.where(node < length, 1.0, product[node - node % length - 1])
        target = product * before
        features = jnp.stack([sign, first.astype(float), *2 * [jnp.zeros(n)]], 1)
    features += 0.1 * jax.random.normal(k2, (n, 4))
    used = 1 if task == "chain" else 2
    features += 0.3 * jax.random.normal(k3, (n, 4)) * (jnp.arange(4) >= used)
    left = jnp.eye(n, k=-1) * ~first[:, None]
    return (features, jnp.stack([left, left.T, jnp.eye(n)])), target, node < n // length * length


def losses(model: NodeClassifier, task: str, length: Any, n: int, keys: Any, max_steps: int) -> Any:
    """Mean loss, accuracy, residuals and steps over graphs."""

    def one(key: Any) -> tuple[Any, ...]:
        graph, target, mask = sample(task, length, n, key)
        z, residual, steps = model.values(graph, terms=24, max_steps=max_steps)
        margin = jax.vmap(model.head)(z)[:, 0] * target
        weight = mask / jnp.sum(mask)
        return weight @ jax.nn.softplus(-margin), weight @ (margin > 0), residual, steps

    return jax.vmap(one)(keys)


def optimiser(n_steps: int) -> optax.GradientTransformation:
    return optax.chain(
        optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(0.02, n_steps, 0.02))
    )


@eqx.filter_jit
def train_stage(
    model: NodeClassifier, state: Any, task: str, length: Any, key: Any, n_steps: int, total: int
) -> Any:
    arrays, static = eqx.partition(model, eqx.is_inexact_array)

    def step(carry: Any, key: Any) -> Any:
        def loss(arrays: Any) -> Any:
            whole = eqx.combine(arrays, static)
            keys = jax.random.split(key, 16)
            loss, accuracy, *_ = losses(whole, task, length, max(CURRICULUM), keys, 60)
            return jnp.mean(loss), jnp.mean(accuracy)

        arrays, state = carry
        (_, accuracy), grad = jax.value_and_grad(loss, has_aux=True)(arrays)
        updates, state = optimiser(total).update(grad, state)
        return (optax.apply_updates(arrays, updates), state), accuracy

    (arrays, state), accuracy = lax.scan(step, (arrays, state), jax.random.split(key, n_steps))
    return eqx.combine(arrays, static), state, jnp.mean(accuracy[-20:])


@eqx.filter_jit
def evaluate(model: NodeClassifier, task: str, length: Any, keys: Any) -> Any:
    _, accuracy, residual, steps = losses(model, task, length, max(LENGTHS), keys, 200)
    return jnp.mean(accuracy), jnp.median(residual), jnp.median(steps)


def run(task: str, name: str, seed: int, steps: int, out: Path) -> None:
    start = time.time()
    depth = None if name == "implicit" else int(name[1:])
    init, data, test = jax.random.split(jax.random.key(seed), 3)
    model = make_model(task, depth, init)
    n_params = sum(a.size for a in jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array)))
    total = steps * len(CURRICULUM)
    state = optimiser(total).init(eqx.filter(model, eqx.is_inexact_array))
    record: dict[str, Any] = {"task": task, "model": name, "seed": seed, "parameters": n_params}
    record |= {"steps": total, "training": [], "accuracy": {}, "residual": {}, "n_steps": {}}
    for i, length in enumerate(CURRICULUM):
        key = jax.random.fold_in(data, i)
        model, state, accuracy = train_stage(
            model, state, task, jnp.asarray(length), key, steps, total
        )
        record["training"].append(round(float(accuracy), 4))
    for length in LENGTHS:
        keys = jax.random.split(jax.random.fold_in(test, length), 64)
        numbers = evaluate(model, task, jnp.asarray(length), keys)
        for field, number in zip(("accuracy", "residual", "n_steps"), numbers, strict=True):
            record[field][length] = round(float(number), 6)
    record["seconds"] = round(time.time() - start, 1)
    if name == "implicit":  # how the wave travels: one chain of 100 nodes, every Picard step
        graph, *_ = sample(task, jnp.asarray(100), 100, test)
        fn, z = eqx.filter_jit(model.cell.bind(graph)), model.cell.init(graph)
        wave = []
        for _ in range(120):
            new = fn(z)
            wave.append(np.round(np.linalg.norm(np.asarray(new - z), axis=1), 3).tolist())
            z = new
        if seed == 0:
            record["wave"] = wave
        record["last_residual"] = max(wave[-1])
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{task}-{name}-{seed}.json").write_text(json.dumps(record) + "\n")
    shown = " ".join(f"{n}:{a:.1%}" for n, a in record["accuracy"].items())
    print(f"{task} {name} seed {seed} ({record['seconds']:.0f} s): {shown}", flush=True)


def main(
    task: Literal["chain", "parity"] = "chain",
    model: Literal["implicit", "L1", "L2", "L5", "L10"] = "implicit",
    seed: int = 0,
    steps: int = 200,
    seeds: int = 5,
    budget: float = math.inf,
    out: Path = RESULTS,
    all: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    report_only: Annotated[
        bool, tyro.conf.FlagCreatePairsOff, tyro.conf.arg(name="report")
    ] = False,
    smoke: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
) -> None:
    """Trains and tests models on chains.

    Args:
        task: `chain` or `parity`.
        model: the equilibrium, or the cell applied L times.
        seed: of parameters and data.
        steps: training steps at each length of the curriculum.
        seeds: with `all`, how many seeds.
        budget: with `all`, seconds after which no new run begins.
        out: the folder of the results.
        all: does the runs of both tasks, all models and seeds that have no result yet.
        report_only: trains nothing; prints the tables and draws the figures.
        smoke: a few steps, to see that everything works.
    """
    if report_only:
        report(out, LENGTHS, MODELS)
        return
    if not all:
        run(task, model, seed, 3 if smoke else steps, out)
        return
    start = time.time()
    for which in TASKS:
        for number in range(1 if smoke else seeds):
            for name in MODELS:  # whole comparisons first, should the budget end
                if (out / f"{which}-{name}-{number}.json").exists() or time.time() - start > budget:
                    continue
                run(which, name, number, 3 if smoke else steps, out)


if __name__ == "__main__":
    tyro.cli(main)
