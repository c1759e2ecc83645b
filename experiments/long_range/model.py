"""A circuit on 4 wires at every node: as an equilibrium, or applied some number of times."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

import eqx_qdeq as qdeq

N_WIRES, DEPTH = 4, 3


class NodeClassifier(eqx.Module):
    """A logit for each node of a graph, from the values measured there.

    `layers` is 0 for the equilibrium.
    """

    deq: qdeq.DEQ
    head: eqx.nn.Linear
    layers: int = eqx.field(static=True)

    def __init__(self, layers: int, *, key: PRNGKeyArray, tolerance: float = 1e-4):
        key_angles, key_cell, key_mix, key_head = jax.random.split(key, 4)
        circuit = qdeq.circuits.hardware_efficient(N_WIRES, DEPTH)
        layer = qdeq.QuantumLayer(circuit, qdeq.AngleEncoding(), qdeq.PauliZ(), key=key_angles)
        # Small angles and RY(π/2 - 0.9 w) on |0⟩: each wire begins as about sin(0.9 w), which
        # passes on the sign of what it hears and saturates.
        layer = eqx.tree_at(
            lambda layer: layer.angles,
            layer,
            0.2 * jax.random.normal(key_angles, layer.angles.shape),
        )
        cell = qdeq.GraphCell(layer, in_size=2, layer_in_size=N_WIRES, n_relations=1, key=key_cell)
        mix = -0.9 * jnp.eye(N_WIRES) + 0.1 * jax.random.normal(key_mix, (N_WIRES, N_WIRES))
        cell = eqx.tree_at(
            lambda cell: (cell.relation_weight, cell.bias),
            cell,
            (mix[None], jnp.full(N_WIRES, jnp.pi / 2)),
        )
        # Plain iteration follows the news from node to node. As long as it travels the residual
        # does not fall, which is no reason to give up.
        patient = qdeq.SolverLimits(stagnation=1000)
        solver = qdeq.Picard(tolerance, tolerance, limits=patient)
        self.deq = qdeq.DEQ(cell, solver, max_steps=1000)
        self.head = eqx.nn.Linear(N_WIRES, 1, key=key_head)
        self.layers = layers

    def read(self, w: Float[Array, "nodes m"]) -> Float[Array, " nodes"]:
        return jax.vmap(self.head)(w)[:, 0]

    def iterate(
        self, features: Array, adjacency: Array, n_steps: int
    ) -> tuple[Float[Array, "nodes m"], Float[Array, ""]]:
        """The state after so many applications from zero, and the mean square of its residual."""
        f = self.deq.cell.bind((features, adjacency))
        start = self.deq.cell.init((features, adjacency))
        w, _ = jax.lax.scan(lambda w, _: (f(w), None), start, None, length=n_steps)
        return w, jnp.mean((f(w) - w) ** 2)

    def __call__(
        self, features: Float[Array, "nodes d"], adjacency: Float[Array, "1 nodes nodes"]
    ) -> tuple[Float[Array, " nodes"], dict[str, Array]]:
        """The logits, and how they were found."""
        if self.layers:
            w, residual = self.iterate(features, adjacency, self.layers)
            steps = jnp.asarray(self.layers)
            return self.read(w), {"converged": residual < 1e-8, "steps": steps}
        solution = self.deq.solve((features, adjacency))
        found = {"converged": solution.success, "steps": solution.stats["num_steps"]}
        return self.read(solution.value), found
