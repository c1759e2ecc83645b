"""Expectation values of any Hermitian matrices on a few wires."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import wadler_lindig as wl
from jaxtyping import Array, ArrayLike, Complex, Float

from .._checks import integers
from .._precise import tensordot
from ._measurement import AbstractMeasurement, as_state, check_distinct, check_wires, count_wires


class Hermitian(AbstractMeasurement):
    r"""Expectation values $\langle\psi|H_q\otimes 1|\psi\rangle$ of Hermitian matrices on a few
    wires.

    !!! example

        ```python
        import jax.numpy as jnp
        import numpy as np
        import eqx_qdeq as qdeq

        # Exchanges two wires: +1 on symmetric states, -1 on antisymmetric ones.
        swap = np.eye(4)[[0, 2, 1, 3]]
        singlet = jnp.array([0.0, 1.0, -1.0, 0.0]) / 2**0.5
        qdeq.Hermitian(swap, wires=[0, 1]).values(singlet)  # [-1.]
        ```
    """

    # Nested tuples and not an array: static fields are hashed under `jit`.
    entries: tuple[tuple[tuple[complex, ...], ...], ...] = eqx.field(static=True)
    wires: tuple[int, ...] = eqx.field(static=True)

    def __init__(self, matrix: ArrayLike, wires: Sequence[int]):
        matrices = np.asarray(matrix, complex)
        wires = integers("wires", wires)
        check_distinct(wires, "`wires` of Hermitian")
        dim = 2 ** len(wires)
        if matrices.ndim == 2:
            matrices = matrices[None]
        if len(wires) == 0 or matrices.ndim != 3 or matrices.shape[1:] != (dim, dim):
            raise ValueError(
                f"`matrix` on wires {wires} must have shape ({dim}, {dim}) or (m, {dim}, {dim}); "
                f"got {np.shape(matrix)}."
            )
        gap = np.max(np.abs(matrices - matrices.conj().swapaxes(1, 2)))
        if not gap <= 1e-6 * max(1.0, float(np.max(np.abs(matrices)))):
            raise ValueError(
                f"`matrix` is not Hermitian: it differs from its adjoint by {gap:.2e}. "
                "Use (M + M.conj().T) / 2."
            )
        self.entries = tuple(tuple(tuple(row) for row in m) for m in matrices.tolist())
        self.wires = wires

    def __pdoc__(self, **kwargs: Any) -> wl.AbstractDoc:
        dim = 2 ** len(self.wires)
        return wl.TextDoc(f"Hermitian({len(self.entries)} of {dim}×{dim}, wires={self.wires})")

    @property
    def matrices(self) -> Complex[np.ndarray, "m local local"]:
        """The matrices, shape `(m, 2**k, 2**k)`."""
        return np.array(self.entries)

    def size(self, n_qubits: int) -> int:
        check_wires(self.wires, n_qubits, "`wires` of Hermitian")
        return len(self.entries)

    def values(self, state: Complex[Array, " dim"]) -> Float[Array, " m"]:
        state = as_state(state)
        applied, state = self.apply(state[:, None])[:, :, 0], state[None]
        return jnp.sum(state.real * applied.real + state.imag * applied.imag, axis=-1)

    def apply(self, states: Complex[Array, "dim cols"]) -> Complex[Array, "m dim cols"]:
        n, k, cols = count_wires(states), len(self.wires), states.shape[1]
        m = self.size(n)
        tensor = states.reshape((2,) * n + (cols,))
        h = jnp.asarray(self.matrices, states.dtype).reshape((m,) + (2,) * (2 * k))
        # H ⊗ 1 contracts the k wires' axes alone, and they come out in front, behind that of the
        # observables; put back in order they are the state's again.
        out = tensordot(h, tensor, (tuple(range(k + 1, 2 * k + 1)), self.wires))
        return jnp.moveaxis(out, range(1, k + 1), [w + 1 for w in self.wires]).reshape(m, -1, cols)

    def norms(self, n_qubits: int) -> np.ndarray:
        # The norm of H ⊗ 1 is that of H: the largest absolute eigenvalue.
        self.size(n_qubits)
        return np.abs(np.linalg.eigvalsh(self.matrices)).max(axis=1)


Hermitian.__init__.__doc__ = """**Arguments:**

- `matrix`: a Hermitian matrix of shape `(2**k, 2**k)`, or m of them, `(m, 2**k, 2**k)`.
- `wires`: the k wires on which it acts, the first one the most significant bit.

**Raises:** `ValueError` if the shape does not fit the wires or a matrix is not Hermitian.
"""
