"""Equilibria: a cell and a solver as one module, and what can be asked of a solve."""

from .._deprecated import deprecated_names
from ._compare_adjoints import (
    AdjointComparison as AdjointComparison,
    compare_adjoints as compare_adjoints,
)
from ._deq import DEQ as DEQ, solve_by
from ._diagnosis import Diagnosis as Diagnosis
from ._qdeq import QDEQ as QDEQ
from ._solve import (
    BoundMap,
    counts,
    guard,
    mask,
    Solution as Solution,
    solve_map,
    Solver as Solver,
    solver_for,
)
from ._solves import noted, Solves as Solves, solves as solves, with_solves
from ._trajectory import (
    fixed_point_correction as fixed_point_correction,
    record_trajectory as record_trajectory,
    SolverTrajectory as SolverTrajectory,
)
from ._unrolled import Unrolled as Unrolled
from ._warm_start import (
    EquilibriumMemory as EquilibriumMemory,
    guess_loss as guess_loss,
    GuessedCell as GuessedCell,
    solve_sequence as solve_sequence,
)

# What stood here before solvers, adjoints, cells, guarantees and shots had rooms of their own.
_MOVED = """
    AbstractCell AbstractCompiledCell AbstractInjection AbstractLinearInjection
    AbstractResidualSolver AbstractSampledBackward AddInjection AdjointProbe AdjointSolution
    Anderson AngleFeedback AveragedPicard BackwardReport Broyden Certificate ConcatInjection
    ContractiveCell EarlyExitGMRES Equilibria FunctionCell GraphCell ImplicitAdjoint
    ImplicitVJPAdjoint JacobianBackward Ladder LinearInjection NeumannAdjoint NeumannBackward
    Newton NoisySolution OneStepAdjoint PhantomAdjoint Picard PseudoTransient QuantumCell
    SampledDEQ ShineAdjoint SteadyState UnrolledAdjoint certify contractive default_solver
    find_equilibria jacobian jacobian_penalty lipschitz_bound lipschitz_bound_for_norm
    solve_adjoint spectral_norm spectral_radius
""".split()

__getattr__ = deprecated_names(
    __name__,
    {name: f"eqx_qdeq.{name}" for name in _MOVED}
    | {
        "Limits": "eqx_qdeq.SolverLimits",
        "Trajectory": "SolverTrajectory",
        "AbstractBoundCell": "eqx_qdeq.AbstractPrepared",
    },
)
