"""Graphs of different size as equilibria, with a quantum signal at every node.

On the molecules of MUTAG if they are there (EQX_QDEQ_DATA/TU/MUTAG.txt), else on the strokes of
scikit-learn's handwritten digits: a node for each pixel with ink, an edge between neighbors.

    python examples/graph.py
"""

import os
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

import eqx_qdeq as qdeq
from eqx_qdeq import training


def molecules(path: Path) -> tuple[list[qdeq.Graph], list[int]]:
    """MUTAG: for each molecule a line `n label`, and for each atom `kind degree neighbors …`."""
    lines = (list(map(int, line.split())) for line in path.read_text().splitlines()[1:])
    graphs, labels = [], []
    for n, label in lines:
        atoms = [next(lines) for _ in range(n)]
        edges = [(j, i) for i, atom in enumerate(atoms) for j in atom[2:]]
        kinds = np.eye(7, dtype=np.float32)[[atom[0] for atom in atoms]]
        graphs.append(qdeq.Graph(kinds, *np.array(edges).T).with_self_loops())
        labels.append(label)
    return graphs, labels


def strokes() -> tuple[list[qdeq.Graph], list[int]]:
    """150 ones and eights of the digits; a node knows its ink and its height."""
    images, labels = load_digits(return_X_y=True)
    chosen = np.flatnonzero(np.isin(labels, (1, 8)))[:150]
    graphs = []
    for image in images[chosen].reshape(-1, 8, 8):
        at = np.argwhere(image > 4)
        near = np.abs(at[:, None] - at[None]).max(axis=2) <= 1  # each hears itself as well
        features = np.stack([image[tuple(at.T)] / 16, at[:, 0] / 8], axis=1).astype(np.float32)
        graphs.append(qdeq.Graph.from_dense(features, near.astype(np.float32)))
    return graphs, labels[chosen].tolist()


class Classifier(eqx.Module):
    deq: qdeq.DEQ
    head: eqx.nn.Linear

    def __init__(self, in_size: int, injection: str | None, *, key: jax.Array):
        key1, key2, key3 = jax.random.split(key, 3)
        circuit = qdeq.circuits.hardware_efficient(n_qubits=4, depth=3)
        layer = qdeq.QuantumLayer(circuit, qdeq.AngleEncoding("Y"), qdeq.PauliZ(), key=key1)
        signal = {"layer": layer, "layer_in_size": 4, "injection": injection} if injection else {}
        cell = qdeq.ImplicitGraphCell(in_size, 16, **signal, key=key2)
        self.deq = qdeq.DEQ(cell, qdeq.Picard(1e-4, 1e-4), qdeq.NeumannAdjoint(15), max_steps=60)
        self.head = eqx.nn.Linear(32, 2, key=key3)

    def __call__(self, graph: qdeq.Graph) -> jax.Array:
        z = self.deq(graph)  # a row for each node, zeros for padding
        return self.head(jnp.concatenate([z.sum(axis=0) / 10, z.max(axis=0)]))


def main(epochs: int = 60, out: Path = Path("graph.png"), smoke: bool = False) -> None:
    """Classifies graphs with a quantum signal in the equilibrium, and without.

    Args:
        epochs: passes over the training graphs.
        out: the figure to write.
        smoke: one epoch only.
    """
    epochs = 1 if smoke else epochs
    mutag = Path(os.environ.get("EQX_QDEQ_DATA", ""), "TU", "MUTAG.txt")
    graphs, labels = molecules(mutag) if mutag.is_file() else strokes()
    data = training.Dataset.from_arrays(qdeq.stack_graphs(graphs), np.array(labels))
    in_size, tests, models = graphs[0].features.shape[1], [], {}
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    drawing, curves = figure.subplots(1, 2)
    for name, injection in (("with a quantum signal", "state"), ("without", None)):
        model = Classifier(in_size, injection, key=jax.random.key(0))
        result = training.fit(model, data, optimizer=optax.adam(0.01), epochs=epochs, batch_size=32)
        tests.append(f"{name} {training.evaluate(result.model, data.test).accuracy:.1%}")
        models[name] = result.model
        curves.plot([row["validation_loss"] for row in result.history], label=name)
    curves.set(title=f"{len(graphs)} graphs", xlabel="epoch", ylabel="validation loss")
    curves.legend()

    # The largest graph, laid out by the two slowest waves on it, in the color of its equilibrium.
    deq = models["with a quantum signal"].deq
    graph = max(graphs, key=lambda graph: len(graph.mask))
    adjacency = np.zeros(2 * graph.mask.shape)
    adjacency[graph.senders, graph.receivers] = 1
    places = np.linalg.eigh(np.diag(adjacency.sum(axis=0)) - adjacency)[1][:, 1:3]
    drawing.plot(*places[np.stack([graph.senders, graph.receivers])].transpose(2, 0, 1), "0.7")
    shown = drawing.scatter(*places.T, c=deq(graph)[:, 0], cmap="coolwarm", s=90, zorder=2)
    figure.colorbar(shown, label="one of 16 numbers of a node")
    drawing.set_title("The equilibrium on the largest graph")
    drawing.axis("off")
    figure.savefig(out, dpi=100)
    print(f"figure {out}")
    print(
        f"checked: slope of the map at most {qdeq.lipschitz_bound(deq.cell, graph):.2f}; test "
        f"accuracy {', '.join(tests)}, of {len(data.test)} graphs"
    )


if __name__ == "__main__":
    tyro.cli(main, config=(tyro.conf.FlagCreatePairsOff,))
