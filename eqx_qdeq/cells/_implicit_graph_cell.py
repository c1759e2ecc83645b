r"""ImplicitGraphCell: a contraction on graphs, into which a quantum signal is injected.

Why it contracts. Write Z for all nodes' states as one vector with the Euclidean norm, tanh for the
map of all entries, which has slopes of at most 1, and

    g(Z) = W Z A + B,      ‖g(Z) - g(Z')‖ ≤ ‖W‖ ‖A‖ ‖Z - Z'‖ ≤ κ ‖Z - Z'‖,

as W ⊗ A has the norm ‖W‖ ‖A‖; ‖A‖ ≤ 1 by normalization, and W is brought to ‖W‖ ≤ κ. The signal Q
acts node by node, so its Jacobian has one block for each node, and its Lipschitz constant is that
of one node: Q(s) = R layer(P s + c) has ℓ ≤ ‖R‖ Lip(layer(P · + c)). Then

    independent        f(Z) = tanh(g(Z) + α Q(X))             slope ≤ κ
    state-dependent    f(Z) = tanh(g(Z) + α Q(Z))             slope ≤ κ + α ℓ
    backbone-dependent f(Z) = tanh(g(Z) + α Q(tanh(g(Z))))    slope ≤ κ (1 + α ℓ)

the last since Q after tanh after g has the constant ℓ · 1 · κ. The dependent ones bring ‖P‖ to at
most 1 and ‖R‖ to at most 1/√m. For angles that turn one wire each at the start of a circuit, the
slope of m values ⟨Z⟩ in the features is at most √m (`guarantees/_lipschitz_angles.py`: D/2 with
the diameter D = 2√m), so that ℓ ≤ 1: at κ = 0.8 and α = 0.1 the slopes are at most 0.9 and 0.88.
What ℓ really is for a circuit, `lipschitz_bound` says.
"""

import math
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from .._checks import can_check, check_at_least, check_choice, check_instance, check_positive
from .._inputs import check_key, precision
from .._precise import dot
from ..layers import QuantumLayer
from ._cell import AbstractCell
from ._graph import Graph
from ._sharded_graph import AnyGraph, ShardedGraph

INJECTIONS = ("independent", "state", "backbone")


class ImplicitGraphCell(AbstractCell):
    r"""An implicit graph network, with or without a quantum signal Q at every node:

    $$f(Z) = \tanh(W Z \tilde A + U X + b + \alpha\,Q), \qquad \|W\|_2 \leq \kappa < 1, \quad
    \|\tilde A\|_2 \leq 1$$

    with $Q_i = R\,\mathrm{layer}(P s_i + c)$ at node i, and one of three injections:

    - `"independent"`: $s_i = x_i$, the node's features. Q is computed once for a solve.
    - `"state"`: $s_i = z_i$, the iterate, at every step.
    - `"backbone"`: $s_i = \tanh(W Z \tilde A + U X + b)_i$, what the classical backbone makes of
      the iterate.

    It is a contraction with the factor $\kappa$, $\kappa + \alpha\,\ell$ or
    $\kappa\,(1 + \alpha\,\ell)$, where $\ell$ is the Lipschitz constant of Q;
    [`eqx_qdeq.lipschitz_bound`][] bounds it. The dependent injections keep $\|P\|_2 \leq 1$ and
    $\|R\|_2 \leq 1/\sqrt m$. Then $\ell \leq 1$ for [`eqx_qdeq.AngleEncoding`][] with one angle a
    wire and $\langle Z\rangle$ on m wires.

    A sample is a [`eqx_qdeq.Graph`][], whose weights the cell normalizes. The state is `(n, size)`.

    !!! example

        ```python
        import jax
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        key1, key2 = jax.random.split(jax.random.key(0))
        layer = qdeq.QuantumLayer(
            qdeq.circuits.hardware_efficient(3, depth=2),
            qdeq.AngleEncoding("Y"),
            qdeq.PauliZ(),
            key=key1,
        )
        cell = qdeq.ImplicitGraphCell(
            in_size=2,
            size=8,
            layer=layer,
            layer_in_size=3,
            injection="state",
            key=key2,
        )
        ring = qdeq.Graph(jnp.ones((4, 2)), [0, 1, 2, 3], [1, 2, 3, 0])
        deq = qdeq.DEQ(cell, qdeq.Picard(1e-5, 1e-5), qdeq.NeumannAdjoint(20))
        z = deq(ring.with_self_loops())  # (4, 8)
        print(qdeq.lipschitz_bound(cell, ring))
        ```

    ??? cite "Reference"

        F. Gu, H. Chang, W. Zhu, S. Sojoudi and L. El Ghaoui, "Implicit graph neural networks",
        NeurIPS 2020, arXiv:2009.06211; P. Xu, T. Zaborniak, L. F. Rivera and H. A. Müller,
        "Quantum injection pathways for implicit graph neural networks", arXiv:2605.09226.
    """

    weight: Float[Array, "h h"]
    input_weight: Float[Array, "h d_in"]
    bias: Float[Array, " h"]
    layer: Callable | None
    write_weight: Float[Array, "d s"] | None
    write_bias: Float[Array, " d"] | None
    read_weight: Float[Array, "h m"] | None
    injection: str = eqx.field(static=True)
    kappa: float | Float[Array, ""]
    alpha: float | Float[Array, ""]

    always_finite: ClassVar[bool] = True

    def __init__(
        self,
        in_size: int,
        size: int,
        *,
        layer: Callable | None = None,
        layer_in_size: int | None = None,
        injection: str = "independent",
        kappa: float | Float[Array, ""] = 0.8,
        alpha: float | Float[Array, ""] = 0.1,
        key: PRNGKeyArray,
    ):
        check_at_least("in_size", in_size, 1)
        check_at_least("size", size, 1)
        check_choice("injection", injection, INJECTIONS)
        if can_check("kappa", kappa) and not 0 < kappa < 1:
            raise ValueError(
                f"`kappa` must be above 0 and below 1, the factor of the contraction; got {kappa}."
            )
        check_positive("alpha", alpha)
        check_key("key", key)
        keys = jax.random.split(key, 5)
        self.kappa, self.alpha, self.injection = kappa, alpha, injection
        self.layer, self.write_weight, self.write_bias, self.read_weight = layer, None, None, None
        dtype = precision(layer) or jnp.zeros(()).dtype

        def uniform(i: int, *shape: int) -> Array:
            limit = 1 / math.sqrt(shape[-1])
            return jax.random.uniform(keys[i], shape, dtype, minval=-limit, maxval=limit)

        self.weight = uniform(0, size, size)
        self.input_weight = uniform(1, size, in_size)
        self.bias = jnp.zeros(size, dtype)
        if (layer is None) != (layer_in_size is None):
            raise TypeError(
                "`layer` and `layer_in_size`, the number of its features, are given both or "
                f"neither; got layer={type(layer).__name__}, layer_in_size={layer_in_size}."
            )
        if layer is not None and layer_in_size is not None:
            check_at_least("layer_in_size", layer_in_size, 1)
            if not callable(layer):
                check_instance("layer", layer, QuantumLayer, "a QuantumLayer or another module")
            # By a function of its own: JAX would compare modules that hold tracers.
            given = jax.ShapeDtypeStruct((layer_in_size,), dtype)
            out = jax.eval_shape(lambda x: layer(x), given)
            if out.ndim != 1:
                raise ValueError(f"`layer` must return a vector; got the shape {out.shape}.")
            self.write_weight = uniform(
                2, layer_in_size, in_size if injection == "independent" else size
            )
            self.write_bias = uniform(3, layer_in_size)
            self.read_weight = uniform(4, size, out.shape[0])

    def accept(self, x: Any) -> Graph | ShardedGraph:
        """The graph, in the precision of the weights.

        **Raises:** `TypeError` for what is no [`eqx_qdeq.Graph`][], `ValueError` for one of another
        size.
        """
        check_instance(
            "x",
            x,
            AnyGraph,
            "a Graph, e.g. `Graph(features, senders, receivers)` or "
            "`Graph.from_dense(features, adjacency)`",
        )
        return x.accepted(self.input_weight.shape[1], 1, precision(self.weight), normalizable=True)

    def init(self, x: Graph | ShardedGraph) -> Float[Array, "n h"]:
        """Zeros."""
        return jnp.zeros((len(x.mask), len(self.bias)), self.bias.dtype)

    def bounded_weights(self) -> tuple[Array, Array | None, Array | None]:
        """W, P and R as they are used, brought to their norms."""
        weight = _at_most(self.weight, self.kappa)
        write, read = self.write_weight, self.read_weight
        if write is not None and read is not None and self.injection != "independent":
            write, read = _at_most(write, 1.0), _at_most(read, read.shape[1] ** -0.5)
        return weight, write, read

    def bind(self, x: Graph | ShardedGraph) -> Callable[[Float[Array, "n h"]], Float[Array, "n h"]]:
        graph = self.accept(x).normalized()
        weight, write, read = self.bounded_weights()
        offset = dot(graph.features, self.input_weight.T) + self.bias[None]
        signal = self._signal(write, read)
        injection = None if self.layer is None else self.injection
        if injection == "independent":
            offset = offset + signal(graph.features)

        def apply(z: Float[Array, "n h"]) -> Float[Array, "n h"]:
            inner = dot(graph.neighbor_sums(z)[0], weight.T) + offset
            if injection == "state":
                inner = inner + signal(z)
            elif injection == "backbone":
                inner = inner + signal(jnp.tanh(inner))
            # Nodes of padding say nothing, and their residual is 0.
            return jnp.where(graph.mask[:, None], jnp.tanh(inner), 0)

        return apply

    def _signal(self, write: Array | None, read: Array | None) -> Callable[[Array], Array]:
        """s ↦ α Q(s) for all nodes, what depends on the angles alone done once."""
        layer, bias = self.layer, self.write_bias
        if layer is None or write is None or read is None or bias is None:
            return jnp.zeros_like  # is not asked
        prepared = layer.compile(len(bias)) if isinstance(layer, QuantumLayer) else layer

        def signal(s: Float[Array, "n s"]) -> Float[Array, "n h"]:
            values = jax.vmap(prepared)(dot(s, write.T) + bias[None])
            return jnp.asarray(self.alpha, values.dtype) * dot(values, read.T)

        return signal


def _at_most(matrix: Float[Array, "a b"], bound: float | Float[Array, ""]) -> Float[Array, "a b"]:
    """The matrix, scaled down to a spectral norm of `bound` if it is larger."""
    bound = jnp.asarray(bound, matrix.dtype)
    return matrix * (bound / jnp.maximum(bound, jnp.linalg.norm(matrix, 2)))


ImplicitGraphCell.__init__.__doc__ = """**Arguments:**

- `in_size`: the number of features of a node.
- `size`: the number h of entries of a node's state.
- `layer`: what makes the signal, a [`eqx_qdeq.QuantumLayer`][] from `layer_in_size` features to m
    values, or any module of that form, for comparison. Without it the cell is the classical
    backbone.
- `layer_in_size`: the number of features that the layer is given.
- `injection`: "independent", "state" or "backbone".
- `kappa`: the bound on ‖W‖, above 0 and below 1.
- `alpha`: the strength of the signal.
- `key`: for the initial weights, uniform in ±1/√(fan-in).

**Raises:** `ValueError` for a number out of range or an injection of another name; `TypeError` for
a layer without its `layer_in_size`.
"""
