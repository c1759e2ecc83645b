"""Quantum Deep Equilibrium Models for JAX and Equinox.

A circuit becomes a layer, a layer with an injection becomes a cell, a cell with a solver becomes
an equilibrium, and an equilibrium is an ordinary Equinox module.
"""

from . import (
    adjoints as adjoints,
    cells as cells,
    circuits as circuits,
    guarantees as guarantees,
    hardware as hardware,
    mitigation as mitigation,
    noise as noise,
    shots as shots,
    solvers as solvers,
)
from ._deprecated import deprecated_names
from ._exact import exact as exact
from ._memory import memory_limit as memory_limit
from ._mesh import map_batch as map_batch
from ._peak import Memory as Memory, memory as memory
from .adjoints import (
    AdjointProbe as AdjointProbe,
    AdjointSolution as AdjointSolution,
    BackwardReport as BackwardReport,
    ImplicitAdjoint as ImplicitAdjoint,
    ImplicitVJPAdjoint as ImplicitVJPAdjoint,
    NeumannAdjoint as NeumannAdjoint,
    OneStepAdjoint as OneStepAdjoint,
    PhantomAdjoint as PhantomAdjoint,
    ReversibleAdjoint as ReversibleAdjoint,
    ShineAdjoint as ShineAdjoint,
    solve_adjoint as solve_adjoint,
    UnrolledAdjoint as UnrolledAdjoint,
)
from .cells import (
    AbstractCell as AbstractCell,
    AbstractCompiledCell as AbstractCompiledCell,
    AbstractInjection as AbstractInjection,
    AbstractLinearInjection as AbstractLinearInjection,
    AddInjection as AddInjection,
    AngleFeedback as AngleFeedback,
    bucket_graphs as bucket_graphs,
    ConcatInjection as ConcatInjection,
    FunctionCell as FunctionCell,
    Graph as Graph,
    GraphCell as GraphCell,
    ImplicitGraphCell as ImplicitGraphCell,
    LinearInjection as LinearInjection,
    QuantumCell as QuantumCell,
    SelfConsistentCell as SelfConsistentCell,
    SelfConsistentState as SelfConsistentState,
    shard_graph as shard_graph,
    ShardedGraph as ShardedGraph,
    stack_graphs as stack_graphs,
)
from .circuits import Circuit as Circuit
from .encodings import (
    AbstractEncoding as AbstractEncoding,
    AbstractStateEncoding as AbstractStateEncoding,
    AmplitudeEncoding as AmplitudeEncoding,
    AngleEncoding as AngleEncoding,
    ComplexAmplitudeEncoding as ComplexAmplitudeEncoding,
    DataReuploading as DataReuploading,
)
from .equilibrium import (
    AdjointComparison as AdjointComparison,
    compare_adjoints as compare_adjoints,
    DEQ as DEQ,
    Diagnosis as Diagnosis,
    EquilibriumMemory as EquilibriumMemory,
    fixed_point_correction as fixed_point_correction,
    guess_loss as guess_loss,
    GuessedCell as GuessedCell,
    QDEQ as QDEQ,
    record_trajectory as record_trajectory,
    Solution as Solution,
    solve_sequence as solve_sequence,
    SolverTrajectory as SolverTrajectory,
    Solves as Solves,
    solves as solves,
    Unrolled as Unrolled,
)
from .guarantees import (
    Branch as Branch,
    Certificate as Certificate,
    certify as certify,
    contractive as contractive,
    ContractiveCell as ContractiveCell,
    Equilibria as Equilibria,
    find_equilibria as find_equilibria,
    lipschitz_bound as lipschitz_bound,
    lipschitz_bound_for_norm as lipschitz_bound_for_norm,
    trace_branch as trace_branch,
)
from .jacobians import (
    jacobian as jacobian,
    jacobian_penalty as jacobian_penalty,
    spectral_abscissa as spectral_abscissa,
    spectral_norm as spectral_norm,
    spectral_radius as spectral_radius,
)
from .layers import (
    AbstractDevice as AbstractDevice,
    AbstractPrepared as AbstractPrepared,
    LayerPlan as LayerPlan,
    map_layers as map_layers,
    QuantumLayer as QuantumLayer,
    with_noise as with_noise,
)
from .measurements import (
    AbstractMeasurement as AbstractMeasurement,
    Hermitian as Hermitian,
    PauliStrings as PauliStrings,
    PauliSum as PauliSum,
    PauliZ as PauliZ,
    Probabilities as Probabilities,
)
from .models import (
    AbstractClassifier as AbstractClassifier,
    AbstractEquilibriumModel as AbstractEquilibriumModel,
    AbstractRegressor as AbstractRegressor,
    ClassicalDEQClassifier as ClassicalDEQClassifier,
    classifier_from_config as classifier_from_config,
    QDEQClassifier as QDEQClassifier,
    QDEQRegressor as QDEQRegressor,
    UnrolledClassifier as UnrolledClassifier,
    UnrolledRegressor as UnrolledRegressor,
    z_and_zz as z_and_zz,
    z_products as z_products,
)
from .shots import (
    AbstractSampledBackward as AbstractSampledBackward,
    AveragedPicard as AveragedPicard,
    JacobianBackward as JacobianBackward,
    NeumannBackward as NeumannBackward,
    NoisySolution as NoisySolution,
    SampledDEQ as SampledDEQ,
    with_shots as with_shots,
)
from .solvers import (
    AbstractResidualSolver as AbstractResidualSolver,
    Anderson as Anderson,
    Broyden as Broyden,
    default_solver as default_solver,
    EarlyExitGMRES as EarlyExitGMRES,
    Ladder as Ladder,
    Newton as Newton,
    Picard as Picard,
    PseudoTransient as PseudoTransient,
    Reversible as Reversible,
    SolverLimits as SolverLimits,
    SteadyState as SteadyState,
)

__getattr__ = deprecated_names(
    __name__,
    {
        "Limits": "SolverLimits",
        "Trajectory": "SolverTrajectory",
        "AbstractBoundCell": "AbstractPrepared",
        "AbstractCompiledLayer": "AbstractPrepared",
    },
)

__version__ = "0.1.0"
