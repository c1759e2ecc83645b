"""Layers compiled from sections of a circuit: under noise, and where data enter between gates."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ..circuits import Circuit
from ..encodings import AbstractEncoding, AbstractStateEncoding, AngleEncoding, DataReuploading
from ..measurements import AbstractMeasurement
from ..noise import compile_noisy, NoiseModel
from ..simulate import best_block_size, gate_propagator, Gradient, make_plan
from ._compiled import AbstractPrepared, ReuploadingLayer
from ._density import (
    DensityLayer,
    FormsLayer,
    NoisyProgram,
    ProductLayer,
    ReuploadingDensityLayer,
)
from ._noisy_encoder import make_encoder, rotation_noise
from ._trajectories import draw, TrajectoryLayer

Section = tuple[Circuit, Float[Array, " _"]]


def cut(
    circuit: Circuit, angles: Float[Array, " n_params"], encoding: AbstractEncoding
) -> list[Section]:
    """The circuit between the uploads of data, with its angles. What stands before the first upload
    is a section of its own, possibly empty."""
    if not isinstance(encoding, DataReuploading):
        return [(circuit, angles)]
    rest, indices = circuit, np.arange(circuit.n_params)
    sections, done = [], 0
    for end in (*encoding.cuts(len(circuit)), len(circuit)):
        (head, head_index), (rest, rest_index) = rest.split(end - done)
        sections.append((head, angles[indices[np.array(head_index, int)]]))
        indices, done = indices[np.array(rest_index, int)], end
    return sections


def compile_reuploading(
    sections: Sequence[Section],
    encoding: DataReuploading,
    measurement: AbstractMeasurement,
    *,
    block_size: int | None,
    batch: int,
    gradient: Gradient,
) -> ReuploadingLayer:
    # Each section is applied as gates: its matrix would be paid for once, but the data between the
    # sections are others for every sample, so there is no matrix of the whole to save the next one.
    propagators = [
        gate_propagator(
            make_plan(circuit, block_size or best_block_size(circuit, batch)),
            angles,
            complex_input=True,
            gradient=gradient,
        )
        for circuit, angles in sections
    ]
    return ReuploadingLayer(propagators, encoding, measurement, sections[0][0].n_qubits)


def compile_noisily(
    sections: Sequence[Section],
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
) -> AbstractPrepared:
    """Does what depends on the angles and the rates alone."""
    n, dtype = sections[0][0].n_qubits, sections[0][1].dtype
    if engine == "trajectories":
        assert key is not None
        drawn = draw(key, n_trajectories, sections, noise, block_size=block_size, batch=batch)
        return TrajectoryLayer(drawn, encoding, measurement, noise, n, n_trajectories)
    circuits = [compile_noisy(circuit, angles, noise, block_size) for circuit, angles in sections]
    if isinstance(encoding, DataReuploading):
        return ReuploadingDensityLayer(
            circuits, encoding, rotation_noise(noise, dtype), measurement, noise.readout, n
        )
    assert isinstance(encoding, AbstractStateEncoding)
    program = NoisyProgram(make_encoder(encoding, noise, n, dtype), circuits[0], noise.readout)
    if engine == "density":
        return DensityLayer(program, measurement)
    # Angles prepare each wire by itself, and a product of n small factors is cheaper than a form.
    if isinstance(encoding, AngleEncoding):
        return ProductLayer(program.coefficients(measurement, dtype), program)
    size = encoding.n_amplitudes(in_size, n)
    return FormsLayer(program.forms(measurement, size, dtype), program)
