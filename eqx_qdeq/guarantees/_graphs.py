r"""Bounds on the Jacobian of cells on graphs, for all states at once.

The nodes' states are one vector with the Euclidean norm. A map that acts node by node has a
Jacobian with one block for each node, whose norm is the largest of the blocks'; hearing a relation
is $A_k \otimes V_k$, of the norm $\|A_k\|\,\|V_k\|$. So

- of a `GraphCell`: $\|J\| \leq \sum_k \|A_k\| \max_i \|J_i V_k\|$ with the layer's Jacobian $J_i$
  at node i, and a bound on $\|J_i V_k\|$ is that of $s \mapsto \mathrm{layer}(b + V_k s)$;
- of an `ImplicitGraphCell`: derived in `cells/_implicit_graph_cell.py`.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from .._checks import check_instance
from ..cells import Graph, GraphCell, ImplicitGraphCell, ShardedGraph
from ..layers import QuantumLayer
from ._boxes import safe_sqrt
from ._lipschitz_angles import layer_slope

# Steps of the power iteration. Few do: any of them gives a bound.
_POWERS = 30


def graph_bound(cell: GraphCell | ImplicitGraphCell, x: object) -> Float[Array, ""]:
    """An upper bound on ‖J‖ at every state."""
    x = cell.accept(x)
    if isinstance(x, ShardedGraph):
        raise TypeError(
            "`x` is a ShardedGraph, of which no bound is known; give the Graph that it was made of."
        )
    if isinstance(cell, GraphCell):
        layer = _noiseless(cell.layer)
        slopes = [layer_slope(layer, matrix) for matrix in cell.relation_weight]
        return jnp.dot(_norms(x, len(slopes), cell.bias.dtype), jnp.stack(slopes))
    weight, write, read = cell.bounded_weights()
    backbone = jnp.linalg.norm(weight, 2)  # times ‖A‖ ≤ 1
    if write is None or read is None or cell.injection == "independent":
        return backbone
    signal = jnp.linalg.norm(read, 2) * layer_slope(_noiseless(cell.layer), write)
    signal = jnp.asarray(cell.alpha, signal.dtype) * signal
    return backbone + signal if cell.injection == "state" else backbone * (1 + signal)


def _noiseless(layer: object) -> QuantumLayer:
    check_instance("cell.layer", layer, QuantumLayer, "a QuantumLayer, whose slopes are known")
    assert isinstance(layer, QuantumLayer)
    if layer.noise is not None:
        raise ValueError(
            "`lipschitz_bound(cell=...)` knows the bounds of noiseless circuits; this cell's layer "
            "has noise. Give the cell with `layer.with_noise(None)`."
        )
    return layer


def _norms(x: Graph | tuple, n_relations: int, dtype: jnp.dtype) -> Float[Array, " k"]:
    """An upper bound on ‖A‖₂ of every relation."""
    if not isinstance(x, Graph):
        return jnp.linalg.norm(x[1], 2, axis=(1, 2))
    # ‖A‖² ≤ ‖|A|‖² = ρ(B) with B = |A|ᵀ|A|, and Collatz and Wielandt: ρ(B) ≤ max (B u)_j / u_j for
    # every positive u. The best u is B's own vector, which the powers approach from above.
    norms = []
    for k in range(n_relations):
        size = jnp.where(x.relations == k, jnp.abs(x.weights), 0)

        def product(u: Array, size: Array = size) -> Array:
            n = len(u)
            to = jnp.zeros(n, dtype).at[x.receivers].add(size * u[x.senders])
            return jnp.zeros(n, dtype).at[x.senders].add(size * to[x.receivers])

        def power(u: Array, _: None, product: Callable[[Array], Array] = product) -> tuple:
            u = product(u)
            largest = jnp.max(u)
            # Kept positive, also where a node hears nobody.
            return u / jnp.where(largest > 0, largest, 1) + 1e-3, None

        u, _ = lax.scan(power, jnp.ones(len(x.mask), dtype), None, length=_POWERS)
        u = lax.stop_gradient(u)  # holds for every u
        norms.append(safe_sqrt(jnp.max(product(u) / u)))
    return jnp.stack(norms)
