"""Layers: an encoding, a circuit and a measurement as one Equinox module."""

from ._compiled import (
    AbstractPrepared as AbstractPrepared,
    AbstractPreparedNoisily,
    AbstractPreparedState,
    propagate,
    quadratic_forms,
)
from ._density import FormsLayer
from ._layer import QuantumLayer as QuantumLayer
from ._noisy_encoder import make_encoder, NoisyEncoder
from ._plan import LayerPlan as LayerPlan, make_propagator
from ._trajectories import draw, draw_on_wires, Drawn, run_trajectory
