"""Cells: the maps whose fixed points are wanted."""

from ._angle_feedback import Feedback
from ._cell import (
    AbstractCell as AbstractCell,
    AbstractCompiledCell as AbstractCompiledCell,
    accepting,
    FunctionCell as FunctionCell,
)
from ._graph_cell import GraphCell as GraphCell
from ._injection import (
    AbstractInjection as AbstractInjection,
    AbstractLinearInjection as AbstractLinearInjection,
    AddInjection as AddInjection,
    AngleFeedback as AngleFeedback,
    ConcatInjection as ConcatInjection,
    LinearInjection as LinearInjection,
    scaled,
    upsampling_matrix,
)
from ._picture import flow
from ._quantum_cell import QuantumCell as QuantumCell
