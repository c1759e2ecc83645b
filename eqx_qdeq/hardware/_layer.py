"""Layers and cells whose values and derivatives are measured by an estimator."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from .._checks import check_instance
from .._inputs import features, precision
from .._precise import dot
from ..cells import AbstractCell, AbstractLinearInjection, QuantumCell
from ..layers import QuantumLayer
from ..shots import all_shifts, layer_experiment, rules_by_angle
from ._program import Program


class EstimatorLayer(eqx.Module):
    r"""A quantum layer evaluated by a Qiskit `EstimatorV2`: a simulator's or a device's.

    Values and derivatives are made of expectation values alone, and every call, of a whole batch
    under `jax.vmap`, is one job. Reverse mode only. Angles (also those of features) have
    parameter-shift rules. Amplitudes v have an exact rule as well, because
    $\lVert v\rVert^2 f(v)$ is a quadratic form:

    $$\lVert v\rVert^2\,\partial_j f = \tfrac1{2h}\bigl(\lVert v_+\rVert^2 f(v_+) -
    \lVert v_-\rVert^2 f(v_-)\bigr) - 2 v_j f(v),\quad v_\pm = v \pm h\,e_j,\ h = \lVert v\rVert.$$

    The layer's own engine and noise are not used.

    !!! example

        <!-- skip: needs the extra "qiskit" -->
        ```python
        import jax
        from qiskit.primitives import StatevectorEstimator
        import eqx_qdeq as qdeq

        layer = qdeq.QuantumLayer(
            qdeq.circuits.hardware_efficient(n_qubits=2, depth=1),
            qdeq.AngleEncoding(),
            qdeq.PauliZ(),
            key=jax.random.key(0),
        )
        measured = qdeq.hardware.EstimatorLayer(layer, StatevectorEstimator())
        gradient = jax.grad(lambda x: measured(x)[0])(jax.numpy.array([0.1, 0.2]))
        ```
    """

    layer: QuantumLayer
    program: Program = eqx.field(static=True)

    def __init__(
        self,
        layer: QuantumLayer,
        estimator: Any,
        *,
        backend: Any = None,
        precision: float | None = None,
    ):
        check_instance("layer", layer, QuantumLayer, "a QuantumLayer")
        self.layer = layer
        # The program holds no angles, which may be traced.
        fixed = eqx.tree_at(lambda l: l.angles, layer, None)
        self.program = Program(fixed, estimator, backend, precision)

    def __call__(
        self, x: Float[Array, " d"], *, key: PRNGKeyArray | None = None
    ) -> Float[Array, " m"]:
        """**Arguments:**

        - `x`: one sample's features, shape `(d,)`.
        - `key`: ignored; the estimator draws its own shots.

        **Returns:** the measured values, shape `(m,)`.

        **Raises:** `ValueError` if `d` does not fit the encoding and the wires.
        """
        return measured(self.layer, self.program, self.layer.accept(x))


EstimatorLayer.__init__.__doc__ = """**Arguments:**

- `layer`: the layer.
- `estimator`: a Qiskit `EstimatorV2`.
- `backend`: what circuits are compiled for, if the estimator runs on one that demands it.
- `precision`: the wanted standard error of each value; the estimator's own if left out.

**Raises:** `ImportError` without Qiskit; `ValueError` for a gate, encoding or measurement that
cannot be run, or a negative precision.
"""


class EstimatorCell(AbstractCell):
    """A quantum cell whose layer is evaluated by a Qiskit `EstimatorV2`. For a `DEQ` take a solver
    that needs no derivatives and [`eqx_qdeq.ImplicitVJPAdjoint`][];
    [`eqx_qdeq.hardware.on_estimator`][] does.

    !!! example

        <!-- skip: needs the extra "qiskit" -->
        ```python
        import jax
        from qiskit.primitives import StatevectorEstimator
        import eqx_qdeq as qdeq

        layer = qdeq.QuantumLayer(
            qdeq.circuits.hardware_efficient(n_qubits=2, depth=1),
            qdeq.AmplitudeEncoding(),
            qdeq.PauliZ(),
            key=jax.random.key(0),
        )
        cell = qdeq.QuantumCell(layer, qdeq.AddInjection(4))
        measured = qdeq.hardware.EstimatorCell(cell, StatevectorEstimator())
        deq = qdeq.DEQ(
            measured, qdeq.Picard(1e-3, 1e-3), adjoint=qdeq.ImplicitVJPAdjoint()
        )
        deq([0.1, 0.2, 0.3, 0.4]).shape  # (2,)
        ```
    """

    layer: EstimatorLayer
    injection: AbstractLinearInjection

    def __init__(
        self,
        cell: QuantumCell,
        estimator: Any,
        *,
        backend: Any = None,
        precision: float | None = None,
    ):
        check_instance("cell", cell, QuantumCell, "a QuantumCell")
        if not isinstance(cell.injection, AbstractLinearInjection):
            raise ValueError(
                f"an estimator is fed by linear injections only; got "
                f"{type(cell.injection).__name__}. Use e.g. LinearInjection with AngleEncoding."
            )
        self.layer = EstimatorLayer(cell.layer, estimator, backend=backend, precision=precision)
        self.injection = cell.injection

    def accept(self, x: Any) -> Float[Array, " d"]:
        return features(x, precision(self.layer.layer.angles))

    def init(self, x: Float[Array, " d"]) -> Float[Array, " m"]:
        """The zero vector."""
        return jnp.zeros(self.layer.layer.out_size, precision(self.layer.layer.angles))

    def bind(self, x: Float[Array, " d"]) -> Callable[[Float[Array, " m"]], Float[Array, " m"]]:
        x = self.accept(x)
        return lambda z: self.layer(self.injection(z, x))


EstimatorCell.__init__.__doc__ = """**Arguments:**

- `cell`: the cell.
- `estimator`, `backend`, `precision`: as for [`eqx_qdeq.hardware.EstimatorLayer`][].

**Raises:** as there, and `ValueError` for feedback into angles between gates.
"""


def measured(layer: QuantumLayer, program: Program, x: Float[Array, " d"]) -> Float[Array, " m"]:
    """The values of a layer at its features, by its program."""
    experiment = layer_experiment(layer, x)
    vector = jnp.zeros(0, x.dtype) if experiment.constants is None else experiment.constants
    rules = tuple(experiment.run.rules(b, block.size) for b, block in enumerate(experiment.angles))
    return _measured((experiment.angles, vector), program, rules)


# Why values are enough. In each angle f is a short Fourier sum, so ∂f is a fixed combination of
# values at shifted angles, c₁ f(θ+s₁) + c₂ f(θ+s₂) + …: exact, no finite difference. In an
# amplitude v_j it is no such sum, as the state is v/‖v‖. But g(v) = ‖v‖² f(v) = vᵀ M v is a
# quadratic form, for which (g(v + h e_j) - g(v - h e_j)) / 2h is the derivative however large h is.
# The errors of the two values come in with ‖v±‖² / 2h, about (‖v‖² + h²) / 2h, least at h = ‖v‖.
# The derivative of f follows from ∂_j g = ‖v‖² ∂_j f + 2 v_j f.


@eqx.filter_custom_vjp
def _measured(variables, program, rules):
    del rules
    blocks, vector = variables
    return program(jnp.concatenate(blocks)[None], vector[None])[0]


@_measured.def_fwd
def _measured_fwd(perturbed, variables, program, rules):
    """Values and Jacobians in one job, so that however often an implicit backward solve asks for
    products, nothing is measured again."""
    (blocks, vector), (wanted, vector_wanted) = variables, perturbed
    angles, d = jnp.concatenate(blocks), vector.size
    sizes = [block.size for block in blocks]
    chosen = rules_by_angle(lambda b, _: rules[b], sizes, wanted)
    # Which angle is moved, by how much, and by what the value there is multiplied.
    index, moves, factors, *_ = all_shifts(chosen) if chosen else (np.zeros(0, int), [], [])
    n_shifts, moves = len(index), jnp.asarray(moves, angles.dtype)
    norm = jnp.sqrt(jnp.sum(vector**2))
    ways = norm * jnp.eye(d, dtype=vector.dtype)[: d if vector_wanted else 0]
    around = jnp.concatenate([vector[None] + ways, vector[None] - ways])
    # The point itself, then other angles, then other amplitudes: one job, of which the estimator
    # may run the parts in any order.
    points = jnp.tile(angles, (1 + n_shifts + len(around), 1))
    points = points.at[1 + np.arange(n_shifts), index].add(moves)
    vectors = jnp.concatenate([jnp.tile(vector, (1 + n_shifts, 1)), around])
    value, at_angles, at_vectors = jnp.split(program(points, vectors), [1, 1 + n_shifts])
    value = value[0]
    terms = jnp.asarray(factors, angles.dtype)[:, None] * at_angles
    jacobian = jnp.zeros((angles.size, value.size), angles.dtype).at[index].add(terms)
    # Arrays whether they are wanted or not: under `vmap` all calls must leave the same residuals.
    slopes = jnp.zeros((d, value.size), vector.dtype)
    if vector_wanted:
        plus, minus = jnp.split(at_vectors * jnp.sum(around**2, axis=1, keepdims=True), 2)
        # A safe norm first: the vector without direction is encoded as |0…0⟩, with no derivative.
        safe = jnp.where(norm > 0, norm, 1)
        slopes = (plus - minus) / (2 * safe**3) - 2 * vector[:, None] * value[None] / safe**2
        slopes = jnp.where(norm > 0, slopes, 0)
    return value, (jnp.split(jacobian, np.cumsum(sizes)[:-1]), slopes)


@_measured.def_bwd
def _measured_bwd(residuals, cotangent, perturbed, variables, program, rules):
    del program, rules
    (jacobians, slopes), (blocks, _) = residuals, variables
    if cotangent is None:
        return tuple(None for _ in blocks), None
    product = lambda jacobian: dot(jacobian, cotangent)
    angles = tuple(
        product(jacobian) if want else None
        for jacobian, want in zip(jacobians, perturbed[0], strict=True)
    )
    return angles, product(slopes) if perturbed[1] else None
