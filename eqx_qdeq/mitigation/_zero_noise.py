"""Zero-noise extrapolation: values at several noise scales, and what they say of none at all."""

import abc
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from .._checks import can_check, describe
from .._precise import dot
from ..cells import AbstractCell
from ._scale import reached_scales, scale_noise

Scales = tuple[float | int, ...]
"""Strengths of noise to measure at, as multiples of what there is: 1 is the noise itself."""


def _as_scales(values: Any) -> Scales:
    """Scales as a tuple, which can be hashed."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(f"`scales` must be numbers, e.g. (1, 2, 3); got {describe(values)}.")
    scales = tuple(v.item() if hasattr(v, "item") else v for v in values)
    for scale in scales:
        can_check("scales", scale)
    return scales


class AbstractExtrapolation(eqx.Module):
    """The abstract base class of extrapolations from noise scales to zero.

    !!! example

        ```python
        import jax.numpy as jnp
        import eqx_qdeq as qdeq


        # The value at the least noise.
        class Least(qdeq.mitigation.AbstractExtrapolation):
            def check(self, scales):
                if not scales:
                    raise ValueError("`scales` must not be empty.")

            def __call__(self, scales, values):
                return values[jnp.argmin(jnp.array(scales))]


        Least()((3.0, 1.0), jnp.array([[0.5], [0.8]]))  # [0.8]
        ```
    """

    @abc.abstractmethod
    def check(self, scales: Scales) -> None:
        """Raises a `ValueError` if there are too few scales."""

    @abc.abstractmethod
    def __call__(self, scales: Scales, values: Float[Array, "k m"]) -> Float[Array, " m"]:
        """The values at scale 0, from those at `scales`."""


class Polynomial(AbstractExtrapolation):
    r"""The polynomial that fits best, at zero. `degree=1` is linear extrapolation, and a degree
    of one less than the number of scales (`degree=None`) Richardson's.

    !!! example

        ```python
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        line = qdeq.mitigation.Polynomial(1)
        line((1, 2, 3), jnp.array([[0.8], [0.7], [0.6]]))  # [0.9]
        ```

    ??? cite "Reference"

        K. Temme, S. Bravyi and J. M. Gambetta, "Error mitigation for short-depth quantum
        circuits", Phys. Rev. Lett. 119, 180509 (2017).
    """

    degree: int | None = eqx.field(static=True, default=None)

    def __check_init__(self) -> None:
        if self.degree is not None and self.degree < 0:
            raise ValueError(f"`degree` must be at least 0; got {self.degree}.")

    def check(self, scales: Scales) -> None:
        _check_scales(scales, 1 if self.degree is None else self.degree + 1)

    def weights(self, scales: Scales) -> np.ndarray:
        r"""What the values are multiplied by, shape `(k,)`. If all have variance V, the
        extrapolated one has $V\,\sum_k w_k^2$."""
        # The coefficients of the least squares fit to V c = values are c = V⁺ values, with the
        # Vandermonde matrix V; at zero only the constant one counts, so the first row of V⁺.
        self.check(scales)
        degree = len(scales) - 1 if self.degree is None else self.degree
        return np.linalg.pinv(np.vander(np.asarray(scales), degree + 1, increasing=True))[0]

    def __call__(self, scales: Scales, values: Float[Array, "k m"]) -> Float[Array, " m"]:
        return dot(jnp.asarray(self.weights(scales), values.dtype), values)


Polynomial.__init__.__doc__ = """**Arguments:**

- `degree`: of the polynomial; as high as the scales determine if left out.

**Raises:** `ValueError` for a negative degree.
"""


class Exponential(AbstractExtrapolation):
    r"""$a + b\,e^{-cs}$ at $s=0$, with the given asymptote a: a line through the logarithms of the
    distances from it. Exact where the noise is global depolarizing noise and a the value of the
    fully mixed state.

    Where the distances do not all have the same sign there is no such curve, and a straight line
    through the values is used.

    !!! example

        ```python
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        values = 0.9 * jnp.exp(-0.2 * jnp.array([[1.0], [2.0], [3.0]]))
        qdeq.mitigation.Exponential()((1, 2, 3), values)  # [0.9]
        ```

    ??? cite "Reference"

        S. Endo, S. C. Benjamin and Y. Li, "Practical quantum error mitigation for near-future
        applications", Phys. Rev. X 8, 031027 (2018).
    """

    asymptote: float = 0.0

    def check(self, scales: Scales) -> None:
        _check_scales(scales, 2)

    def __call__(self, scales: Scales, values: Float[Array, "k m"]) -> Float[Array, " m"]:
        # log |value - a| = log b - c s is a straight line in s.
        line = Polynomial(1)
        distances = values - self.asymptote
        sign = jnp.sign(distances[:1])
        fits = jnp.all(distances * sign > 0, axis=0)
        # The safe value is put in first: a logarithm of zero has no finite gradient, and `where`
        # would multiply it by zero, which is NaN.
        safe = jnp.where(fits[None], distances * sign, 1)
        curve = self.asymptote + sign[0] * jnp.exp(line(scales, jnp.log(safe)))
        return jnp.where(fits, curve, line(scales, values))


Exponential.__init__.__doc__ = """**Arguments:**

- `asymptote`: the value under infinitely strong noise; 0 for Pauli observables under
    depolarizing noise.
"""


def _check_scales(scales: Scales, least: int) -> None:
    if len(set(scales)) != len(scales) or len(scales) < least:
        raise ValueError(
            f"`scales` must be at least {least} different numbers for this extrapolation; got "
            f"{scales}."
        )


def _check_reached(
    module: PyTree, scales: Scales, extrapolation: AbstractExtrapolation, method: str
) -> None:
    extrapolation.check(scales)
    reached = reached_scales(module, scales, method)
    if len(reached) == len(scales):
        return
    # A fit at scales that were asked for and not met is wrong without a sign of it.
    problem = (
        f"folding adds two gates at a time, and of the scales {scales} these circuits meet only "
        f"{reached}"
    )
    remedy = "use odd scales, which all circuits meet, or method='rates'."
    try:
        extrapolation.check(reached)
    except ValueError:
        raise ValueError(f"{problem}, too few for {extrapolation}; {remedy}") from None
    warnings.warn(f"{problem}: the fit is through these; {remedy}", stacklevel=4)


class ZeroNoise(eqx.Module):
    """A module's values extrapolated to zero noise: of a layer, or of an equilibrium after its
    solve. For mitigation inside the solve see [`eqx_qdeq.mitigation.ZeroNoiseCell`][].

    Every noise scale costs an evaluation of the module. The curve is fitted at the scales that
    the module reaches, `reached`: foldings meet not all of those that are asked for.

    !!! example

        ```python
        import eqx_qdeq as qdeq

        layer = qdeq.QuantumLayer(
            qdeq.Circuit(["Rx"], [[0]], [[0]]),
            qdeq.AngleEncoding(),
            qdeq.PauliZ(),
            noise=qdeq.noise.NoiseModel.depolarizing(0.1),
            angles=[0.5],
        )
        exact = qdeq.exact(layer)([0.3])
        mitigated = qdeq.mitigation.ZeroNoise(layer)([0.3])
        abs(layer([0.3]) - exact) > 0.01  # [True]
        abs(mitigated - exact) < 0.0001  # [True]
        ```
    """

    module: Callable[..., Float[Array, " m"]]
    scales: Scales = eqx.field(static=True, converter=_as_scales, default=(1.0, 2.0, 3.0))
    extrapolation: AbstractExtrapolation = Polynomial()
    method: str = eqx.field(static=True, default="rates")

    def __check_init__(self) -> None:
        _check_reached(self.module, self.scales, self.extrapolation, self.method)

    @property
    def reached(self) -> Scales:
        """The scales at which values are taken, each once."""
        return reached_scales(self.module, self.scales, self.method)

    # After a solve, each noise has an equilibrium of its own, and these are extrapolated: a curve
    # through them is smooth in the scale as long as the branch of equilibria is.

    def __call__(self, x: PyTree[Array], **kwargs: Any) -> Float[Array, " m"]:
        """**Arguments:** those of the module, for each scale the same.

        **Returns:** the extrapolated values, shape `(m,)`.
        """
        modules = [scale_noise(self.module, scale, self.method) for scale in self.reached]
        values = jnp.stack([module(x, **kwargs) for module in modules])
        return self.extrapolation(self.reached, values)


class ZeroNoiseCell(AbstractCell):
    """A cell whose map is extrapolated to zero noise: mitigation inside the solve. The equilibrium
    is that of the mitigated map. The curve is fitted at the scales that the cell reaches,
    `reached`.

    !!! example

        ```python
        import jax
        import eqx_qdeq as qdeq

        layer = qdeq.QuantumLayer(
            qdeq.circuits.hardware_efficient(n_qubits=2, depth=1),
            qdeq.AmplitudeEncoding(),
            qdeq.PauliZ(),
            noise=qdeq.noise.NoiseModel.depolarizing(0.02),
            key=jax.random.key(0),
        )
        cell = qdeq.QuantumCell(layer, qdeq.AddInjection(4, gain=0.5))
        deq = qdeq.DEQ(qdeq.mitigation.ZeroNoiseCell(cell))
        deq([0.1, 0.2, 0.3, 0.4]).shape  # (2,)
        ```
    """

    cell: AbstractCell
    scales: Scales = eqx.field(static=True, converter=_as_scales, default=(1.0, 2.0, 3.0))
    extrapolation: AbstractExtrapolation = Polynomial()
    method: str = eqx.field(static=True, default="rates")

    def __check_init__(self) -> None:
        _check_reached(self.cell, self.scales, self.extrapolation, self.method)

    @property
    def reached(self) -> Scales:
        """The scales at which the map is evaluated, each once."""
        return reached_scales(self.cell, self.scales, self.method)

    # Inside a solve, all noises act on the same z, and the solver sees the mitigated map alone. Its
    # derivative is the same combination of theirs, so implicit gradients need nothing more.

    def accept(self, x: Any) -> PyTree[Array]:
        return self.cell.accept(x)

    def init(self, x: PyTree[Array]) -> PyTree[Array]:
        return self.cell.init(x)

    def bind(self, x: PyTree[Array]) -> Callable[[Float[Array, " m"]], Float[Array, " m"]]:
        reached = self.reached
        maps = [scale_noise(self.cell, scale, self.method).bind(x) for scale in reached]
        return lambda z: self.extrapolation(reached, jnp.stack([fn(z) for fn in maps]))


_ARGUMENTS = """
- `scales`: the noise scales, different from one another; at least 1 for folding, which meets odd
    ones exactly.
- `extrapolation`: [`eqx_qdeq.mitigation.Polynomial`][] or
    [`eqx_qdeq.mitigation.Exponential`][]; Richardson's if left out.
- `method`: `"rates"` or `"folding"`, see [`eqx_qdeq.mitigation.scale_noise`][].

**Raises:** `ValueError` for too few scales, or another method, and where folding reaches too few
different ones. If it reaches fewer than asked for, but enough, that is a warning.
"""
ZeroNoise.__init__.__doc__ = f"""**Arguments:**

- `module`: what is evaluated; it holds quantum layers with noise.
{_ARGUMENTS.lstrip()}"""
ZeroNoiseCell.__init__.__doc__ = f"""**Arguments:**

- `cell`: the cell; its state is one vector.
{_ARGUMENTS.lstrip()}"""
