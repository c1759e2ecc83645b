"""What is read out of a state, as expectation values of Hermitian observables."""

from ._diagonal import PauliZ as PauliZ, Probabilities as Probabilities
from ._forms import quadratic_forms
from ._hermitian import Hermitian as Hermitian
from ._measurement import AbstractMeasurement as AbstractMeasurement
from ._parts import parts_of_forms
from ._pauli_strings import PauliStrings as PauliStrings
from ._pauli_sum import PauliSum as PauliSum
