"""A classifier with the interface of those in `eqx_qdeq.models` that compiles in no time, and data
for it."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jaxtyping import Array, PRNGKeyArray

from eqx_qdeq import Solution
from eqx_qdeq.training import Dataset, Split


class StandIn(eqx.Module):
    """z = tanh(W z + U x), iterated a fixed number of times, and a linear head with dropout."""

    w: Array
    u: Array
    head: eqx.nn.Linear
    dropout: eqx.nn.Dropout
    n_layers: int = eqx.field(static=True)

    def __call__(self, x: Array, *, key: PRNGKeyArray | None = None) -> Array:
        return self.solve(x, key=key)[0]

    def solve(self, x: Array, *, key: PRNGKeyArray | None = None) -> tuple[Array, Solution]:
        fn = lambda z: jnp.tanh(self.w @ z + self.u @ x)
        z = jnp.zeros(self.w.shape[0], x.dtype)
        z, _ = jax.lax.scan(lambda z, _: (fn(z), None), z, None, length=self.n_layers)
        gap = fn(z) - z
        stats = {
            "num_steps": jnp.asarray(self.n_layers),
            "num_evals": jnp.asarray(self.n_layers),
            "residual": jax.lax.stop_gradient(jnp.linalg.norm(gap)),
        }
        logits = self.head(self.dropout(z, key=key, inference=key is None))
        return logits, Solution(z, optx.RESULTS.successful, stats)

    def solve_with_penalty(
        self,
        x: Array,
        *,
        key: PRNGKeyArray | None = None,
        penalty_key: PRNGKeyArray | None = None,
    ) -> tuple[Array, Solution, Array]:
        logits, solution = self.solve(x, key=key)
        jacobian = self.w * (1 - solution.value**2)[:, None]
        return logits, solution, jnp.sum(jacobian**2) / len(jacobian)

    def unrolled(self, n_layers: int) -> "StandIn":
        return dataclasses.replace(self, n_layers=n_layers)

    @property
    def config(self) -> dict[str, Any]:
        hidden, size = self.u.shape
        return {"model": "StandIn", "size": size, "hidden": hidden}


def make_model(
    key: PRNGKeyArray, size: int = 3, n_classes: int = 3, hidden: int = 4, dropout: float = 0.1
) -> StandIn:
    kw, ku, kh = jax.random.split(key, 3)
    return StandIn(
        0.2 * jax.random.normal(kw, (hidden, hidden)),
        jax.random.normal(ku, (hidden, size)),
        eqx.nn.Linear(hidden, n_classes, key=kh),
        eqx.nn.Dropout(dropout),
        n_layers=12,
    )


def make_data(n: int = 60, size: int = 3, n_classes: int = 3, seed: int = 0) -> Dataset:
    """Classes that are easy to tell apart; `n` training samples, a third as many others."""
    random = np.random.default_rng(seed)
    centres = 2 * random.normal(size=(n_classes, size))

    def split(count: int) -> Split:
        y = np.arange(count) % n_classes
        return Split(centres[y] + 0.3 * random.normal(size=(count, size)), y)

    third = max(n // 3, n_classes)
    return Dataset(
        split(n),
        split(third),
        split(third),
        class_names=[f"class {i}" for i in range(n_classes)],
        name="blobs",
    )
