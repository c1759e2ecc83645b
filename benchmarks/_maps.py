"""Fixed-point problems as plain formulas, the same for JAX, PyTorch and NumPy."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from eqx_qdeq import AddInjection, PauliZ

from ._peers import our_layer
from ._problems import paper


@dataclasses.dataclass(frozen=True)
class Map:
    """A map of n entries with a batch of inputs x, by its arrays in single precision."""

    name: str
    kind: str  # "linear", "tanh" or "quantum"
    size: int
    arrays: tuple[np.ndarray, ...]
    x: np.ndarray

    def __call__(self, numpy: Any, y: Any, x: Any, arrays: tuple[Any, ...]) -> Any:
        """f(y) for all rows of y, with the functions of a library that is like NumPy."""
        if self.kind == "quantum":
            forms, upsample = arrays
            z = x + y @ upsample
            values = ((z @ forms).reshape(*y.shape, -1) * z[..., None, :]).sum(-1)
            return values / (z * z).sum(-1)[..., None]
        (weights,) = arrays
        return y @ weights + x if self.kind == "linear" else numpy.tanh(y @ weights + x)

    def in_jax(self, y: Array, x: Array) -> Array:
        """f(y) for one sample."""
        return self(jnp, y, x, tuple(map(jnp.asarray, self.arrays)))

    def residual(self, y: np.ndarray) -> np.ndarray:
        """‖f(y) - y‖ of each sample, in double precision."""
        y = np.asarray(y, np.float64)
        arrays = tuple(np.asarray(array, np.float64) for array in self.arrays)
        return np.linalg.norm(self(np, y, self.x.astype(np.float64), arrays) - y, axis=-1)


def linear(radius: float, size: int, batch: int) -> Map:
    """y ↦ y W + x with independent normal entries, scaled to a spectral radius: the eigenvalues
    of W fill a disc. The inputs have norm 1 on average.
    """
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((size, size))
    weights *= radius / np.max(np.abs(np.linalg.eigvals(weights)))
    x = rng.standard_normal((batch, size)) / np.sqrt(size)
    return _map(f"linear, spectral radius {radius:g}: {size} entries", "linear", [weights], x)


def tanh(size: int, batch: int) -> Map:
    """y ↦ tanh(y W + x), with weights as a network has them at first."""
    rng = np.random.default_rng(1)
    weights = rng.standard_normal((size, size)) / np.sqrt(size)
    x = rng.standard_normal((batch, size))
    return _map(f"tanh network: {size} entries", "tanh", [weights], x)


def quantum(n_qubits: int, batch: int) -> Map:
    """The paper's cell, as the ratio of quadratic forms that it is."""
    p = paper(n_qubits, batch)
    layer = our_layer(p.circuit, PauliZ(), engine="auto", batch=batch)
    layer = eqx.tree_at(lambda l: l.angles, layer, p.angles)
    features = p.x.shape[1]
    # Measured values of unit vectors and of sums of two of them tell the forms.
    eye = jnp.eye(features)
    pairs = jax.jit(jax.vmap(jax.vmap(layer)))(eye[:, None] + eye)
    diagonal = pairs[jnp.arange(features), jnp.arange(features)]
    forms = pairs - (diagonal[:, None] + diagonal) / 2  # the sum's norm is √2
    forms = jnp.where(eye[..., None] == 1, diagonal[:, None], forms)
    injection = AddInjection(features)
    upsample = jax.vmap(lambda w: injection(w, jnp.zeros(features)))(jnp.eye(n_qubits))
    flat = np.asarray(forms).transpose(0, 2, 1).reshape(features, n_qubits * features)
    name = f"quantum cell: {n_qubits} qubits"
    return _map(name, "quantum", [flat, np.asarray(upsample)], np.asarray(p.x))


def _map(name: str, kind: str, arrays: list[np.ndarray], x: np.ndarray) -> Map:
    size = arrays[-1].shape[0]
    single = tuple(np.asarray(array, np.float32) for array in arrays)
    return Map(name, kind, size, single, np.asarray(x, np.float32))
