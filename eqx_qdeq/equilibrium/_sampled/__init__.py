"""Equilibria of cells that are read out with finitely many shots."""

from ._backward import (
    AbstractSampledBackward as AbstractSampledBackward,
    JacobianBackward as JacobianBackward,
    NeumannBackward as NeumannBackward,
)
from ._deq import SampledDEQ as SampledDEQ
