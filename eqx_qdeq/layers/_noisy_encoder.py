"""From features to the density matrix that enters a noisy circuit."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from .._precise import matmul
from ..encodings import AbstractStateEncoding, AngleEncoding
from ..noise import (
    Channels,
    NoiseModel,
    NoisyCircuit,
    paulis_of_parts,
    preparing_circuit,
    transfer_of_channels,
    transfer_of_operators,
)


class NoisyEncoder(eqx.Module):
    """An encoding that acts before the circuit, with the noise of its gates."""

    encoding: AbstractStateEncoding
    preparing: NoisyCircuit
    rotation: Float[Array, "4 4"] | None
    n_qubits: int = eqx.field(static=True)
    dtype: np.dtype = eqx.field(static=True)

    @property
    def is_product(self) -> bool:
        """Whether the wires are prepared each by itself."""
        return isinstance(self.encoding, AngleEncoding)

    def wires(self, x: Float[Array, " d"]) -> Float[Array, "n 4"]:
        """The Pauli expectation values of every wire of a product state."""
        assert isinstance(self.encoding, AngleEncoding)
        x = self.encoding.accept(x, self.n_qubits, self.dtype)
        # |0⟩⟨0| = (1 + Z) / 2: the expectation values of 1, X, Y and Z are 1, 0, 0 and 1. No gate
        # couples two wires, so each is 4 numbers until all rotations are done.
        start = jnp.tile(jnp.asarray([1.0, 0, 0, 1], x.dtype), (self.n_qubits, 1))
        for matrices in rotation_transfers(self.encoding, x, self.n_qubits, self.rotation):
            start = jnp.sum(matrices * start[:, None, :], axis=-1)
        return start

    def __call__(self, x: Float[Array, " d"]) -> Float[Array, "..."]:
        """The Pauli expectation values of the prepared density matrix, shape `(4,) * n`."""
        if self.is_product:
            out = outer(self.wires(x))
            return out.reshape((4,) * self.n_qubits)
        x = self.encoding.accept(x, self.n_qubits, self.dtype)
        # |u⟩⟨u| in the Pauli basis: real, and every channel is a real matrix there.
        u = self.encoding.amplitudes(x, self.n_qubits)
        dim = 2**self.n_qubits
        parts = u.reshape(2, dim) if self.encoding.is_complex else jnp.pad(u, (0, dim - len(u)))
        return self.preparing.push(paulis_of_parts(parts.reshape(-1, dim)))


def outer(wires: Float[Array, "k 4"]) -> Float[Array, " paulis"]:
    """The Pauli expectation values of a product state, in one vector."""
    out = jnp.ones(1, wires.dtype)
    for values in wires:
        out = jnp.outer(out, values).reshape(-1)
    return out


def make_encoder(
    encoding: AbstractStateEncoding, noise: NoiseModel, n_qubits: int, dtype: np.dtype
) -> NoisyEncoder:
    if isinstance(encoding, AngleEncoding):
        nothing = NoisyCircuit((), [])
        return NoisyEncoder(encoding, nothing, rotation_noise(noise, dtype), n_qubits, dtype)
    preparing = preparing_circuit(noise.preparation, n_qubits, dtype)
    return NoisyEncoder(encoding, preparing, None, n_qubits, dtype)


def rotation_channels(noise: NoiseModel) -> Channels:
    """What follows a rotation by a feature."""
    return () if noise.preparation is None else noise.preparation.one_wire


def rotation_noise(noise: NoiseModel, dtype: np.dtype) -> Float[Array, "4 4"] | None:
    channels = rotation_channels(noise)
    return transfer_of_channels(channels, 1).astype(dtype) if channels else None


def rotated_wires(encoding: AngleEncoding, in_size: int, n_qubits: int) -> np.ndarray:
    """Which wires turn in which round of the encoding, shape `(rounds, n)`."""
    # A rotation goes into the first round in which its wire is free (`AngleEncoding.rotations`): a
    # wire that turns k times turns in the rounds 0 to k - 1.
    counts = np.bincount(
        [wire for _, wire in encoding.resolve(in_size, n_qubits)], minlength=n_qubits
    )
    return np.arange(max(counts))[:, None] < counts


def rotation_transfers(
    encoding: AngleEncoding,
    x: Float[Array, " d"],
    n_qubits: int,
    noise: Float[Array, "4 4"] | None,
) -> list[Float[Array, "n 4 4"]]:
    """The encoding's rotations with the noise after each, round by round."""
    turns = rotated_wires(encoding, x.shape[0], n_qubits)
    out = []
    for rotations, which in zip(encoding.rotations(x, n_qubits), turns, strict=True):
        out.append(_followed(rotations, which, noise).astype(x.dtype))
    return out


def _followed(
    rotations: Complex[Array, "n 2 2"], which: np.ndarray, noise: Float[Array, "4 4"] | None
) -> Float[Array, "n 4 4"]:
    matrices = transfer_of_operators(rotations)
    if noise is None:
        return matrices
    # Where a wire rests there is no gate, and so no noise of one.
    noisy = matmul(noise.astype(matrices.dtype), matrices)
    return jnp.where(which[:, None, None], noisy, matrices)
