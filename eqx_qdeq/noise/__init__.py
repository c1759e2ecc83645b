"""Noise: channels with differentiable rates, and circuits evaluated under them."""

from ._aer import from_aer as from_aer
from ._channel import AbstractChannel as AbstractChannel, Branches as Branches
from ._coherent import (
    CoherentRotation as CoherentRotation,
    KrausChannel as KrausChannel,
    OverRotation as OverRotation,
)
from ._convert import (
    average_infidelity as average_infidelity,
    depolarising_parameter as depolarising_parameter,
    probability_from_infidelity as probability_from_infidelity,
    probability_from_parameter as probability_from_parameter,
)
from ._damping import (
    AmplitudeDamping as AmplitudeDamping,
    PhaseDamping as PhaseDamping,
    Reset as Reset,
    ThermalRelaxation as ThermalRelaxation,
)
from ._devices import (
    Calibration as Calibration,
    device_model as device_model,
    DEVICES as DEVICES,
)
from ._evolve import (
    density_values as density_values,
    noisy_forms as noisy_forms,
    probabilities_of_paulis,
    pulled_back,
    real_forms,
    values_of_paulis,
)
from ._inverted_readout import InvertedReadout
from ._model import (
    Channels,
    GateNoise as GateNoise,
    NoiseModel as NoiseModel,
    PreparationNoise as PreparationNoise,
)
from ._noisy_circuit import noisy_circuit, NoisyCircuit, preparing_circuit, transfer_of_channels
from ._pauli_channels import (
    BitFlip as BitFlip,
    Depolarising as Depolarising,
    PauliChannel as PauliChannel,
    PhaseFlip as PhaseFlip,
)
from ._paulis import on_each_wire, paulis_of_parts, transfer_of_operators
from ._readout import ReadoutError as ReadoutError
from ._sampling import sample_channels
from ._trajectories import (
    over_trajectories,
    sample_circuit,
    sample_preparation,
    state_values,
    Trajectory,
    trajectory_values as trajectory_values,
)
