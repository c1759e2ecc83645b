"""Fixed-point solvers: they run in `optimistix.fixed_point`, ours or anybody's."""

from ._anderson import Anderson as Anderson
from ._default import default_solver as default_solver
from ._newton import Newton as Newton
from ._picard import Picard as Picard
from ._progress import Limits as Limits
