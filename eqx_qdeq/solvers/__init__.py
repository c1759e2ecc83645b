"""Fixed-point solvers, each an `optimistix.AbstractFixedPointSolver`, and a linear one."""

from ._anderson import Anderson as Anderson
from ._base import (
    AbstractResidualSolver as AbstractResidualSolver,
    FlatMap as FlatMap,
    Point as Point,
    Proposal as Proposal,
    SolverLimits as SolverLimits,
)
from ._broyden import Broyden as Broyden, broyden_inverse
from ._drive import Drive, Progress
from ._earned import is_believable, is_earned
from ._gmres import EarlyExitGMRES as EarlyExitGMRES, gmres
from ._ladder import default_solver as default_solver, Ladder as Ladder
from ._linear import check_matrix, DENSE_SIZE, factorise, solve_dense
from ._newton import Newton as Newton
from ._picard import Picard as Picard
from ._pseudo_transient import PseudoTransient as PseudoTransient
from ._reversible import Reversible as Reversible
from ._steady_state import SteadyState as SteadyState
