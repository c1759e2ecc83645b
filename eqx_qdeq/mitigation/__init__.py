"""Mitigation of noise: readout inversion and zero-noise extrapolation."""

from ..noise import InvertedReadout as InvertedReadout
from ._scale import (
    channel_power as channel_power,
    fold as fold,
    reached_scales as reached_scales,
    scale_noise as scale_noise,
    scale_rates as scale_rates,
)
from ._zero_noise import (
    AbstractExtrapolation as AbstractExtrapolation,
    Exponential as Exponential,
    Polynomial as Polynomial,
    Scales as Scales,
    ZeroNoise as ZeroNoise,
    ZeroNoiseCell as ZeroNoiseCell,
)
