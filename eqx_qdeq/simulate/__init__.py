"""From a circuit and its angles to numbers. The only folder that calls qujax."""

# With an alias: for users. Without one: what other folders of the package share.
from ._apply import (
    apply_wirewise as apply_wirewise,
    evolve,
    from_complex as from_complex,
    full_tensor,
    to_complex as to_complex,
)
from ._blocks import Block as Block, fuse
from ._plan import (
    best_block_size as best_block_size,
    Cost as Cost,
    Machine as Machine,
    make_plan as make_plan,
    Plan as Plan,
    plan_cost as plan_cost,
    product_cost as product_cost,
    this_machine as this_machine,
)
from ._qujax import (
    complex_dtype,
    constant_matrix,
    entry_layout,
    gate_entries,
    is_constant,
    qujax_state_function as qujax_state_function,
)
from ._run import (
    AbstractPropagator as AbstractPropagator,
    apply_plan as apply_plan,
    apply_plan_to_real as apply_plan_to_real,
    gate_propagator as gate_propagator,
    GatePropagator as GatePropagator,
    Gradient as Gradient,
    GRADIENTS,
    matrix_propagator as matrix_propagator,
    MatrixPropagator as MatrixPropagator,
    plan_columns as plan_columns,
)
from ._sharded import (
    apply_sharded_plan as apply_sharded_plan,
    evolve_parts,
    exchange,
    exchanged,
    in_order,
    make_sharded_plan as make_sharded_plan,
    ShardedPlan as ShardedPlan,
)
