"""What a circuit is: gates on wires with parameter indices."""

from ._circuit import Circuit as Circuit
from ._gates import GateInfo as GateInfo, GATES as GATES
from ._resources import Resources as Resources
from ._separate import one_angle_each
from ._templates import (
    basic_entangler as basic_entangler,
    brickwork as brickwork,
    hardware_efficient as hardware_efficient,
    paper as paper,
    random_layer as random_layer,
    strongly_entangling as strongly_entangling,
)
