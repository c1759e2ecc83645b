"""What a circuit is: gates on wires with parameter indices."""

# With an alias: for users. Without one: what other folders of the package and tests share.
from ._checks import check_lists, check_n_qubits
from ._circuit import Circuit as Circuit, Half as Half, one_angle_each
from ._describe import Resources as Resources
from ._gates import GateInfo as GateInfo, GATES as GATES, InUnitsOfPi, Unitary
from ._openqasm_text import QasmError as QasmError
from ._openqasm_write import DEFINITIONS, QASM_NAMES
from ._pennylane import from_pennylane as from_pennylane, to_pennylane as to_pennylane
from ._picture import (
    arrowhead,
    box,
    CHARACTER,
    LINE,
    Picture as Picture,
    RADIUS,
    Shape as Shape,
)
from ._qiskit import (
    append_gate,
    from_qiskit as from_qiskit,
    QISKIT_NAMES,
    to_qiskit as to_qiskit,
)
from ._templates import (
    basic_entangler as basic_entangler,
    brickwork as brickwork,
    hardware_efficient as hardware_efficient,
    paper as paper,
    random_layer as random_layer,
    strongly_entangling as strongly_entangling,
)
