"""Cells: the maps whose fixed points are wanted."""

from ._angle_feedback import Feedback
from ._cell import (
    AbstractCell as AbstractCell,
    AbstractCompiledCell as AbstractCompiledCell,
    accepting,
    FunctionCell as FunctionCell,
)
from ._graph import Graph as Graph
from ._graph_batches import bucket_graphs as bucket_graphs, stack_graphs as stack_graphs
from ._graph_cell import GraphCell as GraphCell
from ._implicit_graph_cell import ImplicitGraphCell as ImplicitGraphCell
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
from ._self_consistent_cell import (
    SelfConsistentCell as SelfConsistentCell,
    SelfConsistentMap as SelfConsistentMap,
    SelfConsistentState as SelfConsistentState,
)
from ._sharded_graph import shard_graph as shard_graph, ShardedGraph as ShardedGraph
