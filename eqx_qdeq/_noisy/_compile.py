"""Which engine evaluates a layer under noise."""

from collections.abc import Sequence

from jaxtyping import Array, PRNGKeyArray

from .._compiled import AbstractCompiledLayer
from ..circuits import Circuit
from ..encodings import AbstractEncoding, AbstractStateEncoding, AngleEncoding, DataReuploading
from ..measurements import AbstractMeasurement
from ..noise import NoiseModel, noisy_circuit
from ._density import (
    DensityLayer,
    FormsLayer,
    NoisyProgram,
    ProductLayer,
    ReuploadingDensityLayer,
)
from ._encoder import make_encoder, rotation_noise
from ._trajectories import draw, TrajectoryLayer

NOISY_ENGINES = ("heisenberg", "density", "trajectories")

# A density matrix or a set of observables larger than this is not chosen.
_MEMORY = 2**30


def choose_engine(engine: str, encoding: AbstractEncoding, n_qubits: int, n_values: int) -> str:
    """The engine that was asked for, or the one that suits.

    **Raises:** `ValueError` if density matrices would not fit.
    """
    if engine != "auto":
        return engine
    bytes_of_matrix = 8 * 4**n_qubits
    if isinstance(encoding, AbstractStateEncoding) and bytes_of_matrix * n_values <= _MEMORY:
        return "heisenberg"
    if bytes_of_matrix <= _MEMORY:
        return "density"
    raise ValueError(
        f"a density matrix on {n_qubits} wires has {4**n_qubits} entries, too many; use "
        "engine='trajectories', which averages over state vectors."
    )


def compile_noisy(
    sections: Sequence[tuple[Circuit, Array]],
    encoding: AbstractEncoding,
    measurement: AbstractMeasurement,
    noise: NoiseModel,
    in_size: int,
    *,
    engine: str,
    key: PRNGKeyArray | None,
    n_trajectories: int,
    block_size: int | None,
    batch: int,
) -> AbstractCompiledLayer:
    """Does what depends on the angles and the rates alone.

    `sections` are the circuit with its angles, cut where data are uploaded again; `engine` is one
    of `NOISY_ENGINES`.
    """
    n, dtype = sections[0][0].n_qubits, sections[0][1].dtype
    if engine == "trajectories":
        assert key is not None
        drawn = draw(key, n_trajectories, sections, noise, block_size=block_size, batch=batch)
        return TrajectoryLayer(drawn, encoding, measurement, noise, n, n_trajectories)
    circuits = [noisy_circuit(circuit, angles, noise, block_size) for circuit, angles in sections]
    if isinstance(encoding, DataReuploading):
        return ReuploadingDensityLayer(
            circuits, encoding, rotation_noise(noise, dtype), measurement, noise.readout, n
        )
    assert isinstance(encoding, AbstractStateEncoding)
    program = NoisyProgram(make_encoder(encoding, noise, n, dtype), circuits[0], noise.readout)
    if engine == "density":
        return DensityLayer(program, measurement)
    if isinstance(encoding, AngleEncoding):
        return ProductLayer(program.coefficients(measurement, dtype), program)
    size = encoding.n_amplitudes(in_size, n)
    return FormsLayer(program.forms(measurement, size, dtype), program)
