"""Layers under noise by density matrices and by observables pulled back."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._inputs import precision
from .._precise import tensordot
from ..encodings import DataReuploading
from ..measurements import AbstractMeasurement
from ..noise import (
    NoisyCircuit,
    on_each_wire,
    probabilities_of_paulis,
    pulled_back,
    ReadoutError,
    real_forms,
    values_of_paulis,
)
from ._compiled import AbstractPreparedNoisily, form_values
from ._noisy_encoder import NoisyEncoder, outer, rotation_transfers


class NoisyProgram(eqx.Module):
    """What the engines with an encoding before the circuit have in common."""

    encoder: NoisyEncoder
    circuit: NoisyCircuit
    readout: ReadoutError | None

    @property
    def n_qubits(self) -> int:
        return self.encoder.n_qubits

    def vector(self, x: Float[Array, " d"]) -> Float[Array, "..."]:
        """The Pauli expectation values after the circuit, shape `(4,) * n`."""
        return self.circuit.push(self.encoder(x))

    def probabilities(self, x: Float[Array, " d"]) -> Float[Array, " dim"]:
        return probabilities_of_paulis(self.vector(x), self.readout)

    def forms(
        self, measurement: AbstractMeasurement, size: int, dtype: jnp.dtype
    ) -> Float[Array, "m p p"]:
        """Real symmetric A_q such that the values are uᵀ A_q u, for u of length p = size."""
        n, is_complex = self.n_qubits, self.encoder.encoding.is_complex
        low = n if is_complex else (size - 1).bit_length()
        # Pulled back, an observable is Hermitian on the amplitudes: A = S + iT. For real u only the
        # symmetric S counts; for complex amplitudes a + ib, as u = (a, b), the form is [[S, -T],
        # [T, S]].
        circuits = (self.encoder.preparing, self.circuit)
        parts = real_forms(
            circuits, measurement, n, self.readout, dtype, low, is_real=not is_complex
        )
        if not is_complex:
            return parts[0, :, :size, :size]
        re, im = parts
        above = jnp.concatenate([re, -im], axis=2)
        return jnp.concatenate([above, jnp.concatenate([im, re], axis=2)], axis=1)

    def coefficients(
        self, measurement: AbstractMeasurement, dtype: jnp.dtype
    ) -> Float[Array, "first second m"]:
        """Pauli coefficients of the pulled-back observables, for the two halves of the wires."""
        n = self.n_qubits
        out = pulled_back((self.circuit,), measurement, n, self.readout, dtype)
        return out.reshape(4 ** (n // 2), 4 ** (n - n // 2), -1)


class FormsLayer(AbstractPreparedNoisily):
    r"""Observables pulled back through the noisy circuit: $f_q(x) = u(x)^\top A_q\,u(x)$."""

    forms: Float[Array, "m p p"]
    program: NoisyProgram

    def __call__(self, x: Float[Array, " d"]) -> Float[Array, " m"]:
        return self._values(self.forms, x)

    def _values(self, forms: Array, x: Array) -> Array:
        encoder = self.program.encoder
        return form_values(forms, encoder.encoding, x, encoder.n_qubits)

    def measure(self, measurement: AbstractMeasurement, x: Float[Array, " d"]) -> Array:
        forms = self.program.forms(measurement, self.forms.shape[-1], self.forms.dtype)
        return self._values(forms, x)

    def probabilities(self, x: Float[Array, " d"]) -> Float[Array, " dim"]:
        return self.program.probabilities(x)


class ProductLayer(AbstractPreparedNoisily):
    """Observables pulled back through the noisy circuit, onto wires prepared one by one."""

    coefficients: Float[Array, "first second m"]
    program: NoisyProgram

    def __call__(self, x: Float[Array, " d"]) -> Float[Array, " m"]:
        return self._values(self.coefficients, x)

    def _values(self, coefficients: Array, x: Array) -> Array:
        encoder = self.program.encoder
        wires = encoder.wires(x)
        half = encoder.n_qubits // 2
        # Tr(O ρ) of a product state is Σ c_P Π_w r_w[P_w]: the sum over all 4ⁿ Paulis is taken for
        # one half of the wires and then the other, two products of 2ⁿ numbers each.
        first, second = outer(wires[:half]), outer(wires[half:])
        rest = tensordot(first, coefficients, 1)
        return tensordot(second, rest, 1)

    def measure(self, measurement: AbstractMeasurement, x: Float[Array, " d"]) -> Array:
        return self._values(self.program.coefficients(measurement, self.coefficients.dtype), x)

    def probabilities(self, x: Float[Array, " d"]) -> Float[Array, " dim"]:
        return self.program.probabilities(x)


class DensityLayer(AbstractPreparedNoisily):
    """The density matrix of every sample, carried through the noisy circuit."""

    program: NoisyProgram
    measurement: AbstractMeasurement

    def __call__(self, x: Float[Array, " d"]) -> Float[Array, " m"]:
        return self.measure(self.measurement, x)

    def measure(self, measurement: AbstractMeasurement, x: Float[Array, " d"]) -> Array:
        return values_of_paulis(self.program.vector(x), measurement, self.program.readout)

    def probabilities(self, x: Float[Array, " d"]) -> Float[Array, " dim"]:
        return self.program.probabilities(x)


class ReuploadingDensityLayer(AbstractPreparedNoisily):
    """Alternates the data's noisy rotations with sections of the noisy circuit."""

    sections: list[NoisyCircuit]
    encoding: DataReuploading
    rotation: Float[Array, "4 4"] | None
    measurement: AbstractMeasurement
    readout: ReadoutError | None
    n_qubits: int = eqx.field(static=True)

    def __call__(self, x: Float[Array, " d"]) -> Float[Array, " m"]:
        return self.measure(self.measurement, x)

    def _vector(self, x: Array) -> Array:
        n = self.n_qubits
        x = self.encoding.accept(x, n, precision(self.sections))
        zero = jnp.tile(jnp.asarray([1.0, 0, 0, 1], x.dtype), (n, 1))
        first, *sections = self.sections
        vector = first.push(outer(zero).reshape((4,) * n))
        for section in sections:
            for matrices in rotation_transfers(self.encoding.encoding, x, n, self.rotation):
                vector = on_each_wire(matrices, vector)
            vector = section.push(vector)
        return vector

    def measure(self, measurement: AbstractMeasurement, x: Float[Array, " d"]) -> Array:
        return values_of_paulis(self._vector(x), measurement, self.readout)

    def probabilities(self, x: Float[Array, " d"]) -> Float[Array, " dim"]:
        return probabilities_of_paulis(self._vector(x), self.readout)
