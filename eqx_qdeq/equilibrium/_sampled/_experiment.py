"""A quantum cell as an experiment: its circuits, and where the fed-back values enter them."""

from collections.abc import Sequence

import equinox as eqx
from jaxtyping import Array, Float, PyTree

from ...measurements import AbstractMeasurement
from ...shots._experiment import (
    AbstractRun,
    Blocks,
    Experiment,
    gate_angles as layer_gate_angles,
    in_radians,
    layer_experiment,
    layer_run,
    LayerRun,
    read_all,
)
from ...shots._rules import ONE, ShiftRule
from .._injection import AbstractLinearInjection, AngleFeedback
from .._quantum_cell import QuantumCell


class FeedbackRun(AbstractRun):
    """A layer with rotations by the fed-back values in between, the last block of angles."""

    layer_run: LayerRun
    injection: AngleFeedback  # of gain 1: the values arrive as angles
    measurement: AbstractMeasurement
    n_qubits: int = eqx.field(static=True)

    def read(
        self,
        measurements: Sequence[AbstractMeasurement],
        angles: Blocks,
        constants: PyTree[Array],
        *,
        shared: bool,
    ) -> list[Float[Array, " values"]]:
        gate_angles, *features, turns = angles
        x = features[0] if features else constants
        cell = QuantumCell(self.layer_run.layer(gate_angles, shared), self.injection)
        return read_all(measurements, cell.bind(x), turns)

    def rules(self, block: int, size: int) -> tuple[ShiftRule, ...]:
        return self.layer_run.rules(block, size) if block == 0 else (ONE,) * size


def cell_experiment(cell: QuantumCell, x: Float[Array, " d"], w: Float[Array, " m"]) -> Experiment:
    """One application of a cell to w, as an experiment. The last block of angles depends on w, if
    any does."""
    injection = cell.injection
    if isinstance(injection, AbstractLinearInjection):
        return layer_experiment(cell.layer, injection(w, x))
    assert isinstance(injection, AngleFeedback)
    run = FeedbackRun(
        layer_run=layer_run(cell.layer),
        injection=AngleFeedback(injection.axis, 1.0, injection.position, injection.wires),
        measurement=cell.layer.measurement,
        n_qubits=cell.layer.n_qubits,
    )
    gates, turns = layer_gate_angles(cell.layer), injection.gain * w
    scale = in_radians(cell.layer.encoding)[1]
    if scale is None:
        return Experiment((gates, turns), x, run)
    return Experiment((gates, scale * x, turns), None, run)
