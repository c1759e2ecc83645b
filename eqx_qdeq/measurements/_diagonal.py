"""What is diagonal in the computational basis: Pauli Z on wires, and probabilities."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from .._checks import optional_wires
from .._precise import dot
from ._measurement import (
    AbstractMeasurement,
    as_state,
    check_distinct,
    check_wires,
    count_wires,
    MATRIX_WIRES,
    parity_signs,
    probabilities,
)
from ._pauli_strings import apply_string


class PauliZ(AbstractMeasurement):
    r"""$\langle Z_w\rangle$ on every wire, or on the chosen ones, in that order.

    !!! example

        ```python
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        state = jnp.array([0.0, 1.0, 0.0, 0.0])  # |01⟩: wire 0 is the first bit
        qdeq.PauliZ().values(state)  # [1. -1.]
        qdeq.PauliZ([1]).values(state)  # [-1.]
        ```
    """

    wires: tuple[int, ...] | None = eqx.field(static=True, converter=optional_wires, default=None)

    def __check_init__(self) -> None:
        _check_choice(self.wires, "PauliZ")

    def _wires(self, n_qubits: int) -> tuple[int, ...]:
        return _chosen(self.wires, n_qubits, "PauliZ")

    def size(self, n_qubits: int) -> int:
        return len(self._wires(n_qubits))

    def values(self, state: Complex[Array, " dim"]) -> Float[Array, " m"]:
        state = as_state(state)
        n = count_wires(state)
        wires = self._wires(n)
        p = probabilities(state)
        if n <= MATRIX_WIRES:
            signs = jnp.asarray(self.diagonals(n), p.dtype)
            return dot(signs, p)
        # With the wires in two halves, Z of a wire in one is told by the sums over the other.
        sums = p.reshape(2 ** (n // 2), -1)
        values = []
        for axis, k in ((1, n // 2), (0, n - n // 2)):
            signs = PauliZ().diagonals(k)
            values.append(dot(jnp.asarray(signs, p.dtype), jnp.sum(sums, axis=axis)))
        return jnp.concatenate(values)[np.array(wires)]

    def apply(self, states: Complex[Array, "dim cols"]) -> Complex[Array, "m dim cols"]:
        wires = self._wires(count_wires(states))
        return jnp.stack([apply_string(((w, "Z"),), states) for w in wires])

    def norms(self, n_qubits: int) -> np.ndarray:
        return np.ones(self.size(n_qubits))

    def diagonals(self, n_qubits: int) -> np.ndarray:
        masks = [1 << (n_qubits - 1 - w) for w in self._wires(n_qubits)]
        return parity_signs(np.array(masks), n_qubits)


PauliZ.__init__.__doc__ = """**Arguments:**

- `wires`: the wires to measure, in order; all wires if left out.

**Raises:** `ValueError` for no wires, or one that is named twice; `TypeError` for wires that
are no integers.
"""


class Probabilities(AbstractMeasurement):
    """Probabilities of the basis states of the chosen wires (of all wires if left out).

    The order of `wires` is the order of the bits, the first wire the most significant one.

    !!! example

        ```python
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        bell = jnp.array([1.0, 0.0, 0.0, 1.0]) / 2**0.5
        qdeq.Probabilities().values(bell)  # [0.5 0. 0. 0.5]
        qdeq.Probabilities([0]).values(bell)  # [0.5 0.5]
        ```
    """

    wires: tuple[int, ...] | None = eqx.field(static=True, converter=optional_wires, default=None)

    def __check_init__(self) -> None:
        _check_choice(self.wires, "Probabilities")

    def _wires(self, n_qubits: int) -> tuple[int, ...]:
        return _chosen(self.wires, n_qubits, "Probabilities")

    def size(self, n_qubits: int) -> int:
        return 2 ** len(self._wires(n_qubits))

    def values(self, state: Complex[Array, " dim"]) -> Float[Array, " m"]:
        state = as_state(state)
        n = count_wires(state)
        wires = self._wires(n)
        # A sum over the wires that are not asked for, then the others in the order asked for.
        p = probabilities(state).reshape((2,) * n)
        p = jnp.sum(p, axis=tuple(w for w in range(n) if w not in wires))
        kept = sorted(wires)
        return p.transpose([kept.index(w) for w in wires]).reshape(-1)

    def apply(self, states: Complex[Array, "dim cols"]) -> Complex[Array, "m dim cols"]:
        # O_q projects onto the basis states with outcome q: it keeps their amplitudes.
        projectors = self.diagonals(count_wires(states)) == 1
        return jnp.where(projectors[:, :, None], states, 0)

    def diagonals(self, n_qubits: int) -> np.ndarray:
        wires = self._wires(n_qubits)
        k = np.arange(2**n_qubits)
        outcome = np.zeros_like(k)
        for w in wires:
            outcome = 2 * outcome + ((k >> (n_qubits - 1 - w)) & 1)
        return (np.arange(2 ** len(wires))[:, None] == outcome).astype(np.int8)

    def norms(self, n_qubits: int) -> np.ndarray:
        return np.ones(self.size(n_qubits))


Probabilities.__init__.__doc__ = """**Arguments:**

- `wires`: the wires to measure, in the order of the outcome's bits; all wires if left out.

**Raises:** `ValueError` for no wires, or one that is named twice; `TypeError` for wires that
are no integers.
"""


def _check_choice(wires: tuple[int, ...] | None, owner: str) -> None:
    if wires is not None and len(wires) == 0:
        raise ValueError(f"`wires` of {owner} is empty; name a wire, or leave `wires` out.")
    check_distinct(wires or (), f"`wires` of {owner}")


def _chosen(wires: tuple[int, ...] | None, n_qubits: int, owner: str) -> tuple[int, ...]:
    """The wires that were chosen: all of them if none were named."""
    if wires is None:
        return tuple(range(n_qubits))
    check_wires(wires, n_qubits, f"`wires` of {owner}")
    return wires
