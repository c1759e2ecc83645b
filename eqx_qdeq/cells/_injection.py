"""Injections: how the measured values z are fed back into the circuit's input."""

import abc
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from .._checks import check_at_least, optional_wires
from .._inputs import check_key, features, numbers, precision
from .._precise import dot


class AbstractInjection(eqx.Module):
    """The abstract base class of all injections.

    !!! example

        ```python
        import eqx_qdeq as qdeq

        injections = [qdeq.AddInjection(4), qdeq.AngleFeedback()]
        for injection in injections:
            injection.check(n_values=2)  # a ValueError if it cannot feed them back
        ```
    """

    def check(self, n_values: int) -> None:
        """Raises a `ValueError` if it cannot feed back so many measured values. To be overridden;
        a cell asks when it is made."""


class AbstractLinearInjection(AbstractInjection):
    r"""An injection of the form $v(z, x) = b(x) + R\,z$.

    With amplitude encoding, this form makes the cell a rational quadratic map whose iterations
    touch no state (see [`eqx_qdeq.QuantumCell`][]).

    !!! example

        ```python
        import jax.numpy as jnp
        import eqx_qdeq as qdeq


        # The first features are replaced, and the others stay.
        class Replace(qdeq.AbstractLinearInjection):
            def offset(self, x, n_values):
                return x.at[:n_values].set(0)

            def matrix(self, in_size, n_values, dtype):
                return jnp.eye(in_size, n_values, dtype=dtype)


        Replace()([7.0, 8.0], [1.0, 2.0, 3.0])  # [7. 8. 3.]
        ```
    """

    @abc.abstractmethod
    def offset(self, x: Float[Array, " d_in"], n_values: int) -> Float[Array, " d"]:
        """The part b(x) that does not depend on z."""

    @abc.abstractmethod
    def matrix(self, in_size: int, n_values: int, dtype: jnp.dtype) -> Float[Array, "d m"]:
        """The matrix R, for `in_size` features and m = `n_values` measured values."""

    def __call__(self, z: Float[Array, " m"], x: Float[Array, " d_in"]) -> Float[Array, " d"]:
        """The circuit's input v(z, x)."""
        dtype = precision(self, z, x)
        x, z = features(x, dtype), features(z, dtype, name="z")
        matrix = self.matrix(x.shape[0], z.shape[0], z.dtype)
        return self.offset(x, z.shape[0]).astype(z.dtype) + dot(matrix, z)


def _of_size(x: Any, size: int, dtype: Any = None) -> Float[Array, " d"]:
    x = features(x, dtype)
    if x.shape != (size,):
        raise ValueError(
            f"the injection was made for in_size={size} features; got an input of shape {x.shape}."
        )
    return x


def upsampling_matrix(size: int, n_values: int) -> np.ndarray:
    """Nearest-neighbor upsampling from m values to d: entry i is value ⌊i·m/d⌋, shape (d, m)."""
    # As `torch.nn.Upsample(mode="nearest")`: where m does not divide d the first values stand once
    # more.
    nearest = np.arange(size) * n_values // size
    return (nearest[:, None] == np.arange(n_values)).astype(float)


def scaled(
    pattern: np.ndarray | Array, gain: float | Float[Array, "..."], dtype: jnp.dtype
) -> Float[Array, "d m"]:
    """A fixed 0-1 matrix times a gain, one for all or one for each of its columns."""
    check_gain(gain, pattern.shape[1])
    gains = jnp.broadcast_to(jnp.asarray(gain, dtype), pattern.shape)
    return jnp.asarray(pattern, dtype) * gains


def check_gain(gain: float | Array, n_values: int) -> None:
    if jnp.shape(gain) not in ((), (n_values,)):
        raise ValueError(
            f"`gain` must be one number, or one for each of the {n_values} measured values, of "
            f"shape ({n_values},); got the shape {jnp.shape(gain)}."
        )


def _as_gain(gain: Any) -> float | Array:
    # A number stays a number, which nobody trains; the rest becomes a JAX array.
    if isinstance(gain, int | float | np.number):
        return float(gain)
    array = numbers(gain, name="gain")
    if array.ndim > 1:
        raise ValueError(
            "`gain` must be one number, or one for each measured value, of shape (m,); got the "
            f"shape {array.shape}."
        )
    return array


class AddInjection(AbstractLinearInjection):
    r"""The paper's injection, $v = x + g\,\mathrm{upsample}(z)$.

    Each of the m measured values is repeated about d/m times. The paper's gain is 1 and fixed;
    a float stays fixed here too, an array is trained.

    !!! example

        ```python
        import eqx_qdeq as qdeq

        injection = qdeq.AddInjection(in_size=4, gain=0.5)
        injection([0.2, -0.2], [1.0, 2.0, 3.0, 4.0])  # [1.1 2.1 2.9 3.9]
        ```
    """

    in_size: int = eqx.field(static=True)
    gain: float | Float[Array, ""] | Float[Array, " m"] = eqx.field(converter=_as_gain, default=1.0)

    def __check_init__(self) -> None:
        check_at_least("in_size", self.in_size, 1)

    def check(self, n_values: int) -> None:
        if n_values > self.in_size:
            raise ValueError(
                f"AddInjection cannot upsample {n_values} measured values to in_size="
                f"{self.in_size}; measure fewer, or use LinearInjection."
            )
        check_gain(self.gain, n_values)

    def offset(self, x: Float[Array, " d"], n_values: int) -> Float[Array, " d"]:
        return _of_size(x, self.in_size)

    def matrix(self, in_size: int, n_values: int, dtype: jnp.dtype) -> Float[Array, "d m"]:
        self.check(n_values)
        # As `upsampling_matrix`. Written out, that of many features would be a large constant, with
        # which compilers compute for minutes.
        starts = -(-np.arange(n_values + 1) * self.in_size // n_values)
        i = jnp.arange(self.in_size)[:, None]
        return scaled((starts[None, :-1] <= i) & (i < starts[None, 1:]), self.gain, dtype)


AddInjection.__init__.__doc__ = """**Arguments:**

- `in_size`: the number d of features.
- `gain`: the strength of the feedback, one for all or one for each measured value. A float is
    a fixed hyperparameter, an array a trainable leaf.

**Raises:** `ValueError` for a size below 1; `TypeError` or `ValueError` for a gain that is
neither a number nor one for each value.
"""


class LinearInjection(AbstractLinearInjection):
    r"""A learned injection, $v = W_x x + W_z z + b$.

    !!! example

        ```python
        import jax
        import eqx_qdeq as qdeq

        injection = qdeq.LinearInjection(
            in_size=3, state_size=2, out_size=4, key=jax.random.key(0)
        )
        injection([0.2, -0.2], [1.0, 2.0, 3.0]).shape  # (4,)
        ```
    """

    input_weight: Float[Array, "d d_in"]
    state_weight: Float[Array, "d m"]
    bias: Float[Array, " d"] | None

    def __init__(
        self,
        in_size: int,
        state_size: int,
        out_size: int,
        *,
        use_bias: bool = True,
        key: PRNGKeyArray,
    ):
        for name, size in (
            ("in_size", in_size),
            ("state_size", state_size),
            ("out_size", out_size),
        ):
            check_at_least(name, size, 1)
        check_key("key", key)
        kx, kw, kb = jax.random.split(key, 3)
        dtype = jnp.result_type(float)

        def uniform(key: PRNGKeyArray, shape: tuple[int, ...], fan_in: int) -> Array:
            limit = 1 / math.sqrt(fan_in)
            return jax.random.uniform(key, shape, dtype, minval=-limit, maxval=limit)

        self.input_weight = uniform(kx, (out_size, in_size), in_size)
        self.state_weight = uniform(kw, (out_size, state_size), state_size)
        self.bias = uniform(kb, (out_size,), in_size) if use_bias else None

    def offset(self, x: Float[Array, " d_in"], n_values: int) -> Float[Array, " d"]:
        x = _of_size(x, self.input_weight.shape[1], precision(self))
        out = dot(self.input_weight, x)
        return out if self.bias is None else out + self.bias

    def matrix(self, in_size: int, n_values: int, dtype: jnp.dtype) -> Float[Array, "d m"]:
        self.check(n_values)
        return self.state_weight.astype(dtype)

    def check(self, n_values: int) -> None:
        if n_values != self.state_weight.shape[1]:
            raise ValueError(
                f"the injection was made for state_size={self.state_weight.shape[1]} values, but "
                f"the layer measures {n_values}."
            )


LinearInjection.__init__.__doc__ = """**Arguments:**

- `in_size`: the number of features of a sample.
- `state_size`: the number m of measured values.
- `out_size`: the number d of features that the encoding is given.
- `use_bias`: whether to add a bias.
- `key`: for the initial weights, uniform in ±1/√(fan-in) as in `equinox.nn.Linear`.

**Raises:** `ValueError` for sizes below 1; `TypeError` for what is no key.
"""


class ConcatInjection(AbstractLinearInjection):
    r"""$v = [x;\ g\,z]$: features and measured values side by side, d = d_in + m.

    !!! example

        ```python
        import eqx_qdeq as qdeq

        qdeq.ConcatInjection(gain=2.0)([0.2, -0.2], [1.0, 2.0])  # [1. 2. 0.4 -0.4]
        ```
    """

    gain: float | Float[Array, ""] | Float[Array, " m"] = eqx.field(converter=_as_gain, default=1.0)

    def check(self, n_values: int) -> None:
        check_gain(self.gain, n_values)

    def offset(self, x: Float[Array, " d_in"], n_values: int) -> Float[Array, " d"]:
        x = features(x)
        return jnp.concatenate([x, jnp.zeros(n_values, x.dtype)])

    def matrix(self, in_size: int, n_values: int, dtype: jnp.dtype) -> Float[Array, "d m"]:
        # z does not touch the features: R is a block of zeros above g·1.
        return scaled(jnp.eye(in_size + n_values, n_values, -in_size), self.gain, dtype)


ConcatInjection.__init__.__doc__ = """**Arguments:**

- `gain`: the scale of the measured values. A float is fixed, a JAX array trained.
"""


class AngleFeedback(AbstractInjection):
    r"""The measured values rotate wires between two halves of the circuit:

    $$f(z, x) = \mathrm{measure}\; U_2(\theta)\, \prod_i R_a(g_i z_i)_{w_i}\,
    U_1(\theta)\,|\psi(x)\rangle$$

    The sample enters only through its encoded state, which $U_1$ carries up to the feedback once
    per solve.

    !!! example

        ```python
        import jax
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        layer = qdeq.QuantumLayer(
            qdeq.circuits.hardware_efficient(n_qubits=2, depth=2),
            qdeq.AngleEncoding(),
            qdeq.PauliZ(),
            key=jax.random.key(0),
        )
        cell = qdeq.QuantumCell(layer, qdeq.AngleFeedback(gain=0.5))
        qdeq.DEQ(cell)(jnp.ones(2)).shape  # (2,)
        ```
    """

    axis: str = eqx.field(static=True, default="Y")
    gain: float | Float[Array, ""] | Float[Array, " m"] = eqx.field(
        converter=_as_gain, default=math.pi
    )
    position: int | None = eqx.field(static=True, default=None)
    wires: tuple[int, ...] | None = eqx.field(static=True, converter=optional_wires, default=None)

    def __check_init__(self) -> None:
        if self.axis not in ("X", "Y", "Z"):
            raise ValueError(f"`axis` must be 'X', 'Y' or 'Z'; got {self.axis!r}.")
        if self.position is not None:
            check_at_least("position", self.position, 0)

    def check(self, n_values: int) -> None:
        check_gain(self.gain, n_values)

    def resolve(self, n_gates: int, n_qubits: int, n_values: int) -> tuple[int, tuple[int, ...]]:
        """The gate position of the feedback and the wire that each value turns.

        **Raises:** `ValueError` for a position or wires that leave the circuit, or another number
        of wires than of values.
        """
        position = n_gates // 2 if self.position is None else self.position
        if not 0 <= position <= n_gates:
            raise ValueError(
                f"`position` must lie in the circuit, 0 to {n_gates} gates; got {position}."
            )
        wires = self.wires
        if wires is None:
            wires = tuple(i % n_qubits for i in range(n_values))
        if len(wires) != n_values:
            raise ValueError(
                f"`wires` names {len(wires)} wires for {n_values} measured values; name one each."
            )
        if any(not 0 <= wire < n_qubits for wire in wires):
            raise ValueError(f"`wires` {wires} leave the circuit, which has {n_qubits} wires.")
        return position, wires


AngleFeedback.__init__.__doc__ = """**Arguments:**

- `axis`: the axis of the feedback's rotations, 'X', 'Y' or 'Z'.
- `gain`: radians per unit of measured value, one for all or one for each. A float is fixed, a
    JAX array trained.
- `position`: the gate before which the feedback acts; the middle of the circuit if left out.
- `wires`: the wire that each measured value turns; value i turns wire i mod n if left out.

**Raises:** `ValueError` for another axis, or a negative position.
"""
