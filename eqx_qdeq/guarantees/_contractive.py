"""Cells that are contractions by construction."""

from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from .._checks import is_number
from ..cells import (
    AbstractCell,
    AbstractCompiledCell,
    AbstractInjection,
    AbstractLinearInjection,
    AngleFeedback,
    QuantumCell,
)
from ..encodings import AmplitudeEncoding, normalise
from ..layers import AbstractPrepared, QuantumLayer
from ._boxes import box_of_values, InputMap, largest_feedback
from ._lipschitz_angles import angle_slope
from ._value_ranges import joint_spread


class ContractiveCell(AbstractCell):
    r"""A quantum cell whose feedback is bounded such that f is a contraction for every sample.

    Made by [`eqx_qdeq.contractive`][], which says how.
    """

    cell: QuantumCell
    factor: float | Float[Array, ""] = 0.9

    always_finite: ClassVar[bool] = True

    def __check_init__(self) -> None:
        if not isinstance(self.cell, QuantumCell):
            raise TypeError(
                "`contractive(cell=...)` must be a QuantumCell, whose circuit bounds the feedback; "
                f"got {type(self.cell).__name__}. Use `jacobian_penalty` or `spectral_norm` as a "
                "penalty for other cells."
            )
        if is_number(self.factor) and not 0 < self.factor < 1:
            raise ValueError(
                "`contractive(factor=...)` must be above 0 and below 1, the factor by which an "
                f"error shrinks in each step; got {self.factor}."
            )

    def accept(self, x: Any) -> Float[Array, " d"]:
        return self.cell.accept(x)

    def init(self, x: Float[Array, " d"]) -> Float[Array, " m"]:
        """The zero vector."""
        return self.cell.init(x)

    def quantum_cell(self, in_size: int) -> QuantumCell:
        """The quantum cell with the bounded feedback, for samples of `in_size` features."""
        layer, injection = self.cell.layer, self.cell.injection
        _check_noise(layer, injection)
        if isinstance(injection, AngleFeedback):
            shrink = _shrinkage(self.factor, angle_slope(self.cell, in_size))
            bounded = AngleFeedback(
                injection.axis, injection.gain * shrink, injection.position, injection.wires
            )
            return QuantumCell(layer, bounded)
        assert isinstance(injection, AbstractLinearInjection)
        if not isinstance(layer.encoding, AmplitudeEncoding):
            shrink = _shrinkage(self.factor, angle_slope(self.cell, in_size))
            return QuantumCell(layer, _BoundedInjection(injection, shrink, jnp.zeros_like(shrink)))
        matrix = injection.matrix(in_size, layer.out_size, layer.angles.dtype)
        inputs = InputMap.linear(matrix)
        feedback = largest_feedback(inputs, box_of_values(self.cell))
        spread = joint_spread(layer.measurement, layer.n_qubits)
        needed = inputs.norm * spread / self.factor + feedback
        return QuantumCell(layer, _BoundedInjection(injection, jnp.ones_like(needed), needed))

    def compile(self, in_size: int) -> AbstractCompiledCell:
        """As [`eqx_qdeq.QuantumCell.compile`][]; the bound is computed here, once for a batch."""
        return self.quantum_cell(in_size).compile(in_size)

    def bind(self, x: Float[Array, " d"]) -> AbstractPrepared:
        x = self.accept(x)
        return self.compile(x.shape[0]).bind(x)


ContractiveCell.__init__.__doc__ = """**Arguments:** as for [`eqx_qdeq.contractive`][]."""


def contractive(cell: QuantumCell, factor: float | Float[Array, ""] = 0.9) -> ContractiveCell:
    r"""Bounds a cell's feedback such that $\|\partial f/\partial w\|_2 \leq$ `factor` for every
    sample, every w that can be measured, and all angles.

    There is then exactly one equilibrium, and plain iteration converges to it by at least this
    factor in each step. A cell that obeys the bound already is left as it is. It is trained as
    before: gradients flow through the bound.

    - Amplitude encoding, $v = b(x) + R w$: the slopes are at most $D\,\|R\|/\|v\|$ (see
      [`eqx_qdeq.lipschitz_bound`][]), and only the direction of v is encoded. So an offset b(x)
      that is too short is scaled up to the norm

    $$\frac{D\,\|R\|}{\mathrm{factor}} + \max_w \|R w\| ,$$

      the maximum over all possible measured values. An offset of zero has no direction; it becomes
      that multiple of the first basis vector, which is what the encoding makes of it too.
    - Angle encoding and re-uploading: R is scaled down to the bound. Angle feedback: the gain.

    !!! example

        ```python
        import equinox as eqx
        import jax
        import eqx_qdeq as qdeq

        qlayer = qdeq.QDEQ(4, 16, key=jax.random.key(0))
        cell = qdeq.contractive(qlayer.deq.cell, factor=0.9)
        deq = qdeq.DEQ(cell, qdeq.Picard(1e-5, 1e-5))
        w = deq(0.01 * jax.random.normal(jax.random.key(1), (16,)))
        ```

    **Arguments:**

    - `cell`: a quantum cell.
    - `factor`: the bound, above 0 and below 1. A float is fixed, a JAX array trained (nothing then
        keeps it in that range).

    **Returns:**

    A [`eqx_qdeq.ContractiveCell`][].

    **Raises:** `TypeError` for another kind of cell, `ValueError` for a factor out of range.
    """
    return ContractiveCell(cell, factor)


def _check_noise(layer: QuantumLayer, injection: AbstractInjection) -> None:
    """Observables pulled back through a channel have no larger spread, so the bound for amplitudes
    holds under noise; not for estimates, nor for products that are read one by one."""
    noise = layer.noise
    if noise is None:
        return
    is_amplitude = isinstance(layer.encoding, AmplitudeEncoding)
    read_jointly = noise.readout is None or layer.measurement.diagonals(layer.n_qubits) is not None
    rotates = isinstance(injection, AngleFeedback)
    if not is_amplitude or rotates or not read_jointly or layer.engine == "trajectories":
        raise ValueError(
            "`contractive` bounds noisy cells with AmplitudeEncoding, a linear injection and no "
            "trajectories, with readout error only if the observables are diagonal; this layer's "
            "noise does not fit. Make the noiseless cell contractive, `layer.with_noise(None)`."
        )


def _shrinkage(factor: float | Float[Array, ""], slope: Float[Array, ""]) -> Float[Array, ""]:
    above = slope > factor
    return jnp.where(above, factor / jnp.where(above, slope, 1), jnp.ones_like(slope))


class _BoundedInjection(AbstractLinearInjection):
    """An injection with its matrix scaled, and its offset brought to a least norm."""

    injection: AbstractLinearInjection
    scale: Float[Array, ""]
    least_norm: Float[Array, ""]

    def offset(self, x: Float[Array, " d_in"], n_values: int) -> Float[Array, " d"]:
        v = self.injection.offset(x, n_values)
        direction = normalise(v)  # the first basis vector where v = 0
        least = jnp.asarray(self.least_norm, v.dtype)
        # Along the direction, as squares of huge or tiny entries would lose the norm.
        short = jnp.sum(direction * v) < least
        return jnp.where(short, least * direction, v)

    def matrix(self, in_size: int, n_values: int, dtype: jnp.dtype) -> Float[Array, "d m"]:
        return self.injection.matrix(in_size, n_values, dtype) * self.scale.astype(dtype)
