"""Noisy circuits evaluated: observables pulled back, or a density matrix carried forwards."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from ..circuits import Circuit
from ..measurements import AbstractMeasurement
from ._model import NoiseModel
from ._noisy_circuit import noisy_circuit, NoisyCircuit, observables, preparing_circuit
from ._paulis import (
    among_all_paulis,
    diagonal_part,
    matrices_of_paulis,
    paulis_of_parts,
    walsh_hadamard,
)
from ._readout import ReadoutError


def pulled_back(
    circuits: tuple[NoisyCircuit, ...],
    measurement: AbstractMeasurement,
    n_qubits: int,
    readout: ReadoutError | None,
    dtype: np.dtype,
) -> Float[Array, "..."]:
    """Pauli coefficients of the observables before the circuits, shape `(4,) * n + (m,)`."""
    coefficients = observables(measurement, n_qubits, readout, dtype)
    if coefficients.shape[0] == 2:
        coefficients = among_all_paulis(coefficients)
    for circuit in reversed(circuits):
        coefficients = circuit.pull(coefficients)
    return coefficients


def values_of_paulis(
    vector: Float[Array, "..."], measurement: AbstractMeasurement, readout: ReadoutError | None
) -> Float[Array, " m"]:
    """The measured values of a density matrix, given by its Pauli expectation values."""
    coefficients = observables(measurement, vector.ndim, readout, vector.dtype)
    if coefficients.shape[0] == 2:
        vector = diagonal_part(vector)
    flat = coefficients.reshape(-1, coefficients.shape[-1])
    return jnp.dot(vector.reshape(-1), flat, precision="highest")


def probabilities_of_paulis(
    vector: Float[Array, "..."], readout: ReadoutError | None
) -> Float[Array, " dim"]:
    """The probabilities of the outcomes of a density matrix, shape `(2**n,)`."""
    n = vector.ndim
    out = walsh_hadamard(diagonal_part(vector), n).reshape(-1) / 2**n
    return out if readout is None else readout.on_probabilities(out)


def noisy_forms(
    circuit: Circuit,
    angles: Float[Array, " n_params"],
    measurement: AbstractMeasurement,
    noise: NoiseModel,
) -> Complex[Array, "m dim dim"]:
    r"""The observables pulled back through the noisy circuit, $A_q=\Lambda^\dagger(O_q)$.

    Then $f_q=\langle\psi|A_q|\psi\rangle$ for every state $|\psi\rangle$ that enters the circuit:
    one pass serves any number of samples. Layers do this themselves, with
    `QuantumLayer(..., noise=...)`.

    **Arguments:**

    - `circuit`: the circuit.
    - `angles`: its angles in radians, shape `(n_params,)`.
    - `measurement`: what is read out.
    - `noise`: the noise, readout error and the preparation of amplitudes included.

    **Returns:**

    Hermitian matrices, shape `(m, 2**n, 2**n)`. For real amplitudes their real parts suffice.
    """
    n = circuit.n_qubits
    parts = real_forms(
        _circuits(circuit, angles, noise), measurement, n, noise.readout, angles.dtype, n, False
    )
    return parts[0] + 1j * parts[1]


def real_forms(
    circuits: tuple[NoisyCircuit, ...],
    measurement: AbstractMeasurement,
    n_qubits: int,
    readout: ReadoutError | None,
    dtype: np.dtype,
    n_low: int,
    is_real: bool,
) -> Float[Array, "parts m rows rows"]:
    """As `noisy_forms`, in parts and for states of which the last `n_low` wires are not |0⟩."""
    coefficients = pulled_back(circuits, measurement, n_qubits, readout, dtype)
    return matrices_of_paulis(coefficients, n_low, is_real)


def density_values(
    circuit: Circuit,
    angles: Float[Array, " n_params"],
    measurement: AbstractMeasurement,
    noise: NoiseModel,
    state: Complex[Array, " dim"],
) -> Float[Array, " m"]:
    """The measured values of one state after the noisy circuit, by its density matrix.

    **Arguments:**

    - `circuit`, `angles`, `measurement`, `noise`: as for [`eqx_qdeq.noise.noisy_forms`][].
    - `state`: the amplitudes that enter the circuit, shape `(2**n,)`.

    **Returns:**

    The measured values, shape `(m,)`.
    """
    vector = paulis_of_parts(jnp.stack([state.real, state.imag]))
    for part in _circuits(circuit, angles, noise):
        vector = part.push(vector.astype(angles.dtype))
    return values_of_paulis(vector, measurement, noise.readout)


def _circuits(
    circuit: Circuit, angles: Array, noise: NoiseModel
) -> tuple[NoisyCircuit, NoisyCircuit]:
    before = preparing_circuit(noise.preparation, circuit.n_qubits, angles.dtype)
    return before, noisy_circuit(circuit, angles, noise)
