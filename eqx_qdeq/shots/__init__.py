"""Shots: layers and equilibria read out with finitely many samples, and derivatives from them."""

from ._averaging import AveragedPicard as AveragedPicard, NoisySolution as NoisySolution
from ._backward import (
    AbstractSampledBackward as AbstractSampledBackward,
    JacobianBackward as JacobianBackward,
    NeumannBackward as NeumannBackward,
)
from ._bases import group_observables
from ._experiment import layer_experiment
from ._gradients import (
    AbstractShotGradient as AbstractShotGradient,
    ExactGradient as ExactGradient,
    ParameterShift as ParameterShift,
    SPSA as SPSA,
)
from ._layer import SampledLayer as SampledLayer
from ._pullbacks import all_shifts, rules_by_angle
from ._rules import gate_rules, ShiftRule
from ._sampled_deq import SampledDEQ as SampledDEQ
from ._sampling import Estimate as Estimate, sample_counts as sample_counts, ShotCount as ShotCount
