"""Layers under noise whose angle-dependent work is done: what `QuantumLayer.compile` returns."""

from ._compile import (
    choose_engine as choose_engine,
    compile_noisy as compile_noisy,
    NOISY_ENGINES as NOISY_ENGINES,
)
from ._density import FormsLayer as FormsLayer, no_pure_state as no_pure_state
from ._encoder import (
    make_encoder as make_encoder,
    NoisyEncoder as NoisyEncoder,
)
from ._trajectories import (
    draw as draw,
    draw_on_wires as draw_on_wires,
    Drawn as Drawn,
    run_trajectory as run_trajectory,
    TrajectoryLayer as TrajectoryLayer,
)
