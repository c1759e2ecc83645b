"""Quantum Deep Equilibrium Models for JAX and Equinox.

A circuit becomes a layer, a layer with an injection becomes a cell, a cell with a solver becomes
an equilibrium, and an equilibrium is an ordinary Equinox module.
"""

from . import (
    circuits as circuits,
    hardware as hardware,
    mitigation as mitigation,
    noise as noise,
    shots as shots,
)
from ._compiled import AbstractCompiledLayer as AbstractCompiledLayer
from ._engines import LayerPlan as LayerPlan
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
    AbstractBoundCell as AbstractBoundCell,
    AbstractCell as AbstractCell,
    AbstractCompiledCell as AbstractCompiledCell,
    AbstractInjection as AbstractInjection,
    AbstractLinearInjection as AbstractLinearInjection,
    AbstractResidualSolver as AbstractResidualSolver,
    AbstractSampledBackward as AbstractSampledBackward,
    AddInjection as AddInjection,
    AdjointComparison as AdjointComparison,
    AdjointProbe as AdjointProbe,
    AdjointSolution as AdjointSolution,
    Anderson as Anderson,
    AngleFeedback as AngleFeedback,
    AveragedPicard as AveragedPicard,
    BackwardReport as BackwardReport,
    Broyden as Broyden,
    Certificate as Certificate,
    certify as certify,
    compare_adjoints as compare_adjoints,
    ConcatInjection as ConcatInjection,
    contractive as contractive,
    ContractiveCell as ContractiveCell,
    default_solver as default_solver,
    DEQ as DEQ,
    Diagnosis as Diagnosis,
    EarlyExitGMRES as EarlyExitGMRES,
    Equilibria as Equilibria,
    EquilibriumMemory as EquilibriumMemory,
    find_equilibria as find_equilibria,
    fixed_point_correction as fixed_point_correction,
    FunctionCell as FunctionCell,
    GraphCell as GraphCell,
    guess_loss as guess_loss,
    GuessedCell as GuessedCell,
    ImplicitAdjoint as ImplicitAdjoint,
    ImplicitVJPAdjoint as ImplicitVJPAdjoint,
    jacobian as jacobian,
    jacobian_penalty as jacobian_penalty,
    JacobianBackward as JacobianBackward,
    Ladder as Ladder,
    Limits as Limits,
    LinearInjection as LinearInjection,
    lipschitz_bound as lipschitz_bound,
    lipschitz_bound_for_norm as lipschitz_bound_for_norm,
    NeumannAdjoint as NeumannAdjoint,
    NeumannBackward as NeumannBackward,
    Newton as Newton,
    NoisySolution as NoisySolution,
    OneStepAdjoint as OneStepAdjoint,
    PhantomAdjoint as PhantomAdjoint,
    Picard as Picard,
    PseudoTransient as PseudoTransient,
    QDEQ as QDEQ,
    QuantumCell as QuantumCell,
    record_trajectory as record_trajectory,
    SampledDEQ as SampledDEQ,
    ShineAdjoint as ShineAdjoint,
    Solution as Solution,
    solve_adjoint as solve_adjoint,
    solve_sequence as solve_sequence,
    spectral_norm as spectral_norm,
    spectral_radius as spectral_radius,
    SteadyState as SteadyState,
    Trajectory as Trajectory,
    UnrolledAdjoint as UnrolledAdjoint,
)
from .layers import QuantumLayer as QuantumLayer
from .measurements import (
    AbstractMeasurement as AbstractMeasurement,
    Hermitian as Hermitian,
    PauliStrings as PauliStrings,
    PauliZ as PauliZ,
    Probabilities as Probabilities,
)
from .models import (
    AbstractClassifier as AbstractClassifier,
    ClassicalDEQClassifier as ClassicalDEQClassifier,
    classifier_from_config as classifier_from_config,
    QDEQClassifier as QDEQClassifier,
    UnrolledClassifier as UnrolledClassifier,
    z_and_zz as z_and_zz,
    z_products as z_products,
)

__version__ = "0.1.0"
