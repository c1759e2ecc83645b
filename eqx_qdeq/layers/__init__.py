"""Layers: an encoding, a circuit and a measurement as one Equinox module."""

from ._compiled import (
    AbstractPrepared as AbstractPrepared,
    AbstractPreparedNoisily,
    AbstractPreparedState,
    propagate,
)
from ._density import FormsLayer
from ._device import AbstractDevice as AbstractDevice, device_in, DeviceLayer, keyed
from ._everywhere import (
    layers_of,
    map_layers as map_layers,
    with_noise as with_noise,
    without_noise,
)
from ._layer import parted, QuantumLayer as QuantumLayer
from ._noisy_encoder import make_encoder, NoisyEncoder
from ._parts import (
    AbstractPreparedParts,
    own_columns,
    own_state,
    own_zero,
    PartedCircuit,
    with_rotations,
)
from ._plan import Engine as Engine, LayerPlan as LayerPlan, make_propagator
from ._trajectories import draw, draw_on_wires, Drawn, run_trajectory
