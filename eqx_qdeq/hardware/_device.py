"""EstimatorDevice: an estimator in a layer's own place; and a model on an estimator."""

from typing import Any, ClassVar, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
import optimistix as optx
from jax.core import Tracer
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ..adjoints import ImplicitVJPAdjoint
from ..cells import AngleFeedback, QuantumCell
from ..equilibrium import BoundMap, DEQ, Solution, solve_by
from ..layers import AbstractDevice, AbstractPrepared, map_layers, QuantumLayer
from ..solvers import Picard
from ._layer import measured
from ._program import Program

_T = TypeVar("_T")


class _Programs:
    """The programs of all layers on one estimator. Compared by identity, so a static field."""

    def __init__(self, estimator: Any, backend: Any, precision: float | None):
        self.options = (estimator, backend, precision)
        self.known: dict[Any, Program] = {}

    def of(self, layer: QuantumLayer) -> Program:
        # Programs hold no angles, so layers that differ in them alone share one.
        leaves, structure = jtu.tree_flatten((layer.encoding, layer.measurement))
        fixed = tuple(_known(leaf) for leaf in leaves)
        key = (layer.circuit, structure, fixed)
        if key not in self.known:
            self.known[key] = Program(eqx.tree_at(lambda l: l.angles, layer, None), *self.options)
        return self.known[key]


def _known(leaf: Any) -> Any:
    # A trained scale is an angle's, which programs are given; only its place counts.
    if isinstance(leaf, Tracer):
        return leaf.shape
    return (np.shape(leaf), np.asarray(leaf).tobytes()) if eqx.is_array_like(leaf) else leaf


class EstimatorDevice(AbstractDevice):
    """Evaluates a layer by a Qiskit `EstimatorV2`, as [`eqx_qdeq.hardware.EstimatorLayer`][] does,
    but from within: as the layer's `device`, which [`eqx_qdeq.hardware.on_estimator`][] puts
    there. The layer's own engine and noise are not used.

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
            device=qdeq.hardware.EstimatorDevice(StatevectorEstimator()),
            key=jax.random.key(0),
        )
        layer([0.1, 0.2]).shape  # (2,)
        layer.device.n_jobs  # 1
        ```
    """

    programs: _Programs = eqx.field(static=True)
    solver: Any
    adjoint: optx.AbstractAdjoint

    has_own_noise: ClassVar[bool] = True

    def __init__(
        self,
        estimator: Any,
        *,
        backend: Any = None,
        precision: float | None = None,
        tolerance: float = 1e-3,
        solver: Any = None,
        adjoint: optx.AbstractAdjoint | None = None,
    ):
        self.programs = _Programs(estimator, backend, precision)
        self.solver = Picard(rtol=tolerance, atol=tolerance) if solver is None else solver
        self.adjoint = ImplicitVJPAdjoint() if adjoint is None else adjoint

    @property
    def n_jobs(self) -> int:
        """The jobs that were sent, by all layers of the model."""
        return sum(program.n_jobs for program in self.programs.known.values())

    def with_key(self, key: PRNGKeyArray) -> "EstimatorDevice":
        return self  # an estimator draws its own shots

    def check(self, layer: eqx.Module) -> None:
        assert isinstance(layer, QuantumLayer)
        self.programs.of(layer)

    def values(self, layer: eqx.Module, x: Float[Array, " d"]) -> Float[Array, " m"]:
        assert isinstance(layer, QuantumLayer)
        return measured(layer, self.programs.of(layer), x)

    def bind_feedback(self, cell: eqx.Module, x: Float[Array, " d"]) -> AbstractPrepared:
        raise ValueError(
            "an estimator is fed by linear injections only; got AngleFeedback. Use e.g. "
            "LinearInjection with AngleEncoding."
        )

    def solve(
        self, deq: eqx.Module, x: PyTree[Array], z0: PyTree[Array] | None, probe: Any
    ) -> tuple[BoundMap, PyTree[Array], Solution]:
        assert isinstance(deq, DEQ)
        return solve_by(deq, self.solver, self.adjoint, x, z0, probe)


EstimatorDevice.__init__.__doc__ = """**Arguments:** as for
[`eqx_qdeq.hardware.on_estimator`][].
"""


def on_estimator(
    model: _T,
    estimator: Any,
    *,
    backend: Any = None,
    precision: float | None = None,
    tolerance: float = 1e-3,
    solver: Any = None,
    adjoint: optx.AbstractAdjoint | None = None,
) -> _T:
    """A model with all its quantum layers evaluated by a Qiskit `EstimatorV2`. It stays a model of
    the same parameters, at the same paths, and of the same kind; [`eqx_qdeq.exact`][] takes it back
    to the simulation.

    Its equilibria are found by a solver without derivatives, and differentiated implicitly.

    !!! example

        <!-- skip: needs the extra "qiskit" -->
        ```python
        import jax
        from qiskit_aer.primitives import EstimatorV2
        import eqx_qdeq as qdeq

        model = qdeq.QDEQClassifier(2, 4, 3, key=jax.random.key(0))
        measured = qdeq.hardware.on_estimator(model, EstimatorV2(), precision=0.02)
        logits = measured([0.1, 0.2, 0.3, 0.4])
        model = qdeq.exact(measured)  # and back
        ```

    **Arguments:**

    - `model`: a layer, a cell, a [`eqx_qdeq.DEQ`][], or anything that holds them.
    - `estimator`, `backend`, `precision`: as for [`eqx_qdeq.hardware.EstimatorLayer`][].
    - `tolerance`: of the solves, relative and absolute. With shots, no lower than the precision
        times the square root of the number of values: a solve ends at `max_steps` otherwise.
    - `solver`: of the equilibria; [`eqx_qdeq.Picard`][] if left out.
    - `adjoint`: theirs; [`eqx_qdeq.ImplicitVJPAdjoint`][] if left out.

    **Returns:** the model, with the same angles.

    **Raises:** as `EstimatorLayer` and [`eqx_qdeq.map_layers`][].
    """
    device = EstimatorDevice(
        estimator,
        backend=backend,
        precision=precision,
        tolerance=tolerance,
        solver=solver,
        adjoint=adjoint,
    )
    cells = jax.tree.leaves(model, is_leaf=lambda node: isinstance(node, QuantumCell))
    for cell in cells:
        # Refused here, and not in the first call.
        if isinstance(cell, QuantumCell) and isinstance(cell.injection, AngleFeedback):
            device.bind_feedback(cell, jnp.zeros(0))
    return map_layers(lambda layer: layer.replace(device=device), model)
