"""Hardware: layers and equilibria evaluated by Qiskit's estimators."""

from ._circuit import METHODS, to_qiskit as to_qiskit
from ._layer import (
    EstimatorCell as EstimatorCell,
    EstimatorLayer as EstimatorLayer,
    on_estimator as on_estimator,
)
