"""Noise: channels with differentiable rates, and circuits evaluated under them."""

from .._deprecated import deprecated_names
from ._aer import from_aer as from_aer
from ._channel import AbstractChannel as AbstractChannel, Branches as Branches, Rate as Rate
from ._channels import (
    AmplitudeDamping as AmplitudeDamping,
    average_infidelity as average_infidelity,
    BitFlip as BitFlip,
    CoherentRotation as CoherentRotation,
    Depolarizing as Depolarizing,
    depolarizing_parameter as depolarizing_parameter,
    KrausChannel as KrausChannel,
    PauliChannel as PauliChannel,
    PhaseDamping as PhaseDamping,
    PhaseFlip as PhaseFlip,
    probability_from_infidelity as probability_from_infidelity,
    probability_from_parameter as probability_from_parameter,
    Reset as Reset,
    ThermalRelaxation as ThermalRelaxation,
)
from ._devices import Calibration as Calibration, device_model as device_model, DEVICES as DEVICES
from ._model import (
    Channels as Channels,
    GateNoise as GateNoise,
    NoiseModel as NoiseModel,
    OverRotation as OverRotation,
    PreparationNoise as PreparationNoise,
)
from ._noisy_circuit import (
    compile_noisy,
    density_values as density_values,
    noisy_circuit as noisy_circuit,
    noisy_forms as noisy_forms,
    NoisyCircuit as NoisyCircuit,
    preparing_circuit,
    probabilities_of_paulis,
    pulled_back,
    real_forms,
    transfer_of_channels,
    values_of_paulis,
)
from ._paulis import on_each_wire, pauli_matrices, paulis_of_parts, transfer_of_operators
from ._readout import as_strings, InvertedReadout, Rates as Rates, ReadoutError as ReadoutError
from ._steps import make_steps
from ._trajectories import (
    over_trajectories,
    sample_channels,
    sample_circuit,
    sample_preparation,
    SampledErrors,
    state_values,
    trajectory_values as trajectory_values,
    values_with_readout,
)

__getattr__ = deprecated_names(
    __name__,
    {"Depolarising": "Depolarizing", "depolarising_parameter": "depolarizing_parameter"},
)
