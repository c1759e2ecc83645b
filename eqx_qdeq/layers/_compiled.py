"""Layers whose angle-dependent work is done, one for each way to do it without noise; and the
interface of all that has been prepared."""

import abc

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Complex, Float

from .._inputs import precision
from .._precise import dot
from ..encodings import AbstractStateEncoding, check_state, DataReuploading
from ..measurements import AbstractMeasurement
from ..simulate import AbstractPropagator, apply_wirewise, from_complex, GatePropagator, to_complex


class AbstractPrepared(eqx.Module):
    """What has been prepared, to be called as often as needed, e.g. in a solve: a layer that is
    compiled for its angles, or a cell that is bound to a sample.

    Called on a vector (the features of a layer, the fed-back values of a cell) it gives the
    measured values; its other methods look at the same preparation in other ways.

    !!! example

        ```python
        import jax
        import eqx_qdeq as qdeq

        layer = qdeq.QuantumLayer(
            qdeq.circuits.hardware_efficient(n_qubits=2, depth=1),
            qdeq.AngleEncoding(),
            qdeq.PauliZ(),
            key=jax.random.key(0),
        )
        prepared = layer.compile(2)  # for samples of 2 features
        prepared([0.1, 0.2]).shape  # (2,)
        prepared.probabilities([0.1, 0.2]).shape  # (4,)
        prepared.measure(qdeq.PauliStrings(["X0 X1"]), [0.1, 0.2]).shape  # (1,)
        ```
    """

    @abc.abstractmethod
    def __call__(self, x: Float[Array, " d"]) -> Float[Array, " m"]:
        """The measured values."""

    @abc.abstractmethod
    def state(self, x: Float[Array, " d"]) -> Complex[Array, " dim"]:
        """The state that is measured, of unit norm.

        **Raises:** `ValueError` under noise, which leaves no pure state.
        """

    @abc.abstractmethod
    def measure(
        self, measurement: AbstractMeasurement, x: Float[Array, " d"]
    ) -> Float[Array, " k"]:
        """Other observables than its own, from the same preparation."""

    @abc.abstractmethod
    def probabilities(self, x: Float[Array, " d"]) -> Float[Array, " dim"]:
        """The probabilities of the outcomes in the computational basis, shape `(2**n,)`; under
        noise with readout error."""


class AbstractPreparedState(AbstractPrepared):
    """A preparation of a pure state, which tells all the rest."""

    def measure(
        self, measurement: AbstractMeasurement, x: Float[Array, " d"]
    ) -> Float[Array, " k"]:
        return measurement.values(self.state(x))

    def probabilities(self, x: Float[Array, " d"]) -> Float[Array, " dim"]:
        state = self.state(x)
        return state.real**2 + state.imag**2


class AbstractPreparedNoisily(AbstractPrepared):
    """A preparation under noise, which leaves a mixed state."""

    def state(self, x: Float[Array, " d"]) -> Complex[Array, " dim"]:
        raise ValueError(
            "under noise a circuit prepares a density matrix, not a state; use "
            "`measure(measurement, ...)` for other observables, `probabilities(...)` for the "
            "outcomes, or a layer with noise=None for the noiseless state."
        )


def propagate(
    propagator: AbstractPropagator,
    encoding: AbstractStateEncoding,
    x: Float[Array, " d"],
    n_qubits: int,
) -> Float[Array, "2 first last"]:
    """The state after the circuit, for one feature vector: its parts, with the wires in halves."""
    x = encoding.accept(x, n_qubits, precision(propagator))
    # The barrier keeps XLA from fusing the normalization into the matrix product, where it slows
    # the product down several times.
    return propagator.halves(lax.optimization_barrier(encoding.amplitudes(x, n_qubits)))


class PropagatedLayer(AbstractPreparedState):
    """Encodes, propagates (by gates or by a matrix), measures."""

    propagator: AbstractPropagator
    encoding: AbstractStateEncoding
    measurement: AbstractMeasurement
    n_qubits: int = eqx.field(static=True)

    def __call__(self, x: Float[Array, " d"]) -> Float[Array, " m"]:
        parts = propagate(self.propagator, self.encoding, x, self.n_qubits)
        return self.measurement.values_of_parts(parts)

    def state(self, x: Float[Array, " d"]) -> Complex[Array, " dim"]:
        parts = propagate(self.propagator, self.encoding, x, self.n_qubits)
        return to_complex(parts.reshape(2, -1))


def form_values(
    forms: Float[Array, "m p p"],
    encoding: AbstractStateEncoding,
    x: Float[Array, " d"],
    n_qubits: int,
) -> Float[Array, " m"]:
    """The quadratic forms u(x)ᵀ A_q u(x), of which the first entries are used if u has fewer."""
    x = encoding.accept(x, n_qubits, forms.dtype)
    # Forms that were made for all 2ⁿ amplitudes serve shorter inputs: what is missing is zero.
    u = encoding.amplitudes(x, n_qubits)
    forms = forms[:, : u.shape[0], : u.shape[0]]
    return jnp.sum(dot(forms, u) * u[None], axis=1)


class HeisenbergLayer(AbstractPreparedState):
    r"""Observables pulled back through the circuit: $f_q(x) = u(x)^\top A_q\,u(x)$ with the real
    symmetric $A_q = M^\top O_q M$."""

    forms: Float[Array, "m p p"]
    propagator: AbstractPropagator
    encoding: AbstractStateEncoding
    n_qubits: int = eqx.field(static=True)

    def __call__(self, x: Float[Array, " d"]) -> Float[Array, " m"]:
        return form_values(self.forms, self.encoding, x, self.n_qubits)

    def state(self, x: Float[Array, " d"]) -> Complex[Array, " dim"]:
        parts = propagate(self.propagator, self.encoding, x, self.n_qubits)
        return to_complex(parts.reshape(2, -1))


class ReuploadingLayer(AbstractPreparedState):
    """Alternates the data's rotations with sections of the circuit, on state vectors."""

    sections: list[GatePropagator]
    encoding: DataReuploading
    measurement: AbstractMeasurement
    n_qubits: int = eqx.field(static=True)

    def __call__(self, x: Float[Array, " d"]) -> Float[Array, " m"]:
        return self.measurement.values(self.state(x))

    def state(self, x: Float[Array, " d"]) -> Complex[Array, " dim"]:
        x = self.encoding.accept(x, self.n_qubits, precision(self.sections))
        dim = 2**self.n_qubits
        check_state(self.n_qubits, x.dtype)
        # From |0…0⟩ on: what comes before the first upload has no data in it.
        first, *sections = self.sections
        parts = first.vector(jnp.zeros(2 * dim, x.dtype).at[0].set(1))
        for section in sections:
            turned = self._rotate(x, to_complex(parts.reshape(2, -1)))
            parts = section.vector(from_complex(turned).reshape(-1))
        return to_complex(parts.reshape(2, -1))

    def _rotate(self, x: Array, state: Array) -> Array:
        for rotations in self.encoding.encoding.rotations(x, self.n_qubits):
            state = apply_wirewise(rotations, state)
        return state
