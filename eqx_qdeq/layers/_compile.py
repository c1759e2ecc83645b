"""How a layer is compiled: which engine does the work that depends on the angles alone."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ..circuits import Circuit
from ..encodings import AbstractEncoding, AbstractStateEncoding, AngleEncoding, DataReuploading
from ..measurements import AbstractMeasurement
from ..noise import NoiseModel, noisy_circuit
from ..simulate import best_block_size, gate_propagator, make_plan, MatrixPropagator
from ._compiled import (
    AbstractCompiledLayer,
    HeisenbergLayer,
    PropagatedLayer,
    quadratic_forms,
    ReuploadingLayer,
)
from ._density import DensityLayer, FormsLayer, NoisyProgram, ProductLayer, ReuploadingDensityLayer
from ._noisy_encoder import make_encoder, rotation_noise
from ._plan import ENGINES
from ._trajectories import draw, TrajectoryLayer

# `layer` is a QuantumLayer, whose module imports this one.


def check_engine(engine: str, noise: NoiseModel | None, encoding: AbstractEncoding) -> None:
    """Raises a `ValueError` for an engine that does not exist, or cannot do what is asked."""
    known = (*ENGINES, *(name for name in NOISY_ENGINES if name not in ENGINES))
    if engine not in known:
        raise ValueError(f"`engine` must be one of {', '.join(known)}; got {engine!r}.")
    if noise is None and engine not in ENGINES:
        raise ValueError(
            f"engine {engine!r} is for circuits with noise; give `noise`, e.g. noise=NoiseModel(), "
            "or use another engine."
        )
    if noise is not None and engine not in ("auto", *NOISY_ENGINES):
        raise ValueError(
            f"engine {engine!r} computes pure states, which noise does not leave; use one of "
            f"auto, {', '.join(NOISY_ENGINES)}."
        )
    if isinstance(encoding, DataReuploading) and engine in ("operator", "heisenberg"):
        others = "'statevector'" if noise is None else "'density' or 'trajectories'"
        raise ValueError(
            f"data re-uploading puts the data between the gates, so engine {engine!r} cannot "
            f"apply; use {others}, or 'auto'."
        )


def compile_layer(
    layer: Any, in_size: int | None, evaluations: int, key: PRNGKeyArray | None
) -> AbstractCompiledLayer:
    """See [`eqx_qdeq.QuantumLayer.compile`][]."""
    n, encoding = layer.n_qubits, layer.encoding
    size = 1 << n if in_size is None else in_size
    if layer.noise is not None:
        return _compile_noisy(layer, layer.noise, size, key)
    check_engine(layer.engine, None, encoding)
    if isinstance(encoding, DataReuploading):
        return _compile_reuploading(layer, encoding)
    assert isinstance(encoding, AbstractStateEncoding)
    propagator = layer.propagator(size, evaluations=evaluations)
    if layer.plan_for(size, layer.expected_batch * evaluations).engine == "heisenberg":
        assert isinstance(propagator, MatrixPropagator)
        forms = quadratic_forms(layer.measurement, propagator.matrix, propagator.matrix)
        return HeisenbergLayer(forms, propagator, encoding, n)
    return PropagatedLayer(propagator, encoding, layer.measurement, n)


def _compile_noisy(
    layer: Any, noise: NoiseModel, in_size: int, key: PRNGKeyArray | None
) -> AbstractCompiledLayer:
    return compile_noisy(
        _sections(layer),
        layer.encoding,
        layer.measurement,
        noise,
        in_size,
        engine=layer.noisy_engine(),
        key=layer.own_key() if key is None else key,
        n_trajectories=layer.n_trajectories,
        block_size=layer.block_size,
        batch=layer.expected_batch,
    )


def _sections(layer: Any) -> list[tuple[Circuit, Array]]:
    """The circuit between the uploads of data, with its angles. What stands before the first upload
    is a section of its own, possibly empty."""
    circuit, encoding = layer.circuit, layer.encoding
    if not isinstance(encoding, DataReuploading):
        return [(circuit, layer.angles)]
    rest, indices = circuit, np.arange(circuit.n_params)
    sections, done = [], 0
    for cut in (*encoding.cuts(len(circuit)), len(circuit)):
        (head, head_index), (rest, rest_index) = rest.split(cut - done)
        sections.append((head, layer.angles[indices[np.array(head_index, int)]]))
        indices, done = indices[np.array(rest_index, int)], cut
    return sections


def _compile_reuploading(layer: Any, encoding: DataReuploading) -> ReuploadingLayer:
    sections = [
        gate_propagator(
            make_plan(head, layer.block_size or best_block_size(head, layer.expected_batch)),
            angles,
            complex_input=True,
            gradient=layer.gradient,
        )
        for head, angles in _sections(layer)
    ]
    return ReuploadingLayer(sections, encoding, layer.measurement, layer.n_qubits)


def samples_per_chunk(layer: Any, x: Float[Array, "batch d"], memory: int) -> int:
    """How many samples' states fit into so many bytes."""
    states = 4  # two while a block is applied, and their cotangents
    gates, dim = len(layer.circuit), 2**layer.n_qubits
    if layer.noise is not None:
        numbers = {
            "heisenberg": states * dim * layer.out_size,
            "density": dim**2 * (states + gates),
            "trajectories": layer.n_trajectories * 2 * dim * (states + gates),
        }[layer.noisy_engine()]
        return max(1, int(memory // (x.dtype.itemsize * numbers)))
    if isinstance(layer.encoding, DataReuploading):
        states += gates
    else:
        plan = layer.plan(x.shape[1])
        if plan.engine == "statevector" and layer.gradient == "stored":
            states += 2 * len(plan.plan.blocks) * plan.plan.n_sections
    return max(1, int(memory // (states * 2 * x.dtype.itemsize * dim)))


# --- Which engine evaluates a layer under noise. ---


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
