"""Encodings: how a feature vector becomes a quantum state.

An encoding that acts before the circuit is described by a real unit vector u(x) on which the
state depends linearly (see `simulate/_linear.py`); data re-uploading interleaves its rotations
with the circuit and is described by the rotations' angles instead.
"""

import abc
import math
import operator
from collections.abc import Sequence
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from ._checks import check_at_least, check_instance, describe, integers, is_number
from ._inputs import features
from ._memory import check_memory
from .simulate import complex_dtype

Axis = Literal["X", "Y", "Z"]
"""The axis of a rotation."""


class AbstractEncoding(eqx.Module):
    """The abstract base class of all encodings.

    !!! example

        ```python
        import eqx_qdeq as qdeq

        encodings = [qdeq.AmplitudeEncoding(), qdeq.AngleEncoding("YZ")]
        for encoding in encodings:
            encoding.check(in_size=4, n_qubits=2)  # a ValueError if they do not fit
        isinstance(encodings[0], qdeq.AbstractEncoding)  # True
        ```
    """

    @abc.abstractmethod
    def check(self, in_size: int, n_qubits: int) -> None:
        """Raises a `ValueError` if `in_size` features do not fit on `n_qubits` wires."""

    def accept(self, x: Any, n_qubits: int, dtype: Any = None) -> Float[Array, " d"]:
        """The features of one sample as a vector of precision `dtype`; its own, if left out.

        **Raises:** `ValueError` for a batch, for no features, or for more than fit on the wires;
        `TypeError` for numbers that are not real.
        """
        x = features(x, dtype)
        self.check(x.shape[0], n_qubits)
        return x


class AbstractStateEncoding(AbstractEncoding):
    """An encoding that prepares the state on which the circuit then acts.

    !!! example

        ```python
        import jax.numpy as jnp
        import eqx_qdeq as qdeq


        # One feature: cos(x)|0…0⟩ + sin(x)|1…1⟩.
        class Cat(qdeq.AbstractStateEncoding):
            is_complex = False

            def check(self, in_size, n_qubits):
                if in_size != 1:
                    raise ValueError(f"one feature; got {in_size}.")

            def n_amplitudes(self, in_size, n_qubits):
                return 2**n_qubits

            def amplitudes(self, x, n_qubits):
                x = self.accept(x, n_qubits)[0]
                zeros = jnp.zeros(2**n_qubits, x.dtype)
                return zeros.at[0].set(jnp.cos(x)).at[-1].set(jnp.sin(x))

            def state(self, x, n_qubits):
                return self.amplitudes(x, n_qubits).astype(complex)


        circuit = qdeq.circuits.hardware_efficient(n_qubits=2, depth=1)
        layer = qdeq.QuantumLayer(
            circuit, Cat(), qdeq.PauliZ(), angles=jnp.zeros(circuit.n_params)
        )
        layer([jnp.pi / 2])  # [-1. 1.]
        ```
    """

    @abc.abstractmethod
    def amplitudes(self, x: Float[Array, " d"], n_qubits: int) -> Float[Array, " p"]:
        """The real unit vector u of which the encoded state is a linear function.

        With real amplitudes p ≤ 2ⁿ and u holds the first p of them, the others are zero.
        Otherwise p = 2·2ⁿ and u holds the real parts, then the imaginary parts.
        """

    @property
    @abc.abstractmethod
    def is_complex(self) -> bool:
        """Whether `amplitudes` holds real and imaginary parts."""

    @abc.abstractmethod
    def n_amplitudes(self, in_size: int, n_qubits: int) -> int:
        """The length p of `amplitudes`."""

    @abc.abstractmethod
    def state(self, x: Float[Array, " d"], n_qubits: int) -> Complex[Array, " dim"]:
        """The encoded state, a complex array of shape `(2**n_qubits,)` of unit norm."""


def check_state(n_qubits: int, dtype: jnp.dtype) -> None:
    """Refuses a state that cannot fit."""
    size = 2.0**n_qubits * np.dtype(complex_dtype(dtype)).itemsize
    remedy = 'Take fewer wires, or `map_batch` with a mesh that has an axis "amplitudes".'
    check_memory(size, f"a state vector of {n_qubits} wires", remedy)


def normalise(v: Float[Array, " d"]) -> Float[Array, " d"]:
    """`v / ‖v‖`, and the first basis vector with zero gradient where v = 0.

    Scales by the largest entry first, so that neither tiny nor huge vectors lose their norm.
    """
    # v / ‖v‖ does not depend on the scale of v, so its derivative in the scale is zero and need not
    # be followed; and ‖safe‖ is between 1 and 4√d, whatever the size of v. Not divided by the
    # largest itself: XLA multiplies by the inverse, and above 8.5e37 that is below float32's
    # smallest normal number, which processors flush to zero, and the vector with it.
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(v)))
    is_zero = largest == 0
    # The safe value is put in before the division: a `where` after it would still
    # differentiate 0 / 0 and give NaN gradients.
    first = jnp.zeros_like(v).at[0].set(1)
    size = jnp.where(is_zero, 1, jnp.where(largest > 4, largest / 4, largest))
    safe = jnp.where(is_zero, first, v / size)
    return safe / jnp.sqrt(jnp.sum(safe**2))


class AmplitudeEncoding(AbstractStateEncoding):
    r"""The features are the amplitudes: $|\psi(v)\rangle = \sum_j v_j |j\rangle / \|v\|$.

    Wire 0 is the most significant bit of j. Fewer than 2ⁿ features are padded with zeros. The
    zero vector, which has no direction, gives $|0\dots0\rangle$ and a zero gradient.

    !!! example

        ```python
        import eqx_qdeq as qdeq

        encoding = qdeq.AmplitudeEncoding()
        encoding.state([3.0, 0.0, 4.0], n_qubits=2).real  # [0.6 0. 0.8 0. ]
        ```
    """

    def check(self, in_size: int, n_qubits: int) -> None:
        if not 1 <= in_size <= 2**n_qubits:
            raise ValueError(
                f"amplitude encoding on {n_qubits} wires takes 1 to {2**n_qubits} features; "
                f"got {in_size}. Use at least {max(1, (in_size - 1).bit_length())} wires, or "
                "fewer features."
            )

    @property
    def is_complex(self) -> bool:
        return False

    def n_amplitudes(self, in_size: int, n_qubits: int) -> int:
        return in_size

    def amplitudes(self, x: Float[Array, " d"], n_qubits: int) -> Float[Array, " d"]:
        return normalise(self.accept(x, n_qubits))

    def state(self, x: Float[Array, " d"], n_qubits: int) -> Complex[Array, " dim"]:
        u = self.amplitudes(x, n_qubits)
        check_state(n_qubits, u.dtype)
        # Here the zeros are written out; the circuit's engines leave them out of their products.
        padded = jnp.pad(u, (0, 2**n_qubits - u.shape[0]))
        return padded.astype(complex_dtype(u.dtype))


AmplitudeEncoding.__init__.__doc__ = """**Arguments:** none."""


class ComplexAmplitudeEncoding(AbstractStateEncoding):
    r"""The features are real and imaginary parts of the amplitudes, twice as many as with
    [`eqx_qdeq.AmplitudeEncoding`][]:

    $$|\psi(v)\rangle = \sum_j (v_j + i\,v_{j+2^n})\, |j\rangle / \|v\|.$$

    Fewer than 2·2ⁿ features are padded with zeros; up to 2ⁿ this is amplitude encoding. The zero
    vector gives $|0\dots0\rangle$ and a zero gradient.

    !!! example

        ```python
        import eqx_qdeq as qdeq

        encoding = qdeq.ComplexAmplitudeEncoding()
        # On one wire: two real parts, then two imaginary ones.
        encoding.state([3.0, 0.0, 0.0, 4.0], n_qubits=1)  # [0.6+0.j 0. +0.8j]
        ```
    """

    def check(self, in_size: int, n_qubits: int) -> None:
        if not 1 <= in_size <= 2 * 2**n_qubits:
            raise ValueError(
                f"complex amplitude encoding on {n_qubits} wires takes 1 to {2 * 2**n_qubits} "
                f"features; got {in_size}. Use at least {max(1, (in_size - 1).bit_length() - 1)} "
                "wires, or fewer features."
            )

    @property
    def is_complex(self) -> bool:
        return True

    def n_amplitudes(self, in_size: int, n_qubits: int) -> int:
        return 2 * 2**n_qubits

    def amplitudes(self, x: Float[Array, " d"], n_qubits: int) -> Float[Array, " p"]:
        x = self.accept(x, n_qubits)
        check_state(n_qubits, x.dtype)
        return normalise(jnp.pad(x, (0, 2 * 2**n_qubits - x.shape[0])))

    def state(self, x: Float[Array, " d"], n_qubits: int) -> Complex[Array, " dim"]:
        real, imaginary = self.amplitudes(x, n_qubits).reshape(2, -1)
        return jax.lax.complex(real, imaginary)


ComplexAmplitudeEncoding.__init__.__doc__ = """**Arguments:** none."""


def _pauli(axis: str) -> np.ndarray:
    return {
        "X": np.array([[0, 1], [1, 0]], complex),
        "Y": np.array([[0, -1j], [1j, 0]], complex),
        "Z": np.array([[1, 0], [0, -1]], complex),
    }[axis]


def pauli_rotations(axis: str, angles: Float[Array, " n"]) -> Complex[Array, "n 2 2"]:
    r"""$\exp(-i\,\alpha\,\sigma_a/2)$ for every angle α (radians); `axis` names one axis for all
    of them, or one for each."""
    axes = axis * angles.shape[0] if len(axis) == 1 else axis
    dtype = complex_dtype(angles.dtype)
    sigma = jnp.asarray(np.stack([-1j * _pauli(a) for a in axes]), dtype)
    half = angles[:, None, None] / 2
    # σ² = 1, so the exponential's even powers sum up to cos(α/2) and its odd ones to -i sin(α/2) σ.
    cos, sin = jnp.cos(half).astype(dtype), jnp.sin(half).astype(dtype)
    return cos * np.eye(2, dtype=dtype)[None] + sin * sigma


def product_state(gates: Sequence[Complex[Array, "n 2 2"]]) -> Complex[Array, " dim"]:
    """|0…0⟩ after rounds of gates on single wires, one on each wire."""
    # No gate couples two wires, so each keeps a state of its own, and 2ⁿ numbers are only there at
    # the end: ψ = ψ_0 ⊗ … ⊗ ψ_{n-1}, wire 0 being the slowest index.
    check_state(len(gates[0]), gates[0].dtype)
    first, *rest = gates
    wires = first[:, :, 0]  # (n, 2): each wire's own state
    for gate in rest:
        wires = jnp.sum(gate * wires[:, None, :], axis=-1)
    state = wires[0]
    for wire in wires[1:]:
        state = jnp.outer(state, wire).reshape(-1)
    return state


def _as_layout(layout: Any) -> Any:
    """As tuples, which can be hashed as static fields are."""
    if layout is None:
        return None
    try:
        return tuple((axis, operator.index(wire)) for axis, wire in layout)
    except (TypeError, ValueError):
        raise TypeError(
            "`layout` must be a list of `(axis, wire)`, one for each feature, e.g. [('Y', 0), "
            f"('Z', 0)]; got {describe(layout)}."
        ) from None


class AngleEncoding(AbstractStateEncoding):
    r"""The features are rotation angles (radians), on |0…0⟩:
    $|\psi(x)\rangle = \prod_i R_{a_i}(s\,x_i)_{w_i}\,|0\dots0\rangle$, feature 0 first.

    Either `axes` names the axis of each round, feature i turning wire `i % n` about
    `axes[i // n % len(axes)]`; or `layout` gives `(axis, wire)` for every feature.
    `AngleEncoding("YZXY")` with 16 features on 4 wires is the paper's "4x4_ryzxy".

    !!! example

        ```python
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        encoding = qdeq.AngleEncoding("Y")  # feature i turns wire i
        state = encoding.state([0.0, jnp.pi], n_qubits=2)  # |01⟩
        qdeq.PauliZ().values(state)  # [1. -1.]
        qdeq.AngleEncoding("YZ").resolve(in_size=3, n_qubits=2)
        # (('Y', 0), ('Y', 1), ('Z', 0))
        ```
    """

    axes: str = eqx.field(static=True, default="Y")
    layout: tuple[tuple[Axis, int], ...] | None = eqx.field(
        static=True, converter=_as_layout, default=None
    )
    scale: float = eqx.field(static=True, default=1.0)

    def __check_init__(self) -> None:
        check_instance("axes", self.axes, str, "a string of rotation axes, e.g. 'YZ'")
        if not is_number(self.scale) or not math.isfinite(self.scale):
            raise TypeError(f"`scale` must be a finite number; got {describe(self.scale)}.")
        used = self.axes if self.layout is None else [axis for axis, _ in self.layout]
        for axis in used:
            if axis not in ("X", "Y", "Z"):
                raise ValueError(f"a rotation axis is 'X', 'Y' or 'Z'; got {axis!r}.")
        if len(self.axes) == 0:
            raise ValueError("`axes` is empty; give at least one axis, e.g. axes='Y'.")

    def resolve(self, in_size: int, n_qubits: int) -> tuple[tuple[Axis, int], ...]:
        """The `(axis, wire)` of every feature."""
        self.check(in_size, n_qubits)
        if self.layout is not None:
            return self.layout
        return tuple(
            (self.axes[i // n_qubits % len(self.axes)], i % n_qubits)  # pyright: ignore
            for i in range(in_size)
        )

    def check(self, in_size: int, n_qubits: int) -> None:
        if in_size < 1:
            raise ValueError(f"angle encoding takes at least one feature; got {in_size}.")
        if self.layout is None:
            return
        if in_size != len(self.layout):
            raise ValueError(
                f"`layout` places {len(self.layout)} features; got {in_size}. Give one "
                "(axis, wire) for every feature."
            )
        for i, (_, wire) in enumerate(self.layout):
            if not 0 <= wire < n_qubits:
                raise ValueError(
                    f"`layout` puts feature {i} on wire {wire}, but the circuit has "
                    f"{n_qubits} wires (0 to {n_qubits - 1})."
                )

    @property
    def is_complex(self) -> bool:
        return True

    def n_amplitudes(self, in_size: int, n_qubits: int) -> int:
        return 2 * 2**n_qubits

    def rotations(self, x: Float[Array, " d"], n_qubits: int) -> list[Complex[Array, "n 2 2"]]:
        """The rotations on all wires, round by round; a wire without one gets the identity."""
        x = self.accept(x, n_qubits)
        # A feature goes into the first round in which its wire is free: rotations of one wire keep
        # their order, those of different wires commute, and few rounds are few operations.
        layout = self.resolve(x.shape[0], n_qubits)
        rounds: list[dict[int, tuple[Axis, int]]] = []
        filled = [0] * n_qubits
        for i, (axis, wire) in enumerate(layout):
            if filled[wire] == len(rounds):
                rounds.append({})
            rounds[filled[wire]][wire] = (axis, i)
            filled[wire] += 1
        # The last entry stands for "no rotation here": an angle of 0 about any axis.
        angles = jnp.append(x * self.scale, jnp.zeros((), x.dtype))
        out = []
        for members in rounds:
            chosen = [members.get(wire, ("Z", x.shape[0])) for wire in range(n_qubits)]
            axes = "".join(axis for axis, _ in chosen)
            out.append(pauli_rotations(axes, angles[np.array([i for _, i in chosen])]))
        return out

    def state(self, x: Float[Array, " d"], n_qubits: int) -> Complex[Array, " dim"]:
        return product_state(self.rotations(x, n_qubits))

    def amplitudes(self, x: Float[Array, " d"], n_qubits: int) -> Float[Array, " p"]:
        state = self.state(x, n_qubits)
        return jnp.concatenate([state.real, state.imag])


AngleEncoding.__init__.__doc__ = """**Arguments:**

- `axes`: the rotation axes, one letter of X, Y, Z for each round over the wires; repeated when
    there are more features than `len(axes) * n_qubits`.
- `layout`: instead of `axes`, the `(axis, wire)` of every feature, in order of application.
- `scale`: every feature is multiplied by this to give an angle in radians.

**Raises:** `ValueError` for an axis other than X, Y and Z, or none; `TypeError` for axes that
are no string, a layout that is none, or a scale that is no finite number.
"""


def _as_positions(positions: Any) -> tuple[int, ...] | None:
    return None if positions is None else integers("positions", positions)


class DataReuploading(AbstractEncoding):
    """Encodes the features again between sections of the circuit.

    The circuit is cut into `n_uploads` sections of equal numbers of gates (or at the gates
    named by `positions`), and the rotations of `encoding` act before each section.

    !!! example

        ```python
        import jax
        import eqx_qdeq as qdeq

        block = qdeq.circuits.hardware_efficient(n_qubits=2, depth=1)
        encoding = qdeq.DataReuploading(qdeq.AngleEncoding("X"), n_uploads=3)
        layer = qdeq.QuantumLayer(
            block.repeat(3), encoding, qdeq.PauliZ(), key=jax.random.key(0)
        )
        layer([0.1, 0.2]).shape  # (2,)
        ```

    ??? cite "Reference"

        A. Pérez-Salinas, A. Cervera-Lierta, E. Gil-Fuster and J. I. Latorre, "Data re-uploading
        for a universal quantum classifier", Quantum 4, 226 (2020).
    """

    encoding: AngleEncoding
    n_uploads: int = eqx.field(static=True)
    positions: tuple[int, ...] | None = eqx.field(
        static=True, converter=_as_positions, default=None
    )

    def __check_init__(self) -> None:
        check_instance(
            "encoding", self.encoding, AngleEncoding, "an AngleEncoding, e.g. `AngleEncoding('Y')`"
        )
        check_at_least("n_uploads", self.n_uploads, 1)
        if self.positions is not None and len(self.positions) != self.n_uploads:
            raise ValueError(
                f"`positions` has {len(self.positions)} entries for n_uploads="
                f"{self.n_uploads}; give one gate position for each upload."
            )
        if self.positions is not None and list(self.positions) != sorted(self.positions):
            raise ValueError(f"`positions` must not decrease; got {self.positions}.")

    def check(self, in_size: int, n_qubits: int) -> None:
        self.encoding.check(in_size, n_qubits)

    def cuts(self, n_gates: int) -> tuple[int, ...]:
        """The gate positions before which the features are encoded.

        **Raises:** `ValueError` for positions that leave the circuit, or uploads that do not divide
        its gates.
        """
        if self.positions is not None:
            if self.positions[0] < 0 or self.positions[-1] > n_gates:
                raise ValueError(
                    f"`positions` {self.positions} leave the circuit, which has {n_gates} gates."
                )
            return self.positions
        if n_gates % self.n_uploads != 0:
            raise ValueError(
                f"n_uploads={self.n_uploads} does not divide the circuit's {n_gates} gates; "
                "give `positions`, or a circuit made with `block.repeat(n_uploads)`."
            )
        return tuple(range(0, n_gates, n_gates // self.n_uploads))


DataReuploading.__init__.__doc__ = """**Arguments:**

- `encoding`: the [`eqx_qdeq.AngleEncoding`][] that is applied before each section.
- `n_uploads`: how often the features are encoded.
- `positions`: instead of equal sections, the gate positions before which to encode.

**Raises:** `TypeError` for another encoding; `ValueError` for fewer than one upload, or
positions that decrease or are not one for each upload.
"""
