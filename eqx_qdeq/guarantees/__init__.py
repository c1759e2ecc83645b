"""What can be said about an equilibrium: how the map contracts, what exists, what is unique."""

from ._boxes import joint_spread, value_ranges
from ._branch import Branch as Branch
from ._certificate import Certificate as Certificate, certify as certify
from ._contraction import (
    contractive as contractive,
    ContractiveCell as ContractiveCell,
    lipschitz_bound as lipschitz_bound,
    lipschitz_bound_for_norm as lipschitz_bound_for_norm,
)
from ._find_equilibria import Equilibria as Equilibria, find_equilibria as find_equilibria
from ._kantorovich import rounding_errors
from ._lipschitz_amplitude import Reach
from ._lipschitz_angles import angle_curvature
from ._trace_branch import trace_branch as trace_branch
