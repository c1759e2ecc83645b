"""Hardware: layers and equilibria evaluated by Qiskit's estimators."""

from ..circuits import to_qiskit as to_qiskit
from ._device import EstimatorDevice as EstimatorDevice, on_estimator as on_estimator
from ._layer import EstimatorCell as EstimatorCell, EstimatorLayer as EstimatorLayer
