"""Shots: layers read out with finitely many samples, and derivatives from them."""

from ._count import ShotCount as ShotCount
from ._experiment import layer_experiment
from ._gradients import (
    AbstractShotGradient as AbstractShotGradient,
    ExactGradient as ExactGradient,
    ParameterShift as ParameterShift,
    SPSA as SPSA,
)
from ._layer import SampledLayer as SampledLayer
from ._pullbacks import all_shifts, rules_by_angle
from ._sampling import Estimate as Estimate, sample_counts as sample_counts
