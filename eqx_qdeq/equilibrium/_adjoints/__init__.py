"""Adjoints: how an equilibrium is differentiated. Each is an `optimistix.AbstractAdjoint`."""

from ._backward import (
    AdjointProbe as AdjointProbe,
    AdjointSolution as AdjointSolution,
    BackwardReport as BackwardReport,
    solve_adjoint as solve_adjoint,
)
from ._implicit import ImplicitAdjoint as ImplicitAdjoint
from ._implicit_vjp import ImplicitVJPAdjoint as ImplicitVJPAdjoint
from ._neumann import NeumannAdjoint as NeumannAdjoint
from ._phantom import OneStepAdjoint as OneStepAdjoint, PhantomAdjoint as PhantomAdjoint
from ._shine import ShineAdjoint as ShineAdjoint
from ._unrolled import UnrolledAdjoint as UnrolledAdjoint
