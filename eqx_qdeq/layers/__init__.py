"""Layers: an encoding, a circuit and a measurement as one Equinox module."""

from ._compiled import AbstractCompiledLayer as AbstractCompiledLayer, propagate, quadratic_forms
from ._density import FormsLayer, no_pure_state
from ._layer import QuantumLayer as QuantumLayer, with_fields
from ._noisy_encoder import make_encoder, NoisyEncoder
from ._plan import LayerPlan as LayerPlan, make_propagator
from ._trajectories import draw, draw_on_wires, Drawn, run_trajectory
