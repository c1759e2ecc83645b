"""A layer as a function of the angles of its single gates: what can be run, shifted, and sampled.

The chain rule from a layer's angles (which gates may share) and features to the angles of gates is
left to JAX: here every gate has angles of its own.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ..cells import AbstractLinearInjection, AngleFeedback, QuantumCell
from ..circuits import Circuit, GATES, one_angle_each
from ..encodings import AbstractEncoding, AngleEncoding, DataReuploading
from ..layers import AbstractPrepared, QuantumLayer
from ..measurements import AbstractMeasurement
from ._bases import Group, group_observables
from ._sampling import Estimate, estimate, Sampling

# --- Parameter-shift rules: exact derivatives from the circuit at a few other angles. ---


class ShiftRule(NamedTuple):
    r"""The frequencies `base`, 2·`base`, … of an expectation value in one angle, `n_frequencies`
    of them.

    As a function of one gate's angle, an expectation value is a trigonometric polynomial whose
    frequencies are the differences of the eigenvalues of the gate's generator. With the R
    equidistant frequencies $\Omega, 2\Omega, \dots, R\,\Omega$ its derivative is

    $$f'(\alpha) = \sum_{\mu=1}^{2R} c_\mu\, f(\alpha + s_\mu),\quad
    s_\mu = \frac{(2\mu-1)\pi}{2R\,\Omega},\quad
    c_\mu = \frac{(-1)^{\mu-1}\,\Omega}{4R\,\sin^2(\Omega s_\mu / 2)}.$$

    R = 1 is the two-term rule of rotations, R = 2 with Ω = 1/2 the four-term rule of controlled
    rotations. (D. Wierichs, J. Izaac, C. Wang and C. Y.-Y. Lin, "General parameter-shift rules
    for quantum gradients", Quantum 6, 677 (2022).)
    """

    n_frequencies: int
    base: float

    @property
    def shifts(self) -> np.ndarray:
        """The shifts in radians, within half a period, shape `(2 * n_frequencies,)`."""
        terms = 2 * np.arange(1, 2 * self.n_frequencies + 1) - 1
        shifts, period = terms * np.pi / (2 * self.n_frequencies * self.base), 2 * np.pi / self.base
        return shifts - period * np.round(shifts / period)  # of an odd part of 4R: never a half

    @property
    def coefficients(self) -> np.ndarray:
        """What the shifted values are multiplied by, shape `(2 * n_frequencies,)`."""
        signs = (-1.0) ** np.arange(2 * self.n_frequencies)
        sines = np.sin(self.base * self.shifts / 2)
        return signs * self.base / (4 * self.n_frequencies * sines**2)

    @property
    def weights(self) -> np.ndarray:
        """The shots of each shifted circuit, in units of their mean: in proportion to the
        coefficients' sizes."""
        # Least Σ c² σ²/N for a given Σ N: by Lagrange N is proportional to |c| σ, and the variances
        # σ² are taken as equal. The rounding takes away what the sines leave, so that two terms get
        # exactly 1 each.
        sizes = np.abs(self.coefficients)
        return np.round(sizes / sizes.mean(), 12)


# exp(-i a P/2) with P² = 1 has eigenvalues ±1/2 and their difference 1; a control adds the
# eigenvalue 0 of doing nothing, and with it the difference 1/2.
_ONE = ShiftRule(1, 1.0)
_CONTROLLED = ShiftRule(2, 0.5)

# For each gate of qujax with angles, the rule of each of its angles.
_GATE_RULES: dict[str, tuple[ShiftRule, ...]] = {
    **{name: (_ONE,) for name in "Rx Ry Rz U1 CU1 XXPhase YYPhase ZZPhase".split()},
    **{name: (_CONTROLLED,) for name in "CRx CRy CRz ISWAP".split()},
    "U2": (_ONE, _ONE),
    "U3": (_ONE, _ONE, _ONE),
    "CU2": (_ONE, _ONE),
    "CU3": (_CONTROLLED, _ONE, _ONE),
    # The second angle stands twice in Rz(b) Rx(a) Rz(-b).
    "PhasedX": (_ONE, ShiftRule(2, 1.0)),
    # The first angle enters as exp(±2i a).
    "PhasedISWAP": (ShiftRule(2, 2.0), _CONTROLLED),
}
assert _GATE_RULES.keys() == {name for name, info in GATES.items() if info.n_params > 0}


def gate_rules(circuit: Circuit) -> tuple[ShiftRule, ...]:
    """The rule of every angle of every gate, in the gates' order.

    **Raises:** `ValueError` for a gate whose spectrum is not known.
    """
    rules = []
    for g, (gate, params) in enumerate(zip(circuit.gates, circuit.params, strict=True)):
        if not params:
            continue
        if not isinstance(gate, str):
            raise ValueError(
                f"gate {g} is the function {getattr(gate, '__name__', gate)!r}, whose spectrum is "
                "not known, so its angles have no parameter-shift rule. Write it with named gates "
                "(see eqx_qdeq.circuits.GATES), or use ExactGradient() in simulation or SPSA()."
            )
        rules.extend(_GATE_RULES[gate])
    return tuple(rules)


def rules_by_angle(
    rules: Callable[[int, int], Sequence[ShiftRule]], sizes: Sequence[int], wanted: Sequence[bool]
) -> dict[int, ShiftRule]:
    """The rules of the wanted blocks' angles, by their place among all angles."""
    starts = np.cumsum([0, *sizes])
    return {
        int(starts[b]) + i: rule
        for b, size in enumerate(sizes)
        if wanted[b]
        for i, rule in enumerate(rules(b, size))
    }


def all_shifts(rules: dict[int, ShiftRule]) -> tuple[np.ndarray, ...]:
    """Angle, shift, coefficient and weight of every circuit."""
    index = np.repeat(list(rules), [2 * rule.n_frequencies for rule in rules.values()])
    columns = [(rule.shifts, rule.coefficients, rule.weights) for rule in rules.values()]
    return index, *(np.concatenate(column) for column in zip(*columns, strict=True))


# --- Layers and cells with every angle in reach. ---

Blocks = tuple[Float[Array, " _"], ...]

# Engines that carry observables back through the gates once for all samples of the same angles.
_PULL_BACK = ("auto", "heisenberg")


class Run(eqx.Module):
    """Runs a layer, or one application of a cell, at given angles. They come in blocks: those of
    the gates; the features, where they are angles; the fed-back values, where they turn wires."""

    template: QuantumLayer  # with an angle for each gate, which is replaced in each run
    measurement: AbstractMeasurement  # its own, or another that is read in its place
    feedback: AngleFeedback | None  # of gain 1: the values arrive as angles

    @property
    def groups(self) -> tuple[Group, ...]:
        """The observables that are sampled together."""
        return group_observables(self.measurement, self.template.n_qubits)

    @property
    def out_size(self) -> int:
        """The number of values that are read."""
        return self.measurement.size(self.template.n_qubits)

    def prepare(
        self, angles: Blocks, constants: PyTree[Array], *, shared: bool
    ) -> tuple[AbstractPrepared, Float[Array, " d"]]:
        """What can be measured at these angles, and the input at which.

        `shared` says that the samples of a batch have the same gate angles. Shifted ones are only
        used once, so nothing is computed ahead for them.
        """
        changes = {}
        if not shared:
            noisy = "density" if self.template.engine in _PULL_BACK else self.template.engine
            engine = "statevector" if self.template.noise is None else noisy
            changes = {"engine": engine, "expected_batch": 1}
        layer = self.template.replace(angles=angles[0], **changes)
        x = angles[1] if constants is None else constants
        if self.feedback is None:
            return layer.compile(x.shape[0]), x
        return QuantumCell(layer, self.feedback).bind(x), angles[-1]

    def rules(self, block: int, size: int) -> tuple[ShiftRule, ...]:
        """The shift rule of each of a block's `size` angles."""
        if block == 0:
            return gate_rules(self.template.circuit)
        # A feature that turns wires k times has frequencies up to k. (Such an encoding goes with
        # linear injections only, so this block is that of the features.)
        encoding = self.template.encoding
        k = encoding.n_uploads if isinstance(encoding, DataReuploading) else 1
        return (ShiftRule(k, 1.0),) * size


class Experiment(eqx.Module):
    """A run with its angles filled in, and with what else it depends on: `constants`, for which
    there is no shift rule."""

    angles: Blocks
    constants: PyTree[Array]
    run: Run

    def reading(self, measurement: AbstractMeasurement) -> "Experiment":
        """The same preparation, of which other observables are read."""
        return eqx.tree_at(lambda e: e.run.measurement, self, measurement)

    def exact(self) -> Float[Array, " m"]:
        """The exact expectation values."""
        prepared, x = self.run.prepare(self.angles, self.constants, shared=True)
        return prepared.measure(self.run.measurement, x)

    def sample(
        self, sampling: Sampling, key: PRNGKeyArray, weight: float | Float[Array, ""] = 1.0
    ) -> Estimate:
        """Estimates at shifted angles, from `weight` times the usual number of shots."""
        prepared, x = self.run.prepare(self.angles, self.constants, shared=False)
        return estimate(self.run.groups, prepared, x, sampling, key, weight)


def layer_experiment(layer: QuantumLayer, x: Float[Array, " d"]) -> Experiment:
    """A layer at one sample, as an experiment."""
    return _experiment(layer, x, None, ())


def cell_experiment(cell: QuantumCell, x: Float[Array, " d"], z: Float[Array, " m"]) -> Experiment:
    """One application of a cell to z, as an experiment. The last block of angles depends on z, if
    any does."""
    injection = cell.injection
    if isinstance(injection, AbstractLinearInjection):
        return layer_experiment(cell.layer, injection(z, x))
    assert isinstance(injection, AngleFeedback)
    feedback = AngleFeedback(injection.axis, 1.0, injection.position, injection.wires)
    return _experiment(cell.layer, x, feedback, (injection.gain * z,))


def _experiment(
    layer: QuantumLayer, x: Float[Array, " d"], feedback: AngleFeedback | None, turns: Blocks
) -> Experiment:
    # a_i = s_i θ_p(i) + o_i for the i-th angle of a gate, so JAX adds up s_i ∂/∂a_i for what shares
    # a parameter; a feature enters as scale · x. No shift rule need know of either.
    circuit, index, scales, offsets = one_angle_each(layer.circuit)
    encoding, scale = _in_radians(layer.encoding)
    dtype = layer.angles.dtype
    gates = jnp.asarray(scales, dtype) * layer.angles[index] + jnp.asarray(offsets, dtype)
    template = layer.replace(circuit=circuit, angles=lax.stop_gradient(gates), encoding=encoding)
    features, constants = ((), x) if scale is None else ((scale * x,), None)
    return Experiment(
        (gates, *features, *turns), constants, Run(template, template.measurement, feedback)
    )


def _in_radians(encoding: AbstractEncoding) -> tuple[AbstractEncoding, float | None]:
    """The encoding for features that are given as angles, and the scale that makes them so;
    `None` where they are not angles."""
    if isinstance(encoding, AngleEncoding):
        return AngleEncoding(encoding.axes, encoding.layout), encoding.scale
    if isinstance(encoding, DataReuploading):
        inner, scale = _in_radians(encoding.encoding)
        assert isinstance(inner, AngleEncoding)
        return DataReuploading(inner, encoding.n_uploads, encoding.positions), scale
    return encoding, None
