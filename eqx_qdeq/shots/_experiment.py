"""A layer as a function of the angles of its single gates: what can be run, shifted, and sampled.

The chain rule from a layer's angles (which gates may share) and features to the angles of gates is
left to JAX: here every gate has angles of its own.
"""

import abc
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ..circuits import one_angle_each
from ..encodings import AbstractEncoding, AngleEncoding, DataReuploading
from ..layers import QuantumLayer, with_fields
from ..measurements import AbstractMeasurement
from ._bases import BasisOutcomes, Group, group_observables
from ._rules import gate_rules, ONE, ShiftRule
from ._sampling import Estimate, estimate, Sampling

Blocks = tuple[Float[Array, " _"], ...]


@runtime_checkable
class Prepares(Protocol):
    """What is measured: a compiled layer, or a cell with its sample filled in."""

    def measure(
        self, measurement: AbstractMeasurement, x: Float[Array, " d"], /
    ) -> Float[Array, " k"]: ...

    def probabilities(self, x: Float[Array, " d"], /) -> Float[Array, " dim"]: ...


def read_all(
    measurements: Sequence[AbstractMeasurement],
    prepares: Prepares,
    x: Float[Array, " d"],
) -> list[Float[Array, " values"]]:
    """What several measurements give for one preparation, with noise and readout error. All that
    the shots know of a layer."""
    out = []
    for measurement in measurements:
        if isinstance(measurement, BasisOutcomes) and not measurement.rotations:
            out.append(prepares.probabilities(x))
        else:
            out.append(prepares.measure(measurement, x))
    return out


class AbstractRun(eqx.Module):
    """Runs circuits at given angles, in blocks: those of the gates first, then others in which
    there are shift rules."""

    measurement: eqx.AbstractVar[AbstractMeasurement]
    n_qubits: eqx.AbstractVar[int]

    @abc.abstractmethod
    def read(
        self,
        measurements: Sequence[AbstractMeasurement],
        angles: Blocks,
        constants: PyTree[Array],
        *,
        shared: bool,
    ) -> list[Float[Array, " values"]]:
        """The exact values of the measurements.

        `shared` says that the samples of a batch have the same gate angles. Shifted ones are only
        used once, so nothing is computed ahead for them.
        """

    @abc.abstractmethod
    def rules(self, block: int, size: int) -> tuple[ShiftRule, ...]:
        """The shift rule of each of a block's `size` angles."""

    @property
    def groups(self) -> tuple[Group, ...]:
        """The observables that are sampled together."""
        return group_observables(self.measurement, self.n_qubits)


class Experiment(eqx.Module):
    """A run with its angles filled in, and with what else it depends on: `constants`, for which
    there is no shift rule."""

    angles: Blocks
    constants: PyTree[Array]
    run: AbstractRun

    def exact(self) -> Float[Array, " m"]:
        """The exact expectation values."""
        one = [self.run.measurement]
        return self.run.read(one, self.angles, self.constants, shared=True)[0]

    def sample(
        self, sampling: Sampling, key: PRNGKeyArray, weight: float | Float[Array, ""] = 1.0
    ) -> Estimate:
        """Estimates at shifted angles, from `weight` times the usual number of shots."""
        groups = self.run.groups
        bases = [group.basis for group in groups]
        probabilities = self.run.read(bases, self.angles, self.constants, shared=False)
        return estimate(groups, probabilities, sampling, key, weight)


class LayerRun(AbstractRun):
    """A quantum layer whose angle-encoded features are a second block of angles."""

    template: QuantumLayer  # with an angle for each gate, which is replaced in each run
    measurement: AbstractMeasurement
    n_qubits: int = eqx.field(static=True)

    def layer(self, gate_angles: Float[Array, " angles"], shared: bool) -> QuantumLayer:
        """The layer with these angles, one for each gate."""
        if shared:
            return with_fields(self.template, angles=gate_angles)
        engine = self.template.engine
        if self.template.noise is None:
            engine = "statevector"
        elif engine in ("auto", "heisenberg"):
            engine = "density"
        return with_fields(self.template, angles=gate_angles, engine=engine, expected_batch=1)

    def read(
        self,
        measurements: Sequence[AbstractMeasurement],
        angles: Blocks,
        constants: PyTree[Array],
        *,
        shared: bool,
    ) -> list[Float[Array, " values"]]:
        gate_angles, *features = angles
        x = features[0] if features else constants
        compiled = self.layer(gate_angles, shared).compile(x.shape[0])
        return read_all(measurements, compiled, x)

    def rules(self, block: int, size: int) -> tuple[ShiftRule, ...]:
        if block == 0:
            return gate_rules(self.template.circuit)
        encoding = self.template.encoding
        if isinstance(encoding, DataReuploading):
            # A feature that turns wires k times has frequencies up to k.
            return (ShiftRule(encoding.n_uploads, 1.0),) * size
        return (ONE,) * size


def layer_run(layer: QuantumLayer) -> LayerRun:
    """What a layer runs."""
    template = with_fields(
        layer,
        circuit=one_angle_each(layer.circuit)[0],
        angles=lax.stop_gradient(gate_angles(layer)),
        encoding=in_radians(layer.encoding)[0],
    )
    return LayerRun(template=template, measurement=layer.measurement, n_qubits=layer.n_qubits)


def layer_experiment(layer: QuantumLayer, x: Float[Array, " d"]) -> Experiment:
    """A layer at one sample, as an experiment."""
    gates, scale = gate_angles(layer), in_radians(layer.encoding)[1]
    if scale is None:
        return Experiment((gates,), x, layer_run(layer))
    return Experiment((gates, scale * x), None, layer_run(layer))


def gate_angles(layer: QuantumLayer) -> Float[Array, " angles"]:
    """The angles of all gates, one after the other."""
    _, index, scales, offsets = one_angle_each(layer.circuit)
    dtype = layer.angles.dtype
    return jnp.asarray(scales, dtype) * layer.angles[index] + jnp.asarray(offsets, dtype)


def in_radians(encoding: AbstractEncoding) -> tuple[AbstractEncoding, float | None]:
    """The encoding for features that are given as angles, and the scale that makes them so;
    `None` where they are not angles."""
    if isinstance(encoding, AngleEncoding):
        return AngleEncoding(encoding.axes, encoding.layout), encoding.scale
    if isinstance(encoding, DataReuploading):
        inner, scale = in_radians(encoding.encoding)
        assert isinstance(inner, AngleEncoding)
        return DataReuploading(inner, encoding.n_uploads, encoding.positions), scale
    return encoding, None
