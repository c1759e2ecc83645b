"""on_estimator: the same module, evaluated elsewhere."""

import dataclasses
from typing import Any

import jax
import optimistix as optx
from jaxtyping import PyTree

from ..adjoints import ImplicitVJPAdjoint
from ..cells import QuantumCell
from ..equilibrium import DEQ
from ..layers import QuantumLayer
from ..solvers import Picard
from ._layer import EstimatorCell, EstimatorLayer


def on_estimator(
    module: PyTree,
    estimator: Any,
    *,
    backend: Any = None,
    precision: float | None = None,
    tolerance: float = 1e-3,
    solver: Any = None,
    adjoint: optx.AbstractAdjoint | None = None,
) -> PyTree:
    """A module with all its quantum layers and cells evaluated by a Qiskit `EstimatorV2`.

    Its equilibria are found by a solver without derivatives, and differentiated implicitly. One
    trains the module that is returned, or takes its angles back with `equinox.tree_at`.

    **Arguments:**

    - `module`: a layer, a cell, a [`eqx_qdeq.DEQ`][], or anything that holds them.
    - `estimator`, `backend`, `precision`: as for [`eqx_qdeq.hardware.EstimatorLayer`][].
    - `tolerance`: of the solves, relative and absolute. With shots, no lower than the precision
        times the square root of the number of values: a solve ends at `max_steps` otherwise.
    - `solver`: of the equilibria; [`eqx_qdeq.Picard`][] if left out.
    - `adjoint`: theirs; [`eqx_qdeq.ImplicitVJPAdjoint`][] if left out.

    **Returns:** the module, with the same angles.

    **Raises:** as the layer and the cell, and `ValueError` if nothing in it can be evaluated so.
    """
    solver = Picard(rtol=tolerance, atol=tolerance) if solver is None else solver
    adjoint = ImplicitVJPAdjoint() if adjoint is None else adjoint
    options = {"backend": backend, "precision": precision}
    found = 0

    def convert(node: Any) -> Any:
        nonlocal found
        if isinstance(node, DEQ):
            cell = on_estimator(node.cell, estimator, **options)
            found += 1
            return dataclasses.replace(node, cell=cell, solver=solver, adjoint=adjoint)
        if isinstance(node, QuantumCell):
            found += 1
            return EstimatorCell(node, estimator, **options)
        if isinstance(node, QuantumLayer):
            found += 1
            return EstimatorLayer(node, estimator, **options)
        return node

    is_ours = lambda node: isinstance(node, DEQ | QuantumCell | QuantumLayer)
    out = jax.tree.map(convert, module, is_leaf=is_ours)
    if not found:
        raise ValueError("`module` holds no QuantumLayer, QuantumCell or DEQ to evaluate.")
    return out
