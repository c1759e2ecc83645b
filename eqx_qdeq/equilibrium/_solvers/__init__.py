"""Fixed-point solvers: each an `optimistix.AbstractFixedPointSolver`, but for the one that averages
noise."""

from ._anderson import Anderson as Anderson
from ._averaging import AveragedPicard as AveragedPicard, NoisySolution as NoisySolution
from ._base import AbstractResidualSolver as AbstractResidualSolver, Limits as Limits
from ._broyden import Broyden as Broyden, broyden_inverse as broyden_inverse
from ._default import default_solver as default_solver
from ._gmres import EarlyExitGMRES as EarlyExitGMRES
from ._ladder import Ladder as Ladder
from ._newton import Newton as Newton
from ._picard import Picard as Picard
from ._pseudo_transient import PseudoTransient as PseudoTransient
from ._steady_state import SteadyState as SteadyState
