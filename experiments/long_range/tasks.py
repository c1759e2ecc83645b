"""Two tasks whose answer at a node needs what stands arbitrarily far away."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

# Lengths and training steps, one after the other.
CURRICULUM = ((2, 200), (4, 300), (8, 300), (12, 300), (20, 300), (35, 100), (50, 100))

# Three lengths, and twice those.
TESTED = (12, 20, 24, 40, 50, 100)


@dataclasses.dataclass(frozen=True)
class Task:
    """A task on n nodes in a row.

    **Arguments:**

    - `title`: what it is.
    - `adjacency`: from n to the adjacency matrix, of shape (1, n, n): whom a node hears.
    - `sample`: from a key and n to features (n, 2) and labels (n,), 0 or 1.
    """

    title: str
    adjacency: Callable[[int], Float[Array, "1 n n"]]
    sample: Callable[[PRNGKeyArray, int], tuple[Float[Array, "n 2"], Float[Array, " n"]]]


def _chain(key: PRNGKeyArray, n: int) -> tuple[Array, Array]:
    """A bit at the first node, a distracting number at every node; all must tell the bit."""
    key_bit, key_noise = jax.random.split(key)
    bit = jax.random.rademacher(key_bit, (), float)
    signal = jnp.zeros(n).at[0].set(bit)
    noise = jax.random.uniform(key_noise, (n,), minval=-1, maxval=1)
    return jnp.stack([signal, noise], 1), jnp.full(n, (bit + 1) / 2)


def _parity(key: PRNGKeyArray, n: int) -> tuple[Array, Array]:
    """A bit at every node, the first one marked; each must tell the parity up to its own."""
    bits = jax.random.rademacher(key, (n,), float)
    first = jnp.zeros(n).at[0].set(1)
    return jnp.stack([bits, first], 1), (jnp.cumprod(bits) + 1) / 2


TASKS = {
    # Each node hears its two neighbors.
    "chain": Task(
        "chain: tell the first node's bit",
        lambda n: (jnp.eye(n, k=1) + jnp.eye(n, k=-1))[None],
        _chain,
    ),
    # Each node hears the one before.
    "parity": Task("sequence: running parity", lambda n: jnp.eye(n, k=-1)[None], _parity),
}
