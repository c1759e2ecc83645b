"""What a quantum cell becomes, stage by stage: compiled for its angles, bound to a sample."""

import abc
from typing import ClassVar

import equinox as eqx
from jaxtyping import Array, Complex, Float

from ..measurements import AbstractMeasurement
from ._cell import AbstractCell

# How often a solve evaluates a cell for each sample, as far as the choice of an engine goes.
EVALUATIONS = 10


class AbstractBoundCell(eqx.Module):
    """A quantum cell with its sample filled in: the map w ↦ f(w) that a solver iterates."""

    @abc.abstractmethod
    def __call__(self, w: Float[Array, " m"]) -> Float[Array, " m"]:
        """The measured values after one application."""

    @abc.abstractmethod
    def state(self, w: Float[Array, " m"]) -> Complex[Array, " dim"]:
        """The state that the application prepares, of unit norm.

        **Raises:** `ValueError` under noise, which leaves no pure state.
        """

    def measure(
        self, measurement: AbstractMeasurement, w: Float[Array, " m"]
    ) -> Float[Array, " k"]:
        """Other observables than the cell's own, from the same preparation."""
        return measurement.values(self.state(w))

    def probabilities(self, w: Float[Array, " m"]) -> Float[Array, " dim"]:
        """The probabilities of the outcomes in the computational basis, shape `(2**n,)`; under
        noise with readout error."""
        state = self.state(w)
        return state.real**2 + state.imag**2


class AbstractCompiledCell(AbstractCell):
    """A quantum cell whose angle-dependent work is done."""

    always_finite: ClassVar[bool] = True

    @abc.abstractmethod
    def bind(self, x: Float[Array, " d"]) -> AbstractBoundCell:
        """Fills in a sample."""
