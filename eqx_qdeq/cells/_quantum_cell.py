"""QuantumCell: a quantum layer whose measured values are fed back into its input.

The state of the cell is the vector z of m measured values, not the d-vector that the paper
iterates: the paper's map factors through the measurement, so both have the same fixed points,
and here the Jacobian is a small dense matrix.

A solve has three stages. *Compile* does what depends on the angles alone (once for a batch),
*bind* what depends on the sample (once per solve); only the rest is iterated.
"""

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from .._amplitudes import n_parts
from .._checks import check_instance, describe
from .._inputs import features, precision
from .._precise import dot
from ..encodings import AmplitudeEncoding, ComplexAmplitudeEncoding
from ..layers import AbstractDevice, AbstractPrepared, QuantumLayer
from ..measurements import AbstractMeasurement
from ._angle_feedback import compile_feedback, compile_noisy_feedback
from ._cell import AbstractCell, AbstractCompiledCell, EVALUATIONS
from ._injection import AbstractInjection, AbstractLinearInjection, AngleFeedback
from ._parts import compile_feedback_parts, compile_rational_parts
from ._rational import compile_noisy_rational, compile_rational


class QuantumCell(AbstractCell):
    r"""A quantum layer with an injection: $f(z, x) = \mathrm{layer}(v(z, x))$, from the m measured
    values to the m measured values.

    With amplitude encoding and a linear injection $v = b(x) + R\,z$ the map is a ratio of two
    quadratic forms in z,

    $$f_q(z) = \frac{c_q + 2\,b_q\cdot z + z^\top C_q\,z}{s + 2\,r\cdot z + z^\top G\,z},$$

    and one iteration costs O(m³), whatever the number of wires. This form is used wherever it
    applies.

    !!! example

        ```python
        import jax
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        layer = qdeq.QuantumLayer(
            qdeq.circuits.hardware_efficient(n_qubits=2, depth=1),
            qdeq.AmplitudeEncoding(),
            qdeq.PauliZ(),
            key=jax.random.key(0),
        )
        cell = qdeq.QuantumCell(layer, qdeq.AddInjection(4, gain=0.5))
        z = qdeq.DEQ(cell)(jnp.ones(4))
        jnp.abs(cell.bind(jnp.ones(4))(z) - z).max() < 1e-4  # True
        ```
    """

    layer: QuantumLayer
    injection: AbstractInjection

    always_finite: ClassVar[bool] = True

    def __check_init__(self) -> None:
        check_instance("layer", self.layer, QuantumLayer, "a QuantumLayer")
        if not isinstance(self.injection, AbstractLinearInjection | AngleFeedback):
            raise TypeError(
                "`injection` must be a linear injection (AddInjection, LinearInjection, "
                f"ConcatInjection) or AngleFeedback; got {describe(self.injection)}. Use "
                "FunctionCell for other feedback."
            )
        self.injection.check(self.layer.out_size)

    def accept(self, x: Any) -> Float[Array, " d"]:
        """The features of one sample, in the precision of the layer's angles."""
        return features(x, precision(self.layer.angles))

    def init(self, x: Float[Array, " d"]) -> Float[Array, " m"]:
        """The zero vector, from which the paper starts."""
        return jnp.zeros(self.layer.out_size, precision(self.layer.angles))

    def compile(self, in_size: int) -> AbstractCompiledCell:
        """Does the work that depends on the angles alone.

        **Arguments:**

        - `in_size`: the number of features of a sample.

        **Returns:**

        A cell with the same fixed points, for use where many samples share the angles and are
        not batched by `vmap` (e.g. in a `lax.map` over chunks).
        """
        # Three ways to iterate, from cheap to general. Rotations between two halves keep the state
        # after the first half. Amplitudes with a linear injection have the rational form, O(m³) a
        # step. All else runs the compiled layer on v(z, x) in each step.
        layer, encoding, noise = self.layer, self.layer.encoding, self.layer.noise
        if n_parts() > 1:
            return self._compile_parts(in_size)
        if layer.device is not None:
            exact = eqx.tree_at(lambda c: c.layer, self, layer.replace(device=None))
            if isinstance(self.injection, AngleFeedback):
                return _FeedbackOnDevice(exact, layer.device)
            assert isinstance(self.injection, AbstractLinearInjection)
            run = layer.compile(in_size)
            return _CompiledComposition(run, self.injection, layer.out_size, layer.angles.dtype)
        if isinstance(self.injection, AngleFeedback):
            compiled = compile_feedback if noise is None else compile_noisy_feedback
            return compiled(layer, self.injection, in_size)
        assert isinstance(self.injection, AbstractLinearInjection)
        if isinstance(encoding, AmplitudeEncoding | ComplexAmplitudeEncoding):
            if noise is None:
                return compile_rational(layer, encoding, self.injection, in_size)
            if layer.noisy_engine() == "heisenberg":
                return compile_noisy_rational(layer, encoding, self.injection, in_size)
        compiled_layer = layer.compile(evaluations=EVALUATIONS)
        return _CompiledComposition(
            compiled_layer, self.injection, layer.out_size, layer.angles.dtype
        )

    def _compile_parts(self, in_size: int) -> AbstractCompiledCell:
        layer, encoding, injection = self.layer, self.layer.encoding, self.injection
        if isinstance(injection, AngleFeedback):
            return compile_feedback_parts(layer, injection)
        assert isinstance(injection, AbstractLinearInjection)
        if isinstance(encoding, AmplitudeEncoding | ComplexAmplitudeEncoding):
            return compile_rational_parts(layer, encoding, injection, in_size)
        return _CompiledComposition(layer.compile(), injection, layer.out_size, layer.angles.dtype)

    def bind(self, x: Float[Array, " d"]) -> AbstractPrepared:
        return self._bind(self.accept(x))

    @eqx.filter_jit
    def _bind(self, x: Float[Array, " d"]) -> AbstractPrepared:
        return self.compile(x.shape[0]).bind(x)


QuantumCell.__init__.__doc__ = """**Arguments:**

- `layer`: the quantum layer.
- `injection`: how the measured values are fed back.

**Raises:** `TypeError` for an injection that a quantum cell does not know.
"""


# --- Any encoding that takes a feature vector -------------------------------------------------


class _Composition(AbstractPrepared):
    layer: AbstractPrepared
    offset: Float[Array, " d"]
    matrix: Float[Array, "d m"]

    def __call__(self, z: Float[Array, " m"]) -> Float[Array, " m"]:
        return self.layer(self._input(z))

    def state(self, z: Float[Array, " m"]) -> Complex[Array, " dim"]:
        return self.layer.state(self._input(z))

    def measure(
        self, measurement: AbstractMeasurement, z: Float[Array, " m"]
    ) -> Float[Array, " k"]:
        return self.layer.measure(measurement, self._input(z))

    def probabilities(self, z: Float[Array, " m"]) -> Float[Array, " dim"]:
        return self.layer.probabilities(self._input(z))

    def _input(self, z: Array) -> Array:
        z = features(z, self.matrix.dtype, name="z", size=self.matrix.shape[1])
        return self.offset + dot(self.matrix, z)


class _CompiledComposition(AbstractCompiledCell):
    layer: AbstractPrepared
    injection: AbstractLinearInjection
    n_values: int = eqx.field(static=True)
    dtype: np.dtype = eqx.field(static=True)

    def init(self, x: Float[Array, " d"]) -> Float[Array, " m"]:
        return jnp.zeros(self.n_values, self.dtype)

    def bind(self, x: Float[Array, " d"]) -> _Composition:
        # v = b(x) + R z: b(x) belongs to the sample, R to the parameters.
        x = features(x, self.dtype)
        offset = self.injection.offset(x, self.n_values).astype(self.dtype)
        matrix = self.injection.matrix(x.shape[0], self.n_values, self.dtype)
        return _Composition(self.layer, offset, matrix)


class _FeedbackOnDevice(AbstractCompiledCell):
    cell: QuantumCell
    device: AbstractDevice

    def init(self, x: Float[Array, " d"]) -> Float[Array, " m"]:
        return self.cell.init(x)

    def bind(self, x: Float[Array, " d"]) -> AbstractPrepared:
        return self.device.bind_feedback(self.cell, x)
