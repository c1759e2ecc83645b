"""Equilibria: a cell and a solver as one module, and what can be asked of a solve."""

from ._compare_adjoints import (
    AdjointComparison as AdjointComparison,
    compare_adjoints as compare_adjoints,
)
from ._deq import DEQ as DEQ
from ._diagnosis import Diagnosis as Diagnosis
from ._qdeq import QDEQ as QDEQ
from ._solve import guard, mask, Solution as Solution, solve_map, Solver, solver_for
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
