"""Cells, their equilibria, and derivatives through them."""

from ._adjoints import (
    AdjointProbe as AdjointProbe,
    AdjointSolution as AdjointSolution,
    BackwardReport as BackwardReport,
    ImplicitAdjoint as ImplicitAdjoint,
    ImplicitVJPAdjoint as ImplicitVJPAdjoint,
    NeumannAdjoint as NeumannAdjoint,
    OneStepAdjoint as OneStepAdjoint,
    PhantomAdjoint as PhantomAdjoint,
    ShineAdjoint as ShineAdjoint,
    solve_adjoint as solve_adjoint,
    UnrolledAdjoint as UnrolledAdjoint,
)
from ._cell import AbstractCell as AbstractCell, FunctionCell as FunctionCell
from ._compare_adjoints import (
    AdjointComparison as AdjointComparison,
    compare_adjoints as compare_adjoints,
)
from ._deq import DEQ as DEQ, Solution as Solution
from ._injection import (
    AbstractInjection as AbstractInjection,
    AbstractLinearInjection as AbstractLinearInjection,
    AddInjection as AddInjection,
    AngleFeedback as AngleFeedback,
    ConcatInjection as ConcatInjection,
    LinearInjection as LinearInjection,
)
from ._jacobian import jacobian as jacobian, jacobian_penalty as jacobian_penalty
from ._qdeq import QDEQ as QDEQ
from ._quantum_cell import (
    AbstractBoundCell as AbstractBoundCell,
    AbstractCompiledCell as AbstractCompiledCell,
    QuantumCell as QuantumCell,
)
from ._solvers import (
    AbstractResidualSolver as AbstractResidualSolver,
    Anderson as Anderson,
    Broyden as Broyden,
    default_solver as default_solver,
    EarlyExitGMRES as EarlyExitGMRES,
    Ladder as Ladder,
    Limits as Limits,
    Newton as Newton,
    Picard as Picard,
    PseudoTransient as PseudoTransient,
    SteadyState as SteadyState,
)
from ._warm_start import (
    EquilibriumMemory as EquilibriumMemory,
    guess_loss as guess_loss,
    GuessedCell as GuessedCell,
    solve_sequence as solve_sequence,
)
