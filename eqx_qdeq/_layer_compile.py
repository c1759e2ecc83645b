"""How a layer is compiled: which engine does the work that depends on the angles alone."""

from typing import Any

import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ._compiled import (
    AbstractCompiledLayer,
    HeisenbergLayer,
    PropagatedLayer,
    quadratic_forms,
    ReuploadingLayer,
)
from ._engines import ENGINES
from ._noisy import compile_noisy, NOISY_ENGINES
from .circuits import Circuit
from .encodings import AbstractEncoding, AbstractStateEncoding, DataReuploading
from .noise import NoiseModel
from .simulate import best_block_size, gate_propagator, make_plan, MatrixPropagator

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
