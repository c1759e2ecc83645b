"""QuantumLayer: encoding + circuit + measurement, as an Equinox module from (d,) to (m,)."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import wadler_lindig as wl
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray, UInt32

from .._amplitudes import enter, n_parts
from .._checks import check_at_least, check_choice, check_instance
from .._inputs import check_key, numbers, precision
from .._local import local
from .._peak import memory
from .._trees import doc_of_changes
from ..circuits import Circuit
from ..encodings import AbstractEncoding, AbstractStateEncoding, DataReuploading
from ..measurements import AbstractMeasurement, quadratic_forms
from ..noise import NoiseModel
from ..simulate import AbstractPropagator, Gradient, GRADIENTS, MatrixPropagator
from ._compile import compile_noisily, compile_reuploading, cut
from ._compiled import AbstractPrepared, HeisenbergLayer, PropagatedLayer
from ._device import AbstractDevice, DeviceLayer
from ._parts import check_parted, PartedCircuit, PartedLayer
from ._plan import check_engine, choose_noisy_engine, Engine, LayerPlan, make_propagator, plan_layer


class QuantumLayer(eqx.Module):
    r"""A parametrized quantum circuit as a function of a feature vector:

    $$f_q(x) = \langle\psi(x)|\,U(\theta)^\dagger O_q\,U(\theta)\,|\psi(x)\rangle$$

    A layer takes one sample of shape `(d,)` to the m measured values; batch it with `jax.vmap`.
    Whatever depends on the angles alone is then computed once for the whole batch.

    With `noise` it is $f_q(x) = \mathrm{Tr}\,O_q\,\Lambda_\theta(\rho(x))$, with every gate and the
    channels after it in $\Lambda_\theta$.

    !!! example

        ```python
        import jax
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        layer = qdeq.QuantumLayer(
            qdeq.circuits.hardware_efficient(n_qubits=2, depth=1),
            qdeq.AngleEncoding(),
            qdeq.PauliZ(),
            key=jax.random.key(0),
        )
        layer.angles.shape  # (4,)
        layer([0.1, 0.2]).shape  # (2,)
        jax.vmap(layer)(jnp.ones((5, 2))).shape  # (5, 2)
        ```

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
    noise: NoiseModel | None
    n_trajectories: int = eqx.field(static=True)
    trajectory_key: UInt32[Array, "..."] | None
    device: AbstractDevice | None
    before: tuple[str, int] | None = eqx.field(static=True, repr=False)

    def __init__(
        self,
        circuit: Circuit,
        encoding: AbstractEncoding,
        measurement: AbstractMeasurement,
        *,
        key: PRNGKeyArray | None = None,
        angles: Float[Array | np.ndarray, " n_params"] | None = None,
        engine: str = "auto",
        block_size: int | None = None,
        expected_batch: int = 256,
        gradient: str = "stored",
        noise: NoiseModel | None = None,
        n_trajectories: int = 128,
        trajectory_key: UInt32[Array, "..."] | None = None,
        device: AbstractDevice | None = None,
        before: tuple[str, int] | None = None,
    ):
        for name, value, kind, wanted in (
            ("circuit", circuit, Circuit, "a Circuit, e.g. `circuits.paper(4)`"),
            ("encoding", encoding, AbstractEncoding, "an encoding, e.g. `AmplitudeEncoding()`"),
            ("measurement", measurement, AbstractMeasurement, "a measurement, e.g. `PauliZ()`"),
            (
                "noise",
                noise,
                NoiseModel | None,
                "a NoiseModel, e.g. `NoiseModel.depolarizing(0.02)`",
            ),
            ("device", device, AbstractDevice | None, "a device, e.g. `SamplingDevice(1000)`"),
        ):
            check_instance(name, value, kind, wanted)
        check_engine(engine, encoding, noisy=noise is not None)
        if noise is not None:
            noise.check(circuit.n_qubits)
        check_choice("gradient", gradient, GRADIENTS)
        if block_size is not None:
            check_at_least("block_size", block_size, 1)
        check_at_least("expected_batch", expected_batch, 1)
        check_at_least("n_trajectories", n_trajectories, 1)
        if isinstance(encoding, DataReuploading):
            encoding.cuts(len(circuit))
        measurement.size(circuit.n_qubits)
        if angles is None:
            if key is None:
                raise TypeError(
                    "a QuantumLayer needs a `key` for its initial angles, e.g. jax.random.key(0), "
                    "or the `angles` themselves."
                )
            check_key("key", key)
            shape, dtype = (circuit.n_params,), jnp.result_type(float)
            angles = jax.random.uniform(key, shape, dtype, minval=-jnp.pi, maxval=jnp.pi)
        else:
            angles = numbers(angles, name="angles")
            if angles.shape != (circuit.n_params,):
                raise ValueError(
                    f"`angles` must have shape ({circuit.n_params},), one for each parameter of "
                    f"the circuit; got {angles.shape}."
                )
        if engine == "trajectories" and trajectory_key is None:
            key = jax.random.key(0) if key is None else key
            # As plain numbers, which can be saved and compared like other leaves.
            trajectory_key = jax.random.key_data(jax.random.fold_in(key, 1))
        self.angles = angles
        self.circuit = circuit
        self.encoding = encoding
        self.measurement = measurement
        self.engine = engine  # pyright: ignore[reportAttributeAccessIssue]
        self.block_size = block_size
        self.expected_batch = expected_batch
        self.gradient = gradient  # pyright: ignore[reportAttributeAccessIssue]
        self.noise = noise
        self.n_trajectories = n_trajectories
        self.trajectory_key = trajectory_key
        self.device = device
        self.before = before
        if device is not None:
            device.check(self.replace(device=None))

    def __pdoc__(self, **kwargs: Any) -> wl.AbstractDoc:
        return doc_of_changes(self, **kwargs)

    def replace(self, **changes: Any) -> "QuantumLayer":
        """The layer with some of the constructor's arguments changed, also those that
        `equinox.tree_at` cannot reach; the angles stay.

        !!! example

            ```python
            import jax
            import eqx_qdeq as qdeq

            circuit = qdeq.circuits.hardware_efficient(n_qubits=2, depth=1)
            layer = qdeq.QuantumLayer(
                circuit, qdeq.AmplitudeEncoding(), qdeq.PauliZ(), key=jax.random.key(0)
            )
            of_pairs = layer.replace(measurement=qdeq.z_and_zz(2))
            ```

        **Raises:** as the constructor.
        """
        # All fields are arguments of the constructor by the same name, so its checks hold again.
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return QuantumLayer(**(fields | changes))

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

        - `x`: one sample's features, shape `(d,)`. Real numbers of any kind, also in lists and
            NumPy arrays, are taken in the precision of the angles.
        - `key`: for the errors of trajectories, or the shots of a device; the same ones are drawn
            in every call if it is left out. Exact engines ignore it.

        **Returns:**

        The measured values, shape `(m,)`.

        **Raises:** `ValueError` if `d` does not fit the encoding and the wires, or for a batch;
        `TypeError` for complex features.
        """
        # Before what is compiled: a list of numbers would be compiled for these numbers.
        accepted = self.accept(x)
        # (With types that tell of devices, XLA ends the process where trajectories are drawn.)
        values = QuantumLayer._values if self.noise is None else local(QuantumLayer._values)
        return values(self, accepted, key)

    @eqx.filter_jit
    def _values(self, x: Float[Array, " d"], key: PRNGKeyArray | None) -> Float[Array, " m"]:
        return self.compile(x.shape[0], key=key)(x)

    def accept(self, x: Any) -> Float[Array, " d"]:
        """The features of one sample, in the precision of the angles.

        **Raises:** as a call.
        """
        return self.encoding.accept(x, self.n_qubits, precision(self.angles))

    def with_noise(
        self,
        noise: NoiseModel | None,
        *,
        engine: str = "auto",
        n_trajectories: int | None = None,
        key: PRNGKeyArray | None = None,
    ) -> "QuantumLayer":
        """The layer with the same angles and another noise, e.g. to evaluate what was trained.

        **Arguments:**

        - `noise`: the noise; none with `None`.
        - `engine`, `n_trajectories`: as for the layer.
        - `key`: for the errors of trajectories, the same ones in every call.

        **Raises:** as the layer.
        """
        return self.replace(
            noise=noise,
            engine=engine,
            n_trajectories=self.n_trajectories if n_trajectories is None else n_trajectories,
            trajectory_key=None,
            key=key,
        )

    def noisy_engine(self) -> str:
        """The engine that evaluates the layer under its noise.

        **Raises:** `ValueError` if the engine that was asked for cannot, or none is small enough.
        """
        check_engine(self.engine, self.encoding, noisy=True)
        return choose_noisy_engine(self.engine, self.encoding, self.n_qubits, self.out_size)

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
        x = numbers(x, precision(self.angles))
        if x.ndim != 2 or x.size == 0:
            raise ValueError(
                f"`x` must be a batch of samples, of shape (batch, d); got the shape {x.shape}. "
                "For one sample call the layer itself."
            )
        return self._map(x, memory)

    @eqx.filter_jit
    def _map(self, x: Float[Array, "batch d"], memory: int) -> Float[Array, "batch m"]:
        layer = self.compile(x.shape[1])
        return lax.map(
            jax.checkpoint(lambda one: layer(one)), x, batch_size=self._samples_per_chunk(x, memory)
        )

    def plan(self, in_size: int, *, batch: int | None = None) -> LayerPlan:
        """How the layer is evaluated: engine, blocks, operations, and the memory of a training
        step. `print` it. [`eqx_qdeq.memory`][] tells the latter of any layer, and of equilibria.

        **Arguments:**

        - `in_size`: the number d of features.
        - `batch`: the number of samples that share the angles; `expected_batch` if left out.

        **Returns:**

        A [`eqx_qdeq.LayerPlan`][].

        **Raises:** `ValueError` for data re-uploading, which has no plan for the whole circuit, and
        under noise, where gates are not unitary.
        """
        self._refuse_noise("plan")
        self._state_encoding().check(in_size, self.n_qubits)
        batch = self.expected_batch if batch is None else batch
        # The angles may be those of an ensemble; what is planned is one layer.
        angles = jnp.zeros(self.circuit.n_params, precision(self.angles))
        layer = eqx.tree_at(lambda l: l.angles, self, angles).replace(expected_batch=batch)
        needed = memory(layer, jax.ShapeDtypeStruct((in_size,), angles.dtype), batch=batch)
        return dataclasses.replace(self.plan_for(in_size, batch), memory=needed)

    def plan_for(self, in_size: int, samples: int) -> LayerPlan:
        """The plan for so many samples, whatever `in_size` means to the encoding."""
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

    def _refuse_noise(self, what: str) -> None:
        if self.noise is not None:
            raise ValueError(
                f"`{what}` is about the noiseless circuit, and this layer has noise; use "
                "`layer.with_noise(None)`. (`eqx_qdeq.memory(layer, x)` tells its bytes as well.)"
            )

    def propagator(self, in_size: int, *, evaluations: int = 1) -> AbstractPropagator:
        """The circuit as a real-linear map on the encoding's amplitudes.

        Computes what depends on the angles alone; `in_size` is the number of features,
        `evaluations` how often the map will be used for each sample.
        """
        self._refuse_noise("propagator")
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

    @eqx.filter_jit
    def compile(
        self,
        in_size: int | None = None,
        *,
        evaluations: int = 1,
        key: PRNGKeyArray | None = None,
    ) -> AbstractPrepared:
        """Does the work that depends on the angles alone.

        **Arguments:**

        - `in_size`: the number d of features that the compiled layer will be given. Amplitude
            encoding then skips the amplitudes that are always zero; left out, all 2ⁿ are kept.
        - `evaluations`: how often it will be called for each sample, e.g. in a solve.
        - `key`: for the errors of trajectories; the layer's own if left out.

        **Returns:**

        A callable `(d,) -> (m,)`. Inside an equilibrium solve, or for many samples, call it
        instead of the layer.
        """
        if n_parts() > 1:
            return PartedLayer(parted(self), self.encoding, self.measurement)
        if self.device is not None:
            layer = self.replace(device=None)
            return DeviceLayer(layer, self.device if key is None else self.device.with_key(key))
        n, encoding, noise = self.n_qubits, self.encoding, self.noise
        size = 2**n if in_size is None else in_size
        if noise is not None:
            return compile_noisily(
                cut(self.circuit, self.angles, encoding),
                encoding,
                self.measurement,
                noise,
                size,
                engine=self.noisy_engine(),
                key=self.own_key() if key is None else key,
                n_trajectories=self.n_trajectories,
                block_size=self.block_size,
                batch=self.expected_batch,
            )
        check_engine(self.engine, encoding, noisy=False)
        if isinstance(encoding, DataReuploading):
            return compile_reuploading(
                cut(self.circuit, self.angles, encoding),
                encoding,
                self.measurement,
                block_size=self.block_size,
                batch=self.expected_batch,
                gradient=self.gradient,
            )
        encoding, propagator = (
            self._state_encoding(),
            self.propagator(size, evaluations=evaluations),
        )
        if self.plan_for(size, self.expected_batch * evaluations).engine == "heisenberg":
            assert isinstance(propagator, MatrixPropagator)
            forms = quadratic_forms(self.measurement, propagator.matrix, propagator.matrix)
            return HeisenbergLayer(forms, propagator, encoding, n)
        return PropagatedLayer(propagator, encoding, self.measurement, n)

    def _samples_per_chunk(self, x: Float[Array, "batch d"], memory: int) -> int:
        """How many samples' states fit into so many bytes."""
        # The largest things that live at the same time, per sample: states of 2ⁿ complex numbers (2
        # floats each), and for reverse mode those that it keeps, one for each block or gate.
        states = 4  # two while a block is applied, and their cotangents
        gates, dim = len(self.circuit), 2**self.n_qubits
        if self.noise is not None:
            numbers = {
                "heisenberg": states * dim * self.out_size,
                "density": dim**2 * (states + gates),
                "trajectories": self.n_trajectories * 2 * dim * (states + gates),
            }[self.noisy_engine()]
            return max(1, int(memory // (x.dtype.itemsize * numbers)))
        if isinstance(self.encoding, DataReuploading):
            states += gates
        else:
            plan = self.plan_for(x.shape[1], self.expected_batch)
            if plan.engine == "statevector" and self.gradient == "stored":
                states += 2 * len(plan.plan.blocks) * plan.plan.n_sections
        return max(1, int(memory // (states * 2 * x.dtype.itemsize * dim)))

    def own_key(self) -> PRNGKeyArray | None:
        """The key from which trajectories are drawn if none is given."""
        if self.trajectory_key is None:
            return None
        return jax.random.wrap_key_data(self.trajectory_key)


def parted(
    layer: QuantumLayer, circuit: Circuit | None = None, angles: Float[Array, " _"] | None = None
) -> PartedCircuit:
    """Within a `shard_map` with an axis over amplitudes, a layer's circuit, or a part of it, on
    states that lie on all of its devices.

    **Raises:** `ValueError` for a layer that computes other things than pure states.
    """
    check_parted(layer.engine, layer.noise, layer.device)
    circuit = layer.circuit if circuit is None else circuit
    angles = layer.angles if angles is None else angles
    return PartedCircuit(circuit, enter(angles), layer.block_size or 5, layer.gradient)


QuantumLayer.__init__.__doc__ = """**Arguments:**

- `circuit`: the parametrized circuit.
- `encoding`: how a feature vector becomes a state.
- `measurement`: what is read out.
- `key`: for the initial angles, uniform in (-π, π) radians. They are the only trainable leaf.
- `angles`: the angles themselves in radians, shape `(circuit.n_params,)`, instead of a key.
- `engine`: how states are computed: `"statevector"` applies the fused gates to every sample,
    `"operator"` computes the circuit's matrix once for the angles, `"heisenberg"` pulls the
    observables back through the circuit once; `"auto"` takes the one with the lowest estimated
    cost, which [`eqx_qdeq.QuantumLayer.plan`][] tells. Under noise: `"heisenberg"` (the default
    for encodings that act first), `"density"` (a density matrix for every sample) or
    `"trajectories"` (the mean over state vectors with random errors, for many wires).
- `block_size`: gates are fused into blocks on at most this many wires; if left out, as many as
    are estimated to be fastest. (At most 3 for density matrices and observables under noise.)
- `expected_batch`: the number of samples that will share the angles, for these estimates.
    Nothing depends on it but speed.
- `gradient`: what reverse mode keeps where gates are applied to states: `"stored"` (the states
    before every block), `"checkpointed"` (those before every section of a periodic circuit) or
    `"uncomputed"` (none: blocks are undone by their adjoints; then neither forward mode nor second
    derivatives work, so not within an equilibrium with [`eqx_qdeq.ImplicitAdjoint`][]).
- `noise`: what goes wrong; the circuit is noiseless if left out. Its rates are leaves of the layer:
    those that are numbers are fixed, those that are JAX arrays are trained.
- `n_trajectories`: state vectors in a mean. Their errors are drawn from `key` and are the same ones
    in every call, so that a solver sees a function; all samples share them.
- `trajectory_key`: the data of the key from which they are drawn, if not from `key`.
- `device`: what runs the layer in place of exact simulation, e.g.
    [`eqx_qdeq.shots.SamplingDevice`][]; [`eqx_qdeq.with_shots`][] and
    [`eqx_qdeq.hardware.on_estimator`][] put one into all layers of a model.
- `before`: `engine` and `n_trajectories` to go back to without noise; of
    [`eqx_qdeq.with_noise`][].

**Raises:** `TypeError` with neither a key nor angles; `ValueError` if a measured wire does not
exist, the engine cannot serve the encoding or the noise, or a number is not positive.
"""
