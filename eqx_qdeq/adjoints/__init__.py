"""Adjoints: how an equilibrium is differentiated. Each is an `optimistix.AbstractAdjoint`."""

from ._approximate import (
    NeumannAdjoint as NeumannAdjoint,
    OneStepAdjoint as OneStepAdjoint,
    PhantomAdjoint as PhantomAdjoint,
    ShineAdjoint as ShineAdjoint,
)
from ._backward import (
    AdjointProbe as AdjointProbe,
    AdjointSolution as AdjointSolution,
    BackwardReport as BackwardReport,
    ImplicitVJPAdjoint as ImplicitVJPAdjoint,
    solve_adjoint as solve_adjoint,
)
from ._base import answer, contributes, once
from ._implicit import ImplicitAdjoint as ImplicitAdjoint, solve_dense_safely
from ._reversible import ReversibleAdjoint as ReversibleAdjoint
from ._unrolled import UnrolledAdjoint as UnrolledAdjoint
