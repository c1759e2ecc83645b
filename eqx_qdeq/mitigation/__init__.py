"""Mitigation of noise: readout inversion and zero-noise extrapolation."""

from ..noise._inverted_readout import InvertedReadout as InvertedReadout
from ._extrapolation import (
    AbstractExtrapolation as AbstractExtrapolation,
    Exponential as Exponential,
    Polynomial as Polynomial,
)
from ._fold import fold as fold
from ._power import channel_power as channel_power, scale_rates as scale_rates
from ._zero_noise import (
    scale_noise as scale_noise,
    ZeroNoise as ZeroNoise,
    ZeroNoiseCell as ZeroNoiseCell,
)
