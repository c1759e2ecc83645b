"""From a circuit and its angles to numbers. The only folder that calls qujax."""

from ._apply import (
    apply_plan as apply_plan,
    apply_plan_to_real as apply_plan_to_real,
    apply_wirewise as apply_wirewise,
    from_complex as from_complex,
    plan_columns as plan_columns,
    to_complex as to_complex,
)
from ._blocks import Block as Block
from ._fusion import make_plan as make_plan, Plan as Plan
from ._linear import (
    AbstractPropagator as AbstractPropagator,
    gate_propagator as gate_propagator,
    GatePropagator as GatePropagator,
    matrix_propagator as matrix_propagator,
    MatrixPropagator as MatrixPropagator,
)
from ._qujax import qujax_state_function as qujax_state_function
