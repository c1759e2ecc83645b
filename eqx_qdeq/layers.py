"""QuantumLayer: encoding + circuit + measurement, as an Equinox module from (d,) to (m,)."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray

from ._compiled import (
    AbstractCompiledLayer as AbstractCompiledLayer,
    HeisenbergLayer,
    PropagatedLayer,
    quadratic_forms,
    ReuploadingLayer,
)
from ._engines import Engine, ENGINES, LayerPlan, make_propagator, plan_layer
from .circuits import Circuit
from .encodings import (
    AbstractEncoding,
    AbstractStateEncoding,
    DataReuploading,
)
from .measurements import AbstractMeasurement
from .simulate import (
    AbstractPropagator,
    best_block_size,
    gate_propagator,
    make_plan,
    MatrixPropagator,
)
from .simulate._run import Gradient, GRADIENTS


class QuantumLayer(eqx.Module):
    r"""A parametrised quantum circuit as a function of a feature vector:

    $$f_q(x) = \langle\psi(x)|\,U(\theta)^\dagger O_q\,U(\theta)\,|\psi(x)\rangle$$

    A layer takes one sample of shape `(d,)` to the m measured values; batch it with `jax.vmap`.
    Whatever depends on the angles alone is then computed once for the whole batch.

    ??? cite "Reference"

        K. Mitarai, M. Negoro, M. Kitagawa and K. Fujii, "Quantum circuit learning", Phys. Rev. A
        98, 032309 (2018).
    """

    angles: Float[Array, " n_params"]
    circuit: Circuit = eqx.field(static=True)
    encoding: AbstractEncoding
    measurement: AbstractMeasurement
    engine: Engine = eqx.field(static=True)
    block_size: int | None = eqx.field(static=True)
    expected_batch: int = eqx.field(static=True)
    gradient: Gradient = eqx.field(static=True)

    def __init__(
        self,
        circuit: Circuit,
        encoding: AbstractEncoding,
        measurement: AbstractMeasurement,
        *,
        key: PRNGKeyArray,
        engine: str = "auto",
        block_size: int | None = None,
        expected_batch: int = 256,
        gradient: str = "stored",
    ):
        if engine not in ENGINES:
            raise ValueError(f"`engine` must be one of {', '.join(ENGINES)}; got {engine!r}.")
        if block_size is not None and block_size < 1:
            raise ValueError(f"`block_size` must be at least 1 wire; got {block_size}.")
        if gradient not in GRADIENTS:
            raise ValueError(f"`gradient` must be one of {', '.join(GRADIENTS)}; got {gradient!r}.")
        if expected_batch < 1:
            raise ValueError(f"`expected_batch` must be at least 1 sample; got {expected_batch}.")
        if isinstance(encoding, DataReuploading):
            if engine not in ("auto", "statevector"):
                raise ValueError(
                    f"data re-uploading puts the data between the gates, so engine {engine!r} "
                    "cannot apply; use 'statevector' or 'auto'."
                )
            encoding.cuts(len(circuit))
        measurement.size(circuit.n_qubits)
        dtype = jnp.result_type(float)
        self.angles = jax.random.uniform(
            key, (circuit.n_params,), dtype, minval=-jnp.pi, maxval=jnp.pi
        )
        self.circuit = circuit
        self.encoding = encoding
        self.measurement = measurement
        self.engine = engine  # pyright: ignore[reportAttributeAccessIssue]
        self.block_size = block_size
        self.expected_batch = expected_batch
        self.gradient = gradient  # pyright: ignore[reportAttributeAccessIssue]

    @property
    def n_qubits(self) -> int:
        """The number of wires."""
        return self.circuit.n_qubits

    @property
    def out_size(self) -> int:
        """The number m of measured values."""
        return self.measurement.size(self.n_qubits)

    def __call__(
        self, x: Float[Array, " d"], *, key: PRNGKeyArray | None = None
    ) -> Float[Array, " m"]:
        """**Arguments:**

        - `x`: one sample's features, shape `(d,)`.
        - `key`: ignored; there so that a layer fits in `equinox.nn.Sequential`.

        **Returns:**

        The measured values, shape `(m,)`.

        **Raises:** `ValueError` if `d` does not fit the encoding and the wires.
        """
        return self.compile(x.shape[0])(x)

    def map(self, x: Float[Array, "batch d"], *, memory: int = 2**30) -> Float[Array, "batch m"]:
        """The values for a batch, in chunks that keep within a memory limit.

        As `jax.vmap(layer)(x)`, for batches of states that do not fit. Going backwards, the
        states of a chunk are computed again.

        **Arguments:**

        - `x`: the features of all samples, shape `(batch, d)`.
        - `memory`: bytes for the states of one chunk, and those that its gradient keeps. A chunk
            has at least one sample.

        **Returns:**

        The measured values, shape `(batch, m)`.

        **Raises:** `ValueError` if `memory` is not positive.
        """
        if memory < 1:
            raise ValueError(f"`memory` must be a positive number of bytes; got {memory}.")
        layer = self.compile(x.shape[1])
        return lax.map(jax.checkpoint(lambda one: layer(one)), x, batch_size=self._chunk(x, memory))

    def _chunk(self, x: Float[Array, "batch d"], memory: int) -> int:
        """How many samples' states fit into so many bytes."""
        states = 4  # two while a block is applied, and their cotangents
        if isinstance(self.encoding, DataReuploading):
            states += len(self.circuit)
        else:
            plan = self.plan(x.shape[1])
            if plan.engine == "statevector" and self.gradient == "stored":
                states += 2 * len(plan.plan.blocks) * plan.plan.n_sections
        return max(1, int(memory // (states * 2 * x.dtype.itemsize * 2**self.n_qubits)))

    def plan(self, in_size: int, *, batch: int | None = None) -> LayerPlan:
        """How the layer is evaluated: engine, blocks, operations and bytes. `print` it.

        **Arguments:**

        - `in_size`: the number d of features.
        - `batch`: the number of samples that share the angles; `expected_batch` if left out.

        **Returns:**

        A [`eqx_qdeq.LayerPlan`][].

        **Raises:** `ValueError` for data re-uploading, which has no plan for the whole circuit.
        """
        self._state_encoding().check(in_size, self.n_qubits)
        return self._plan(in_size, self.expected_batch if batch is None else batch)

    def _plan(self, in_size: int, samples: int) -> LayerPlan:
        encoding = self._state_encoding()
        return plan_layer(
            self.circuit,
            encoding.n_amplitudes(in_size, self.n_qubits),
            self.out_size,
            samples,
            complex_input=encoding.is_complex,
            engine=self.engine,
            block_size=self.block_size,
        )

    def _state_encoding(self) -> AbstractStateEncoding:
        if not isinstance(self.encoding, AbstractStateEncoding):
            raise ValueError(
                "data re-uploading puts the data between the gates: the circuit is not one linear "
                "map of the encoded data, and its sections are applied as state vectors."
            )
        return self.encoding

    def propagator(self, in_size: int, *, evaluations: int = 1) -> AbstractPropagator:
        """The circuit as a real-linear map on the encoding's amplitudes.

        Computes what depends on the angles alone; `in_size` is the number of features,
        `evaluations` how often the map will be used for each sample.
        """
        encoding = self._state_encoding()
        return make_propagator(
            self.circuit,
            self.angles,
            encoding.n_amplitudes(in_size, self.n_qubits),
            complex_input=encoding.is_complex,
            engine=self.engine,
            block_size=self.block_size,
            n_values=self.out_size,
            samples=self.expected_batch * evaluations,
            gradient=self.gradient,
        )

    def compile(self, in_size: int | None = None, *, evaluations: int = 1) -> AbstractCompiledLayer:
        """Does the work that depends on the angles alone.

        **Arguments:**

        - `in_size`: the number d of features that the compiled layer will be given. Amplitude
            encoding then skips the amplitudes that are always zero; left out, all 2ⁿ are kept.
        - `evaluations`: how often it will be called for each sample, e.g. in a solve.

        **Returns:**

        A callable `(d,) -> (m,)`. Inside an equilibrium solve, or for many samples, call it
        instead of the layer.
        """
        encoding = self.encoding
        if isinstance(encoding, DataReuploading):
            return self._compile_reuploading(encoding)
        assert isinstance(encoding, AbstractStateEncoding)
        size = 1 << self.n_qubits if in_size is None else in_size
        propagator = self.propagator(size, evaluations=evaluations)
        if self._plan(size, self.expected_batch * evaluations).engine == "heisenberg":
            assert isinstance(propagator, MatrixPropagator)
            forms = quadratic_forms(self.measurement, propagator.matrix, propagator.matrix)
            return HeisenbergLayer(forms, propagator, encoding, self.n_qubits)
        return PropagatedLayer(propagator, encoding, self.measurement, self.n_qubits)

    def _compile_reuploading(self, encoding: DataReuploading) -> ReuploadingLayer:
        cuts = (*encoding.cuts(len(self.circuit)), len(self.circuit))
        # What stands before the first upload is a section of its own, possibly empty.
        rest, indices = self.circuit, np.arange(self.circuit.n_params)
        sections, done = [], 0
        for cut in cuts:
            (head, head_index), (rest, rest_index) = rest.split(cut - done)
            sections.append(
                gate_propagator(
                    make_plan(head, self.block_size or best_block_size(head, self.expected_batch)),
                    self.angles[indices[np.array(head_index, int)]],
                    complex_input=True,
                    gradient=self.gradient,
                )
            )
            indices, done = indices[np.array(rest_index, int)], cut
        return ReuploadingLayer(sections, encoding, self.measurement, self.n_qubits)


QuantumLayer.__init__.__doc__ = """**Arguments:**

- `circuit`: the parametrised circuit.
- `encoding`: how a feature vector becomes a state.
- `measurement`: what is read out.
- `key`: for the initial angles, uniform in (-π, π) radians. They are the only trainable leaf.
- `engine`: how states are computed: `"statevector"` applies the fused gates to every sample,
    `"operator"` computes the circuit's matrix once for the angles, `"heisenberg"` pulls the
    observables back through the circuit once; `"auto"` takes the one with the lowest estimated
    cost, which [`eqx_qdeq.QuantumLayer.plan`][] tells.
- `block_size`: gates are fused into blocks on at most this many wires; if left out, as many as
    are estimated to be fastest.
- `expected_batch`: the number of samples that will share the angles, for these estimates.
    Nothing depends on it but speed.
- `gradient`: what reverse mode keeps where gates are applied to states: `"stored"` (the states
    before every block), `"checkpointed"` (those before every section of a periodic circuit) or
    `"uncomputed"` (none: blocks are undone by their adjoints; then neither forward mode nor second
    derivatives work, so not within an equilibrium with [`eqx_qdeq.ImplicitAdjoint`][]).

**Raises:** `ValueError` if a measured wire does not exist, the engine cannot serve the encoding,
or a number is not positive.
"""
