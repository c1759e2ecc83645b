r"""Noisy circuits in the Pauli basis: observables pulled back, or a density matrix carried on.

A gate and the noise after it are one real matrix on the gate's wires; its transpose is the
Heisenberg picture. Consecutive steps are multiplied into blocks before they touch the $4^n$
numbers of a state or of an observable.
"""

import functools as ft
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Complex, Float

from .._checks import check_at_least, check_instance
from .._inputs import numbers
from .._memory import check_memory, within_memory
from .._precise import dot, matmul, tensordot
from ..circuits import Circuit
from ..measurements import AbstractMeasurement, PauliStrings, PauliSum
from ..simulate import Block, complex_dtype
from ._model import Channels, NoiseModel, PreparationNoise
from ._paulis import (
    among_all_paulis,
    coefficients_of_matrices,
    diagonal_part,
    matrices_of_paulis,
    paulis_of_parts,
    transfer_of_operators,
    walsh_hadamard,
)
from ._readout import as_strings, ReadoutError
from ._steps import fused, gate_stacks, make_steps, on_pair

# A state is the vector r of its expectation values, r_P = Tr P ρ, and an observable O = Σ_P c_P P
# the vector c: its value is c·r. A channel Λ takes r to R r with R_PQ = Tr P Λ(Q) / 2^k, since
# ρ = Σ_Q r_Q Q / 2^n. The value after circuit and noise is c·(R r) = (Rᵀ c)·r, and Rᵀ c is the
# observable Λ†(O): the Heisenberg picture is the same matrices, transposed, in reverse order. It
# depends on no state, so that one pass serves a batch of samples, and every step of a solve.


def _block_size(asked: int | None, n_qubits: int) -> int:
    """Wires of a block: three pay where it costs more to move the 4ⁿ numbers, more never do."""
    best = 2 if n_qubits < 9 else 3
    return min(best if asked is None else asked, 3, n_qubits)


class NoisyCircuit(eqx.Module):
    r"""A circuit with its noise as a channel, compiled for its angles: what
    [`eqx_qdeq.noise.noisy_circuit`][] makes.

    A density matrix is given by its expectation values $r_P = \mathrm{Tr}\,P\rho$ of all Pauli
    strings P, an array of shape `(4,) * n` with one axis for each wire, in the order 1, X, Y, Z.
    So `r[..., 0]` is the state of all wires but the last one, whatever became of that, and the
    outer product with `[1, 0, 0, 1]` adds a wire in |0⟩.

    **Attributes:**

    - `blocks`: the wires and gates of each block.
    - `matrices`: their Pauli transfer matrices.

    !!! example

        ```python
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        circuit = qdeq.Circuit(["Rx"], [[0]], [[0]])
        channel = qdeq.noise.noisy_circuit(circuit, jnp.array([0.3]))
        channel.push(jnp.array([1.0, 0.0, 0.0, 1.0])).round(2)  # [1., 0., -0.3, 0.96]
        ```
    """

    blocks: tuple[Block, ...] = eqx.field(static=True)
    matrices: list[Float[Array, "_ _"]]

    def push(self, vector: Float[Array, "..."]) -> Float[Array, "..."]:
        """A state (its Pauli expectation values, shape `(4,) * n`) through the circuit.

        **Raises:** `ValueError` for another shape.
        """
        if set(vector.shape) - {4} or any(w >= vector.ndim for b in self.blocks for w in b.wires):
            raise ValueError(
                "`vector` must have an axis of 4 expectation values (of 1, X, Y and Z) for each "
                f"wire of the circuit; got the shape {vector.shape}."
            )
        n, size = vector.ndim, 4.0**vector.ndim * vector.dtype.itemsize
        out = _through(self.blocks, self.matrices, vector, n)
        what = f"a density matrix on {n} wires"
        return within_memory(out, out, what, _REMEDY, bytes=2 * size)

    def pull(self, coefficients: Float[Array, "..."]) -> Float[Array, "..."]:
        """Observables (their Pauli coefficients, shape `(4,) * n + (m,)`) back through it."""
        turned = [matrix.T for matrix in self.matrices[::-1]]
        return _through(self.blocks[::-1], turned, coefficients, coefficients.ndim - 1)


_REMEDY = (
    "Take fewer wires, fewer samples at a time (`QuantumLayer.map` does), or "
    'engine="trajectories", which averages over state vectors.'
)


def _through(blocks: Sequence[Block], matrices: Sequence[Array], tensor: Array, n: int) -> Array:
    """Matrices on the axes of their blocks' wires, one after the other."""
    # A product leaves the block's axes in front. They are not moved back each time: `order` names
    # the wire of every axis, and one transposition at the end puts them right.
    order = list(range(n))
    for block, matrix in zip(blocks, matrices, strict=True):
        k, axes = len(block.wires), [order.index(w) for w in block.wires]
        tensor = tensordot(matrix.reshape((4,) * (2 * k)), tensor, (tuple(range(k, 2 * k)), axes))
        order = [*block.wires, *(w for w in order if w not in block.wires)]
    return tensor.transpose([*map(order.index, range(n)), *range(n, tensor.ndim)])


def noisy_circuit(
    circuit: Circuit,
    angles: Float[Array, " n_params"],
    noise: NoiseModel | None = None,
    block_size: int | None = None,
) -> NoisyCircuit:
    """A circuit and its noise as a channel on density matrices: does what depends on the angles
    and the rates alone.

    For states that are no pure ones, and wires of which a part goes on: environments, channels
    whose steady state is wanted. Layers do this themselves, with `QuantumLayer(..., noise=...)`.

    !!! example

        ```python
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        circuit = qdeq.Circuit(["Ry", "CX"], [[0], [0, 1]], [[0], []])
        channel = qdeq.noise.noisy_circuit(circuit, jnp.array([0.3]))
        zero = jnp.array([1.0, 0.0, 0.0, 1.0])
        state = channel.push(zero[:, None] * zero)  # of |00⟩
        print("⟨Z⟩ of wire 0:", state[3, 0])
        ```

    **Arguments:**

    - `circuit`: the circuit.
    - `angles`: its angles in radians, shape `(n_params,)`.
    - `noise`: the noise of its gates; none if left out. Readout and preparation are not used.
    - `block_size`: gates are multiplied into blocks on at most this many wires, 3 at most.

    **Returns:** an [`eqx_qdeq.noise.NoisyCircuit`][].

    **Raises:** `ValueError` for another number of angles; `TypeError` for what are no angles, and
    for other kinds of arguments.
    """
    check_instance("circuit", circuit, Circuit, "an eqx_qdeq.Circuit")
    noise = NoiseModel() if noise is None else noise
    check_instance("noise", noise, NoiseModel, "a NoiseModel, e.g. NoiseModel.depolarizing(0.01)")
    if block_size is not None:
        check_at_least("block_size", block_size, 1)
    return compile_noisy(circuit, _angles_of(circuit, angles), noise, block_size)


def _angles_of(circuit: Circuit, angles: Any) -> Float[Array, " n_params"]:
    angles = numbers(angles, name="angles")
    if angles.shape != (circuit.n_params,):
        raise ValueError(
            f"`angles` must have the shape ({circuit.n_params},), one for each of the circuit's "
            f"parameters; got the shape {angles.shape}."
        )
    return angles


def compile_noisy(
    circuit: Circuit,
    angles: Float[Array, " n_params"],
    noise: NoiseModel,
    block_size: int | None = None,
) -> NoisyCircuit:
    """As `noisy_circuit`. A section of a larger circuit may be given all angles of that."""
    steps = make_steps(circuit, noise)
    if not steps:
        return NoisyCircuit((), [])
    stacks = {}
    for k, (unitaries, kinds, which) in gate_stacks(circuit, angles, noise, steps).items():
        stacks[k] = transfer_of_operators(unitaries)
        if any(kinds):
            after = jnp.stack([transfer_of_channels(channels, k) for channels in kinds])
            after = after.astype(angles.dtype)[which]
            stacks[k] = matmul(after, stacks[k])
    return NoisyCircuit(*fused(steps, stacks, _block_size(block_size, circuit.n_qubits), 4))


def preparing_circuit(
    preparation: PreparationNoise | None, n_qubits: int, dtype: np.dtype
) -> NoisyCircuit:
    """The noise of the gates that prepare an amplitude encoding."""
    if preparation is None or not preparation.two_wire:
        return NoisyCircuit((), [])
    pairs = preparation.pairs(n_qubits)
    once = transfer_of_channels(preparation.two_wire, 2).astype(dtype)
    with jax.default_matmul_precision("highest"):
        powers = {times: jnp.linalg.matrix_power(once, times) for times in set(pairs.values())}
    both = [on_pair(powers[times], pair) for pair, times in pairs.items()]
    return NoisyCircuit(tuple(block for block, _ in both), [matrix for _, matrix in both])


def transfer_of_channels(channels: Channels, n_wires: int) -> Float[Array, "paulis paulis"]:
    """The transfer matrix of channels on so many wires, one after the other."""
    total = jnp.eye(4**n_wires)
    for channel in channels:
        # A channel on one wire acts on each: R ⊗ R ⊗ ….
        times = n_wires if channel.n_wires == 1 else 1
        matrix = ft.reduce(jnp.kron, [channel.transfer()] * times)
        total = dot(matrix, total)
    return total


def observables(
    measurement: AbstractMeasurement,
    n_qubits: int,
    readout: ReadoutError | None,
    dtype: np.dtype,
) -> Float[Array, "..."]:
    """Pauli coefficients of what is measured: of products of I and Z, shape `(2,) * n + (m,)`, if
    there are no others, else of all, shape `(4,) * n + (m,)`."""
    if (diagonals := measurement.diagonals(n_qubits)) is not None:
        # c_P = Tr(P O) / 2^n, and for a diagonal O the trace is a sum with the signs of a parity.
        values = np.moveaxis(np.asarray(diagonals, float), 0, -1)
        values = values.reshape((2,) * n_qubits + (-1,)) / 2**n_qubits
        out = jnp.asarray(walsh_hadamard(values, n_qubits), dtype)
    elif isinstance(measurement, PauliStrings | PauliSum):
        measurement.size(n_qubits)  # raises where a wire does not exist
        strings, weights = as_strings(measurement, n_qubits)
        index = np.zeros((n_qubits, len(strings)), int)
        for k, string in enumerate(strings):
            for wire, letter in string:
                index[wire, k] = "IXYZ".index(letter)
        # Added, since a string may stand in a sum twice.
        nothing = jnp.zeros((4,) * n_qubits + (len(weights),), dtype)
        out = nothing.at[tuple(index)].add(jnp.asarray(weights, dtype).T)
    else:
        eye = jnp.eye(2**n_qubits, dtype=complex_dtype(dtype))
        out = coefficients_of_matrices(measurement.apply(eye))
    return out if readout is None else readout.on_coefficients(out)


def pulled_back(
    circuits: tuple[NoisyCircuit, ...],
    measurement: AbstractMeasurement,
    n_qubits: int,
    readout: ReadoutError | None,
    dtype: np.dtype,
) -> Float[Array, "..."]:
    """Pauli coefficients of the observables before the circuits, shape `(4,) * n + (m,)`."""
    m = measurement.size(n_qubits)
    check_memory(
        4.0**n_qubits * m * np.dtype(dtype).itemsize,
        f"{m} observables on {n_qubits} wires under noise",
        _REMEDY,
    )
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
    return dot(vector.reshape(-1), flat)


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

    !!! example

        ```python
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        circuit = qdeq.circuits.hardware_efficient(n_qubits=2, depth=1)
        angles = jnp.zeros(circuit.n_params)
        noise = qdeq.noise.NoiseModel.depolarizing(0.1)
        forms = qdeq.noise.noisy_forms(circuit, angles, qdeq.PauliZ(), noise)
        forms.shape  # (2, 4, 4)
        ```

    **Arguments:**

    - `circuit`: the circuit.
    - `angles`: its angles in radians, shape `(n_params,)`.
    - `measurement`: what is read out.
    - `noise`: the noise, readout error and the preparation of amplitudes included.

    **Returns:**

    Hermitian matrices, shape `(m, 2**n, 2**n)`. For real amplitudes their real parts suffice.
    """
    n, angles = circuit.n_qubits, _angles_of(circuit, angles)
    parts = real_forms(
        _circuits(circuit, angles, noise), measurement, n, noise.readout, angles.dtype, n, False
    )
    return lax.complex(parts[0], parts[1])


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

    !!! example

        ```python
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        circuit = qdeq.circuits.hardware_efficient(n_qubits=2, depth=1)
        angles = jnp.zeros(circuit.n_params)
        noise = qdeq.noise.NoiseModel.depolarizing(0.1)
        state = jnp.array([1, 0, 0, 0], complex)
        qdeq.noise.density_values(circuit, angles, qdeq.PauliZ(), noise, state)
        # [0.87 0.847]
        ```

    **Arguments:**

    - `circuit`, `angles`, `measurement`, `noise`: as for [`eqx_qdeq.noise.noisy_forms`][].
    - `state`: the amplitudes that enter the circuit, shape `(2**n,)`.

    **Returns:**

    The measured values, shape `(m,)`.
    """
    angles = _angles_of(circuit, angles)
    vector = paulis_of_parts(jnp.stack([state.real, state.imag]))
    for part in _circuits(circuit, angles, noise):
        vector = part.push(vector.astype(angles.dtype))
    return values_of_paulis(vector, measurement, noise.readout)


def _circuits(
    circuit: Circuit, angles: Array, noise: NoiseModel
) -> tuple[NoisyCircuit, NoisyCircuit]:
    before = preparing_circuit(noise.preparation, circuit.n_qubits, angles.dtype)
    return before, compile_noisy(circuit, angles, noise)
