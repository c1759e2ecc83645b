r"""Parameter-shift rules: exact derivatives from the circuit at a few other angles.

As a function of one gate's angle, an expectation value is a trigonometric polynomial whose
frequencies are the differences of the eigenvalues of the gate's generator. With the R equidistant
frequencies $\Omega, 2\Omega, \dots, R\,\Omega$ its derivative is

$$f'(\alpha) = \sum_{\mu=1}^{2R} c_\mu\, f(\alpha + s_\mu),\quad
s_\mu = \frac{(2\mu-1)\pi}{2R\,\Omega},\quad
c_\mu = \frac{(-1)^{\mu-1}\,\Omega}{4R\,\sin^2(\Omega s_\mu / 2)}.$$

R = 1 is the two-term rule of rotations, R = 2 with Ω = 1/2 the four-term rule of controlled
rotations. (D. Wierichs, J. Izaac, C. Wang and C. Y.-Y. Lin, "General parameter-shift rules for
quantum gradients", Quantum 6, 677 (2022).)
"""

from typing import NamedTuple

import numpy as np

from ..circuits import Circuit, GATES


class ShiftRule(NamedTuple):
    """The frequencies `base`, 2·`base`, … of an expectation value in one angle, `n_frequencies`
    of them."""

    n_frequencies: int
    base: float

    @property
    def shifts(self) -> np.ndarray:
        """The shifts in radians, shape `(2 * n_frequencies,)`."""
        terms = 2 * np.arange(1, 2 * self.n_frequencies + 1) - 1
        return _near_zero(terms * np.pi / (2 * self.n_frequencies * self.base), self.base)

    @property
    def coefficients(self) -> np.ndarray:
        """What the shifted values are multiplied by, shape `(2 * n_frequencies,)`."""
        signs = (-1.0) ** np.arange(2 * self.n_frequencies)
        r = self.n_frequencies
        return signs * self.base / (4 * r * np.sin(self.base * self.shifts / 2) ** 2)

    @property
    def weights(self) -> np.ndarray:
        """The shots of each shifted circuit, in units of their mean.

        In proportion to the coefficients' sizes, which makes the derivative's variance as small
        as it can be for all shots together if all circuits have equal variances. The rounding
        takes away what the sines leave, so that two terms get exactly 1 each.
        """
        sizes = np.abs(self.coefficients)
        return np.round(sizes / sizes.mean(), 12)


def _near_zero(shift: np.ndarray, base: float) -> np.ndarray:
    """The same shifts within half a period."""
    period = 2 * np.pi / base
    return shift - period * np.round(shift / period - 1e-9)


ONE = ShiftRule(1, 1.0)
_CONTROLLED = ShiftRule(2, 0.5)

# For each gate of qujax with angles, the rule of each of its angles.
_GATE_RULES: dict[str, tuple[ShiftRule, ...]] = {
    **{name: (ONE,) for name in "Rx Ry Rz U1 CU1 XXPhase YYPhase ZZPhase".split()},
    **{name: (_CONTROLLED,) for name in "CRx CRy CRz ISWAP".split()},
    "U2": (ONE, ONE),
    "U3": (ONE, ONE, ONE),
    "CU2": (ONE, ONE),
    "CU3": (_CONTROLLED, ONE, ONE),
    # The second angle stands twice in Rz(b) Rx(a) Rz(-b).
    "PhasedX": (ONE, ShiftRule(2, 1.0)),
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
