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
from ._bound import (
    AbstractBoundCell as AbstractBoundCell,
    AbstractCompiledCell as AbstractCompiledCell,
)
from ._cell import AbstractCell as AbstractCell, FunctionCell as FunctionCell
from ._compare_adjoints import (
    AdjointComparison as AdjointComparison,
    compare_adjoints as compare_adjoints,
)
from ._deq import DEQ as DEQ
from ._diagnosis import Diagnosis as Diagnosis
from ._graph_cell import GraphCell as GraphCell
from ._guarantees import (
    Certificate as Certificate,
    certify as certify,
    contractive as contractive,
    ContractiveCell as ContractiveCell,
    Equilibria as Equilibria,
    find_equilibria as find_equilibria,
    lipschitz_bound as lipschitz_bound,
    lipschitz_bound_for_norm as lipschitz_bound_for_norm,
)
from ._injection import (
    AbstractInjection as AbstractInjection,
    AbstractLinearInjection as AbstractLinearInjection,
    AddInjection as AddInjection,
    AngleFeedback as AngleFeedback,
    ConcatInjection as ConcatInjection,
    LinearInjection as LinearInjection,
)
from ._jacobians import (
    jacobian as jacobian,
    jacobian_penalty as jacobian_penalty,
    spectral_norm as spectral_norm,
    spectral_radius as spectral_radius,
)
from ._qdeq import QDEQ as QDEQ
from ._quantum_cell import QuantumCell as QuantumCell
from ._sampled import (
    AbstractSampledBackward as AbstractSampledBackward,
    JacobianBackward as JacobianBackward,
    NeumannBackward as NeumannBackward,
    SampledDEQ as SampledDEQ,
)
from ._solution import Solution as Solution
from ._solvers import (
    AbstractResidualSolver as AbstractResidualSolver,
    Anderson as Anderson,
    AveragedPicard as AveragedPicard,
    Broyden as Broyden,
    default_solver as default_solver,
    EarlyExitGMRES as EarlyExitGMRES,
    Ladder as Ladder,
    Limits as Limits,
    Newton as Newton,
    NoisySolution as NoisySolution,
    Picard as Picard,
    PseudoTransient as PseudoTransient,
    SteadyState as SteadyState,
)
from ._trajectory import (
    fixed_point_correction as fixed_point_correction,
    record_trajectory as record_trajectory,
    Trajectory as Trajectory,
)
from ._warm_start import (
    EquilibriumMemory as EquilibriumMemory,
    guess_loss as guess_loss,
    GuessedCell as GuessedCell,
    solve_sequence as solve_sequence,
)
