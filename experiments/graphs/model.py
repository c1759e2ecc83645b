"""The models: one implicit graph layer, with or without a signal, and a small head."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

import eqx_qdeq as qdeq

N_WIRES, DEPTH = 4, 3
SIZE = 32

# How the signal is injected, and what makes it.
MODELS = {
    "classical": None,
    "independent": ("independent", "circuit"),
    "state": ("state", "circuit"),
    "backbone": ("backbone", "circuit"),
    "control": ("independent", "network"),
}


class Network(eqx.Module):
    """What stands in for the circuit: four values of four features, by as many parameters (24)."""

    linear: eqx.nn.Linear
    scale: Float[Array, " 4"]

    def __call__(self, x: Float[Array, " 4"]) -> Float[Array, " 4"]:
        return self.scale * jnp.tanh(self.linear(x))


class GraphClassifier(eqx.Module):
    """Logits of a graph: a small network reads every node, another one the sum and the mean."""

    deq: qdeq.DEQ
    node: eqx.nn.Linear
    head: eqx.nn.MLP
    mean_size: float = eqx.field(static=True)

    def __init__(
        self,
        model: str,
        in_size: int,
        n_classes: int,
        mean_size: float,
        *,
        alpha: float = 0.1,
        key: PRNGKeyArray,
    ):
        key_layer, key_cell, key_node, key_head = jax.random.split(key, 4)
        layer, injection = None, "independent"
        if MODELS[model] is not None:
            injection, kind = MODELS[model]
            linear = eqx.nn.Linear(N_WIRES, N_WIRES, key=key_layer)
            layer = Network(linear, jnp.ones(N_WIRES))
            if kind == "circuit":
                circuit = qdeq.circuits.hardware_efficient(N_WIRES, DEPTH)
                layer = qdeq.QuantumLayer(
                    circuit, qdeq.AngleEncoding("Y"), qdeq.PauliZ(), key=key_layer
                )
        cell = qdeq.ImplicitGraphCell(
            in_size,
            SIZE,
            layer=layer,
            layer_in_size=None if layer is None else N_WIRES,
            injection=injection,
            kappa=0.8,
            alpha=alpha,
            key=key_cell,
        )
        # A contraction by 0.8 or 0.9 at worst; both series are cut where little is left.
        solver = qdeq.Picard(1e-3, 1e-3)
        self.deq = qdeq.DEQ(cell, solver, qdeq.NeumannAdjoint(12), max_steps=40)
        self.node = eqx.nn.Linear(SIZE + in_size, SIZE, key=key_node)
        self.head = eqx.nn.MLP(2 * SIZE, n_classes, SIZE, 1, key=key_head)
        self.mean_size = mean_size

    def read(self, z: Float[Array, "n h"], graph: qdeq.Graph) -> Float[Array, " c"]:
        nodes = jax.vmap(self.node)(jnp.concatenate([z, graph.features], axis=1))
        total = jnp.sum(jnp.where(graph.mask[:, None], jax.nn.elu(nodes), 0), axis=0)
        return self.head(jnp.concatenate([total / self.mean_size, total / jnp.sum(graph.mask)]))

    def __call__(self, graph: qdeq.Graph) -> Float[Array, " c"]:
        return self.read(self.deq(graph), graph)
