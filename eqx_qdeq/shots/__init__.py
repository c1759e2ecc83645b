"""Shots: layers and equilibria read out with finitely many samples, and derivatives from them."""

from ._bases import group_observables
from ._device import SamplingDevice as SamplingDevice, with_shots as with_shots
from ._experiment import all_shifts, gate_rules, layer_experiment, rules_by_angle, ShiftRule
from ._gradients import (
    AbstractShotGradient as AbstractShotGradient,
    ExactGradient as ExactGradient,
    ParameterShift as ParameterShift,
    SPSA as SPSA,
)
from ._layer import SampledLayer as SampledLayer
from ._sampled_deq import SampledDEQ as SampledDEQ
from ._sampling import (
    Estimate as Estimate,
    sample_counts as sample_counts,
    ShotCount as ShotCount,
    Shots as Shots,
)
from ._solves import (
    AbstractSampledBackward as AbstractSampledBackward,
    AveragedPicard as AveragedPicard,
    JacobianBackward as JacobianBackward,
    NeumannBackward as NeumannBackward,
    NoisySolution as NoisySolution,
    Product as Product,
)
