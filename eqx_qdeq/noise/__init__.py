"""Noise: channels with differentiable rates, and circuits evaluated under them."""

from ._channels import (
    AbstractChannel as AbstractChannel,
    AmplitudeDamping as AmplitudeDamping,
    BitFlip as BitFlip,
    Depolarising as Depolarising,
    PauliChannel as PauliChannel,
    PhaseDamping as PhaseDamping,
    PhaseFlip as PhaseFlip,
    Reset as Reset,
    ThermalRelaxation as ThermalRelaxation,
)
from ._convert import (
    average_infidelity as average_infidelity,
    depolarising_parameter as depolarising_parameter,
    probability_from_infidelity as probability_from_infidelity,
    probability_from_parameter as probability_from_parameter,
)
from ._evolve import density_values as density_values, noisy_forms as noisy_forms
from ._model import NoiseModel as NoiseModel
