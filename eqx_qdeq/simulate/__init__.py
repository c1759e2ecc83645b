"""From a circuit and its angles to numbers. The only folder that calls qujax."""

from ._apply import (
    apply_wirewise as apply_wirewise,
    evolve,
    from_complex as from_complex,
    full_tensor,
    to_complex as to_complex,
)
from ._blocks import Block as Block, fuse
from ._cost import (
    best_block_size as best_block_size,
    Cost as Cost,
    Machine as Machine,
    plan_cost as plan_cost,
    product_cost as product_cost,
    this_machine as this_machine,
)
from ._fusion import make_plan as make_plan, Plan as Plan
from ._linear import (
    AbstractPropagator as AbstractPropagator,
    gate_propagator as gate_propagator,
    GatePropagator as GatePropagator,
    matrix_propagator as matrix_propagator,
    MatrixPropagator as MatrixPropagator,
)
from ._qujax import (
    constant_matrix,
    entry_layout,
    gate_entries,
    qujax_state_function as qujax_state_function,
)
from ._run import (
    apply_plan as apply_plan,
    apply_plan_to_real as apply_plan_to_real,
    plan_columns as plan_columns,
)
