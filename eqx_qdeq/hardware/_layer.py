"""Layers and cells whose values and derivatives are measured by an estimator."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

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
        self.layer.encoding.check(x.shape[0], self.layer.n_qubits)
        experiment = layer_experiment(self.layer, x)
        vector = jnp.zeros(0, x.dtype) if experiment.constants is None else experiment.constants
        rules = tuple(
            experiment.run.rules(b, block.size) for b, block in enumerate(experiment.angles)
        )
        return _measured((experiment.angles, vector), self.program, rules)


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
    [`eqx_qdeq.hardware.on_estimator`][] does."""

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
        if not isinstance(cell.injection, AbstractLinearInjection):
            raise ValueError(
                f"an estimator is fed by linear injections only; got "
                f"{type(cell.injection).__name__}. Use e.g. LinearInjection with AngleEncoding."
            )
        self.layer = EstimatorLayer(cell.layer, estimator, backend=backend, precision=precision)
        self.injection = cell.injection

    def init(self, x: Float[Array, " d"]) -> Float[Array, " m"]:
        """The zero vector."""
        return jnp.zeros(self.layer.layer.out_size, x.dtype)

    def bind(self, x: Float[Array, " d"]) -> Callable[[Float[Array, " m"]], Float[Array, " m"]]:
        return lambda w: self.layer(self.injection(w, x))


EstimatorCell.__init__.__doc__ = """**Arguments:**

- `cell`: the cell.
- `estimator`, `backend`, `precision`: as for [`eqx_qdeq.hardware.EstimatorLayer`][].

**Raises:** as there, and `ValueError` for feedback into angles between gates.
"""


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
    angles = jnp.concatenate(blocks)
    points, vectors = [angles[None]], [vector[None]]
    sizes = [block.size for block in blocks]
    starts = np.cumsum([0, *sizes])
    chosen = rules_by_angle(lambda b, _: rules[b], sizes, wanted)
    table = all_shifts(chosen) if chosen else None
    if table is not None:
        index, moves = table[0], jnp.asarray(table[1], angles.dtype)
        points.append(jax.vmap(lambda i, s: angles.at[i].add(s))(jnp.asarray(index), moves))
        vectors.append(jnp.broadcast_to(vector, (len(index), vector.size)))
    norm = jnp.sqrt(jnp.sum(vector**2))
    if vector_wanted:
        step = norm * jnp.eye(vector.size, dtype=vector.dtype)
        vectors.append(jnp.concatenate([vector + step, vector - step]))
        points.append(jnp.broadcast_to(angles, (2 * vector.size, angles.size)))
    moved = jnp.concatenate(vectors)
    values = program(jnp.concatenate(points), moved)
    value, rest = values[0], values[1:]
    jacobian = jnp.zeros((angles.size, value.size), angles.dtype)
    if table is not None:
        terms = jnp.asarray(table[2], angles.dtype)[:, None] * rest[: len(table[0])]
        jacobian = jacobian.at[table[0]].add(terms)
    # Arrays whether they are wanted or not: under `vmap` all calls must leave the same residuals.
    slopes = jnp.zeros((vector.size, value.size), vector.dtype)
    if vector_wanted:
        d = vector.size
        forms = rest[-2 * d :] * jnp.sum(moved[-2 * d :] ** 2, axis=1)[:, None]
        safe = jnp.where(norm > 0, norm, 1)
        slopes = (forms[:d] - forms[d:]) / (2 * safe**3) - 2 * vector[:, None] * value / safe**2
        slopes = jnp.where(norm > 0, slopes, 0)
    return value, (jnp.split(jacobian, starts[1:-1]), slopes)


@_measured.def_bwd
def _measured_bwd(residuals, cotangent, perturbed, variables, program, rules):
    del program, rules
    (jacobians, slopes), (blocks, _) = residuals, variables
    if cotangent is None:
        return tuple(None for _ in blocks), None
    product = lambda jacobian: jnp.dot(jacobian, cotangent, precision="highest")
    angles = tuple(
        product(jacobian) if want else None
        for jacobian, want in zip(jacobians, perturbed[0], strict=True)
    )
    return angles, product(slopes) if perturbed[1] else None
