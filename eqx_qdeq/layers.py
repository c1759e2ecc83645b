"""QuantumLayer: encoding + circuit + measurement, as an Equinox module from (d,) to (m,)."""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Complex, Float, PRNGKeyArray

from ._engines import Engine, ENGINES, LayerPlan, make_propagator, plan_layer
from .circuits import Circuit
from .encodings import (
    AbstractEncoding,
    AbstractStateEncoding,
    AmplitudeEncoding,
    DataReuploading,
)
from .measurements import AbstractMeasurement
from .simulate import (
    AbstractPropagator,
    apply_wirewise,
    best_block_size,
    from_complex,
    gate_propagator,
    GatePropagator,
    Gradient,
    GRADIENTS,
    make_plan,
    to_complex,
)

_HIGHEST = lax.Precision.HIGHEST


class AbstractCompiledLayer(eqx.Module):
    """A layer whose θ-dependent work is done: call it as often as needed, e.g. in a solve."""

    @abc.abstractmethod
    def __call__(self, x: Float[Array, " d"]) -> Float[Array, " m"]:
        """The measured values for one feature vector."""

    @abc.abstractmethod
    def state(self, x: Float[Array, " d"]) -> Complex[Array, " dim"]:
        """The state that is measured, for one feature vector."""


def propagate(
    propagator: AbstractPropagator,
    encoding: AbstractStateEncoding,
    x: Float[Array, " d"],
    n_qubits: int,
) -> Float[Array, "2 dim"]:
    """Real and imaginary parts of the state after the circuit, for one feature vector."""
    encoding.check(x.shape[0], n_qubits)
    return propagator.vector(encoding.amplitudes(x, n_qubits))


class PropagatedLayer(AbstractCompiledLayer):
    """Encodes, propagates (by gates or by a matrix), measures."""

    propagator: AbstractPropagator
    encoding: AbstractStateEncoding
    measurement: AbstractMeasurement
    n_qubits: int = eqx.field(static=True)

    def __call__(self, x: Float[Array, " d"]) -> Float[Array, " m"]:
        parts = propagate(self.propagator, self.encoding, x, self.n_qubits)
        return self.measurement.values_of_parts(parts)

    def state(self, x: Float[Array, " d"]) -> Complex[Array, " dim"]:
        return to_complex(propagate(self.propagator, self.encoding, x, self.n_qubits))


class HeisenbergLayer(AbstractCompiledLayer):
    r"""Observables pulled back through the circuit: $f_q(x) = u(x)^\top A_q\,u(x)$ with the real
    symmetric $A_q = M^\top O_q M$."""

    forms: Float[Array, "m p p"]
    propagator: AbstractPropagator
    encoding: AbstractStateEncoding
    n_qubits: int = eqx.field(static=True)

    def __call__(self, x: Float[Array, " d"]) -> Float[Array, " m"]:
        self.encoding.check(x.shape[0], self.n_qubits)
        u = self.encoding.amplitudes(x, self.n_qubits)
        forms = self.forms[:, : u.shape[0], : u.shape[0]]
        return jnp.sum(jnp.dot(forms, u, precision=_HIGHEST) * u, axis=1)

    def state(self, x: Float[Array, " d"]) -> Complex[Array, " dim"]:
        return to_complex(propagate(self.propagator, self.encoding, x, self.n_qubits))


class ReuploadingLayer(AbstractCompiledLayer):
    """Alternates the data's rotations with sections of the circuit, on state vectors."""

    sections: list[GatePropagator]
    encoding: DataReuploading
    measurement: AbstractMeasurement
    n_qubits: int = eqx.field(static=True)

    def __call__(self, x: Float[Array, " d"]) -> Float[Array, " m"]:
        return self.measurement.values(self.state(x))

    def state(self, x: Float[Array, " d"]) -> Complex[Array, " dim"]:
        self.encoding.check(x.shape[0], self.n_qubits)
        dim = 2**self.n_qubits
        state = jnp.zeros((2, dim), x.dtype).at[0, 0].set(1)
        first, *sections = self.sections
        state = first(state.reshape(-1, 1))[..., 0]
        for section in sections:
            turned = self._rotate(x, to_complex(state))
            state = section(from_complex(turned).reshape(-1, 1))[..., 0]
        return to_complex(state)

    def _rotate(self, x: Array, state: Array) -> Array:
        for rotations in self.encoding.encoding.rotations(x, self.n_qubits):
            state = apply_wirewise(rotations, state)
        return state


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

    def plan(self, in_size: int, *, batch: int | None = None) -> LayerPlan:
        """How the layer is evaluated: engine, blocks, operations and bytes. `print` it.

        **Arguments:**

        - `in_size`: the number d of features.
        - `batch`: the number of samples that share the angles; `expected_batch` if left out.

        **Returns:**

        A [`eqx_qdeq.LayerPlan`][].

        **Raises:** `ValueError` for data re-uploading, which has no plan for the whole circuit.
        """
        encoding = self._state_encoding()
        encoding.check(in_size, self.n_qubits)
        return plan_layer(
            self.circuit,
            encoding.n_amplitudes(in_size, self.n_qubits),
            self.out_size,
            self.expected_batch if batch is None else batch,
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
        encoding.check(in_size, self.n_qubits)
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
        if not isinstance(encoding, AmplitudeEncoding):
            # The layout of angles may fix how many there are; their number changes nothing here.
            size = 1 if in_size is None else in_size
        p = encoding.n_amplitudes(size, self.n_qubits)
        batch = self.expected_batch * evaluations
        propagator = self.propagator(size, evaluations=evaluations)
        if self.plan(size, batch=batch).engine == "heisenberg":
            columns = propagator(jnp.eye(p, dtype=self.angles.dtype))
            forms = quadratic_forms(self.measurement, columns, columns)
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


def quadratic_forms(
    measurement: AbstractMeasurement,
    left: Float[Array, "2 dim a"],
    right: Float[Array, "2 dim b"],
) -> Float[Array, "m a b"]:
    r"""$\mathrm{Re}\,\langle l_a|O_q|r_b\rangle$ for all columns of `left` and `right`."""
    if left.shape[-1] > right.shape[-1]:
        # The observables are Hermitian: apply them to the side with fewer columns.
        return jnp.swapaxes(quadratic_forms(measurement, right, left), 1, 2)
    _, dim, a = left.shape
    signs = measurement.diagonals(dim.bit_length() - 1)
    if signs is None:
        applied = jnp.moveaxis(measurement.apply(to_complex(left)), 0, 1)
        stacked = from_complex(applied)
    else:
        stacked = left[:, :, None, :] * jnp.asarray(signs.T, left.dtype)[:, :, None]
    # One matrix product, with the states' amplitudes in front as both sides have them.
    flat = lax.dot_general(
        stacked.reshape(2 * dim, -1),
        right.reshape(2 * dim, -1),
        (((0,), (0,)), ((), ())),
        precision=_HIGHEST,
    )
    return flat.reshape(-1, a, right.shape[-1])
